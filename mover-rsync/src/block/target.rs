//! The end that becomes like the other one.

use std::io::{Read, Write};
use std::ops::Range;

use super::device::Device;
use super::stream::{Answer, Incoming, Outgoing, Run, header, read_header};
use super::tree::Tree;
use super::{Copied, failed, too_small};
use crate::exit::Fatal;
use crate::wire::{Input as _, WireError};

/// Data written at once, and no more of it is kept.
const BATCH: usize = 2 << 20;

/// Asks about the digests of the volume, writes what the source has otherwise, and returns when it is on the disk.
///
/// A device that is smaller than the source's volume is refused before anything is written; of a larger one the rest
/// stays as it is. A file is made as long as the source's volume.
pub fn target(device: &Device, input: impl Read, output: impl Write) -> Result<Copied, Fatal> {
    let (mut input, mut out) = (Incoming::new(input), Outgoing::new(output));
    out.send(&header(device.size()))?;
    let size = read_header(&mut input)?;
    if !device.is_regular() && device.size() < size {
        return Err(too_small(size, device.size()));
    }
    let common = size.min(device.size());
    let mut writer = Writer { device, at: 0, data: Vec::new(), zeros: 0 };
    if common > 0 {
        compare(device, common, &mut input, &mut out, &mut writer)?;
    }
    tail(common..size, &mut input, &mut writer)?;
    writer.flush()?;
    if device.is_regular() && device.size() != size {
        device.resize(size).map_err(|error| failed("resize", size, &error))?;
    }
    device.flush().map_err(|error| failed("flush", 0, &error))?;
    Ok(Copied { size, sent: out.sent(), received: input.received() })
}

fn compare(
    device: &Device,
    common: u64,
    input: &mut Incoming<impl Read>,
    out: &mut Outgoing<impl Write>,
    writer: &mut Writer<'_>,
) -> Result<(), Fatal> {
    let tree = Tree::of(device, common).map_err(|error| failed("read", 0, &error))?;
    let mut walk = tree.shape().walk();
    while let Some(node) = walk.next_node() {
        out.send(tree.sum(&node).ok_or_else(|| WireError::bad("a node outside of the tree"))?)?;
        let is_leaf = tree.shape().is_leaf(&node);
        match Answer::try_from(input.byte()?)? {
            Answer::Equal => {}
            Answer::Different if is_leaf => writer.receive(node.range, input)?,
            Answer::Hole if is_leaf => writer.zeros(node.range)?,
            Answer::Different => walk.enter(&node),
            Answer::Hole | Answer::Data => return Err(WireError::bad("an answer that does not belong there").into()),
        }
    }
    Ok(())
}

/// What the source has beyond our end. A stock target takes the end of the stream for the end of the tail; here a source
/// that stops before its size was cut off.
fn tail(mut range: Range<u64>, input: &mut Incoming<impl Read>, writer: &mut Writer<'_>) -> Result<(), Fatal> {
    while !range.is_empty() {
        let at = range.start;
        match Run::read(input, range.end - at)? {
            Run::Data(len) => {
                writer.receive(at..at + len, input)?;
                range.start += len;
            }
            // A file grows by zeros without being written.
            Run::Zeros(len) => {
                writer.flush()?;
                range.start += len;
            }
        }
    }
    Ok(())
}

/// Gathers neighbouring data, and neighbouring zeros, into one write each.
struct Writer<'a> {
    device: &'a Device,
    /// Where the data or zeros begin.
    at: u64,
    data: Vec<u8>,
    zeros: u64,
}

impl Writer<'_> {
    /// Takes the bytes of `range` from the stream.
    fn receive(&mut self, range: Range<u64>, input: &mut Incoming<impl Read>) -> Result<(), Fatal> {
        let mut at = range.start;
        while at < range.end {
            if self.zeros > 0 || self.at + self.data.len() as u64 != at || self.data.len() >= BATCH {
                self.flush()?;
                self.at = at;
            }
            let room = BATCH - self.data.len();
            let len = usize::try_from(range.end - at).map_or(room, |left| left.min(room));
            input.append(len, &mut self.data)?;
            at += len as u64;
        }
        Ok(())
    }

    fn zeros(&mut self, range: Range<u64>) -> Result<(), Fatal> {
        if !self.data.is_empty() || self.at + self.zeros != range.start {
            self.flush()?;
        }
        if self.zeros == 0 {
            self.at = range.start;
        }
        self.zeros += range.end - range.start;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fatal> {
        let at = self.at;
        if self.zeros > 0 {
            self.device.zero(at, self.zeros).map_err(|error| failed("write", at, &error))?;
        } else if !self.data.is_empty() {
            self.device.write(at, &self.data).map_err(|error| failed("write", at, &error))?;
        }
        self.at = at + self.zeros + self.data.len() as u64;
        self.zeros = 0;
        self.data.clear();
        Ok(())
    }
}

/// For the fuzzer: whatever a source says, a target ends, and nothing is written behind the size that was told.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    use rustix::fs::{MemfdFlags, memfd_create};
    let Ok(memory) = memfd_create("target", MemfdFlags::CLOEXEC) else { return };
    let file = std::fs::File::from(memory);
    // 0 to 255 KiB, by the first byte.
    let [first, rest @ ..] = data else { return };
    let size = u64::from(*first) << 10;
    let Ok(()) = file.set_len(size) else { return };
    let Ok(device) = file.try_clone().and_then(Device::of) else { return };
    if let Ok(copied) = target(&device, rest, std::io::sink()) {
        assert!(file.metadata().is_ok_and(|after| after.len() == copied.size));
    }
}
