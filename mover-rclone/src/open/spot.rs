//! Where a place is, so that two can be compared: a sync between places that lie in one another would delete what it
//! reads.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Resolved, local_root};
use crate::config::Backend;

/// Where the objects of a place are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// What paths belong to: this machine, or an endpoint as one account sees it.
    space: Option<(String, String)>,
    /// Without slashes at its ends.
    path: Vec<u8>,
}

impl Spot {
    /// Of a directory of this machine, links followed as far as it exists. rclone compares the texts of paths.
    pub fn of_directory(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { space: None, path: trimmed(real(&path).as_os_str().as_bytes()) }
    }

    /// Of the innermost remote: an encrypted one is where its objects are.
    pub fn of(resolved: &Resolved) -> Self {
        let remotes = resolved.remotes();
        let Some(remote) = remotes.last() else { return Self::of_directory(Path::new(".")) };
        if remote.backend != Backend::S3 {
            return Self::of_directory(&local_root(remote));
        }
        let option = |key| remote.options.string(key).unwrap_or_default();
        Self { space: Some((option("endpoint"), option("access_key_id"))), path: trimmed(&remote.path) }
    }

    /// Whether one lies in the other and no filter keeps the walk out of it: `walked` tells of a directory below the
    /// outer one whether it is entered (rclone 1.75 `fs/operations`, `OverlappingFilterCheck`).
    pub fn overlaps(&self, other: &Self, walked: impl Fn(&[u8]) -> bool) -> bool {
        let inner = below(&self.path, &other.path).or_else(|| below(&other.path, &self.path));
        let Some(inner) = inner.filter(|_| self.space == other.space) else { return false };
        let ends = inner.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        ends.chain([inner.len()]).all(|end| walked(&inner[..end]))
    }
}

/// What exists of it is resolved, the rest is kept as it is.
fn real(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|part| Some((part, std::fs::canonicalize(part).ok()?)));
    let Some((part, known)) = known else { return path.to_owned() };
    path.strip_prefix(part).map_or(known.clone(), |rest| known.join(rest))
}

fn trimmed(path: &[u8]) -> Vec<u8> {
    let path = path.iter().position(|byte| *byte != b'/').map_or(&path[..0], |at| &path[at..]);
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    path[..end].to_vec()
}

/// What is left of `path` below `outer`.
fn below<'a>(outer: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(outer)?;
    if outer.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(space: &str, path: &str) -> Spot {
        Spot { space: Some((space.to_owned(), String::new())), path: trimmed(path.as_bytes()) }
    }

    #[test]
    fn places_overlap_unless_a_filter_keeps_them_apart() {
        let cases = [
            ("b/p", "b/p", true),
            ("/b/p/", "b/p", true),
            ("b/p", "b/p/q/r", true),
            ("b/p/q", "b", true),
            ("", "b", true),
            ("b/p", "b/pq", false),
            ("b/p", "b/q", false),
            ("b/p", "b/p/left-out", false),
            ("b/p", "b/p/left-out/r", false),
            ("b/left-out/q", "b/left-out", true),
        ];
        for (one, other, expect) in cases {
            let walked = |path: &[u8]| !path.starts_with(b"left-out");
            assert_eq!(spot("x", one).overlaps(&spot("x", other), walked), expect, "{one} {other}");
            assert_eq!(spot("x", other).overlaps(&spot("x", one), walked), expect, "{other} {one}");
            assert!(!spot("x", one).overlaps(&spot("y", other), walked), "another endpoint");
        }
    }

    #[test]
    fn links_lead_to_the_same_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let at = |path: &str| Spot::of_directory(&dir.path().join(path));
        assert!(at("real").overlaps(&at("link"), |_| true));
        assert!(at("real").overlaps(&at("link/not/there/yet"), |_| true));
        assert!(!at("real").overlaps(&at("other"), |_| true));
    }
}
