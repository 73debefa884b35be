//! A volume without a file system: a block device, or a file that stands for one.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate};

/// What holes begin and end at: no block of a device or page of its cache is larger in practice, and where one is, the
/// kernel refuses and zeros are written.
const ALIGN: u64 = 4096;

/// Zeros written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An open volume.
#[derive(Debug)]
pub struct Device {
    file: File,
    size: u64,
    regular: bool,
    /// Holes were refused once.
    solid: AtomicBool,
}

impl Device {
    /// Opens a volume to read it.
    pub fn source(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?)
    }

    /// Opens a volume to read and change it; `create` makes a file if there is nothing.
    pub fn target(path: &Path, create: bool) -> io::Result<Self> {
        Self::of(OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?)
    }

    /// An open block device or file.
    pub fn of(mut file: File) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a block device nor a file"));
        }
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size, regular: kind.is_file(), solid: AtomicBool::new(false) })
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether its size can change: a device's cannot.
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// Fills `buffer` from `at` on.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }

    /// Writes `bytes` at `at`.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Makes `len` bytes from `at` on zeros, and lets go of the space behind them where that is sure to leave zeros.
    ///
    /// A hole of a block device is a `BLKZEROOUT` that may unmap; it is never a discard, which promises no zeros. What is
    /// beyond the end of a file stays so.
    pub fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        let end = at + len;
        let (from, to) = (at.next_multiple_of(ALIGN), end / ALIGN * ALIGN);
        if from < to && self.punch(from, to - from) {
            self.write_zeros(at, from)?;
            return self.write_zeros(to, end);
        }
        self.write_zeros(at, end)
    }

    fn punch(&self, at: u64, len: u64) -> bool {
        if self.solid.load(Ordering::Relaxed) {
            return false;
        }
        let ways = [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE];
        let done = ways.iter().any(|way| fallocate(&self.file, *way | FallocateFlags::KEEP_SIZE, at, len).is_ok());
        self.solid.store(!done, Ordering::Relaxed);
        done
    }

    fn write_zeros(&self, mut at: u64, end: u64) -> io::Result<()> {
        while at < end {
            let len = usize::try_from(end - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.write(at, &ZEROS[..len])?;
            at += len as u64;
        }
        Ok(())
    }

    /// Makes a file `size` bytes long; what is added is zeros.
    pub fn resize(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    /// Returns when everything written is on the disk.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Whether there is nothing but zeros.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn zeros_are_exact_and_take_no_space() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![0xff; 1 << 20]).unwrap();
        let device = Device::target(file.path(), false).unwrap();
        for (at, len) in [(5, 10), (4000, 200), (100_001, 300_003), (1 << 19, 1 << 18), ((1 << 20) - 3, 3)] {
            device.zero(at, len).unwrap();
            let bytes = fs::read(file.path()).unwrap();
            let (at, end) = (usize::try_from(at).unwrap(), usize::try_from(at + len).unwrap());
            assert!(is_zero(&bytes[at..end]), "{at} {len}");
            assert!(bytes[at - 1] == 0xff && bytes.get(end).is_none_or(|byte| *byte == 0xff), "{at} {len}");
        }
        let meta = fs::metadata(file.path()).unwrap();
        assert!(meta.len() == 1 << 20 && meta.blocks() * 512 <= (1 << 20) - (1 << 19), "{}", meta.blocks());
    }

    #[test]
    fn one_bit_is_not_zero() {
        for len in [0, 1, 63, 64, 65, 4096] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for at in 0..len {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{len} {at}");
                bytes[at] = 0;
            }
        }
    }

    #[test]
    fn a_directory_or_a_pipe_is_no_volume() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Device::source(dir.path()).is_err());
        assert!(Device::source(Path::new("/dev/null")).is_err());
    }
}
