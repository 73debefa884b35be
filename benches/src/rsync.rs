//! Stock rsync against `mover-rsync`, at one end and at both, with VolSync's options over a real sshd on loopback.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use volsync_tests::delay::Delay;
use volsync_tests::rsync::{End, Pair, Shell, Sshd, VOLSYNC, Way, command_of};

use crate::Arguments;
use crate::measure::{self, Sample};
use crate::record::{self, Extra, Row};
use crate::workload::{self, Made, Volumes};

/// Whose programs push and receive; the first one is what the others are compared with.
const CONTESTANTS: [(&str, End, End); 4] = [
    ("stock", End::Stock, End::Stock),
    ("ours to stock", End::Ours, End::Stock),
    ("stock to ours", End::Stock, End::Ours),
    ("ours", End::Ours, End::Ours),
];

/// What our source prefers (`mover_rsync::contract::source`); upstream's takes what OpenSSH prefers.
const OUR_CIPHER: &str = "Ciphers aes128-gcm@openssh.com\n";

/// The word that makes this program measure what it starts.
const FAR_END: &str = "far-end";

/// Started by the remote shell as `bench far-end FILE PROGRAM ARGUMENTS...`: runs the program, and leaves in the file what
/// it cost. `None` when it was started otherwise.
pub(crate) fn far_end() -> anyhow::Result<Option<ExitCode>> {
    let words: Vec<_> = std::env::args_os().collect();
    let [_, word, file, program, arguments @ ..] = &words[..] else { return Ok(None) };
    if word != FAR_END {
        return Ok(None);
    }
    // A further connection of a session only hands its descriptors over.
    if arguments.iter().any(|word| word == "--join") {
        return Err(Command::new(program).args(arguments).exec().into());
    }
    let start = Instant::now();
    let (sample, status) = measure::watch(Command::new(program).args(arguments).spawn()?, start)?;
    std::fs::write(file, serde_json::to_string(&sample)?)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
    Ok(Some(code.into()))
}

/// Every chosen volume's way, by each contestant in turn.
pub(crate) fn rows(arguments: &Arguments) -> anyhow::Result<Vec<Row>> {
    let scratch = tempfile::tempdir_in(&arguments.dir).context("scratch directory")?;
    let (theirs, ours) = (shell(arguments, "")?, shell(arguments, OUR_CIPHER)?);
    let volumes = workload::chosen(arguments.quick, &arguments.only, &workload::RSYNC)?;
    let mut rows = Vec::new();
    arguments.rounds(&volumes, scratch.path(), CONTESTANTS.len(), |volumes, made, pair, who| {
        let shell = if CONTESTANTS[who].1 == End::Ours { &ours } else { &theirs };
        chain(shell, volumes, made, pair, who, &arguments.suffix(), &mut rows)
    })?;
    Ok(rows)
}

/// A way to an sshd of its own.
fn shell(arguments: &Arguments, configuration: &str) -> anyhow::Result<Shell> {
    let sshd = Sshd::start_with(configuration);
    Ok(Shell::Ssh(match arguments.delay_ms {
        0 => sshd,
        ms => {
            let delay = Delay::to(sshd.port(), Duration::from_millis(ms))?;
            sshd.reached_at(delay.port())
        }
    }))
}

/// One contestant's way: first copy, nothing changed, a little changed.
fn chain(
    shell: &Shell,
    volumes: &Volumes,
    made: &Made,
    pair: usize,
    who: usize,
    suffix: &str,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let (name, client, server) = CONTESTANTS[who];
    let ends = Pair { way: Way::Push, client, server };
    let scratch = tempfile::tempdir_in(&made.dir)?;
    let steps =
        [("first copy", Some(&made.first)), ("unchanged", Some(&made.first)), ("changed", made.changed.as_ref())];
    let mut row = |step: &str, sample: Sample, wire: u64| {
        eprintln!("{} {step}{suffix}, pair {pair}, {name}: {:.2} s", volumes.name, sample.wall);
        record::add(rows, &format!("{} {step}{suffix}", volumes.name), name, sample, Extra::Wire(wire >> 10));
    };
    for (step, source) in steps {
        let Some(source) = source else { continue };
        let (sample, wire) =
            push(shell, ends, source, scratch.path()).with_context(|| format!("{} {step} by {name}", volumes.name))?;
        row(step, sample, wire);
    }
    // What of "unchanged" is the connection alone.
    let log = scratch.path().join("log");
    row("connection alone", measure::run(vec![shell.ask("true")], &log)?, 0);
    Ok(())
}

/// What one push cost at both ends, and the bytes that went over the connection. The CPU time of sshd is not in it, that
/// of ssh is.
fn push(shell: &Shell, ends: Pair, source: &Path, scratch: &Path) -> anyhow::Result<(Sample, u64)> {
    let [file, log, destination] = ["far-end", "log", "copy"].map(|name| scratch.join(name));
    let own = std::env::current_exe()?;
    let measured = [own.to_str(), Some(FAR_END), file.to_str()].map(Option::unwrap_or_default);
    let source = format!("{}/", source.display());
    // Bytes in figures, not in units.
    let options = VOLSYNC.replacen('h', "", 1);
    let command = command_of(shell, ends, [&[], &measured], &options, &source, &destination);
    let mut sample = measure::run(vec![command], &log)?;
    let far: Sample = serde_json::from_slice(&std::fs::read(&file).context("what the far end cost")?)?;
    sample.cpu += far.cpu;
    sample.peak_kib = sample.peak_kib.max(far.peak_kib);
    Ok((sample, wire(&std::fs::read_to_string(&log)?)?))
}

/// From `sent 4,611 bytes  received 422 bytes  ...`.
fn wire(said: &str) -> anyhow::Result<u64> {
    let Some(line) = said.lines().rev().find(|line| line.starts_with("sent ")) else { bail!("no summary in {said}") };
    let numbers = line.split_whitespace().filter_map(|word| word.replace(',', "").parse::<u64>().ok());
    Ok(numbers.take(2).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_in_the_summary() {
        let said =
            "f\n\nsent 4,611 bytes  received 422 bytes  3,355.33 bytes/sec\ntotal size is 85,382  speedup is 16.96\n";
        assert_eq!(wire(said).unwrap(), 5033);
        assert!(wire("").is_err());
    }
}
