//! Random volumes: a seed says what is in them, and how they change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use walkdir::WalkDir;

use crate::volume::{Random, set_time, write};

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.within(0..end as u64)).unwrap()
    }

    /// One of them.
    pub fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// The access list of a file or directory as its attribute holds it (`linux/posix_acl_xattr.h`): owner, a user, group, mask,
/// others.
fn access_list(user: u32, bits: u64) -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    for (shift, (tag, id)) in (0..).step_by(3).zip([(1_u16, none), (2, user), (4, none), (0x10, none), (0x20, none)]) {
        let permissions = u16::try_from(bits >> shift & 7).unwrap();
        list.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    list
}

/// A volume of some thirty entries of every kind, with owners, modes, times, access lists, attributes, links and holes, all by
/// the seed.
pub fn random(dir: &Path, seed: u64) {
    let mut random = Random::new(seed);
    let mut dirs = vec![dir.to_owned()];
    let mut files = Vec::<PathBuf>::new();
    let mut all = Vec::new();
    for number in 0..random.within(15..45) {
        let parent = dirs[random.below(dirs.len())].clone();
        let suffix = random.choose(&[".o", ".tmp", "", "", " x", "\u{e9}"]);
        let path = parent.join(format!("{}{number}{suffix}", random.choose(&["f", "g", "dir"])));
        match random.within(0..12) {
            0..=2 => {
                fs::create_dir(&path).unwrap();
                dirs.push(path.clone());
            }
            3 => symlink(random.choose(&["f1", "../dir2", "/etc/hostname", "nowhere"]), &path).unwrap(),
            4 if !files.is_empty() => {
                fs::hard_link(&files[random.below(files.len())], &path).unwrap();
            }
            5 => {
                let kind = random.choose(&[FileType::Fifo, FileType::CharacterDevice]);
                mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), makedev(1, 3)).unwrap();
            }
            _ => {
                let content = random_content(&mut random);
                write(&path, &content);
                files.push(path.clone());
            }
        }
        all.push(path);
    }
    // Deepest first: what is done in a directory changes its time.
    for path in all.iter().rev().map(PathBuf::as_path).chain([dir]) {
        dress(path, &mut random);
    }
}

/// Noise, what compresses, holes.
fn random_content(random: &mut Random) -> Vec<u8> {
    let size = random.choose(&[0, 1, 700, 5_000, 40_000, 150_000]);
    let length = size + random.within(0..size / 3 + 1);
    match random.within(0..3) {
        0 => random.bytes(length),
        1 => random.bytes(64).into_iter().cycle().take(usize::try_from(length).unwrap()).collect(),
        _ => {
            [random.bytes(length / 4), vec![0; usize::try_from(length / 2).unwrap()], random.bytes(length / 4)].concat()
        }
    }
}

/// Owner, mode, access list, attributes and time.
fn dress(path: &Path, random: &mut Random) {
    let kind = fs::symlink_metadata(path).unwrap().file_type();
    let owner = |random: &mut Random| random.choose(&[0, 7, 1000, 65_534]);
    lchown(path, Some(owner(random)), Some(owner(random))).unwrap();
    if !kind.is_symlink() {
        let mode = u32::try_from(random.within(0..0o10000)).unwrap();
        let mode = if random.within(0..3) == 0 { mode } else { mode & 0o777 | 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let set = |name: &str, value: &[u8]| {
            lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
        };
        if random.within(0..4) == 0 {
            let user = owner(random);
            set("system.posix_acl_access", &access_list(user, random.word()));
        }
        if kind.is_dir() && random.within(0..4) == 0 {
            let user = owner(random);
            set("system.posix_acl_default", &access_list(user, random.word()));
        }
        if (kind.is_dir() || kind.is_file()) && random.within(0..3) == 0 {
            let length = random.choose(&[3, 40, 2_000]);
            set("user.noise", &random.bytes(length));
        }
    }
    set_time(path, random.within(1..1_700_000_000), random.within(0..1_000_000_000));
}

/// Changes a volume by the seed: entries go, change their kind, their content or what they wear, and others come.
pub fn shake(dir: &Path, seed: u64) {
    let mut random = Random::new(seed);
    let all: Vec<_> = WalkDir::new(dir)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect();
    for path in all {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let remove =
            || if meta.is_dir() { fs::remove_dir_all(&path).unwrap() } else { fs::remove_file(&path).unwrap() };
        match random.within(0..10) {
            0 => remove(),
            1 => {
                remove();
                write(&path, b"instead");
            }
            2 if !meta.is_dir() => {
                remove();
                fs::create_dir(&path).unwrap();
                write(&path.join("inner"), b"in the way");
            }
            3 if meta.is_file() => {
                let mut content = fs::read(&path).unwrap();
                let at = random.below(content.len() + 1);
                content.splice(at..at, random.bytes(9));
                write(&path, &content);
            }
            4 => dress(&path, &mut random),
            5 if meta.is_dir() => write(&path.join("surplus"), b"surplus"),
            _ => {}
        }
    }
}
