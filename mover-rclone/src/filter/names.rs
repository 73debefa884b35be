//! `--files-from` and its kin: exactly these names, and the directories on the way to them.

use std::collections::HashSet;

use super::FilterError;
use super::options::{FilterOptions, Reader, meaningful_lines, read_list};

#[derive(Debug, Default)]
pub(super) struct Names {
    files: HashSet<Vec<u8>>,
    directories: HashSet<Vec<u8>>,
}

impl Names {
    /// `None` unless a list is given; an empty list includes nothing.
    pub(super) fn from_options(options: &FilterOptions, read: &mut Reader<'_>) -> Result<Option<Self>, FilterError> {
        let lists = [&options.files_from, &options.files_from_raw, &options.files_from0];
        if lists.iter().all(|list| list.is_empty()) {
            return Ok(None);
        }
        let mut names = Self::default();
        for path in &options.files_from {
            meaningful_lines(&read_list("files-from", path, read)?).for_each(|line| names.add(line));
        }
        for path in &options.files_from_raw {
            let text = read_list("files-from-raw", path, read)?;
            raw_lines(&text).for_each(|line| names.add(line));
        }
        for path in &options.files_from0 {
            let text = read_list("files-from0", path, read)?;
            text.split(|&b| b == 0).filter(|name| !name.is_empty()).for_each(|name| names.add(name));
        }
        Ok(Some(names))
    }

    /// This one.
    pub(super) fn only(name: &[u8]) -> Self {
        let mut names = Self::default();
        names.add(name);
        names
    }

    pub(super) fn has_file(&self, path: &[u8]) -> bool {
        self.files.contains(path)
    }

    pub(super) fn has_directory(&self, path: &[u8]) -> bool {
        self.directories.contains(path)
    }

    fn add(&mut self, name: &[u8]) {
        let name = clean(name);
        let mut parent = name.as_slice();
        while let Some(at) = parent.iter().rposition(|&b| b == b'/') {
            parent = &parent[..at];
            if !self.directories.insert(parent.to_vec()) {
                break;
            }
        }
        self.files.insert(name);
    }
}

/// Lines as Go's scanner cuts them: a CR before the LF goes, everything else stays.
fn raw_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

/// A name relative to the root: no empty, `.` or `..` segments, no slash in front.
fn clean(name: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in name.split(|&b| b == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    segments.join(&b'/')
}
