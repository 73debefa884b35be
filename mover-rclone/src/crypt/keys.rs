//! The keys of a crypt remote (rclone `backend/crypt/cipher.go`, `Key`).

use scrypt::Params;

/// Salt when `password2` is not set.
const DEFAULT_SALT: [u8; 16] =
    [0xa8, 0x0d, 0xf4, 0x3a, 0x8f, 0xbd, 0x03, 0x08, 0xa7, 0xca, 0xb8, 0x3e, 0x58, 0x1f, 0x86, 0xb1];

/// scrypt with N = 2^14, r = 8, p = 1.
const LOG_N: u8 = 14;
const BLOCK: u32 = 8;
const LANES: u32 = 1;
const LEN: usize = 80;

/// What contents and names are encrypted with.
#[derive(Clone)]
pub struct Keys {
    /// Of contents.
    pub data: [u8; 32],
    /// Of names.
    pub name: [u8; 32],
    /// Tweak of the cipher of names.
    pub tweak: [u8; 16],
}

impl Keys {
    /// Derives the keys; `None` if the parameters are refused, which they are not. An empty password gives zero keys, as
    /// in rclone.
    pub fn derive(password: &[u8], salt: &[u8]) -> Option<Self> {
        let mut out = [0u8; LEN];
        if !password.is_empty() {
            let salt = if salt.is_empty() { &DEFAULT_SALT[..] } else { salt };
            let params = Params::new(LOG_N, BLOCK, LANES, Params::RECOMMENDED_LEN).ok()?;
            scrypt::scrypt(password, salt, &params, &mut out).ok()?;
        }
        let data = out.get(..32)?.try_into().ok()?;
        let name = out.get(32..64)?.try_into().ok()?;
        Some(Self { data, name, tweak: out.get(64..)?.try_into().ok()? })
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vector_of_the_reference() {
        let keys = Keys::derive(b"potato", b"sausage").unwrap();
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |s, b| s + &format!("{b:02x}"));
        assert_eq!(hex(&keys.data), "8e9b6b99f8690467a071f9cb92d0aa787f8ff178bec96f999fd5206e644a1b50");
        assert_eq!(hex(&keys.name), "3ea95ef681782dc9d9955d225bfd442c6f5d6897b029015c6f462e2a9dae2ce3");
        assert_eq!(hex(&keys.tweak), "f17fd7141d65274f363fc2a04dd2148a");
    }
}
