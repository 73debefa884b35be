//! Which files and directories take part: rclone's filters (its `docs/content/filtering.md`, 1.75).
//!
//! [`FilterOptions`] holds what the user wrote. [`Filter::new`] turns it into ordered rules for files and for
//! directories: [`glob`] makes the expression that rclone prints, [`gosyntax`] makes of it what our engine matches. The
//! first rule that matches decides; no match means included. An excluded directory is never listed, a rule about files
//! alone never prunes.

mod glob;
mod gosyntax;
mod names;
pub mod options;
mod rules;

use std::borrow::Cow;

use thiserror::Error;
use volsync_common::time::Timestamp;

pub use options::FilterOptions;

use names::Names;
use rules::RuleSet;

use crate::standard::standard;

/// Why filters cannot be used. Nothing is transferred then: a filter that means something else deletes the wrong files.
#[derive(Debug, Error)]
pub enum FilterError {
    /// Three stars in a row have no meaning.
    #[error("too many stars in {0:?}")]
    TooManyStars(String),
    /// Brackets or braces do not pair.
    #[error("mismatched {what} in glob {glob:?}")]
    Mismatched {
        /// The characters that do not pair.
        what: &'static str,
        /// The glob, or the directory part of it that was looked at.
        glob: String,
    },
    /// A rule that begins with none of `+ `, `- `, `!`.
    #[error("malformed rule {0:?}")]
    MalformedRule(String),
    /// The expression of a glob is none, or is too large.
    #[error("bad glob pattern (regexp {regexp:?}): error parsing regexp: {why}")]
    BadExpression {
        /// The whole expression.
        regexp: String,
        /// What is wrong with it.
        why: String,
    },
    /// Lists of names exclude every other filter.
    #[error(
        "the usage of --files-from overrides all other filters, it should be used alone or with --files-from-raw or \
         --files-from0"
    )]
    NamesAndRules,
    /// Nothing could be both older and younger.
    #[error("filter: --min-age can't be larger than --max-age")]
    AgesCross,
    /// A file of rules or names cannot be read.
    #[error("--{flag}: open {path}: {source}")]
    File {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The compiled filters of a run.
#[derive(Debug, Default)]
pub struct Filter {
    rules: RuleSet,
    names: Option<Names>,
    min_size: Option<u64>,
    max_size: Option<u64>,
    min_age: Option<i128>,
    max_age: Option<i128>,
    markers: Vec<Vec<u8>>,
    include_and_exclude: bool,
}

impl Filter {
    /// Compiles the rules, reading the files that they name.
    ///
    /// # Errors
    /// The first rule that cannot be used, or the file that cannot be read.
    pub fn new(options: &FilterOptions) -> Result<Self, FilterError> {
        Self::with_reader(options, &mut options::read_source)
    }

    /// As [`Filter::new`] with files read through `read`.
    ///
    /// # Errors
    /// As [`Filter::new`].
    pub fn with_reader(options: &FilterOptions, read: &mut options::Reader<'_>) -> Result<Self, FilterError> {
        let names = Names::from_options(options, read)?;
        if names.is_some() && !options.only_names() {
            return Err(FilterError::NamesAndRules);
        }
        if matches!((options.min_age, options.max_age), (Some(min), Some(max)) if min > max) {
            return Err(FilterError::AgesCross);
        }
        Ok(Self {
            rules: RuleSet::from_options(options, read)?,
            names,
            min_size: options.min_size,
            max_size: options.max_size,
            min_age: options.min_age,
            max_age: options.max_age,
            markers: options.exclude_if_present.clone(),
            include_and_exclude: options.mixes_include_and_exclude(),
        })
    }

    /// Lets one file pass.
    pub fn only(path: &[u8]) -> Self {
        Self { names: Some(Names::only(path)), ..Self::default() }
    }

    /// Whether a file takes part. `path` is relative to the root of the sync; `now` is the time at which the run
    /// began, from which ages count.
    pub fn include_file(&self, path: &[u8], size: u64, mtime: Timestamp, now: Timestamp) -> bool {
        self.include_name(path) && (self.names.is_some() || (self.size_fits(size) && self.age_fits(mtime, now)))
    }

    /// Whether the name of a file lets it take part, whatever its size and time.
    pub fn include_name(&self, path: &[u8]) -> bool {
        match &self.names {
            Some(names) => names.has_file(path),
            None => self.rules.files.includes(&as_go_sees(&standard(path))),
        }
    }

    /// Whether a directory is walked at all. `path` has no slash at its end; the root is always walked.
    pub fn include_directory(&self, path: &[u8]) -> bool {
        match &self.names {
            _ if path.is_empty() => true,
            Some(names) => names.has_directory(path),
            None => {
                let mut path = as_go_sees(&standard(path)).into_owned();
                path.push('/');
                self.rules.directories.includes(&path)
            }
        }
    }

    /// Whether a directory is left out because of a file in it (`--exclude-if-present`).
    pub fn excluded_by_marker<'a>(&self, mut files: impl Iterator<Item = &'a [u8]>) -> bool {
        !self.markers.is_empty() && files.any(|name| self.markers.iter().any(|marker| marker == name))
    }

    /// Whether [`Filter::excluded_by_marker`] can ever say yes.
    pub fn has_markers(&self) -> bool {
        !self.markers.is_empty()
    }

    /// The names of the files whose presence leaves out a directory.
    pub fn markers(&self) -> &[Vec<u8>] {
        &self.markers
    }

    /// Whether the age of a file matters.
    pub fn looks_at_times(&self) -> bool {
        self.min_age.is_some() || self.max_age.is_some()
    }

    /// Whether everything takes part.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
            && self.names.is_none()
            && self.markers.is_empty()
            && (self.min_size, self.max_size, self.min_age, self.max_age) == (None, None, None, None)
    }

    /// Whether include and exclude flags were mixed, whose order rclone calls indeterminate and warns about.
    pub fn mixes_include_and_exclude(&self) -> bool {
        self.include_and_exclude
    }

    /// The rules as `rclone --dump filters` prints them.
    pub fn dump(&self) -> String {
        let mut out = String::from("--- File filter rules ---\n");
        self.rules.files.dump(&mut out);
        out.push_str("--- Directory filter rules ---\n");
        self.rules.directories.dump(&mut out);
        out
    }

    fn size_fits(&self, size: u64) -> bool {
        self.min_size.is_none_or(|min| size >= min) && self.max_size.is_none_or(|max| size <= max)
    }

    fn age_fits(&self, mtime: Timestamp, now: Timestamp) -> bool {
        let age = now.as_nanos() - mtime.as_nanos();
        self.min_age.is_none_or(|min| age >= min) && self.max_age.is_none_or(|max| age <= max)
    }
}

/// A path as Go's engine sees it: each byte that is not UTF-8 is one U+FFFD, so that `?` and `.` match it.
fn as_go_sees(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(std::iter::repeat_n('\u{FFFD}', chunk.invalid().len()));
    }
    Cow::Owned(out)
}

/// Takes any bytes as one rule and the rest as a path: nothing may panic or run away.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let (rule, path) = data.split_at(data.iter().position(|&b| b == 0).unwrap_or(data.len()));
    for options in [
        FilterOptions { filter: vec![rule.to_vec()], ..FilterOptions::default() },
        FilterOptions { include: vec![rule.to_vec()], ignore_case: true, ..FilterOptions::default() },
        FilterOptions { exclude: vec![rule.to_vec()], ..FilterOptions::default() },
    ] {
        if let Ok(filter) = Filter::new(&options) {
            filter.include_name(path);
            filter.include_directory(path);
            filter.dump();
        }
    }
}

#[cfg(test)]
mod tests;
