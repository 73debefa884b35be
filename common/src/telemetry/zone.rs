//! The local time zone, found where Go looks (`time/zoneinfo_unix.go`), so that log lines show rclone's clock.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use jiff::tz::TimeZone;

/// Where zones are kept, Go's `platformZoneSources`.
const SOURCES: [&str; 4] =
    ["/usr/share/zoneinfo/", "/usr/share/lib/zoneinfo/", "/usr/lib/locale/TZ/", "/etc/zoneinfo/"];

/// Larger files are no zone: the largest of tzdata has some 4 KiB.
const LARGEST: u64 = 1 << 20;

/// The zone of this process by `TZ` and `/etc/localtime`; UTC if neither can be used.
pub fn local() -> TimeZone {
    candidates(env::var_os("TZ").as_deref()).iter().find_map(|file| load(file).ok()).unwrap_or(TimeZone::UTC)
}

/// Files that may hold the zone, the best first. As in Go, POSIX rules (`<+03>-3`) are not understood.
fn candidates(tz: Option<&OsStr>) -> Vec<PathBuf> {
    let Some(tz) = tz else { return vec!["/etc/localtime".into()] };
    let name = tz.as_bytes().strip_prefix(b":").unwrap_or(tz.as_bytes());
    let name = Path::new(OsStr::from_bytes(name));
    if name.is_absolute() {
        return vec![name.to_owned()];
    }
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    if name.as_os_str().is_empty() || name == Path::new("UTC") || !plain {
        return Vec::new();
    }
    SOURCES.iter().map(|source| Path::new(source).join(name)).collect()
}

fn load(file: &Path) -> io::Result<TimeZone> {
    // Opening a pipe would wait for its writer.
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut data = Vec::new();
    File::open(file)?.take(LARGEST).read_to_end(&mut data)?;
    TimeZone::tzif("local", &data).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tz: Option<&str>) -> Vec<String> {
        candidates(tz.map(OsStr::new)).iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn zones_are_searched_where_go_does() {
        assert_eq!(names(None), ["/etc/localtime"]);
        assert_eq!(names(Some(":/some/zone")), ["/some/zone"]);
        assert_eq!(names(Some("Europe/Berlin"))[0], "/usr/share/zoneinfo/Europe/Berlin");
        assert_eq!(names(Some(":Asia/Tokyo")).len(), 4);
        for none in ["", ":", "UTC", "../etc/passwd", "Europe/../../x"] {
            assert!(names(Some(none)).is_empty(), "{none}");
        }
    }

    /// A zone without transitions, one hour east (RFC 9636, section 3).
    fn an_hour_east() -> Vec<u8> {
        let counts = [0_u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
        let block = [b"TZif2", &[0; 15][..], &counts, &3_600_i32.to_be_bytes(), &[0, 0], b"CET\0"].concat();
        [&block, &block, &b"\nCET-1\n"[..]].concat()
    }

    #[test]
    fn a_zone_moves_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("zone");
        std::fs::write(&file, an_hour_east()).unwrap();
        let time = load(&file).unwrap().to_datetime(jiff::Timestamp::new(1_795_623_618, 0).unwrap());
        assert_eq!(time.to_string(), "2026-11-25T17:20:18");
    }

    #[test]
    fn a_file_that_is_no_zone_is_an_error_and_no_panic() {
        assert!(load(Path::new("/etc/passwd")).is_err());
        assert!(load(Path::new("/no/such/zone")).is_err());
        assert!(load(Path::new("/")).is_err());
    }
}
