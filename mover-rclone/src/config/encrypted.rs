//! Encrypted configuration files (rclone `fs/config/crypt.go`): a marker line, then base64 of a nonce and a NaCl
//! secretbox.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, Nonce, XSalsa20Poly1305};
use unicode_normalization::UnicodeNormalization as _;

use super::secret::Secret;
use super::text::trim;

const NONCE: usize = 24;
/// A nonce and the tag of an empty message.
const SHORTEST: usize = NONCE + 16;

/// Standard alphabet, padding wanted, spare bits ignored (Go `base64.StdEncoding`).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// What a configuration file is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Not encrypted.
    Plain,
    /// Encrypted; this is the base64 text after the marker.
    Encrypted(&'a [u8]),
    /// Encrypted in a way that came later.
    Unsupported,
}

/// Why an encrypted file could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// Bad base64.
    #[error("failed to load base64 encoded data: illegal base64 data at input byte {0}")]
    Base64(usize),
    /// The base64 text stops in the middle of a group.
    #[error("failed to load base64 encoded data: unexpected EOF")]
    Ends,
    /// Less than a nonce and a tag.
    #[error("configuration data too short")]
    TooShort,
    /// The password is wrong, or the file was damaged.
    #[error("unable to decrypt configuration")]
    WrongPassword,
}

/// Looks for the marker: the first line that is neither empty nor a comment.
pub fn detect(file: &[u8]) -> Payload<'_> {
    let mut rest = file;
    loop {
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let line = trim(rest.get(..end).unwrap_or_default());
        let after = rest.get(end + 1..).unwrap_or_default();
        match line {
            [] | [b'#' | b';', ..] if end == rest.len() => return Payload::Plain,
            [] | [b'#' | b';', ..] => rest = after,
            b"RCLONE_ENCRYPT_V0:" => return Payload::Encrypted(after),
            _ if line.starts_with(b"RCLONE_ENCRYPT_V") => return Payload::Unsupported,
            _ => return Payload::Plain,
        }
    }
}

/// Whether the text after the marker is whole, as far as can be told without the password.
pub fn check(text: &[u8]) -> Result<(), DecryptError> {
    if decode(text)?.len() < SHORTEST { Err(DecryptError::TooShort) } else { Ok(()) }
}

/// Decrypts the text after the marker.
pub fn decrypt(text: &[u8], password: &Secret) -> Result<Vec<u8>, DecryptError> {
    let data = decode(text)?;
    if data.len() < SHORTEST {
        return Err(DecryptError::TooShort);
    }
    let (nonce, sealed) = data.split_at_checked(NONCE).ok_or(DecryptError::TooShort)?;
    let key = key_of(password).ok_or(DecryptError::WrongPassword)?;
    XSalsa20Poly1305::new(&key.into())
        .decrypt(Nonce::from_slice(nonce), sealed)
        .map_err(|_| DecryptError::WrongPassword)
}

fn decode(text: &[u8]) -> Result<Vec<u8>, DecryptError> {
    let clean: Vec<u8> = text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    BASE64.decode(&clean).map_err(|e| match e {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            DecryptError::Base64(at)
        }
        _ => DecryptError::Ends,
    })
}

/// SHA-256 of the NFKC form between two fixed strings; `None` if the password is not UTF-8, which no key was made of.
fn key_of(password: &Secret) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(password.expose()).ok()?;
    let normal: String = text.nfkc().collect();
    digest(&SHA256, format!("[{normal}][rclone-config]").as_bytes()).as_ref().try_into().ok()
}

/// Entry for fuzzing: any bytes are told apart and decode or are refused.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Payload::Encrypted(text) = detect(data) {
        let _ = decrypt(text, &Secret::new(*b"fuzz"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: &[u8] =
        b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXbDUIWV8tGTzoP7+p7BRmLotJPkoj57XaEax7ExR9iHxkYM1Dhj7/YsnUYQh87w==";

    #[test]
    fn vector_of_the_reference() {
        let key = key_of(&Secret::new(*b"asdf")).unwrap();
        assert_eq!(
            key.iter().fold(String::new(), |s, b| s + &format!("{b:02x}")),
            "71efa752967fc482cfd122f02bc39724e282a6f73afb46fc7f99106ae004f227"
        );
        assert_eq!(decrypt(VECTOR, &Secret::new(*b"asdf")).unwrap(), b"[r]\ntype = s3\nprovider = AWS\n\n");
        // U+FF41 normalises to `a`.
        assert_eq!(key_of(&Secret::new("\u{ff41}sdf".as_bytes())), Some(key));
    }

    #[test]
    fn damage_is_told_apart() {
        let cases: &[(&[u8], DecryptError)] = &[
            (b"AAEC", DecryptError::TooShort),
            (b"", DecryptError::TooShort),
            (b"AA*C", DecryptError::Base64(2)),
            (b"AAE", DecryptError::Ends),
            (VECTOR, DecryptError::WrongPassword),
        ];
        for (text, expect) in cases {
            assert_eq!(decrypt(text, &Secret::new(*b"wrong")).err(), Some(*expect));
        }
    }

    #[test]
    fn the_marker_is_the_first_line_with_content() {
        assert!(detect(b"# c\n\n ; d\n RCLONE_ENCRYPT_V0: \r\nAA") == Payload::Encrypted(b"AA"));
        assert!(detect(b"RCLONE_ENCRYPT_V1:\nabc\n") == Payload::Unsupported);
        assert!(detect(b"[r]\nRCLONE_ENCRYPT_V0:\n") == Payload::Plain);
        assert!(detect(b"# only\n") == Payload::Plain);
        assert!(detect(b"") == Payload::Plain);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_told_apart(data in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            fuzz(&data);
            fuzz(&[b"RCLONE_ENCRYPT_V0:\n", &data[..]].concat());
        }
    }
}
