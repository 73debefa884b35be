//! Block volumes over TLS: diskrsync's protocol, as upstream's `diskrsync-tcp` speaks it, without anything around it.
//!
//! That protocol has no last word: a target of ours that fails breaks the connection off without TLS's goodbye, so that a
//! source of ours hears of it. A stock target cannot be heard that way; its destination then never ends.

use std::fs::{self, File};
use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::block::command::{open_source, open_target};
use crate::block::{Copied, source, target};
use crate::exit::{ExitCode, Fatal};
use crate::tls::Tunnel;
use crate::wire::WireError;

/// How long a session waits for the one before it, whose connection may be lost without a word: longer than the kernel
/// takes to notice that.
const PATIENCE: Duration = Duration::from_mins(10);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Sends the device; it counts when the target has ended well.
pub(super) fn send(device: &Path, tunnel: Tunnel) -> Result<Copied, Fatal> {
    let sent = open_source(device).and_then(|device| {
        let (from, to) = (tunnel.stream().map_err(WireError::from)?, tunnel.stream().map_err(WireError::from)?);
        // Neither device can grow.
        let copied = source(&device, true, &from, &to)?;
        to.shutdown(Shutdown::Write).map_err(WireError::from)?;
        end_of(from).map_err(WireError::from)?;
        Ok(copied)
    });
    let parted = tunnel.close();
    match sent {
        Ok(_) if !parted => Err(Fatal::Other(ExitCode::StreamIo, "the target has not ended well".into())),
        sent => sent,
    }
}

fn end_of(mut from: impl io::Read) -> io::Result<()> {
    io::copy(&mut from, &mut io::sink()).map(drop)
}

/// Receives the device, and leaves `complete` when it is on the disk.
pub(super) fn receive(device: &Path, complete: &Path, tunnel: Tunnel) -> Result<Copied, Fatal> {
    let received = alone(complete).and_then(|_alone| {
        let device = open_target(device, false)?;
        let (from, to) = (tunnel.stream().map_err(WireError::from)?, tunnel.stream().map_err(WireError::from)?);
        let copied = target(&device, from, to)?;
        let left = fs::write(complete, b"");
        left.map_err(|error| Fatal::Other(ExitCode::FileIo, format!("cannot write {}: {error}", complete.display())))?;
        Ok(copied)
    });
    match received {
        Ok(copied) => {
            tunnel.close();
            Ok(copied)
        }
        Err(fatal) => {
            tunnel.abandon();
            Err(fatal)
        }
    }
}

/// Only one session at a time writes; the lock ends with the value.
fn alone(complete: &Path) -> Result<File, Fatal> {
    let path = complete.with_file_name("lock");
    let failed = |error: &dyn std::fmt::Display| {
        Fatal::Other(ExitCode::FileIo, format!("cannot have the volume alone, by {}: {error}", path.display()))
    };
    let lock = File::create(&path).map_err(|error| failed(&error))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(error) => return Err(failed(&error)),
        }
    }
}
