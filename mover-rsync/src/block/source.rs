//! The end that sends a volume.

use std::io::{Read, Write};
use std::ops::Range;

use super::device::{Device, is_zero};
use super::stream::{Answer, Incoming, Outgoing, Run, TAIL_PIECE, header, read_header};
use super::tree::Tree;
use super::{Copied, failed, too_small};
use crate::exit::Fatal;
use crate::wire::{Input as _, WireError};

/// Answers the target's digests and sends what it lacks. With `fits` a target that is smaller is refused before it is
/// told anything that it would write; without, it is taken for a file, which grows.
pub fn source(device: &Device, fits: bool, input: impl Read, output: impl Write) -> Result<Copied, Fatal> {
    let (mut input, mut out) = (Incoming::new(input), Outgoing::new(output));
    let size = device.size();
    out.send(&header(size))?;
    let theirs = read_header(&mut input)?;
    if fits && theirs < size {
        return Err(too_small(size, theirs));
    }
    let common = size.min(theirs);
    if common > 0 {
        compare(device, common, &mut input, &mut out)?;
    }
    tail(device, common..size, &mut out)?;
    Ok(Copied { size, sent: out.sent(), received: input.received() })
}

fn compare(
    device: &Device,
    common: u64,
    input: &mut Incoming<impl Read>,
    out: &mut Outgoing<impl Write>,
) -> Result<(), Fatal> {
    let tree = Tree::of(device, common).map_err(|error| failed("read", 0, &error))?;
    let mut walk = tree.shape().walk();
    while let Some(node) = walk.next_node() {
        let theirs = input.array()?;
        if tree.sum(&node) == Some(&theirs) {
            out.send(&[Answer::Equal as u8])?;
        } else if tree.shape().is_leaf(&node) {
            out.send(&leaf(device, &node.range)?)?;
        } else {
            out.send(&[Answer::Different as u8])?;
            walk.enter(&node);
        }
    }
    Ok(())
}

/// The answer about a leaf that differs: nothing more if it is zeros, else its bytes.
fn leaf(device: &Device, range: &Range<u64>) -> Result<Vec<u8>, Fatal> {
    let len = usize::try_from(range.end - range.start).map_err(|_| WireError::bad("a leaf beyond memory"))?;
    let mut message = vec![0; 1 + len];
    device.read(range.start, &mut message[1..]).map_err(|error| failed("read", range.start, &error))?;
    if is_zero(&message[1..]) {
        return Ok(vec![Answer::Hole as u8]);
    }
    message[0] = Answer::Different as u8;
    Ok(message)
}

/// What the target has no place for yet.
fn tail(device: &Device, mut range: Range<u64>, out: &mut Outgoing<impl Write>) -> Result<(), Fatal> {
    let (mut piece, mut zeros) = (vec![0; TAIL_PIECE as usize], 0);
    while !range.is_empty() {
        let at = range.start;
        piece.truncate(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        device.read(at, &mut piece).map_err(|error| failed("read", at, &error))?;
        range.start += piece.len() as u64;
        if is_zero(&piece) {
            zeros += piece.len() as u64;
            continue;
        }
        if zeros > 0 {
            out.send(&Run::Zeros(std::mem::take(&mut zeros)).to_wire())?;
        }
        out.send(&[&Run::Data(piece.len() as u64).to_wire()[..], &piece].concat())?;
    }
    if zeros > 0 {
        out.send(&Run::Zeros(zeros).to_wire())?;
    }
    Ok(())
}
