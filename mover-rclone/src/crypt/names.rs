//! Names of encrypted objects, one path element at a time (rclone `backend/crypt/cipher.go`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::eme::{Eme, MAX_LEN};
use super::keys::Keys;

const BLOCK: usize = 16;

/// How encrypted names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameText {
    /// Base 32 with the alphabet `0-9a-v`: safe where case is lost.
    Base32,
    /// URL-safe base 64.
    Base64,
}

/// Why a stored name is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Characters outside the alphabet.
    #[error("its name is not encrypted")]
    NotEncoded,
    /// Not whole blocks, or too many.
    #[error("its encrypted name has the wrong length")]
    Length,
    /// The padding is wrong after decryption.
    #[error("its name was encrypted with another password")]
    WrongKey,
    /// It decrypts to something that is no name, or has a second spelling.
    #[error("its encrypted name is not one that rclone writes")]
    Odd,
    /// Without the suffix of names that are not encrypted.
    #[error("its name does not end in the suffix of encrypted contents")]
    NoSuffix,
    /// Too long to be encrypted.
    #[error("its name is too long to be encrypted")]
    TooLong,
}

/// The rules of one remote.
#[derive(Clone)]
pub enum Names {
    /// Encrypted; directories too if asked for.
    Standard {
        /// The cipher.
        eme: Box<Eme>,
        /// How names are written.
        text: NameText,
        /// Whether elements before the last are encrypted.
        directories: bool,
    },
    /// In the clear, with this suffix on files.
    Off {
        /// The suffix, with its dot.
        suffix: Vec<u8>,
    },
}

impl Names {
    /// Encrypted names under these keys.
    pub fn standard(keys: &Keys, text: NameText, directories: bool) -> Self {
        Self::Standard { eme: Box::new(Eme::new(&keys.name, keys.tweak)), text, directories }
    }

    /// The stored path of a file.
    pub fn encrypt(&self, path: &[u8]) -> Result<Vec<u8>, NameError> {
        match self {
            Self::Off { suffix } => Ok([path, suffix.as_slice()].concat()),
            Self::Standard { eme, text, directories } => {
                each(path, *directories, |element| encrypt_name(eme, *text, element))
            }
        }
    }

    /// The stored path of a directory.
    pub fn encrypt_directory(&self, path: &[u8]) -> Result<Vec<u8>, NameError> {
        match self {
            Self::Standard { eme, text, directories: true } => {
                each(path, true, |element| encrypt_name(eme, *text, element))
            }
            _ => Ok(path.to_vec()),
        }
    }

    /// The path of a stored file.
    pub fn decrypt(&self, stored: &[u8]) -> Result<Vec<u8>, NameError> {
        match self {
            Self::Off { suffix } => {
                let name = stored.strip_suffix(suffix.as_slice()).ok_or(NameError::NoSuffix)?;
                let empty = name.is_empty() || name.ends_with(b"/");
                if empty { Err(NameError::NoSuffix) } else { Ok(name.to_vec()) }
            }
            Self::Standard { eme, text, directories } => {
                each(stored, *directories, |element| decrypt_name(eme, *text, element))
            }
        }
    }

    /// The path of a stored directory.
    pub fn decrypt_directory(&self, stored: &[u8]) -> Result<Vec<u8>, NameError> {
        match self {
            Self::Standard { eme, text, directories: true } => {
                each(stored, true, |element| decrypt_name(eme, *text, element))
            }
            _ => Ok(stored.to_vec()),
        }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Standard { .. } => "Standard",
            Self::Off { .. } => "Off",
        })
    }
}

/// Applies `change` to every element, or to the last only.
fn each(path: &[u8], all: bool, change: impl Fn(&[u8]) -> Result<Vec<u8>, NameError>) -> Result<Vec<u8>, NameError> {
    let last = path.split(|b| *b == b'/').count().saturating_sub(1);
    let elements = path.split(|b| *b == b'/').enumerate();
    let changed = elements.map(|(at, element)| if all || at == last { change(element) } else { Ok(element.to_vec()) });
    Ok(changed.collect::<Result<Vec<_>, _>>()?.join(&b'/'))
}

/// rclone encrypts names in its own spelling: control characters as their pictures (U+2400 and up), pictures that stand
/// in a name behind a U+201B.
fn spelled(name: &[u8]) -> Result<Vec<u8>, NameError> {
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_picture(c) {
                push(&mut out, QUOTE);
            }
            push(&mut out, picture(c).unwrap_or(c));
        }
        out.extend_from_slice(chunk.invalid());
    }
    if unspelled(&out) == name { Ok(out) } else { Err(NameError::Odd) }
}

fn unspelled(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut quoted = false;
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if quoted && !is_picture(c) {
                push(&mut out, QUOTE);
            }
            let literal = std::mem::replace(&mut quoted, c == QUOTE);
            match c {
                QUOTE => {}
                c if is_picture(c) && !literal => push(&mut out, control(c)),
                c => push(&mut out, c),
            }
        }
        if !chunk.invalid().is_empty() && std::mem::take(&mut quoted) {
            push(&mut out, QUOTE);
        }
        out.extend_from_slice(chunk.invalid());
    }
    if quoted {
        push(&mut out, QUOTE);
    }
    out
}

const QUOTE: char = '\u{201b}';

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn is_picture(c: char) -> bool {
    matches!(c, '\u{2401}'..='\u{241f}' | '\u{2421}')
}

fn picture(c: char) -> Option<char> {
    match c {
        '\u{1}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)),
        '\u{7f}' => Some('\u{2421}'),
        _ => None,
    }
}

fn control(c: char) -> char {
    if c == '\u{2421}' { '\u{7f}' } else { char::from_u32(u32::from(c) - 0x2400).unwrap_or(c) }
}

fn encrypt_name(eme: &Eme, text: NameText, name: &[u8]) -> Result<Vec<u8>, NameError> {
    let name = spelled(name)?;
    let pad = BLOCK - name.len() % BLOCK;
    let len = name.len() + pad;
    let mut padded = name;
    padded.resize(len, u8::try_from(pad).map_err(|_| NameError::TooLong)?);
    eme.encrypt(&mut padded).map_err(|_| NameError::TooLong)?;
    Ok(match text {
        NameText::Base32 => base32(&padded),
        NameText::Base64 => URL_SAFE_NO_PAD.encode(&padded).into_bytes(),
    })
}

fn decrypt_name(eme: &Eme, text: NameText, stored: &[u8]) -> Result<Vec<u8>, NameError> {
    if stored.len() > MAX_LEN * 2 {
        return Err(NameError::Length);
    }
    let mut name = match text {
        NameText::Base32 => from_base32(stored).ok_or(NameError::NotEncoded)?,
        NameText::Base64 => URL_SAFE_NO_PAD.decode(stored).map_err(|_| NameError::NotEncoded)?,
    };
    eme.decrypt(&mut name).map_err(|_| NameError::Length)?;
    let pad = usize::from(name.last().copied().unwrap_or(0));
    let len = name.len().checked_sub(pad).filter(|_| (1..=BLOCK).contains(&pad)).ok_or(NameError::WrongKey)?;
    if name.iter().skip(len).any(|b| usize::from(*b) != pad) {
        return Err(NameError::WrongKey);
    }
    name.truncate(len);
    let name = unspelled(&name);
    // Another spelling of the same name (capitals, spare bits) could be listed but not addressed.
    let odd = name.is_empty() || name.contains(&b'/') || encrypt_name(eme, text, &name)? != stored;
    if odd { Err(NameError::Odd) } else { Ok(name) }
}

const BASE32: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

fn base32(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0u32, 0u32);
    for b in bytes {
        held = (held << 8) | u32::from(*b);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(BASE32[(held >> bits & 31) as usize]);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(BASE32[(held << (5 - bits) & 31) as usize]);
    }
    out
}

fn from_base32(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0u32, 0u32);
    for c in text {
        let digit = char::from(*c).to_digit(32)?;
        held = (held << 5) | digit;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 255).ok()?);
        }
        held &= (1 << bits) - 1;
    }
    Some(out)
}

/// Entry for fuzzing: any stored name decrypts to a name that encrypts to it, or is refused.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let keys = Keys { data: [0; 32], name: [1; 32], tweak: [2; 16] };
    for text in [NameText::Base32, NameText::Base64] {
        let names = Names::standard(&keys, text, true);
        if let Ok(name) = names.decrypt(data) {
            assert_eq!(names.encrypt(&name).ok().as_deref(), Some(data));
        }
        if let Ok(stored) = names.encrypt(data)
            && data.split(|b| *b == b'/').all(|e| !e.is_empty())
        {
            assert_eq!(names.decrypt(&stored).ok().as_deref(), Some(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(salt: &[u8], text: NameText, directories: bool) -> Names {
        Names::standard(&Keys::derive(b"potato", salt).unwrap(), text, directories)
    }

    #[test]
    fn vectors_of_the_reference() {
        let base32 = names(b"sausage", NameText::Base32, true);
        let clear_dirs = names(b"sausage", NameText::Base32, false);
        let base64 = names(b"sausage", NameText::Base64, true);
        let off = Names::Off { suffix: b".bin".to_vec() };
        let path = "fiooieinr1qr8o3th3fofaipek/ugjje28k5lilebg50a3bo6d730/cbr02dor01abrake6uifpinue8";
        let cases = [
            (&base32, "hello.txt", "dvhjn229ej4s3k94n1mf5une30"),
            (&base32, "1", "gp3prd31jv7bd6bv0ftlide9fg"),
            (&base32, "dir/sub dir/fïle.bin", path),
            (&clear_dirs, "dir/hello.txt", "dir/dvhjn229ej4s3k94n1mf5une30"),
            (&base64, "hello.txt", "b-M7iEl0ycHRJLhs8vruGA"),
            (&names(b"", NameText::Base32, true), "hello.txt", "oqt3pleorvo0jmt050a7sstgpo"),
            (&off, "d/hello.txt", "d/hello.txt.bin"),
        ];
        for (names, clear, stored) in cases {
            assert_eq!(names.encrypt(clear.as_bytes()).unwrap(), stored.as_bytes(), "{clear}");
            assert_eq!(names.decrypt(stored.as_bytes()).unwrap(), clear.as_bytes(), "{stored}");
        }
    }

    /// Stored names as the real rclone writes them for these local names.
    #[test]
    fn control_characters_are_spelled_as_pictures() {
        let names = names(b"sausage", NameText::Base32, true);
        let cases: &[(&[u8], &str)] = &[
            (b"a\nb", "40pv7hsrm4cijrj5firh14a4l4"),
            ("\u{ff0e}".as_bytes(), "69u3b952tcm67kltigvaed18lk"),
            ("h\u{240a}i".as_bytes(), "ckf9s7b4aacloqvds6aa645krc"),
            (b"g\x7f\x01", "ker030ihdbnv7rqahnehbbmvj0"),
            (b"e:*?\"\\f .", "rf6bs4ebfvlatubkoosmc7pjak"),
            (b"c\xffd", "t1ik9eo0bmcg0v19mba530dkk0"),
        ];
        for (clear, stored) in cases {
            assert_eq!(names.encrypt(clear).unwrap(), stored.as_bytes());
            assert_eq!(names.decrypt(stored.as_bytes()).unwrap(), *clear);
        }
    }

    #[test]
    fn foreign_names_are_refused() {
        let names = names(b"sausage", NameText::Base32, true);
        let cases: &[(&[u8], NameError)] = &[
            (b"hello.txt", NameError::NotEncoded),
            (b"", NameError::Length),
            (b"dvhjn229", NameError::Length),
            (b"dvhjn229ej4s3k94n1mf5une31", NameError::Odd),
            (b"DVHJN229EJ4S3K94N1MF5UNE30", NameError::Odd),
            (b"00000000000000000000000000", NameError::WrongKey),
        ];
        for (stored, expect) in cases {
            assert_eq!(names.decrypt(stored).err(), Some(*expect), "{stored:?}");
        }
        assert_eq!(names.encrypt(&[b'x'; 2048]), Err(NameError::TooLong));
        assert_eq!(Names::Off { suffix: b".bin".to_vec() }.decrypt(b"a/.bin"), Err(NameError::NoSuffix));
    }

    proptest::proptest! {
        #[test]
        fn any_name_goes_there_and_back(data in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            fuzz(&data);
        }
    }
}
