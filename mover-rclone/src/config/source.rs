//! Which file is the configuration.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::env::Environment;

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Nowhere: an empty configuration without a word. Asked for with an empty name, `/dev/null`, or a path whose last
    /// element is `notfound`.
    Memory,
    /// A file, which need not exist.
    File(PathBuf),
}

impl ConfigSource {
    /// The first of: `--config`, `RCLONE_CONFIG`, and the first file that exists of `rclone.conf` beside the executable,
    /// `$XDG_CONFIG_HOME/rclone/rclone.conf`, `~/.config/rclone/rclone.conf`, `~/.rclone.conf`. If none exists it is
    /// the one rclone would create.
    pub fn find(cli: Option<&Path>, env: &dyn Environment, exe_dir: Option<&Path>) -> Self {
        let given = cli.map(Path::to_owned).or_else(|| env.var(b"RCLONE_CONFIG").map(path_of));
        if let Some(path) = given {
            return Self::named(path);
        }
        let candidates = candidates(env, exe_dir);
        let existing = candidates.iter().find(|path| path.exists());
        match existing.or_else(|| candidates.iter().find(|path| path.ends_with("rclone/rclone.conf"))) {
            Some(path) => Self::File(path.clone()),
            None => Self::File(PathBuf::from(".rclone.conf")),
        }
    }

    fn named(path: PathBuf) -> Self {
        let nothing = path.as_os_str().is_empty() || path == Path::new("/dev/null");
        if nothing || path.file_name() == Some(OsStr::new("notfound")) {
            Self::Memory
        } else {
            Self::File(absolute(path))
        }
    }
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn candidates(env: &dyn Environment, exe_dir: Option<&Path>) -> Vec<PathBuf> {
    let dir = |name: &[u8]| env.non_empty(name).map(|value| PathBuf::from(OsStr::from_bytes(&value)));
    let home = dir(b"HOME");
    [
        exe_dir.map(|dir| dir.join("rclone.conf")),
        dir(b"XDG_CONFIG_HOME").map(|dir| dir.join("rclone/rclone.conf")),
        home.as_ref().map(|home| home.join(".config/rclone/rclone.conf")),
        home.as_ref().map(|home| home.join(".rclone.conf")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::env::MapEnv;
    use super::*;

    #[test]
    fn names_that_mean_no_file() {
        for name in ["", "/dev/null", "/x/notfound"] {
            assert_eq!(ConfigSource::find(Some(Path::new(name)), &MapEnv::default(), None), ConfigSource::Memory);
            assert_eq!(ConfigSource::find(None, &MapEnv::new([("RCLONE_CONFIG", name)]), None), ConfigSource::Memory);
        }
    }

    #[test]
    fn the_first_that_exists_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let home = dir.path().display().to_string();
        let env = [("HOME", home.clone()), ("XDG_CONFIG_HOME", format!("{home}/xdg"))];
        let find = || ConfigSource::find(None, &MapEnv::new(env.clone()), Some(dir.path()));
        assert_eq!(find(), ConfigSource::File(path("xdg/rclone/rclone.conf")));
        for name in [".rclone.conf", ".config/rclone/rclone.conf", "xdg/rclone/rclone.conf", "rclone.conf"] {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), "").unwrap();
            assert_eq!(find(), ConfigSource::File(path(name)));
        }
        let named = MapEnv::new([("RCLONE_CONFIG", "/r/c.conf")]);
        assert_eq!(ConfigSource::find(None, &named, Some(dir.path())), ConfigSource::File("/r/c.conf".into()));
        let cli = ConfigSource::find(Some(Path::new("/x.conf")), &named, None);
        assert_eq!(cli, ConfigSource::File("/x.conf".into()));
    }
}
