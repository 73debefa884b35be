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
    later: Later,
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Later {
    /// Nothing.
    Same,
    /// 5 % of the files changed, 1 % deleted, 1 % added.
    Files,
    /// In each file every hundredth block of 4 KiB changed, and 1 MiB inserted.
    Blocks,
}

/// Volumes on disk.
pub(crate) struct Made {
    pub(crate) dir: PathBuf,
    pub(crate) first: PathBuf,
    pub(crate) changed: Option<PathBuf>,
}

const SMALL: Volumes =
    Volumes { name: "small", files: 20_000, dirs: 400, smallest: 1 << 10, largest: 16 << 10, later: Later::Files };
const LARGE: Volumes =
    Volumes { name: "large", files: 200, dirs: 1, smallest: 4 << 20, largest: 16 << 20, later: Later::Same };
const HUGE: Volumes =
    Volumes { name: "huge", files: 1, dirs: 1, smallest: 4 << 30, largest: 4 << 30, later: Later::Same };

const MANY: Volumes =
    Volumes { name: "many", files: 100_000, dirs: 1_000, smallest: 1, largest: 64, later: Later::Same };

const MILLION: Volumes =
    Volumes { name: "million", files: 1_000_000, dirs: 10_000, smallest: 1, largest: 64, later: Later::Same };

const EDITED: Volumes = Volumes { name: "edited", later: Later::Blocks, ..HUGE };

/// What the suites take when nobody says what; the quick ones leave out the huge file.
pub(crate) const RCLONE: [Volumes; 3] = [SMALL, LARGE, HUGE];
pub(crate) const RSYNC: [Volumes; 3] = [SMALL, LARGE, EDITED];

/// The kinds of these names, or else the `usual` ones. The quick ones are a quarter as many files, or a sixteenth of one.
pub(crate) fn chosen(quick: bool, names: &[String], usual: &[Volumes]) -> anyhow::Result<Vec<Volumes>> {
    let scaled = |volumes: Volumes| if quick { volumes.smaller() } else { volumes };
    if names.is_empty() {
        let taken = usual.iter().filter(|volumes| !quick || volumes.name != HUGE.name);
        return Ok(taken.copied().map(scaled).collect());
    }
    let all = [SMALL, LARGE, HUGE, EDITED, MANY, MILLION];
    let named = |name: &String| all.into_iter().find(|volumes| volumes.name == name);
    let find = |name| named(name).map(scaled).ok_or_else(|| anyhow::anyhow!("no volumes are called {name}"));
    names.iter().map(find).collect()
}

impl Volumes {
    fn smaller(self) -> Self {
        match self.files {
            1 => Volumes { smallest: self.smallest >> 4, largest: self.largest >> 4, ..self },
            files => Volumes { files: files.div_ceil(4), ..self },
        }
    }

    /// Writes them below `dir`. The same numbers make the same bytes and times everywhere.
    pub(crate) fn make(&self, dir: &Path) -> std::io::Result<Made> {
        let dir = dir.join(self.name);
        let first = dir.join("first");
        self.write(&first, Later::Same)?;
        let changed = (self.later != Later::Same).then(|| dir.join("changed"));
        if let Some(changed) = &changed {
            self.write(changed, self.later)?;
        }
        Ok(Made { dir, first, changed })
    }

    fn write(&self, root: &Path, later: Later) -> std::io::Result<()> {
        for dir in 0..self.dirs {
            fs::create_dir_all(root.join(format!("d{dir:04}")))?;
        }
        let files = later == Later::Files;
        let added = if files { self.files / 100 } else { 0 };
        for n in (0..self.files + added).filter(|n| !(files && n % 100 == 50)) {
            let seed = if files && n % 20 == 7 { n + self.files * 2 } else { n };
            self.file(&root.join(format!("d{:04}/f{n:06}", n % self.dirs)), seed, later == Later::Blocks)?;
        }
        Ok(())
    }

    fn file(&self, path: &Path, seed: u64, edited: bool) -> std::io::Result<()> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut left = self.smallest + random.next() % (self.largest - self.smallest + 1);
        let mut file = File::create(path)?;
        let (middle, mut blocks) = (left / 2, 0);
        while left > 0 {
            let mut piece: Vec<u8> = (0..8192).flat_map(|_| random.next().to_le_bytes()).collect();
            let take = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            if edited {
                for block in piece.chunks_mut(4096) {
                    block[0] ^= u8::from(blocks % 100 == 50);
                    blocks += 1;
                }
                if left >= middle && left - (take as u64) < middle {
                    file.write_all(&vec![7; 1 << 20])?;
                }
            }
            file.write_all(&piece[..take])?;
            left -= take as u64;
        }
        let time = 1_700_000_000 + seed + u64::from(edited);
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(time, 123_456_789))
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
