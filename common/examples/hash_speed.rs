//! What hashing files costs here: 200 files of 10 MiB, and bodies in memory of several sizes, alone and many.
//!
//! The files lie in the directory given as the first argument (default: the temporary directory) and are read once
//! before, so the page cache serves them. Medians of five.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use volsync_common::hash::FileHasher;

const FILES: usize = 200;
const SIZE: usize = 10 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = match std::env::args_os().nth(1) {
        Some(at) => tempfile::tempdir_in(Path::new(&at))?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    files(&runtime, dir.path())?;
    bodies(&runtime)
}

fn files(runtime: &tokio::runtime::Runtime, dir: &Path) -> Result<(), Box<dyn Error>> {
    let data: Vec<u8> = (0..SIZE).map(|n| (n >> 3).to_le_bytes()[0]).collect();
    for n in 0..FILES {
        std::fs::write(dir.join(n.to_string()), &data)?;
    }
    let cores = std::thread::available_parallelism()?.get();
    for threads in [1, cores] {
        for in_flight in [1, 8, 64] {
            let (wall, cpu) = median(|| {
                let hasher = Arc::new(FileHasher::start(threads)?);
                let room = Arc::new(tokio::sync::Semaphore::new(in_flight));
                let work = (0..FILES).map(|n| hash(Arc::clone(&hasher), Arc::clone(&room), dir.join(n.to_string())));
                let tasks: Vec<_> = work.map(|file| runtime.spawn(file)).collect();
                tasks.into_iter().try_for_each(|task| runtime.block_on(task)?.map_err(Into::into))
            })?;
            println!("{FILES} files of 10 MiB, {threads} threads, {in_flight:2} in flight: {wall:.2?}, CPU {cpu:.2?}");
        }
    }
    Ok(())
}

async fn hash(
    hasher: Arc<FileHasher>,
    room: Arc<tokio::sync::Semaphore>,
    path: std::path::PathBuf,
) -> std::io::Result<()> {
    let _one = room.acquire().await.map_err(std::io::Error::other)?;
    hasher.hash_file(Arc::new(File::open(path)?), SIZE as u64).await?;
    Ok(())
}

/// Bodies: each way of asking for their digests, per body.
fn bodies(runtime: &tokio::runtime::Runtime) -> Result<(), Box<dyn Error>> {
    const BODIES: u32 = 2000;
    for size in [1 << 10, 2 << 10, 4 << 10, 16 << 10, 64 << 10, 65 << 10, 256 << 10] {
        let body = Bytes::from(vec![7; size]);
        let (direct, _) = median(|| {
            (0..BODIES).for_each(|_| {
                std::hint::black_box(volsync_md5::md5(&body));
            });
            Ok(())
        })?;
        let hasher = Arc::new(FileHasher::start(1)?);
        let ask = |at_once: u32| {
            median(|| {
                runtime.block_on(async {
                    for _ in 0..BODIES / at_once {
                        let one = || {
                            let (hasher, body) = (Arc::clone(&hasher), body.clone());
                            tokio::spawn(async move { hasher.hash_bytes(body).await })
                        };
                        let all: Vec<_> = (0..at_once).map(|_| one()).collect();
                        for task in all {
                            task.await?;
                        }
                    }
                    Ok(())
                })
            })
        };
        let ((alone, alone_cpu), (many, many_cpu)) = (ask(1)?, ask(32)?);
        println!(
            "body of {:3} KiB: md5() {:.2?}; hash_bytes alone {:.2?}, CPU {:.2?}; 32 at once {:.2?}, CPU {:.2?}",
            size >> 10,
            direct / BODIES,
            alone / BODIES,
            alone_cpu / BODIES,
            many / BODIES,
            many_cpu / BODIES
        );
    }
    Ok(())
}

/// Wall and CPU time of the whole process.
fn median(mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<(Duration, Duration), Box<dyn Error>> {
    let mut runs = Vec::new();
    for _ in 0..5 {
        let (start, cpu) = (Instant::now(), cpu());
        work()?;
        runs.push((start.elapsed(), self::cpu().saturating_sub(cpu)));
    }
    runs.sort();
    Ok(runs[runs.len() / 2])
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
