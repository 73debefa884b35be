//! The volumes: many small files, a few large ones, and what became of the small ones a little later.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A kind of volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volumes {
    pub(crate) name: &'static str,
    files: u64,
    dirs: u64,
    smallest: u64,
    largest: u64,
    /// Also make a version with 5 % changed, 1 % deleted, 1 % added.
    changes: bool,
}

/// Volumes on disk.
pub(crate) struct Made {
    pub(crate) dir: PathBuf,
    pub(crate) first: PathBuf,
    pub(crate) changed: Option<PathBuf>,
}

const SMALL: Volumes =
    Volumes { name: "small", files: 20_000, dirs: 400, smallest: 1 << 10, largest: 16 << 10, changes: true };
const LARGE: Volumes =
    Volumes { name: "large", files: 200, dirs: 1, smallest: 4 << 20, largest: 16 << 20, changes: false };
const HUGE: Volumes = Volumes { name: "huge", files: 1, dirs: 1, smallest: 4 << 30, largest: 4 << 30, changes: false };

const MANY: Volumes = Volumes { name: "many", files: 100_000, dirs: 1_000, smallest: 1, largest: 64, changes: false };

const MILLION: Volumes =
    Volumes { name: "million", files: 1_000_000, dirs: 10_000, smallest: 1, largest: 64, changes: false };

/// The kinds of these names, or else the first three. The quick ones are a quarter as many files, and no huge one.
pub(crate) fn chosen(quick: bool, names: &[String]) -> anyhow::Result<Vec<Volumes>> {
    let quarter =
        |volumes: Volumes| if quick { Volumes { files: volumes.files.div_ceil(4), ..volumes } } else { volumes };
    if names.is_empty() {
        let usual = if quick { &[SMALL, LARGE][..] } else { &[SMALL, LARGE, HUGE] };
        return Ok(usual.iter().copied().map(quarter).collect());
    }
    let named = |name: &String| [SMALL, LARGE, HUGE, MANY, MILLION].into_iter().find(|volumes| volumes.name == name);
    let find = |name| named(name).map(quarter).ok_or_else(|| anyhow::anyhow!("no volumes are called {name}"));
    names.iter().map(find).collect()
}

impl Volumes {
    /// Writes them below `dir`. The same numbers make the same bytes and times everywhere.
    pub(crate) fn make(&self, dir: &Path) -> std::io::Result<Made> {
        let dir = dir.join(self.name);
        let first = dir.join("first");
        self.write(&first, false)?;
        let changed = self.changes.then(|| dir.join("changed"));
        if let Some(changed) = &changed {
            self.write(changed, true)?;
        }
        Ok(Made { dir, first, changed })
    }

    fn write(&self, root: &Path, later: bool) -> std::io::Result<()> {
        for dir in 0..self.dirs {
            fs::create_dir_all(root.join(format!("d{dir:04}")))?;
        }
        let added = if later { self.files / 100 } else { 0 };
        for n in (0..self.files + added).filter(|n| !(later && n % 100 == 50)) {
            let seed = if later && n % 20 == 7 { n + self.files * 2 } else { n };
            self.file(&root.join(format!("d{:04}/f{n:06}", n % self.dirs)), seed)?;
        }
        Ok(())
    }

    fn file(&self, path: &Path, seed: u64) -> std::io::Result<()> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut left = self.smallest + random.next() % (self.largest - self.smallest + 1);
        let mut file = File::create(path)?;
        while left > 0 {
            let piece: Vec<u8> = (0..8192).flat_map(|_| random.next().to_le_bytes()).collect();
            let take = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            file.write_all(&piece[..take])?;
            left -= take as u64;
        }
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000 + seed, 123_456_789))
    }
}

/// xorshift64: cheap, and nothing a file system could compress.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
