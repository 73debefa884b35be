//! Which cores are the server's and which the programs'.
//!
//! A user's server is another machine. On shared cores what is measured is the sum of a program and the server, and the
//! faster a program, the more of it is the server.

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// The cores of this process in two halves; the programs have the larger one.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    server: CpuSet,
    programs: CpuSet,
}

impl Cores {
    /// Splits what this process may use. A single core is everybody's.
    pub(crate) fn split() -> anyhow::Result<Self> {
        let all = sched_getaffinity(None).context("the cores of this process")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)).collect();
        let (server, programs) = cores.split_at(cores.len() / 2);
        if server.is_empty() {
            return Ok(Self { server: all, programs: all });
        }
        Ok(Self { server: set(server), programs: set(programs) })
    }

    /// A runtime for the server, on its cores. This thread goes there too, with every thread that it starts, until it
    /// takes the others.
    pub(crate) fn for_server(self) -> anyhow::Result<Runtime> {
        sched_setaffinity(None, &self.server).context("setting the cores of the server")?;
        let pin = move || {
            // A thread that stays where the programs are slows them down; it breaks nothing.
            if let Err(error) = sched_setaffinity(None, &self.server) {
                eprintln!("a thread of the server is not on its cores: {error}");
            }
        };
        let threads = usize::try_from(self.server.count()).unwrap_or(1);
        let mut builder = Builder::new_multi_thread();
        Ok(builder.worker_threads(threads).on_thread_start(pin).enable_all().build()?)
    }

    /// Leaves this thread, and every program that it starts, the other cores.
    pub(crate) fn take_for_programs(self) -> anyhow::Result<()> {
        sched_setaffinity(None, &self.programs).context("setting the cores of the programs")
    }
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    set
}
