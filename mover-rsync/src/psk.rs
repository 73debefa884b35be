//! Keys that both sides of a connection know before: the file `psk.txt` of VolSync's rsync-TLS movers.

use std::fmt;

/// Shorter keys are refused, as stunnel 5.68 does.
const SHORTEST: usize = 16;

/// A secret and the name that it goes by.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    identity: Vec<u8>,
    secret: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("identity", &volsync_common::path::Shown(&self.identity).to_string())
            .finish_non_exhaustive()
    }
}

/// All keys of a file. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys(Vec<Key>);

/// What is wrong with a file of keys; what is in it is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("line {0} is not of the form IDENTITY:KEY")]
    Form(usize),
    #[error("the key in line {0} is shorter than 16 bytes")]
    Short(usize),
    #[error("there is no key in it")]
    None,
}

impl Key {
    /// Its name, which travels openly.
    pub(crate) fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// The secret itself.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl Keys {
    /// Reads the text of a file: a line `IDENTITY:KEY` for each. A key of hexadecimal digits alone stands for the bytes
    /// that they name, any other for itself (observed with stunnel 5.68).
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeysError> {
        let mut keys = Vec::new();
        for (at, line) in text.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let colon = line.iter().position(|b| *b == b':').filter(|_| !line.contains(&0));
            let colon = colon.ok_or(KeysError::Form(at + 1))?;
            let (identity, key) = (&line[..colon], &line[colon + 1..]);
            let secret = from_hex(key).unwrap_or_else(|| key.to_vec());
            if secret.len() < SHORTEST {
                return Err(KeysError::Short(at + 1));
            }
            keys.push(Key { identity: identity.to_vec(), secret });
        }
        if keys.is_empty() { Err(KeysError::None) } else { Ok(Self(keys)) }
    }

    /// The one that a client shows: the first.
    pub(crate) fn first(&self) -> &Key {
        &self.0[0]
    }

    /// The one that a client names.
    pub(crate) fn find(&self, identity: &[u8]) -> Option<&Key> {
        self.0.iter().find(|key| key.identity == identity)
    }
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// For the fuzzer: any file is understood or refused.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Ok(keys) = Keys::parse(data) {
        assert!(keys.find(keys.first().identity()).is_some() && keys.first().secret().len() >= SHORTEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_are_read_as_stunnel_reads_them() {
        let hex = "0123456789abcdef0123456789ABCDEF";
        let bytes: Vec<u8> = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].repeat(2);
        for (text, expect) in [
            (format!("volsync:{hex}"), Ok(("volsync", bytes.clone()))),
            (format!("\n\na:{hex}\r\nb:{hex}\n"), Ok(("a", bytes.clone()))),
            (format!(":{hex}"), Ok(("", bytes))),
            (format!("a: {hex}"), Ok(("a", format!(" {hex}").into_bytes()))),
            (format!("a:b:{hex}"), Ok(("a", format!("b:{hex}").into_bytes()))),
            ("a:0123456789abcdef0123456789abcde".into(), Ok(("a", b"0123456789abcdef0123456789abcde".to_vec()))),
            ("a:0123456789abcdefxyz".into(), Ok(("a", b"0123456789abcdefxyz".to_vec()))),
            ("a:0123456789abcdef".into(), Err(KeysError::Short(1))),
            ("a:short".into(), Err(KeysError::Short(1))),
            (format!("a:{hex}\nnocolon"), Err(KeysError::Form(2))),
            ("\n".into(), Err(KeysError::None)),
        ] {
            let keys = Keys::parse(text.as_bytes());
            let first = keys.as_ref().map(|keys| (keys.first().identity(), keys.first().secret().to_vec()));
            assert_eq!(
                first,
                expect.as_ref().map(|(identity, secret)| (identity.as_bytes(), secret.clone())),
                "{text}"
            );
        }
        let keys = Keys::parse(format!("a:{hex}\nb:{hex}ff").as_bytes()).unwrap();
        assert_eq!((keys.find(b"b").unwrap().secret().len(), keys.find(b"c")), (17, None));
    }

    #[test]
    fn secrets_are_not_printed() {
        let keys = Keys::parse(b"volsync:a very secret key indeed").unwrap();
        assert_eq!(format!("{keys:?}"), "Keys([Key { identity: \"volsync\", .. }])");
    }

    proptest! {
        #[test]
        fn no_file_panics(text in "[:a-f0-9\n\r\u{0}é]{0,80}") {
            fuzz(text.as_bytes());
        }
    }
}
