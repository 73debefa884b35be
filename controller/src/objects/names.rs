//! Names of the objects that are made. Users, scripts and upstream's tests look for exactly these.
//!
//! Source: `docs/compat-volsync.md`, section "Names".

use crate::machine::Method;
use jiff::{Timestamp, tz::TimeZone};
use std::fmt;

/// The longest name of a Job or Service and value of a label, in bytes.
const LIMIT: usize = 63;

/// Which end of a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Data leaves the volume.
    Source,
    /// Data enters the volume.
    Destination,
}

impl fmt::Display for Direction {
    /// The form within names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "src",
            Self::Destination => "dst",
        })
    }
}

/// The Job of a mover, its pod template, and the Service before it.
pub fn job(method: Method, direction: Direction, name: &str) -> String {
    shortened(&format!("volsync-{method}-{direction}-"), name)
}

/// ServiceAccount, Role and RoleBinding.
pub fn account(direction: Direction, name: &str) -> String {
    format!("volsync-{direction}-{name}")
}

/// The value of the label `app.kubernetes.io/name`, by which a Service selects its pod.
pub fn selector(direction: Direction, name: &str) -> String {
    shortened(&format!("{direction}-"), name)
}

/// The point-in-time claim of a source, and the snapshot from which it is made.
pub fn copy(name: &str) -> String {
    format!("volsync-{name}-src")
}

/// The claim that a destination makes.
pub fn destination_claim(method: Method, name: &str) -> String {
    match method {
        Method::Rclone => format!("volsync-{name}-dest"),
        Method::Rsync | Method::RsyncTls => format!("volsync-{name}-dst"),
    }
}

/// The snapshot of a destination's claim, by the time in the controller's zone.
pub fn destination_snapshot(claim: &str, now: Timestamp, local: &TimeZone) -> String {
    let time = local.to_datetime(now);
    let (date, clock) = (time.date(), time.time());
    format!(
        "{claim}-{:04}{:02}{:02}{:02}{:02}{:02}",
        date.year(),
        date.month(),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

/// A secret with keys of rsync over SSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshSecret {
    /// Both pairs. It is made once, and the others from it.
    Main,
    /// What the source needs.
    Source,
    /// What the destination needs.
    Destination,
}

/// The secret's name.
pub fn ssh_secret(secret: SshSecret, direction: Direction, name: &str) -> String {
    let part = match secret {
        SshSecret::Main => "main",
        SshSecret::Source => "src",
        SshSecret::Destination => "dest",
    };
    format!("volsync-rsync-{direction}-{part}-{name}")
}

/// The secret with the pre-shared key of rsync over TLS. A source and a destination of the same name share it.
pub fn tls_secret(name: &str) -> String {
    format!("volsync-rsync-tls-{name}")
}

/// The copy of a pull secret of this name.
pub fn pull_secret(original: &str) -> String {
    format!("volsync-pull-{}", checksum(original))
}

/// A name that fits, as it is or by its checksum.
fn shortened(prefix: &str, name: &str) -> String {
    if prefix.len() + name.len() > LIMIT { format!("{prefix}{}", checksum(name)) } else { format!("{prefix}{name}") }
}

fn checksum(name: &str) -> String {
    format!("{:08x}", crc32fast::hash(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Destination, Source};

    #[test]
    fn names_are_upstreams() {
        for (ours, upstream) in [
            (job(Method::Rclone, Source, "db"), "volsync-rclone-src-db"),
            (job(Method::Rclone, Destination, "db"), "volsync-rclone-dst-db"),
            (job(Method::Rsync, Source, "db"), "volsync-rsync-src-db"),
            (job(Method::RsyncTls, Destination, "db"), "volsync-rsync-tls-dst-db"),
            (account(Source, "db"), "volsync-src-db"),
            (account(Destination, "db"), "volsync-dst-db"),
            (selector(Destination, "db"), "dst-db"),
            (copy("db"), "volsync-db-src"),
            (destination_claim(Method::Rclone, "db"), "volsync-db-dest"),
            (destination_claim(Method::Rsync, "db"), "volsync-db-dst"),
            (destination_claim(Method::RsyncTls, "db"), "volsync-db-dst"),
            (ssh_secret(SshSecret::Main, Destination, "db"), "volsync-rsync-dst-main-db"),
            (ssh_secret(SshSecret::Source, Destination, "db"), "volsync-rsync-dst-src-db"),
            (ssh_secret(SshSecret::Destination, Source, "db"), "volsync-rsync-src-dest-db"),
            (tls_secret("db"), "volsync-rsync-tls-db"),
        ] {
            assert_eq!(ours, upstream);
        }
    }

    #[test]
    fn jobs_and_selectors_fit_into_63_bytes() {
        let long = "thisisavery-very-very-very-longnameevenlongerthan63chars2";
        assert_eq!(job(Method::Rsync, Destination, long), "volsync-rsync-dst-b167acba");
        assert_eq!(selector(Source, long), format!("src-{long}"));
        assert_eq!(selector(Source, &"x".repeat(59)), format!("src-{}", "x".repeat(59)));
        assert_eq!(selector(Source, &"x".repeat(60)).len(), "src-".len() + 8);
        assert_eq!(destination_claim(Method::Rsync, long), format!("volsync-{long}-dst"));
        assert_eq!(pull_secret("registry"), format!("volsync-pull-{:08x}", crc32fast::hash(b"registry")));
    }

    #[test]
    fn snapshots_are_named_by_local_time() {
        let now = "2026-01-02T23:04:05.9Z".parse().unwrap();
        assert_eq!(destination_snapshot("c", now, &TimeZone::UTC), "c-20260102230405");
        let tokyo = volsync_cron::zone("Asia/Tokyo", &TimeZone::UTC).unwrap();
        assert_eq!(destination_snapshot("c", now, &tokyo), "c-20260103080405");
    }
}
