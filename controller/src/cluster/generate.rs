//! New keys. The only place of the controller that asks for randomness.

use super::Trouble;
use crate::objects::keys::{KeyPair, TLS_KEY_BYTES};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand,
    rsa::{self, KeySize},
};
use pkcs1::RsaPrivateKey;
use pkcs8::{PrivateKeyInfo, der::Decode};
use ssh_key::{
    LineEnding, Mpint, PrivateKey,
    private::{KeypairData, RsaKeypair},
    public::RsaPublicKey,
};

/// Keys as `ssh-keygen -t rsa -b 4096 -C "" -N ""` makes them, which upstream calls.
const SIZE: KeySize = KeySize::Rsa4096;

/// A pair for each end. Takes a second or two, on a thread of its own.
pub(super) async fn ssh_pairs() -> Result<(KeyPair, KeyPair), Trouble> {
    let pairs = tokio::task::spawn_blocking(|| Some((ssh_pair()?, ssh_pair()?))).await;
    pairs.ok().flatten().ok_or_else(|| Trouble::User("no keys could be made".to_owned()))
}

/// A new pre-shared key.
pub(super) fn tls_key() -> Result<[u8; TLS_KEY_BYTES], Trouble> {
    let mut key = [0; TLS_KEY_BYTES];
    rand::fill(&mut key).map_err(|_| Trouble::User("no key could be made".to_owned()))?;
    Ok(key)
}

/// `None` if the library refuses, which it does for want of memory or randomness alone.
fn ssh_pair() -> Option<KeyPair> {
    let der: Pkcs8V1Der<'_> = rsa::KeyPair::generate(SIZE).ok()?.as_der().ok()?;
    let info = PrivateKeyInfo::from_der(der.as_ref()).ok()?;
    let parts = RsaPrivateKey::from_der(info.private_key).ok()?;
    let number = |bytes: &[u8]| Mpint::from_positive_bytes(bytes).ok();
    let pair = RsaKeypair {
        public: RsaPublicKey { e: number(parts.public_exponent.as_bytes())?, n: number(parts.modulus.as_bytes())? },
        private: ssh_key::private::RsaPrivateKey {
            d: number(parts.private_exponent.as_bytes())?,
            iqmp: number(parts.coefficient.as_bytes())?,
            p: number(parts.prime1.as_bytes())?,
            q: number(parts.prime2.as_bytes())?,
        },
    };
    let key = PrivateKey::new(KeypairData::Rsa(pair), "").ok()?;
    Some(KeyPair {
        private: key.to_openssh(LineEnding::LF).ok()?.as_bytes().to_vec(),
        public: format!("{} \n", key.public_key().to_openssh().ok()?.trim_end()).into_bytes(),
    })
}
