//! Secrets with the keys of rsync: which fields each has, and which secrets are made of which.
//!
//! The secret `main` is made once and never again while it is whole: every copy that users took to the other cluster
//! would be worthless. The two others are kept equal to it.

use super::{
    names::{self, Direction, SshSecret},
    owner::Owner,
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use std::collections::BTreeMap;

/// The field of the pre-shared key.
pub const TLS_FIELD: &str = "psk.txt";

/// Bytes of a pre-shared key, written in hex.
pub const TLS_KEY_BYTES: usize = 64;

/// What a secret lacks, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingField {
    /// It has fewer fields than it should.
    #[error("secret should have fields: [{}]", .0.join(" "))]
    Fields(&'static [&'static str]),
    /// It lacks this one.
    #[error("secret is missing field: {0}")]
    Field(&'static str),
}

/// The fields of a secret with SSH keys.
pub fn ssh_fields(secret: SshSecret) -> &'static [&'static str] {
    match secret {
        SshSecret::Main => &["source", "source.pub", "destination", "destination.pub"],
        SshSecret::Source => &["source", "source.pub", "destination.pub"],
        SshSecret::Destination => &["destination", "destination.pub", "source.pub"],
    }
}

/// Checks that a secret has these fields.
pub fn check(secret: &Secret, fields: &'static [&'static str]) -> Result<(), MissingField> {
    let data = secret.data.as_ref();
    if data.map_or(0, BTreeMap::len) < fields.len() {
        return Err(MissingField::Fields(fields));
    }
    let missing = fields.iter().find(|field| data.is_none_or(|data| !data.contains_key(**field)));
    missing.map_or(Ok(()), |field| Err(MissingField::Field(field)))
}

/// A key and its public half, as files of OpenSSH.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The private key.
    pub private: Vec<u8>,
    /// The line of the public key.
    pub public: Vec<u8>,
}

/// The secret `main` of two new pairs.
pub fn ssh_main(owner: &Owner<'_>, direction: Direction, source: KeyPair, destination: KeyPair) -> Secret {
    let data = [
        ("source", source.private),
        ("source.pub", source.public),
        ("destination", destination.private),
        ("destination.pub", destination.public),
    ];
    let name = names::ssh_secret(SshSecret::Main, direction, owner.name);
    secret(owner, name, data.map(|(field, bytes)| (field.to_owned(), ByteString(bytes))).into())
}

/// The half of `main` that one side gets.
pub fn ssh_half(
    owner: &Owner<'_>,
    direction: Direction,
    half: SshSecret,
    main: &Secret,
) -> Result<Secret, MissingField> {
    check(main, ssh_fields(SshSecret::Main))?;
    let of_main = |field: &&str| Some(((*field).to_owned(), main.data.as_ref()?.get(*field)?.clone()));
    let data = ssh_fields(half).iter().filter_map(of_main).collect();
    Ok(secret(owner, names::ssh_secret(half, direction, owner.name), data))
}

/// Which half a side uses itself, and which one it publishes for the other.
pub fn used_and_published(direction: Direction) -> (SshSecret, SshSecret) {
    match direction {
        Direction::Source => (SshSecret::Source, SshSecret::Destination),
        Direction::Destination => (SshSecret::Destination, SshSecret::Source),
    }
}

/// The secret with a new pre-shared key.
pub fn tls(owner: &Owner<'_>, key: &[u8; TLS_KEY_BYTES]) -> Secret {
    let text = key.iter().fold("volsync:".to_owned(), |text, byte| text + &format!("{byte:02x}"));
    let data = BTreeMap::from([(TLS_FIELD.to_owned(), ByteString(text.into_bytes()))]);
    secret(owner, names::tls_secret(owner.name), data)
}

fn secret(owner: &Owner<'_>, name: String, data: BTreeMap<String, ByteString>) -> Secret {
    Secret { metadata: owner.lasting(name), data: Some(data), ..Secret::default() }
}
