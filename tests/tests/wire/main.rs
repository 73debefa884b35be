//! Every request that the real rclone sends, against ours: the same story is told to both, with one option or provider
//! at a time, and what reaches the server is compared. What may differ stands in [`known::KNOWN`] and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is the report")]

mod cases;
mod known;
mod story;
mod trace;

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use volsync_tests::mover;

use cases::Case;
use known::KNOWN;
use story::Stage;
use trace::Difference;

/// Stories told at a time; each is two processes most of the time.
const AT_ONCE: usize = 2;

/// A difference and the case that showed it.
struct Found {
    case: String,
    difference: Difference,
}

fn tell_all(stage: &Stage, cases: &[Case]) -> Vec<Found> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let tell = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(number) else { return };
            let traces = stage.tell(number, case);
            let differences = trace::compare(&traces.rclone, &traces.ours);
            let all = differences.into_iter().map(|difference| Found { case: case.name(), difference });
            found.lock().unwrap().extend(all);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE {
            scope.spawn(tell);
        }
        tell();
    });
    found.into_inner().unwrap()
}

#[test]
fn what_differs_from_rclone_is_listed_and_what_is_listed_differs() {
    let cases = cases::all();
    let stage = Stage::set(&cases);
    let found = tell_all(&stage, &cases);
    let unknown = found.iter().filter(|found| !KNOWN.iter().any(|known| known.is(&found.difference, &found.case)));
    let mut unknown: Vec<_> = unknown.map(|found| format!("{}: {}", found.case, found.difference)).collect();
    unknown.sort();
    let stale = KNOWN.iter().filter(|known| !found.iter().any(|found| known.is(&found.difference, &found.case)));
    let stale: Vec<_> = stale.map(ToString::to_string).collect();
    let failures = stage.failures.lock().unwrap();
    assert!(
        unknown.is_empty() && stale.is_empty() && failures.is_empty(),
        "not listed:\n{}\nlisted, but did not occur:\n{}\nfailed:\n{}",
        unknown.join("\n"),
        stale.join("\n"),
        failures.join("\n")
    );
}

/// Set `UPDATE_DOCS=1` to write the table anew.
#[test]
fn the_page_has_the_list() {
    const MARKS: [&str; 2] = ["<!-- tests/tests/wire/known.rs -->\n", "<!-- end -->\n"];
    let path = mover::repository().join("docs/compat-rclone.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).expect("the page marks where the table begins");
    let (_, after) = rest.split_once(MARKS[1]).expect("the page marks where the table ends");
    let wanted = [before, MARKS[0], &known::table(), MARKS[1], after].concat();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == wanted, "run the test with UPDATE_DOCS=1 and commit the page");
}
