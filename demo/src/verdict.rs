//! Is what came back what was stored? Every byte and attribute is looked at. What rclone's format has no place for is
//! counted by kind; everything else that differs is a difference, and one is enough.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::support::Support;
use crate::tree::{Entry, Kind, Tree, shown};

/// What can be expected of a restore.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Symbolic links were stored.
    pub(crate) links: bool,
    /// Of the restored volume.
    pub(crate) support: Support,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) directories: u64,
    pub(crate) links: u64,
    pub(crate) access_lists: u64,
    /// Files that came back with their holes.
    pub(crate) holes: u64,
    /// One line each, safe to print.
    pub(crate) differences: Vec<String>,
    pub(crate) not_kept: Vec<NotKept>,
}

/// Something that a bucket, this user or this file system does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loss {
    Links,
    Specials,
    HardLinks,
    DirectoryTimes,
    Attributes,
    Holes,
    Owners,
    AccessLists,
    LeftOut,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NotKept {
    pub(crate) what: Loss,
    pub(crate) count: u64,
}

impl Verdict {
    /// Whether all came back that can.
    pub(crate) fn is_good(&self) -> bool {
        self.differences.is_empty()
    }

    fn lose(&mut self, what: Loss, count: u64) {
        if count == 0 {
            return;
        }
        match self.not_kept.iter_mut().find(|lost| lost.what == what) {
            Some(lost) => lost.count += count,
            None => self.not_kept.push(NotKept { what, count }),
        }
    }
}

impl Loss {
    /// What it is about, and what became of it.
    pub(crate) fn words(self) -> [&'static str; 2] {
        match self {
            Self::Links => ["symbolic links", "left out, as VolSync does; --links keeps them"],
            Self::Specials => ["fifos, sockets, devices", "left out"],
            Self::HardLinks => ["hard links", "each of these names is a file of its own now"],
            Self::DirectoryTimes => ["times of directories", "those of the restore"],
            Self::Attributes => ["extended attributes", "rclone's --metadata keeps those of files"],
            Self::Holes => ["holes of files", "filled"],
            Self::Owners => ["owners and groups", "this user may not give files away"],
            Self::AccessLists => ["access lists", "this file system keeps none"],
            Self::LeftOut => ["no part of a volume", "lost+found, permissions.facl, other file systems"],
        }
    }
}

/// A comparison under way.
struct Comparison<'a> {
    wanted: &'a Path,
    found: &'a Path,
    policy: Policy,
    verdict: Verdict,
}

/// Compares two directories, the first being what is wanted, as long as `go_on` does not fail.
pub(crate) fn compare(
    (wanted, tree): (&Path, &Tree),
    (found, restored): (&Path, &Tree),
    policy: Policy,
    go_on: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Verdict> {
    let mut comparison = Comparison { wanted, found, policy, verdict: Verdict::default() };
    for (path, entry) in &tree.entries {
        go_on()?;
        comparison.entry(path, entry, restored.entries.get(path))?;
    }
    let mut verdict = comparison.verdict;
    let surplus = restored.entries.keys().filter(|path| !tree.entries.contains_key(*path));
    verdict.differences.extend(surplus.map(|path| format!("{}: was not stored", shown(path))));
    let kept = restored.names_of_inodes().into_values().sum();
    let names: u64 = tree.names_of_inodes().into_values().sum();
    verdict.lose(Loss::HardLinks, names.saturating_sub(kept));
    verdict.lose(Loss::LeftOut, tree.left_out);
    verdict.not_kept.sort_by_key(|lost| lost.what);
    Ok(verdict)
}

impl Comparison<'_> {
    fn entry(&mut self, path: &Path, wanted: &Entry, found: Option<&Entry>) -> anyhow::Result<()> {
        match (&wanted.kind, found) {
            (Kind::Special, None) => self.verdict.lose(Loss::Specials, 1),
            (Kind::Link(_), None) if !self.policy.links => self.verdict.lose(Loss::Links, 1),
            (_, None) => self.differs(path, "is missing"),
            (kind, Some(found)) if kind != &found.kind => {
                self.differs(path, &format!("is {:?}, not {kind:?}", found.kind));
            }
            (Kind::File, Some(found)) => self.file(path, wanted, found)?,
            (Kind::Directory, Some(found)) => self.directory(path, wanted, found),
            (Kind::Link(_), Some(found)) => self.link(path, wanted, found),
            (Kind::Special, Some(_)) => self.differs(path, "came back, though it cannot"),
        }
        Ok(())
    }

    fn differs(&mut self, path: &Path, how: &str) {
        self.verdict.differences.push(format!("{}: {how}", shown(path)));
    }

    fn file(&mut self, path: &Path, wanted: &Entry, found: &Entry) -> anyhow::Result<()> {
        self.verdict.files += 1;
        let same = same_content(&self.wanted.join(path), &self.found.join(path));
        match same.with_context(|| format!("comparing {}", shown(path)))? {
            None => self.differs(path, "has other content"),
            Some(bytes) => self.verdict.bytes += bytes,
        }
        self.time(path, wanted, found);
        self.rights(path, wanted, found);
        match (wanted.has_holes(), found.has_holes()) {
            (true, true) => self.verdict.holes += 1,
            (true, false) => self.verdict.lose(Loss::Holes, 1),
            _ => {}
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path, wanted: &Entry, found: &Entry) {
        self.verdict.directories += 1;
        if time(wanted) != time(found) {
            self.verdict.lose(Loss::DirectoryTimes, 1);
        }
        self.rights(path, wanted, found);
    }

    /// The mode of a link means nothing, and its owner has no place in a bucket.
    fn link(&mut self, path: &Path, wanted: &Entry, found: &Entry) {
        self.verdict.links += 1;
        self.time(path, wanted, found);
    }

    fn time(&mut self, path: &Path, wanted: &Entry, found: &Entry) {
        if time(wanted) != time(found) {
            self.differs(path, &format!("has the time {:?}, not {:?}", time(found), time(wanted)));
        }
    }

    fn rights(&mut self, path: &Path, wanted: &Entry, found: &Entry) {
        let Support { owners, access_lists, .. } = self.policy.support;
        let same_owner = owner(wanted) == owner(found);
        match (same_owner, owners) {
            (false, true) => {
                self.differs(path, &format!("has the owner {:?}, not {:?}", owner(found), owner(wanted)));
            }
            (false, false) => self.verdict.lose(Loss::Owners, 1),
            (true, _) => {}
        }
        let listed = wanted.lists.iter().flatten().count() as u64;
        if listed > 0 && !access_lists {
            // The mode is then a list made smaller.
            return self.verdict.lose(Loss::AccessLists, listed);
        }
        self.verdict.access_lists += listed;
        if wanted.lists != found.lists {
            self.differs(path, "has other access lists");
        }
        // With another owner the bits that lend his rights must go.
        let bits = if same_owner { 0o7777 } else { 0o1777 };
        let (want, have) = (mode(wanted) & bits, mode(found) & bits);
        if want != have {
            self.differs(path, &format!("has the mode {have:04o}, not {want:04o}"));
        }
        self.verdict.lose(Loss::Attributes, wanted.attributes.saturating_sub(found.attributes));
    }
}

fn time(entry: &Entry) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (entry.meta.mtime(), entry.meta.mtime_nsec())
}

fn owner(entry: &Entry) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt as _;
    (entry.meta.uid(), entry.meta.gid())
}

fn mode(entry: &Entry) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    entry.meta.mode() & 0o7777
}

/// How many bytes two files have in common, if it is all of them.
fn same_content(wanted: &Path, found: &Path) -> io::Result<Option<u64>> {
    let (mut wanted, mut found) = (File::open(wanted)?, File::open(found)?);
    let (mut left, mut right) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    let mut total = 0;
    loop {
        let (want, have) = (fill(&mut wanted, &mut left)?, fill(&mut found, &mut right)?);
        if left[..want] != right[..have] {
            return Ok(None);
        }
        if want == 0 {
            return Ok(Some(total));
        }
        total += want as u64;
    }
}

/// Reads until `buf` is full or the file ends.
fn fill(file: &mut File, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::{Duration, SystemTime};

    type Change<'a> = &'a dyn Fn(&Path);

    /// A volume with one of most things.
    fn volume(dir: &Path) {
        fs::create_dir(dir.join("d")).unwrap();
        for name in ["a", "d/b", "lost+found"] {
            fs::write(dir.join(name), name).unwrap();
            let file = File::options().write(true).open(dir.join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(5, 6)).unwrap();
        }
        fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o640)).unwrap();
    }

    fn compared(change_wanted: Change<'_>, change_found: Change<'_>) -> Verdict {
        let (wanted, found) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        volume(wanted.path());
        volume(found.path());
        change_wanted(wanted.path());
        change_found(found.path());
        let trees = (Tree::of(wanted.path()).unwrap(), Tree::of(found.path()).unwrap());
        let support = Support::of(wanted.path()).unwrap();
        let policy = Policy { links: false, support };
        compare((wanted.path(), &trees.0), (found.path(), &trees.1), policy, &|| Ok(())).unwrap()
    }

    #[test]
    fn equal_volumes_are_equal() {
        let verdict = compared(&|_| {}, &|_| {});
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.files, verdict.bytes, verdict.directories), (2, 4, 2));
        assert!(verdict.not_kept.contains(&NotKept { what: Loss::LeftOut, count: 1 }));
    }

    #[test]
    fn every_difference_is_found() {
        let cases: [(&str, Change<'_>); 6] = [
            ("a: has other content", &|dir| fs::write(dir.join("a"), "b").unwrap()),
            ("a: has the time", &|dir| fs::write(dir.join("a"), "a").unwrap()),
            ("a: has the mode 0600, not 0640", &|dir| {
                fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
            }),
            ("d/b: is missing", &|dir| fs::remove_file(dir.join("d/b")).unwrap()),
            ("new\\nline: was not stored", &|dir| fs::write(dir.join("new\nline"), "x").unwrap()),
            ("a: is Directory, not File", &|dir| {
                fs::remove_file(dir.join("a")).unwrap();
                fs::create_dir(dir.join("a")).unwrap();
            }),
        ];
        for (expect, change) in cases {
            let verdict = compared(&|_| {}, change);
            assert!(verdict.differences.iter().any(|line| line.starts_with(expect)), "{expect}: {verdict:?}");
        }
    }

    #[test]
    fn what_a_bucket_cannot_keep_is_counted_and_no_difference() {
        let verdict = compared(
            &|dir| {
                symlink("a", dir.join("link")).unwrap();
                fs::hard_link(dir.join("a"), dir.join("second")).unwrap();
            },
            &|dir| {
                fs::copy(dir.join("a"), dir.join("second")).unwrap();
                let second = File::options().write(true).open(dir.join("second")).unwrap();
                second.set_modified(SystemTime::UNIX_EPOCH + Duration::new(5, 6)).unwrap();
            },
        );
        assert!(verdict.is_good(), "{verdict:?}");
        for (what, count) in [(Loss::Links, 1), (Loss::HardLinks, 2)] {
            assert!(verdict.not_kept.contains(&NotKept { what, count }), "{verdict:?}");
        }
    }
}
