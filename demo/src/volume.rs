//! A volume with what is awkward to keep, and a day's changes to it. Needs no rights: everything belongs to the caller.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};
use volsync_common::meta::acl::Entry as Who;
use walkdir::WalkDir;

use crate::support::{ACCESS, DEFAULT, Support, list, set};

/// Directories of small files, and files in each.
const BOXES: u64 = 40;
const LETTERS: u64 = 50;

/// Names that file systems allow and that some program or other loses.
const NAMES: [&[u8]; 14] = [
    b"with space",
    b" blank at both ends ",
    b"ends with a dot.",
    b"new\nline",
    b"tab\tand\x7fcontrol\x01",
    b"back\\slash",
    b"per%cent %2F plus+and&=?#",
    b"star*[glob]{a,b}",
    b"-dash",
    b"quo\"te's",
    b"latin1-\xe9-not-UTF-8-\xff",
    "umlaut-\u{fc}-\u{65e5}\u{672c}\u{8a9e}".as_bytes(),
    "composed-\u{e9}".as_bytes(),
    "composed-e\u{301}".as_bytes(),
];

/// Bytes that do not compress and depend on a seed alone (xorshift64, Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.word().to_le_bytes());
        words.take(length).collect()
    }

    /// A number from `least` to `most`.
    fn between(&mut self, least: usize, most: usize) -> usize {
        let span = (most - least + 1) as u64;
        least + usize::try_from(self.word() % span).unwrap_or(0)
    }
}

/// Fills the empty directory `dir`.
pub(crate) fn generate(dir: &Path, support: Support) -> anyhow::Result<()> {
    let mut noise = Noise(0x766f_6c73_796e_6321);
    for number in 0..BOXES {
        let directory = dir.join(format!("mail/{number:02}"));
        fs::create_dir_all(&directory)?;
        for letter in 0..LETTERS {
            let length = noise.between(200, 8_000);
            fs::write(directory.join(format!("{letter:03}.eml")), noise.bytes(length))?;
        }
    }
    fs::create_dir(dir.join("photos"))?;
    for number in 0..24 {
        let length = noise.between(200_000, 1_200_000);
        fs::write(dir.join(format!("photos/{number:03}.jpg")), noise.bytes(length))?;
    }
    fs::create_dir(dir.join("database"))?;
    fs::write(dir.join("database/main.db"), noise.bytes(48 << 20))?;
    fs::write(dir.join("database/journal"), noise.bytes(12 << 20))?;
    awkward(&dir.join("awkward"), &mut noise).context("the awkward part")?;
    rights(&dir.join("rights"), support).context("the part with rights")?;
    set_old_times(dir, &mut noise)
}

fn awkward(dir: &Path, noise: &mut Noise) -> anyhow::Result<()> {
    fs::create_dir_all(dir.join("empty/within/empty"))?;
    for name in NAMES {
        let length = noise.between(1, 3_000);
        fs::write(dir.join(OsStr::from_bytes(name)), noise.bytes(length))?;
    }
    fs::write(dir.join("x".repeat(255)), "the longest name")?;
    fs::write(dir.join("empty file"), "")?;
    fs::write(dir.join("permissions.facl"), "a file of that name, but not at the root")?;
    for length in [4_095, 4_096, 65_537, 5 << 20, 8 << 20] {
        fs::write(dir.join(format!("{length} bytes")), noise.bytes(length))?;
    }
    let holes = File::create(dir.join("holes"))?;
    holes.set_len(32 << 20)?;
    holes.write_all_at(&noise.bytes(100_000), 20 << 20)?;
    fs::hard_link(dir.join("4096 bytes"), dir.join("second name of 4096 bytes"))?;
    for (target, name) in [("-dash", "link"), ("empty", "link to a directory"), ("nowhere", "dangling link")] {
        symlink(target, dir.join(name))?;
    }
    mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    Ok(())
}

fn rights(dir: &Path, support: Support) -> anyhow::Result<()> {
    let modes = [("plain", 0o644), ("private", 0o600), ("read-only", 0o444), ("program", 0o755), ("setuid", 0o4755)];
    fs::create_dir_all(dir.join("shared"))?;
    fs::create_dir_all(dir.join("closed"))?;
    for (name, mode) in modes {
        fs::write(dir.join(name), name)?;
        fs::set_permissions(dir.join(name), Permissions::from_mode(mode))?;
    }
    fs::write(dir.join("closed/file"), "in a directory that nobody may write to")?;
    if support.access_lists {
        set(&dir.join("plain"), ACCESS, &list(&[(Who::NamedGroup(77), 6)]).to_xattr())?;
        set(&dir.join("shared"), DEFAULT, &list(&[(Who::User(55), 7)]).to_xattr())?;
    }
    if support.attributes {
        set(&dir.join("plain"), "user.origin", b"volsync-rs")?;
    }
    fs::set_permissions(dir.join("shared"), Permissions::from_mode(0o3775))?;
    Ok(fs::set_permissions(dir.join("closed"), Permissions::from_mode(0o555))?)
}

/// Times of the years 2001 to 2023, to the nanosecond.
fn set_old_times(dir: &Path, noise: &mut Noise) -> anyhow::Result<()> {
    for entry in WalkDir::new(dir).sort_by_file_name().contents_first(true) {
        let secs = 1_000_000_000 + i64::try_from(noise.word() % 700_000_000)?;
        let time = Timespec { tv_sec: secs, tv_nsec: i64::try_from(noise.word() % 1_000_000_000)? };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, entry?.path(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// What a day brings, and a change that neither size nor time shows; says what it did.
pub(crate) fn change(dir: &Path) -> anyhow::Result<&'static str> {
    let mail = dir.join("mail");
    same_size_and_time(&mail.join("07/007.eml"))?;
    let journal = File::options().append(true).open(dir.join("database/journal"))?;
    journal.write_all_at(&Noise(1).bytes(700_000), 12 << 20)?;
    fs::rename(mail.join("01"), mail.join("archive"))?;
    fs::remove_dir_all(mail.join("02"))?;
    for number in 0..10 {
        fs::write(mail.join(format!("03/new-{number}.eml")), Noise(2 + number).bytes(3_000))?;
    }
    fs::set_permissions(dir.join("rights/private"), Permissions::from_mode(0o640))?;
    Ok("a directory renamed, one removed, ten new files, a longer journal, a mode,\n         \
        and one file with new content but its old size and time")
}

fn same_size_and_time(path: &Path) -> anyhow::Result<()> {
    let meta = fs::metadata(path)?;
    fs::write(path, Noise(3).bytes(usize::try_from(meta.len())?))?;
    let times = FileTimes::new().set_modified(meta.modified()?).set_accessed(meta.accessed()?);
    Ok(File::options().write(true).open(path)?.set_times(times)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn the_volume_holds_what_is_awkward_and_the_day_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let support = Support::of(dir.path()).unwrap();
        generate(dir.path(), support).unwrap();
        let before = Tree::of(dir.path()).unwrap();
        assert!(before.entries.len() > 2_000 && before.bytes() > 100 << 20);
        assert_eq!(before.names_of_inodes().len(), 1);
        let holes = &before.entries[Path::new("awkward/holes")];
        assert!(holes.has_holes());
        let letter = &before.entries[Path::new("mail/07/007.eml")].meta;
        let content = fs::read(dir.path().join("mail/07/007.eml")).unwrap();
        change(dir.path()).unwrap();
        let after = Tree::of(dir.path()).unwrap();
        let changed = &after.entries[Path::new("mail/07/007.eml")].meta;
        assert_eq!((letter.len(), letter.modified().unwrap()), (changed.len(), changed.modified().unwrap()));
        assert_ne!(content, fs::read(dir.path().join("mail/07/007.eml")).unwrap());
        assert!(!after.entries.contains_key(Path::new("mail/02")));
        fs::set_permissions(dir.path().join("rights/closed"), Permissions::from_mode(0o755)).unwrap();
    }
}
