//! Secrets with keys.

use crate::{OWNER, lasting, to_json};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use volsync_controller::objects::{
    keys::{self, KeyPair, MissingField},
    names::{Direction, SshSecret},
};

fn pair(name: &str) -> KeyPair {
    KeyPair { private: name.as_bytes().to_vec(), public: format!("{name}.pub").into_bytes() }
}

#[test]
fn keys_are_made_once_and_halved() {
    let main = keys::ssh_main(&OWNER, Direction::Destination, pair("s"), pair("d"));
    assert_eq!(to_json(&main)["metadata"], lasting("volsync-rsync-dst-main-db"));
    for (half, name, fields) in [
        (
            SshSecret::Source,
            "volsync-rsync-dst-src-db",
            [("source", "s"), ("source.pub", "s.pub"), ("destination.pub", "d.pub")],
        ),
        (
            SshSecret::Destination,
            "volsync-rsync-dst-dest-db",
            [("destination", "d"), ("destination.pub", "d.pub"), ("source.pub", "s.pub")],
        ),
    ] {
        let made = keys::ssh_half(&OWNER, Direction::Destination, half, &main).unwrap();
        assert_eq!(to_json(&made)["metadata"], lasting(name));
        let expect = fields.map(|(field, text)| (field.to_owned(), ByteString(text.as_bytes().to_vec())));
        assert_eq!(made.data, Some(expect.into()));
    }
    assert_eq!(keys::used_and_published(Direction::Source), (SshSecret::Source, SshSecret::Destination));
    assert_eq!(keys::used_and_published(Direction::Destination), (SshSecret::Destination, SshSecret::Source));
    let mut broken = main;
    broken.data.as_mut().unwrap().remove("source");
    assert!(keys::ssh_half(&OWNER, Direction::Destination, SshSecret::Source, &broken).is_err());
}

#[test]
fn a_secret_without_its_fields_is_named() {
    let fields = keys::ssh_fields(SshSecret::Source);
    let with = |names: &[&str]| Secret {
        data: Some(names.iter().map(|name| ((*name).to_owned(), ByteString(Vec::new()))).collect()),
        ..Secret::default()
    };
    assert_eq!(keys::check(&with(&["source", "source.pub", "destination.pub", "more"]), fields), Ok(()));
    let few = keys::check(&with(&["source"]), fields).unwrap_err();
    assert_eq!(few.to_string(), "secret should have fields: [source source.pub destination.pub]");
    assert_eq!(keys::check(&Secret::default(), fields), Err(MissingField::Fields(fields)));
    let other = keys::check(&with(&["source", "x", "destination.pub"]), fields).unwrap_err();
    assert_eq!(other.to_string(), "secret is missing field: source.pub");
}

#[test]
fn a_pre_shared_key_is_an_identity_and_hex() {
    let mut key = [0; keys::TLS_KEY_BYTES];
    key[0] = 0xab;
    let made = keys::tls(&OWNER, &key);
    assert_eq!(to_json(&made)["metadata"], lasting("volsync-rsync-tls-db"));
    let expect = format!("volsync:ab{}", "00".repeat(63));
    assert_eq!(made.data, Some([("psk.txt".to_owned(), ByteString(expect.into_bytes()))].into()));
}
