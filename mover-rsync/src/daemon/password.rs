//! Passwords that a daemon wants for a module.
//!
//! It sends a challenge; the answer is the user's name and the digest of password and challenge, in base64 without
//! padding. Which digest is the first one in our greeting that the daemon's has as well (rsync 3.5.0, real).

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use volsync_common::path::Shown;

use crate::args::ArgsError;

/// The longest file of a password that is read.
const FILE_MAX: u64 = 64 << 10;

/// A password; it has no printed form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(Vec<u8>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Password {
    /// The first line of `file` (`-` is standard input), else what `RSYNC_PASSWORD` says.
    pub(crate) fn find(file: Option<&OsStr>) -> Result<Option<Self>, ArgsError> {
        let Some(file) = file else {
            return Ok(std::env::var_os("RSYNC_PASSWORD").map(|text| Self(text.into_encoded_bytes())));
        };
        let failed = |error| ArgsError::Usage(format!("the password file {}: {error}", Shown(file.as_encoded_bytes())));
        let text = read(file).map_err(failed)?;
        let line = text.split(|b| matches!(b, b'\n' | b'\r')).next().unwrap_or_default();
        Ok(Some(Self(line.to_vec())))
    }

    /// What is answered to a challenge; `None` if the digest of this name is not known.
    pub(crate) fn answer(&self, digest: &str, challenge: &[u8]) -> Option<String> {
        let text = [&self.0[..], challenge].concat();
        let algorithm = match digest {
            "sha512" => &SHA512,
            "sha256" => &SHA256,
            "sha1" => &SHA1_FOR_LEGACY_USE_ONLY,
            "md5" => return Some(STANDARD_NO_PAD.encode(volsync_md5::md5(&text))),
            _ => return None,
        };
        Some(STANDARD_NO_PAD.encode(digest::digest(algorithm, &text)))
    }
}

/// Refuses what others may read, as the reference does.
fn read(file: &OsStr) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if file == "-" {
        io::stdin().lock().take(FILE_MAX).read_to_end(&mut text)?;
        return Ok(text);
    }
    let file = fs::File::open(file)?;
    let meta = file.metadata()?;
    if meta.mode() & 0o6 != 0 {
        return Err(io::Error::other("others may read or write it"));
    }
    if rustix::process::geteuid().is_root() && meta.uid() != 0 {
        return Err(io::Error::other("it is not root's"));
    }
    file.take(FILE_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// Whom a daemon is told of where the place names nobody.
pub(crate) fn own_name() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|user| !user.is_empty());
    named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| "nobody".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_digests_of_password_and_challenge() {
        let password = Password(b"pass".to_vec());
        // printf passchallenge | md5sum, sha1sum, sha256sum
        for (digest, answer) in [
            ("md5", "4NW7H11+W0MliMAKvZxkRw"),
            ("sha1", "twqTLBb+HDLnjYHeHEGLah5eZy8"),
            ("sha256", "Dowh/tyFnspB4ZjwKzF6FQDgVrBxFrRqCDPhHjRGRWk"),
        ] {
            assert_eq!(password.answer(digest, b"challenge").as_deref(), Some(answer), "{digest}");
        }
        assert_eq!(password.answer("sha512", b"challenge").map(|answer| answer.len()), Some(86));
        assert_eq!(password.answer("md4", b"challenge"), None);
        assert_eq!(format!("{password:?}"), "***");
    }

    #[test]
    fn a_password_is_the_first_line_of_a_file_that_is_ones_own() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "secret\r\nmore\n").unwrap();
        assert_eq!(Password::find(Some(file.path().as_os_str())).unwrap(), Some(Password(b"secret".to_vec())));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Password::find(Some(file.path().as_os_str())).unwrap_err().to_string();
        assert!(error.contains("others may read") && !error.contains("secret"), "{error}");
    }
}
