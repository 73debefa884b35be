//! What a process cost: wall time, CPU time with its children, peak memory.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde::{Deserialize, Serialize};

/// How often the memory of a running process is looked at. What it reports is its own high-water mark, so only growth
/// in the last moment is missed.
const LOOK: Duration = Duration::from_millis(10);

/// USER_HZ, part of Linux's ABI: 100 on x86-64 and aarch64 whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// One run of a chain of commands.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_kib: u64,
}

/// Runs the commands one after the other; their output goes to `log`, whose end is told when one fails.
pub(crate) fn run(commands: Vec<Command>, log: &Path) -> anyhow::Result<Sample> {
    let mut total = Sample::default();
    for mut command in commands {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
        let said = || format!("{} said: {}", command.get_program().display(), tail(log));
        let (one, status) = watch(child, start).with_context(said)?;
        if !status.success() {
            bail!("ended with {status}: {}", said());
        }
        total.wall += one.wall;
        total.cpu += one.cpu;
        total.peak_kib = total.peak_kib.max(one.peak_kib);
    }
    Ok(total)
}

/// Looks on until the process has ended, reads its account while it still has one, and only then collects it.
pub(crate) fn watch(mut child: Child, start: Instant) -> anyhow::Result<(Sample, ExitStatus)> {
    let pid = Pid::from_child(&child);
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let (done, over) = std::sync::mpsc::channel::<()>();
    let looking = std::thread::spawn(move || {
        let mut peak = 0;
        while over.recv_timeout(LOOK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            peak = peak.max(high_water(pid).unwrap_or(0));
        }
        peak
    });
    while let Err(error) = waitid(WaitId::Pid(pid), ended) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu(pid)?;
    drop(done);
    let peak_kib = looking.join().unwrap_or(0);
    Ok((Sample { wall, cpu, peak_kib }, child.wait()?))
}

fn high_water(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

fn cpu(pid: Pid) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let ticks = ticks(&stat).with_context(|| format!("no CPU times in {stat:?}"))?;
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// proc_pid_stat(5): utime, stime, cutime, cstime are the fields 14 to 17; the name, field 2, may hold anything but is
/// the last to end with a parenthesis.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let times: Vec<u32> = fields.split(' ').skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(1024)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_found_behind_any_name() {
        let rest = "S 1 1 1 0 -1 4194560 10 20 0 0 7 8 30 400 20 0 1";
        assert_eq!(ticks(&format!("12 (a) b) {rest}")), Some(445));
        assert_eq!(ticks("12 (short) S 1"), None);
    }

    #[test]
    fn a_command_is_accounted_and_a_failure_told() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut busy = Command::new("bash");
        busy.args(["-c", "for ((i = 0; i < 100000; i++)); do :; done"]);
        let sample = run(vec![busy], log.path()).unwrap();
        assert!(sample.cpu > 0.0 && sample.wall > 0.0, "{sample:?}");
        let mut failing = Command::new("bash");
        failing.args(["-c", "echo out of luck; exit 3"]);
        let error = format!("{:#}", run(vec![failing], log.path()).unwrap_err());
        assert!(error.contains("out of luck") && error.contains('3'), "{error}");
    }
}
