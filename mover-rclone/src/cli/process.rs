//! The runtime that work runs on, under the signals of this process.

use std::thread::available_parallelism;

use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use volsync_common::cancel::{GRACE, on_signals, run_until};

use super::Failure;

/// Threads that poll; work that blocks has its own. More only add wake-ups: one thread moves several GiB/s.
const MOST_WORKERS: usize = 8;

/// Threads for file work at the same time.
const BLOCKING: usize = 64;

/// How much of [`GRACE`] is left for the exit itself.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(250);

/// Cores that this process may use.
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Runs `work` to its end. After the first signal it has a little less than [`GRACE`] left, then it is
/// [`Failure::Interrupted`].
pub fn run<T>(work: impl AsyncFnOnce(CancellationToken) -> Result<T, Failure>) -> Result<T, Failure> {
    let system = |what| move |error| Failure::System { what, error };
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores().min(MOST_WORKERS))
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
        .map_err(system("starting threads"))?;
    let result = runtime.block_on(async {
        let cancel = on_signals().map_err(system("watching signals"))?;
        let work = work(cancel.clone());
        run_until(&cancel, work, GRACE.saturating_sub(LAST_WORDS)).await.unwrap_or(Err(Failure::Interrupted))
    });
    // Threads that hang in the kernel are left behind.
    runtime.shutdown_background();
    result
}
