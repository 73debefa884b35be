//! Volumes to move: awkward ones, in which each entry is there because some tool loses or breaks it, and plain ones of
//! a given size.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use walkdir::WalkDir;

use crate::process::run;

/// Numbers that depend on a seed alone (SplitMix64, Steele and others 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same volume.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `range`, the end left out.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.word() % (range.end - range.start)
    }

    /// `length` bytes that do not compress.
    pub fn bytes(&mut self, length: u64) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.word().to_le_bytes());
        words.take(usize::try_from(length).unwrap()).collect()
    }
}

/// `files` files of a size from `sizes`, spread over `directories` directories `dN`, with old times.
pub fn plain(dir: &Path, seed: u64, files: u64, directories: u64, sizes: std::ops::Range<u64>) {
    let mut random = Random::new(seed);
    for number in 0..directories {
        fs::create_dir_all(dir.join(format!("d{number}"))).unwrap();
    }
    for number in 0..files {
        let path = dir.join(format!("d{}/f{number}", number % directories.max(1)));
        let length = random.within(sizes.clone());
        write(&path, &random.bytes(length));
        set_time(&path, random.within(1_000_000_000..1_700_000_000), random.within(0..1_000_000_000));
    }
}

/// Which entries an awkward volume has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Names that the upstream mover brings through whole.
    Upstream,
    /// All, also those for which upstream fails or loses a file: newline, `‛`, NFC/NFD twins, nested
    /// `permissions.facl`.
    All,
}

/// A volume with one of everything; as root, so that owners differ. The same seed gives the same bytes and times.
pub fn awkward(dir: &Path, seed: u64, names: Names) {
    let mut random = Random::new(seed);
    for name in file_names(names) {
        let path = dir.join(OsStr::from_bytes(&name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let length = random.within(1..3000);
        write(&path, &random.bytes(length));
    }
    sizes(dir, &mut random);
    kinds(dir);
    rights(dir);
    for entry in WalkDir::new(dir).contents_first(true) {
        let path = entry.unwrap().into_path();
        set_time(&path, random.within(1_000_000_000..1_700_000_000), random.within(0..1_000_000_000));
    }
}

fn file_names(names: Names) -> Vec<Vec<u8>> {
    let long = ["x".repeat(255), "ü".repeat(127) + "x"].map(String::into_bytes);
    let deep = ["d/".repeat(60) + "leaf", "long/".repeat(40) + &"p".repeat(200)].map(String::into_bytes);
    let plain = [
        &b"plain"[..],
        b"with space",
        b" leading and trailing ",
        b"trailing.",
        b"tab\there",
        b"quo\"te's",
        b"back\\slash",
        b"per%cent %2F",
        b"plus+and&=?#;:@,$",
        b"star*[glob]?{a,b}",
        b"-dash",
        b"~tilde",
        b"colon:name",
        b".hidden/.file",
        b"...",
        b"\x01control\x7f",
        b"latin1-\xe9-\xff",
        "umlaut-ü-日本語-🦀".as_bytes(),
        b"a.b",
        b"a/b",
        b"a-b",
        b"lost+found/never",
        b"Case/file",
        b"case/file",
    ];
    let hard = [
        &b"new\nline"[..],
        b"carriage\r",
        b"Transferred: 1\nTransferred: 2",
        "quote‛mark".as_bytes(),
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        b"nested/permissions.facl",
        b"nested/lost+found/kept",
    ];
    let hard = if names == Names::All { &hard[..] } else { &[] };
    plain.iter().chain(hard).map(|name| name.to_vec()).chain(long).chain(deep).collect()
}

fn sizes(dir: &Path, random: &mut Random) {
    write(&dir.join("empty"), b"");
    write(&dir.join("zeros"), &vec![0; 70_000]);
    write(&dir.join("page"), &random.bytes(4096));
    write(&dir.join("large"), &random.bytes(6 << 20));
    let sparse = File::create(dir.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 5 << 20).unwrap();
}

fn kinds(dir: &Path) {
    fs::create_dir_all(dir.join("hollow/inner/innermost")).unwrap();
    symlink("plain", dir.join("link-to-file")).unwrap();
    symlink("/etc/passwd", dir.join("link-out")).unwrap();
    symlink("nowhere", dir.join("link-dangling")).unwrap();
    symlink("hollow", dir.join("link-to-directory")).unwrap();
    fs::hard_link(dir.join("plain"), dir.join("hard-link")).unwrap();
    shell(dir, "mkfifo pipe");
}

fn rights(dir: &Path) {
    for name in ["setuid", "setgid", "read-only", "forbidden", "with-acl", "with-xattr", "owned"] {
        write(&dir.join(name), name.as_bytes());
    }
    for name in ["shared", "sticky", "inheriting"] {
        fs::create_dir(dir.join(name)).unwrap();
        write(&dir.join(name).join("inside"), name.as_bytes());
    }
    chown(dir.join("owned"), Some(1000), Some(23_456)).unwrap();
    chown(dir.join("shared"), Some(1001), Some(2000)).unwrap();
    for (name, mode) in [
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("read-only", 0o444),
        ("forbidden", 0o000),
        ("shared", 0o2775),
        ("sticky", 0o1777),
    ] {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    shell(
        dir,
        "setfacl -m u:1234:rwx,g:77:rw,m::r with-acl; setfacl -d -m u:1234:rx,g::r inheriting
         setfacl -m u:55:x inheriting/inside; setfattr -n user.note -v value with-xattr",
    );
}

/// Runs a few shell commands in `dir`; all must succeed.
#[track_caller]
pub fn shell(dir: &Path, script: &str) {
    run(Command::new("sh").args(["-e", "-c", script]).current_dir(dir)).success();
}

pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

pub(crate) fn set_time(path: &Path, seconds: u64, nanoseconds: u64) {
    let (tv_sec, tv_nsec) = (i64::try_from(seconds).unwrap(), i64::try_from(nanoseconds).unwrap());
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Ignore, Tree};
    use tempfile::TempDir;

    #[test]
    fn a_seed_decides_everything() {
        let [one, two, other] = [7, 7, 8].map(|seed| {
            let dir = TempDir::new().unwrap();
            awkward(dir.path(), seed, Names::All);
            Tree::of(dir.path())
        });
        one.assert_same(&two, Ignore::default());
        assert!(!one.diff(&other, Ignore::default()).is_empty());
    }

    #[test]
    fn a_plain_volume_has_what_was_asked_for() {
        let dir = TempDir::new().unwrap();
        plain(dir.path(), 1, 20, 4, 1..9);
        let files = Tree::of(dir.path()).0.into_keys().filter(|path| path.contains(&b'f')).count();
        assert_eq!(files, 20);
    }
}
