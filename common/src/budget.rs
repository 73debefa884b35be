//! Memory for data is reserved here before it is filled; the total obeys the cgroup.
//!
//! [`Budget`] counts bytes and hands out [`Reservation`]s first come, first served; [`BufferPool`] reuses the memory
//! itself, because the first touch of fresh pages costs 0.75 s of CPU per GiB.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Budgets count in steps of this many bytes, so that 32 bits count 4 TiB.
const STEP: usize = 1024;

/// Reserved for everything that is no file data: code, stacks, TLS, listings.
pub const OVERHEAD: u64 = 32 * MIB;

/// The most that data may take however large the machine is; more brings no speed.
pub const MOST: u64 = 40 * MIB;

const MIB: u64 = 1 << 20;

/// A number of bytes that may be in memory at once. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    steps: Arc<Semaphore>,
    limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes (rounded up to whole KiB, at least one).
    pub fn new(limit: usize) -> Self {
        let steps = limit.div_ceil(STEP).clamp(1, u32::MAX as usize);
        Self { steps: Arc::new(Semaphore::new(steps)), limit: steps * STEP }
    }

    /// The budget for this process: [`data_limit`] of the cgroup's limit (v2 or v1), or of the available memory where no
    /// limit is set, and never less than `one_part` bytes, so that a transfer can always go on.
    pub fn from_cgroup(one_part: usize) -> Self {
        let limit = cgroup_limit(Path::new("/")).or_else(|| available(Path::new("/proc/meminfo")));
        let bytes = data_limit(limit, one_part as u64);
        Self::new(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// The whole budget in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Waits until `bytes` are free, in the order of the calls. More than the whole budget is granted when all of it is
    /// free: a single large request always makes progress.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let permit = Arc::clone(&self.steps).acquire_many_owned(self.steps_for(bytes)).await;
        // The semaphore is never closed, so there always is a permit.
        Reservation { permit: permit.ok(), bytes }
    }

    /// The same without waiting; `None` if not enough is free now.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let permit = Arc::clone(&self.steps).try_acquire_many_owned(self.steps_for(bytes)).ok()?;
        Some(Reservation { permit: Some(permit), bytes })
    }

    /// Bytes that are not reserved now.
    pub fn free(&self) -> usize {
        self.steps.available_permits() * STEP
    }

    fn steps_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(STEP).min(self.limit / STEP)).unwrap_or(u32::MAX)
    }
}

/// Bytes that the holder may keep in memory, given back on drop.
#[derive(Debug)]
pub struct Reservation {
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Reservation {
    /// How many bytes were asked for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is beyond `bytes`; never grows.
    pub fn shrink_to(&mut self, bytes: usize) {
        let Some(permit) = &mut self.permit else { return };
        let keep = bytes.div_ceil(STEP);
        drop(permit.num_permits().checked_sub(keep).and_then(|surplus| permit.split(surplus)));
        self.bytes = self.bytes.min(bytes);
    }
}

/// Bytes for file data when the process may use `limit`: a quarter of what is left after [`OVERHEAD`], at most [`MOST`],
/// at least `one_part`; as much if nothing is known.
pub fn data_limit(limit: Option<u64>, one_part: u64) -> u64 {
    let share = limit.map_or(MOST, |limit| limit.saturating_sub(OVERHEAD) / 4);
    share.min(MOST).max(one_part)
}

/// The smallest memory limit that applies to this process; `root` is `/` outside tests.
fn cgroup_limit(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let groups = read("proc/self/cgroup").map(|text| parse_groups(&text)).unwrap_or_default();
    let v2 = groups.unified.iter().flat_map(|group| limit_files("sys/fs/cgroup", group, "memory.max"));
    let v1 = groups.memory.iter().flat_map(|group| limit_files("sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    v2.chain(v1).filter_map(|path| parse_limit(&read(&path)?)).min()
}

/// The control groups of a process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups {
    /// Version 2.
    unified: Option<String>,
    /// Version 1, memory controller.
    memory: Option<String>,
}

/// Reads `/proc/self/cgroup` (`cgroups(7)`): `hierarchy:controllers:path`.
fn parse_groups(text: &str) -> Groups {
    let mut groups = Groups::default();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if id == "0" && controllers.is_empty() {
            groups.unified = Some(path.to_owned());
        } else if controllers.split(',').any(|name| name == "memory") {
            groups.memory = Some(path.to_owned());
        }
    }
    groups
}

/// The group's own limit file and those of its ancestors up to the mount. In a container without a cgroup namespace
/// only the mount itself exists.
fn limit_files(mount: &str, group: &str, file: &str) -> Vec<String> {
    let ancestors = Path::new(group).ancestors();
    let paths = ancestors.map(|group| Path::new(mount).join(group.strip_prefix("/").unwrap_or(group)).join(file));
    paths.map(|path| path.to_string_lossy().into_owned()).collect()
}

/// A limit in bytes; `max` and version 1's "no limit" (near 2^63) are none.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

fn available(meminfo: &Path) -> Option<u64> {
    parse_available(&std::fs::read_to_string(meminfo).ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Buffers of one size, reused.
#[derive(Clone, Debug)]
pub struct BufferPool {
    shared: Arc<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    /// Guards pushes and pops only; never held across an await.
    idle: Mutex<Vec<Box<[u8]>>>,
    size: usize,
    keep: usize,
}

/// A buffer from a [`BufferPool`], back in the pool on drop.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    home: Arc<Shelf>,
}

impl BufferPool {
    /// A pool of buffers of `size` bytes that keeps at most `keep` unused ones.
    pub fn new(size: usize, keep: usize) -> Self {
        Self { shared: Arc::new(Shelf { idle: Mutex::default(), size, keep }) }
    }

    /// Size of each buffer in bytes.
    pub fn size(&self) -> usize {
        self.shared.size
    }

    /// A buffer with arbitrary old content. What memory it takes is for the caller's [`Reservation`] to say.
    pub fn take(&self) -> Buffer {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; self.shared.size].into_boxed_slice());
        Buffer { len: bytes.len(), bytes, home: Arc::clone(&self.shared) }
    }
}

impl Buffer {
    /// The whole buffer, to be filled.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The first `len` bytes as [`Bytes`]; the buffer goes back to the pool when the last of them is dropped.
    pub fn freeze(mut self, len: usize) -> Bytes {
        self.len = len.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = self.home.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.home.keep {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn the_formula() {
        let check = |limit: Option<u64>, part: u64, expect: u64| {
            assert_eq!(data_limit(limit.map(|m| m * MIB), part * MIB), expect * MIB);
        };
        check(Some(2048), 5, 40);
        check(Some(512), 5, 40);
        check(Some(160), 5, 32);
        check(Some(64), 5, 8);
        check(Some(40), 5, 5);
        check(Some(16), 5, 5);
        check(Some(64), 512, 512);
        check(None, 5, 40);
    }

    #[test]
    fn cgroup_files_are_parsed() {
        let check = |text, unified: Option<&str>, memory: Option<&str>| {
            let expect = Groups { unified: unified.map(str::to_owned), memory: memory.map(str::to_owned) };
            assert_eq!(parse_groups(text), expect, "{text:?}");
        };
        check("0::/\n", Some("/"), None);
        check("0::/kubepods.slice/pod:1/c\n", Some("/kubepods.slice/pod:1/c"), None);
        check("4:cpu,memory:/docker/1\n1:name=systemd:/x\n0::/y\n", Some("/y"), Some("/docker/1"));
        check("nonsense\n\n7:\n", None, None);
        let limit = |text, expect| assert_eq!(parse_limit(text), expect, "{text:?}");
        limit("max\n", None);
        limit("134217728\n", Some(134_217_728));
        limit("9223372036854771712\n", None);
        limit("", None);
        assert_eq!(parse_available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(parse_available("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let check = |files: &[(&str, &str)], expect: Option<u64>| {
            let root = tempfile::tempdir().expect("a directory");
            for (path, content) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().expect("a parent")).expect("created");
                fs::write(path, content).expect("written");
            }
            assert_eq!(cgroup_limit(root.path()), expect, "{files:?}");
        };
        let group = ("proc/self/cgroup", "0::/pod/c\n");
        check(&[], None);
        check(&[group, ("sys/fs/cgroup/pod/c/memory.max", "max"), ("sys/fs/cgroup/pod/memory.max", "500")], Some(500));
        check(&[group, ("sys/fs/cgroup/pod/c/memory.max", "400"), ("sys/fs/cgroup/pod/memory.max", "500")], Some(400));
        check(&[group, ("sys/fs/cgroup/memory.max", "300")], Some(300));
        let old = ("proc/self/cgroup", "9:memory:/docker/1\n");
        check(&[old, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "200")], Some(200));
        check(&[old, ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712")], None);
    }

    #[tokio::test]
    async fn reservations_wait_in_order_and_come_back() {
        let budget = Budget::new(10 * STEP);
        let first = budget.reserve(8 * STEP).await;
        assert_eq!((budget.free(), first.bytes()), (2 * STEP, 8 * STEP));
        assert!(budget.try_reserve(3 * STEP).is_none());
        let large = tokio::spawn({
            let budget = budget.clone();
            async move { budget.reserve(100 * STEP).await }
        });
        tokio::task::yield_now().await;
        // The large request waits first, so a small one that would fit must not overtake it.
        assert!(budget.try_reserve(STEP).is_none());
        drop(first);
        let large = large.await.expect("granted");
        assert_eq!(budget.free(), 0);
        drop(large);
        assert_eq!(budget.free(), budget.limit());
    }

    #[tokio::test]
    async fn a_cancelled_wait_keeps_nothing() {
        let budget = Budget::new(STEP);
        let held = budget.reserve(1).await;
        let token = CancellationToken::new();
        token.cancel();
        assert!(token.run_until_cancelled(budget.reserve(1)).await.is_none());
        drop(held);
        assert_eq!(budget.free(), STEP);
    }

    #[tokio::test]
    async fn shrinking_gives_back() {
        let budget = Budget::new(10 * STEP);
        let mut held = budget.reserve(10 * STEP).await;
        held.shrink_to(STEP + 1);
        assert_eq!(budget.free(), 8 * STEP);
        held.shrink_to(9 * STEP);
        assert_eq!((budget.free(), held.bytes()), (8 * STEP, STEP + 1));
        drop(held);
        assert_eq!(budget.free(), 10 * STEP);
    }

    #[test]
    fn buffers_come_back_when_the_last_bytes_go() {
        let pool = BufferPool::new(8, 1);
        let mut buffer = pool.take();
        buffer.as_mut_slice()[..3].copy_from_slice(b"abc");
        let place = buffer.as_ref().as_ptr();
        let bytes = buffer.freeze(3);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_ne!(pool.take().as_ref().as_ptr(), place, "still in use");
        assert_eq!(&part[..], b"bc");
        let spare = pool.take();
        drop(part);
        drop(spare);
        assert_eq!(pool.take().as_ref().as_ptr(), place);
        assert_eq!(pool.shared.idle.lock().expect("unpoisoned").len(), 1);
    }
}
