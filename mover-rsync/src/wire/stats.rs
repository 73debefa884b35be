//! Numbers at the end of a session.

use super::{Input, Output, WireError};

/// Things that were deleted, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Regular files.
    pub files: u32,
    /// Directories.
    pub directories: u32,
    /// Symbolic links.
    pub symlinks: u32,
    /// Devices.
    pub devices: u32,
    /// Fifos and sockets.
    pub specials: u32,
}

/// More of one kind than this is not believed.
const DELETED_MAX: usize = 1 << 28;

impl Deleted {
    /// Appends the five numbers.
    pub fn write(&self, out: &mut impl Output) {
        for number in [self.files, self.directories, self.symlinks, self.devices, self.specials] {
            out.count(number as usize);
        }
    }

    /// Takes the five numbers.
    pub fn read(input: &mut impl Input) -> Result<Self, WireError> {
        let mut next = || {
            let count = input.count(DELETED_MAX, "a number of deleted files")?;
            Ok::<_, WireError>(u32::try_from(count).unwrap_or(u32::MAX))
        };
        Ok(Self { files: next()?, directories: next()?, symlinks: next()?, devices: next()?, specials: next()? })
    }

    /// All kinds together.
    pub fn total(&self) -> u64 {
        [self.files, self.directories, self.symlinks, self.devices, self.specials].into_iter().map(u64::from).sum()
    }
}

/// What a server that sent tells its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes that the server read.
    pub read: i64,
    /// Bytes that the server wrote.
    pub written: i64,
    /// Bytes of all files of the list.
    pub size: i64,
    /// Milliseconds of building the list.
    pub built: i64,
    /// Milliseconds of sending the list.
    pub sent: i64,
}

impl Totals {
    /// Appends the five numbers.
    pub fn write(&self, out: &mut impl Output) {
        for number in [self.read, self.written, self.size, self.built, self.sent] {
            out.varlong(number, 3);
        }
    }

    /// Takes the five numbers.
    pub fn read(input: &mut impl Input) -> Result<Self, WireError> {
        let mut next = || input.varlong(3);
        Ok(Self { read: next()?, written: next()?, size: next()?, built: next()?, sent: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let deleted = Deleted { files: 4, directories: 300, symlinks: 1, devices: 0, specials: 2 };
        let totals = Totals { read: 1, written: 70_000, size: 1 << 40, built: 0, sent: 3 };
        let mut out = Vec::new();
        deleted.write(&mut out);
        totals.write(&mut out);
        let mut input = &out[..];
        assert_eq!(Deleted::read(&mut input).unwrap(), deleted);
        assert_eq!((Totals::read(&mut input).unwrap(), input), (totals, &[][..]));
        assert_eq!(deleted.total(), 307);
    }
}
