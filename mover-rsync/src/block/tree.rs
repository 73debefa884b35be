//! The digests of a volume: BLAKE2b-512 of every leaf, and of the digests of the children above them.

use std::io;
use std::sync::Mutex;
use std::thread;

use blake2b_simd::many::{HashManyJob, hash_many};
use blake2b_simd::{Params, blake2b};

use super::device::{Device, is_zero};
use super::shape::{Node, Shape};

/// A digest.
pub type Sum = [u8; 64];

/// Read at once by each thread, where leaves are smaller.
const PIECE: u64 = 1 << 20;

/// Leaves hashed side by side in the lanes of one core's vector registers.
const LANES: u64 = 4;

/// More threads than this read faster than a volume does.
const MOST_THREADS: usize = 8;

/// All digests of a volume: 64 bytes for each node, about 60 MB for volumes of 100 GiB and more.
#[derive(Debug)]
pub struct Tree {
    shape: Shape,
    /// The root's level first.
    levels: Vec<Vec<Sum>>,
}

impl Tree {
    /// Reads and hashes the first `size` bytes of the volume, on as many threads as there are cores.
    pub fn of(device: &Device, size: u64) -> io::Result<Self> {
        let shape = Shape::of(size);
        let mut levels = vec![leaves(device, shape)?];
        for _ in 1..shape.levels() {
            levels.push(parents(&levels[levels.len() - 1], shape.order()));
        }
        levels.reverse();
        Ok(Self { shape, levels })
    }

    /// The form of the tree.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The digest of a node of this tree's shape.
    pub fn sum(&self, node: &Node) -> Option<&Sum> {
        self.levels.get(node.level as usize)?.get(usize::try_from(node.index).ok()?)
    }
}

fn leaves(device: &Device, shape: Shape) -> io::Result<Vec<Sum>> {
    let first = shape.leaf(0).range;
    let together = LANES.max(PIECE / (first.end - first.start).max(1));
    let count = |leaves: u64| usize::try_from(leaves).map_err(io::Error::other);
    let mut sums = vec![[0; 64]; count(shape.leaves())?];
    let work = Mutex::new((0_u64..).zip(sums.chunks_mut(count(together)?)));
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                thread::Builder::new().name("digest".into()).spawn_scoped(scope, || {
                    let mut hasher = Hasher::default();
                    while let Some((nth, sums)) = work.lock().ok().and_then(|mut work| work.next()) {
                        hasher.leaves(device, shape, nth * together, sums)?;
                    }
                    Ok::<_, io::Error>(())
                })
            })
            .collect();
        running
            .into_iter()
            .try_for_each(|thread| thread?.join().unwrap_or_else(|_| Err(io::Error::other("a thread failed"))))
    })?;
    Ok(sums)
}

/// What one thread keeps.
#[derive(Default)]
struct Hasher {
    buffer: Vec<u8>,
    /// The digest of so many zeros: a volume has many leaves of two lengths at most.
    zeros: Vec<(usize, Sum)>,
}

impl Hasher {
    /// Hashes the leaves from the `first` on.
    fn leaves(&mut self, device: &Device, shape: Shape, first: u64, sums: &mut [Sum]) -> io::Result<()> {
        let nodes: Vec<_> = (first..).zip(sums.iter()).map(|(index, _)| shape.leaf(index).range).collect();
        let (Some(head), Some(tail)) = (nodes.first(), nodes.last()) else { return Ok(()) };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(usize::try_from(tail.end - head.start).map_err(io::Error::other)?, 0);
        device.read(head.start, &mut buffer)?;
        let (mut rest, mut jobs) = (&buffer[..], Vec::with_capacity(sums.len()));
        for (range, sum) in nodes.iter().zip(sums) {
            let (leaf, after) = rest.split_at(usize::try_from(range.end - range.start).map_err(io::Error::other)?);
            rest = after;
            // Most of a new volume is zeros, whose digest is known.
            if is_zero(leaf) { *sum = self.zeros(leaf) } else { jobs.push((leaf, sum)) }
        }
        let params = Params::new();
        let mut lanes: Vec<_> = jobs.iter().map(|(leaf, _)| HashManyJob::new(&params, leaf)).collect();
        hash_many(&mut lanes);
        for (lane, (_, sum)) in lanes.iter().zip(jobs) {
            *sum = *lane.to_hash().as_array();
        }
        self.buffer = buffer;
        Ok(())
    }

    fn zeros(&mut self, leaf: &[u8]) -> Sum {
        if let Some((_, sum)) = self.zeros.iter().find(|(len, _)| *len == leaf.len()) {
            return *sum;
        }
        let sum = *blake2b(leaf).as_array();
        // A tree has leaves of neighbouring lengths; a few slots hold them all.
        self.zeros.truncate(7);
        self.zeros.insert(0, (leaf.len(), sum));
        sum
    }
}

fn parents(children: &[Sum], order: usize) -> Vec<Sum> {
    children.chunks(order).map(|children| *blake2b(children.as_flattened()).as_array()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// By the rules alone: every leaf on its own, then upwards.
    fn plain(bytes: &[u8], shape: Shape, node: &Node) -> Sum {
        let at = |at: u64| usize::try_from(at).unwrap();
        if shape.is_leaf(node) {
            return *blake2b(&bytes[at(node.range.start)..at(node.range.end)]).as_array();
        }
        let nths = 0..u64::try_from(shape.order()).unwrap();
        let sums: Vec<_> = nths.map(|nth| plain(bytes, shape, &shape.child(node, nth))).collect();
        *blake2b(sums.as_flattened()).as_array()
    }

    #[test]
    fn threads_and_lanes_change_no_digest() {
        for size in [1, 512, 131_071, 131_072, 262_144, 1_000_003, 9_437_184, 20_000_001] {
            // Every third leaf or so is zeros.
            let bytes: Vec<_> = (0..size).map(|at| if at / 200_000 % 3 == 1 { 0 } else { (at % 251) as u8 }).collect();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            let tree = Tree::of(&Device::source(file.path()).unwrap(), size).unwrap();
            let mut walk = tree.shape().walk();
            while let Some(node) = walk.next_node() {
                if node.level == 0 || tree.shape().is_leaf(&node) {
                    assert_eq!(tree.sum(&node), Some(&plain(&bytes, tree.shape(), &node)), "{size} {node:?}");
                }
                if !tree.shape().is_leaf(&node) {
                    walk.enter(&node);
                }
            }
        }
    }

    #[test]
    fn a_volume_that_got_shorter_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1000).unwrap();
        let device = Device::source(file.path()).unwrap();
        file.as_file().set_len(999).unwrap();
        assert_eq!(Tree::of(&device, 1000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
