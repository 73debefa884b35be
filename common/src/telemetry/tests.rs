//! Lines as rclone 1.75.2 prints them.

use std::io::Write;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::Value;
use tracing::subscriber::with_default;

use super::*;
use crate::path::Shown;

/// What was written, one entry a write.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<String>>>);

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(level: Level, format: &str, events: impl FnOnce()) -> Vec<String> {
    let writes = Writes::default();
    let settings = Settings { level, format: Format::parse(format).unwrap(), file: None };
    let log = Log::redirected(&settings, Box::new(writes.clone()));
    with_default(subscriber(&log), events);
    writes.0.lock().unwrap().clone()
}

#[test]
fn levels_are_named_and_filtered_as_rclone_does() {
    let every = || {
        tracing::trace!("never");
        tracing::debug!("why");
        tracing::info!("what");
        tracing::warn!("know");
        tracing::error!("failed");
        tracing::error!(critical = true, "cannot start");
    };
    let all = ["DEBUG : why\n", "INFO  : what\n", "NOTICE: know\n", "ERROR : failed\n", "CRITICAL: cannot start\n"];
    for (level, hidden) in [(Level::Debug, 0), (Level::Info, 1), (Level::Notice, 2), (Level::Error, 3)] {
        assert_eq!(logged(level, "", every), all[hidden..], "{level:?}");
    }
}

#[test]
fn object_error_and_other_fields_have_their_places() {
    let lines = logged(Level::Debug, "", || {
        tracing::info!(object = %Shown(b"a\nb"), size = 7, "Copied (new)");
        tracing::warn!(error = %"no\nroute", "cannot renew");
        tracing::debug!(tries = 3, store = "s3", "again");
        tracing::info!("ends\n\n");
    });
    let expect =
        ["INFO  : a\\nb: Copied (new)\n", "NOTICE: cannot renew: no\\nroute\n", "DEBUG : again store=s3 tries=3\n"];
    assert_eq!(lines[..3], expect);
    assert_eq!(lines[3], "INFO  : ends\n");
}

#[test]
fn json_has_rclones_members_in_rclones_order() {
    let lines = logged(Level::Info, "json,pid", || {
        tracing::info!(object = %Shown(b"sub/x"), size = 10_u64, "Copied (new)");
        tracing::error!("two\nlines");
    });
    let line = &lines[0];
    let keys: Vec<usize> = ["time", "level", "msg", "size", "object", "objectType", "source", "pid"]
        .iter()
        .map(|key| line.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}: {line}")))
        .collect();
    assert!(keys.is_sorted(), "{line}");
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&value["level"], &value["msg"], &value["size"]), (&"info".into(), &"Copied (new)".into(), &10.into()));
    assert_eq!(value["object"], "sub/x");
    assert!(value["source"].as_str().unwrap().starts_with("telemetry/tests.rs:"), "{line}");
    assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
    assert_eq!(serde_json::from_str::<Value>(&lines[1]).unwrap()["msg"], "two\nlines");
}

#[test]
fn other_crates_appear_at_debug_without_what_they_carry() {
    let foreign = || {
        tracing::debug!(target: "aws_smithy_runtime::client", body = "secret", "request");
        tracing::info!(target: "aws_config::profile", token = "secret", error = %"expired", "loaded");
        tracing::error!(target: "hyper::client", "broken");
    };
    assert_eq!(logged(Level::Debug, "", foreign), ["DEBUG : loaded: expired\n", "DEBUG : broken\n"]);
    assert!(logged(Level::Info, "", foreign).is_empty());
}

#[test]
fn statistics_have_one_header() {
    let writes = Writes::default();
    let settings = Settings { level: Level::Info, format: Format::parse("").unwrap(), file: None };
    let log = Log::redirected(&settings, Box::new(writes.clone()));
    log.print(Level::Info, "\nTransferred: 1\n\n", serde_json::Map::new());
    log.print(Level::Debug, "hidden", serde_json::Map::new());
    assert_eq!(*writes.0.lock().unwrap(), ["INFO  : \nTransferred: 1\n\n"]);
}

#[test]
fn a_log_file_is_appended_to_and_a_missing_directory_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("no/log");
    let settings = Settings { level: Level::Info, format: Format::default(), file: Some(file) };
    let error = init(&settings).unwrap_err().to_string();
    assert!(error.starts_with("failed to open log file /") && error.contains("No such file"), "{error}");
}

/// A reader that is gone is no reason to stop.
#[test]
fn a_write_that_fails_is_dropped() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let settings = Settings { level: Level::Info, format: Format::default(), file: None };
    let log = Log::redirected(&settings, Box::new(Broken));
    with_default(subscriber(&log), || tracing::error!("x"));
}

proptest! {
    #[test]
    fn one_event_is_one_line(name in proptest::collection::vec(any::<u8>(), 0..40), message: String, error: String) {
        let event = || tracing::error!(object = %Shown(&name), error = %error, "{message}");
        for format in ["date,time", "json"] {
            let lines = logged(Level::Error, format, event);
            prop_assert_eq!(lines.len(), 1);
            let controls = lines[0].chars().filter(|&c| c < ' ' || (c.is_control() && format != "json"));
            prop_assert_eq!(controls.count(), 1, "{:?}", lines[0]);
            prop_assert!(lines[0].ends_with('\n'));
        }
    }
}
