//! Obscured values: password options are kept from a casual look, not from anyone who tries. The key is public (rclone
//! `fs/config/obscure/obscure.go`).

use aes::Aes256;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};

use super::secret::Secret;

const KEY: [u8; 32] = [
    0x9c, 0x93, 0x5b, 0x48, 0x73, 0x0a, 0x55, 0x4d, 0x6b, 0xfd, 0x7c, 0x63, 0xc8, 0x86, 0xa9, 0x2b, 0xd3, 0x90, 0x19,
    0x8e, 0xb8, 0x12, 0x8a, 0xfb, 0xf4, 0xde, 0x16, 0x2b, 0x8b, 0x95, 0xf6, 0x38,
];
const IV: usize = 16;

/// URL-safe without padding; spare bits of the last character are ignored, as Go's decoder does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Why a value is not an obscured one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevealError {
    /// Not base64url without padding.
    #[error("base64 decode failed when revealing password - is it obscured?: illegal base64 data at input byte {0}")]
    Base64(usize),
    /// Shorter than the initialisation vector.
    #[error("input too short when revealing password - is it obscured?")]
    TooShort,
}

/// The password in an obscured value.
pub fn reveal(text: &[u8]) -> Result<Secret, RevealError> {
    // Go's decoder skips line ends.
    let text: Vec<u8> = text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    let mut bytes = BASE64.decode(&text).map_err(|_| RevealError::Base64(stops_at(&text)))?;
    let (iv, content) = bytes.split_at_mut_checked(IV).ok_or(RevealError::TooShort)?;
    let iv: [u8; IV] = (&*iv).try_into().map_err(|_| RevealError::TooShort)?;
    apply(iv, content);
    Ok(Secret::new(content.to_vec()))
}

/// Obscures a password under a given random value, which must be new for each password.
pub fn obscure(password: &[u8], iv: [u8; IV]) -> String {
    let mut bytes = iv.to_vec();
    bytes.extend_from_slice(password);
    if let Some(content) = bytes.get_mut(IV..) {
        apply(iv, content);
    }
    BASE64.encode(bytes)
}

fn apply(iv: [u8; IV], content: &mut [u8]) {
    Ctr128BE::<Aes256>::new(&KEY.into(), &iv.into()).apply_keystream(content);
}

/// Where Go's decoder stops: at the first foreign character, else at the group that is not complete.
fn stops_at(text: &[u8]) -> usize {
    let foreign = text.iter().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
    foreign.unwrap_or(text.len() - text.len() % 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_reference() {
        let cases: [([u8; 16], &[u8], &str); 3] = [
            (std::array::from_fn(|i| u8::try_from(i).unwrap()), b"potato", "AAECAwQFBgcICQoLDA0OD3HwE0RzvQ"),
            ([0xff; 16], &[b'x'; 20], "_____________________5Rrr9tkSvPhyj8dZ4uDrbo8o9Ea"),
            ([0; 16], b"", "AAAAAAAAAAAAAAAAAAAAAA"),
        ];
        for (iv, clear, text) in cases {
            assert_eq!(obscure(clear, iv), text);
            assert_eq!(reveal(text.as_bytes()).unwrap().expose(), clear);
        }
    }

    #[test]
    fn what_is_not_obscured_is_refused() {
        let cases: &[(&[u8], RevealError)] = &[
            (b"", RevealError::TooShort),
            (b"potato", RevealError::TooShort),
            (b"AAECAwQFBgcICQoLDA0ODw==", RevealError::Base64(22)),
            (b"AA+CAwQFBgcICQoLDA0ODw", RevealError::Base64(2)),
        ];
        for (text, expect) in cases {
            assert_eq!(reveal(text).err(), Some(*expect), "{text:?}");
        }
    }
}
