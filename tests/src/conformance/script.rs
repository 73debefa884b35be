//! Content that behaves as a file does that somebody else uses.

use std::io;

use mover_rclone::store::Source;

/// What goes wrong with a [`Script`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaks {
    /// Nothing.
    Never,
    /// Somebody wrote to it meanwhile: its times differ at the end.
    Changes,
    /// It ends here, although it was longer at the start.
    Shrinks(u64),
    /// Bytes from here on cannot be read.
    Fails(u64),
}

/// Bytes, and what goes wrong while they are read.
#[derive(Debug, Clone)]
pub struct Script {
    content: Vec<u8>,
    breaks: Breaks,
}

impl Script {
    /// Nothing goes wrong.
    pub fn new(content: Vec<u8>) -> Self {
        Self::broken(content, Breaks::Never)
    }

    /// Something does.
    pub fn broken(content: Vec<u8>, breaks: Breaks) -> Self {
        Self { content, breaks }
    }
}

impl Source for Script {
    fn len(&self) -> u64 {
        self.content.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = offset + buf.len() as u64;
        let end = match self.breaks {
            Breaks::Fails(at) if wanted > at => return Err(io::Error::other("the disk is broken")),
            Breaks::Shrinks(end) => end,
            _ => self.len(),
        };
        let [start, end] = [offset.min(end), wanted.min(end)].map(|at| usize::try_from(at).unwrap());
        buf[..end - start].copy_from_slice(&self.content[start..end]);
        Ok(end - start)
    }

    fn unchanged(&self) -> io::Result<bool> {
        Ok(self.breaks != Breaks::Changes)
    }
}
