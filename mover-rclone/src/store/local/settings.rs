//! What a user can say about a local directory (rclone 1.75 `backend/local/local.go`).

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use volsync_common::time::Timestamp;
use volsync_common::walk::Stat;

use crate::config::value::Encoding;
use crate::config::{OptionError, Options};
use crate::filter::Filter;

/// Options of the backend that change what is seen or done. Those that only concern other systems, speed or `--metadata`
/// are not here.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// The directory; a link to one is followed.
    pub root: PathBuf,
    /// Tell of what links lead to, as if it stood in their place. A link that leads nowhere or to a directory that holds
    /// it fails the listing. Writing never follows links.
    pub copy_links: bool,
    /// Keep links as objects `NAME.rclonelink` that hold the target. Of a link and a file of that same name the link
    /// counts.
    pub links: bool,
    /// Say nothing about links that are left out.
    pub skip_links: bool,
    /// Say nothing about special files that are left out.
    pub skip_specials: bool,
    /// Leave out directories on other file systems than the root's.
    pub one_file_system: bool,
    /// Do not mind that a file changes while it is read, as long as it does not get shorter.
    pub no_check_updated: bool,
    /// Offer MD5 digests.
    pub md5: bool,
    /// The time that counts as an object's.
    pub time: FileTime,
    /// Directories and names that are left out are not looked at either: they may be unreadable.
    pub filter: Option<Arc<Filter>>,
}

/// Which of a file's times is told. The modification time is what is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileTime {
    /// When the content changed last.
    #[default]
    Modified,
    /// When it was read last.
    Accessed,
    /// When anything changed last.
    Changed,
}

/// Why a local directory cannot be used as the user wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// An option's value.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// An option that would make something else than the user expects.
    #[error("local option {0} is not supported by this mover: {1}")]
    Refused(&'static str, &'static str),
}

const REFUSED: [(&str, &str); 3] = [
    ("no_set_modtime", "modification times are always set, because a sync compares them"),
    ("unicode_normalization", "names are kept and compared as their bytes"),
    ("case_insensitive", "names differ by case here"),
];

impl LocalSettings {
    /// Everything as rclone does it when nobody says anything.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            copy_links: false,
            links: false,
            skip_links: false,
            skip_specials: false,
            one_file_system: false,
            no_check_updated: false,
            md5: true,
            time: FileTime::Modified,
            filter: None,
        }
    }

    /// From the options of the backend. The global flag `--links` is for the caller to add.
    pub fn from_options(root: impl Into<PathBuf>, options: &Options) -> Result<Self, SettingsError> {
        for (name, why) in REFUSED {
            if options.bool(name)? {
                return Err(SettingsError::Refused(name, why));
            }
        }
        // Neither a slash nor these names can occur within a name, and NUL cannot either.
        let nothing = Encoding(Encoding::RAW.0 | Encoding::SLASH.0 | Encoding::DOT.0);
        if !nothing.contains(options.encoding("encoding")?) {
            return Err(SettingsError::Refused("encoding", "names are kept as their bytes"));
        }
        let hashes = options.csv("hashes")?;
        Ok(Self {
            copy_links: options.bool("copy_links")?,
            links: options.bool("links")?,
            skip_links: options.bool("skip_links")?,
            skip_specials: options.bool("skip_specials")?,
            one_file_system: options.bool("one_file_system")?,
            no_check_updated: options.bool("no_check_updated")?,
            md5: hashes.is_empty() || hashes.iter().any(|name| name.eq_ignore_ascii_case(b"md5")),
            time: FileTime::named(&options.string("time_type")?)?,
            ..Self::new(root)
        })
    }
}

impl FileTime {
    fn named(name: &str) -> Result<Self, SettingsError> {
        match name {
            "mtime" => Ok(Self::Modified),
            "atime" => Ok(Self::Accessed),
            "ctime" => Ok(Self::Changed),
            _ => Err(SettingsError::Refused("time_type", "use mtime, atime or ctime")),
        }
    }

    pub(super) fn of(self, stat: &Stat) -> Timestamp {
        match self {
            Self::Modified => stat.mtime,
            Self::Accessed => stat.atime,
            Self::Changed => stat.ctime,
        }
    }
}

/// The path without `.` and `NAME/..`, by its text alone as rclone does it (Go `filepath.Clean`): `link/..` is where the
/// link stands.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for element in path.components() {
        match element {
            Component::CurDir => {}
            Component::ParentDir => match clean.components().next_back() {
                Some(Component::Normal(_)) => {
                    clean.pop();
                }
                Some(Component::RootDir) => {}
                _ => clean.push(".."),
            },
            other => clean.push(other),
        }
    }
    if clean.as_os_str().is_empty() { PathBuf::from(".") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, MapEnv, NoFlags, RemoteString};

    fn settings(options: &str) -> Result<LocalSettings, SettingsError> {
        let config = Config::parse(format!("[l]\ntype=local\n{options}").as_bytes()).unwrap();
        let remote = config.open(&RemoteString::parse(b"l:/d").unwrap(), &MapEnv::default(), &NoFlags).unwrap();
        LocalSettings::from_options("/d", &remote.options)
    }

    #[test]
    fn options_are_read_or_refused_by_name() {
        let plain = settings("").unwrap();
        assert!(plain.md5 && plain.time == FileTime::Modified && !plain.links && !plain.copy_links);
        let all = settings(
            "copy_links=true\nskip_links=true\nskip_specials=true\none_file_system=true\nno_check_updated=true\n\
             time_type=ctime\nhashes=sha1\nencoding=None\nno_sparse=true\n",
        );
        let all = all.unwrap();
        assert!(all.copy_links && all.skip_links && all.skip_specials && all.one_file_system && all.no_check_updated);
        assert!(!all.md5 && all.time == FileTime::Changed);
        assert!(settings("hashes=sha1,md5\nlinks=true\n").unwrap().md5);
        for (line, name) in [
            ("no_set_modtime=true", "no_set_modtime"),
            ("unicode_normalization=true", "unicode_normalization"),
            ("case_insensitive=true", "case_insensitive"),
            ("time_type=btime", "time_type"),
            ("encoding=Slash,Colon", "encoding"),
        ] {
            let error = settings(&format!("{line}\n")).unwrap_err();
            assert!(matches!(error, SettingsError::Refused(refused, _) if refused == name), "{line}: {error}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        for (path, expect) in [
            ("/a/./b//c/", "/a/b/c"),
            ("/a/link/../b", "/a/b"),
            ("/../a", "/a"),
            ("a/..", "."),
            ("../../a/../b", "../../b"),
            (".", "."),
            ("", "."),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(expect), "{path}");
        }
    }
}
