//! What the user wrote about filters, before anything is read or compiled.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;

use super::FilterError;

/// Reads a file of rules or names; `-` is standard input.
pub type Reader<'a> = dyn FnMut(&[u8]) -> io::Result<Vec<u8>> + 'a;

/// The largest file of rules or names that is read, in bytes: a device or an endless pipe ends here.
const MAX_LIST: u64 = 1 << 30;

/// The values of the filter flags. Rules are kept as bytes, because names need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterOptions {
    /// `--include`.
    pub include: Vec<Vec<u8>>,
    /// `--include-from`: files.
    pub include_from: Vec<Vec<u8>>,
    /// `--exclude`.
    pub exclude: Vec<Vec<u8>>,
    /// `--exclude-from`: files.
    pub exclude_from: Vec<Vec<u8>>,
    /// `--filter`: rules `+ glob`, `- glob`, `!`.
    pub filter: Vec<Vec<u8>>,
    /// `--filter-from`: files.
    pub filter_from: Vec<Vec<u8>>,
    /// `--files-from`: files with trimmed lines and comments.
    pub files_from: Vec<Vec<u8>>,
    /// `--files-from-raw`: files with lines as they are.
    pub files_from_raw: Vec<Vec<u8>>,
    /// `--files-from0`: files with names that end in NUL.
    pub files_from0: Vec<Vec<u8>>,
    /// `--exclude-if-present`: names of files.
    pub exclude_if_present: Vec<Vec<u8>>,
    /// `--ignore-case`.
    pub ignore_case: bool,
    /// `--min-size` in bytes.
    pub min_size: Option<u64>,
    /// `--max-size` in bytes.
    pub max_size: Option<u64>,
    /// `--min-age` in nanoseconds.
    pub min_age: Option<i128>,
    /// `--max-age` in nanoseconds.
    pub max_age: Option<i128>,
}

impl FilterOptions {
    /// Whether nothing but lists of names is given. Size, age and markers count as rules, as in rclone.
    pub(super) fn only_names(&self) -> bool {
        let lists = [&self.include, &self.include_from, &self.exclude, &self.exclude_from, &self.filter];
        let rest = [&self.filter_from, &self.exclude_if_present];
        lists.iter().chain(&rest).all(|list| list.is_empty())
            && (self.min_size, self.max_size, self.min_age, self.max_age) == (None, None, None, None)
    }

    pub(super) fn mixes_include_and_exclude(&self) -> bool {
        let given = |a: &[Vec<u8>], b: &[Vec<u8>]| !a.is_empty() || !b.is_empty();
        given(&self.include, &self.include_from) && given(&self.exclude, &self.exclude_from)
    }
}

/// Reads `path`, or standard input for `-`.
///
/// # Errors
/// What the system says, or that the file is too large.
pub fn read_source(path: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let length = if path == b"-" {
        io::stdin().lock().take(MAX_LIST + 1).read_to_end(&mut out)?
    } else {
        std::fs::File::open(OsStr::from_bytes(path))?.take(MAX_LIST + 1).read_to_end(&mut out)?
    };
    if length as u64 > MAX_LIST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a list of filters may have 1 GiB at most"));
    }
    Ok(out)
}

pub(super) fn read_list(flag: &'static str, path: &[u8], read: &mut Reader<'_>) -> Result<Vec<u8>, FilterError> {
    read(path).map_err(|source| FilterError::File { flag, path: String::from_utf8_lossy(path).into_owned(), source })
}

/// The lines of a file of rules or names that mean something: trimmed, without comments and empty ones.
pub(super) fn meaningful_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b";"))
}
