//! Ordered rules for files and for directories.

use regex::{Regex, RegexBuilder};

use super::options::{FilterOptions, Reader, meaningful_lines, read_list};
use super::{FilterError, as_go_sees, glob, gosyntax};

/// Memory of one compiled rule, in bytes. Globs need kilobytes; `{{(a{1000}){1000}}}` would need gigabytes.
const RULE_SIZE: usize = 1 << 20;
/// Nesting of one rule's expression.
const RULE_NESTING: u32 = 160;
/// Includes everything below the root; the end of every set of include rules is its opposite.
const EVERYTHING: &str = "/**";

/// Rules in order; the first that matches decides.
#[derive(Debug, Default)]
pub(super) struct Chain(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    include: bool,
    /// The expression in Go's syntax, as rclone prints it.
    text: String,
    matcher: Regex,
}

impl Chain {
    pub(super) fn includes(&self, path: &str) -> bool {
        self.0.iter().find(|rule| rule.matcher.is_match(path)).is_none_or(|rule| rule.include)
    }

    pub(super) fn dump(&self, out: &mut String) {
        for rule in &self.0 {
            out.push_str(if rule.include { "+ " } else { "- " });
            out.push_str(&rule.text);
            out.push('\n');
        }
    }

    /// Appends a rule unless the very same is there already.
    fn add(&mut self, include: bool, text: &str) -> Result<(), FilterError> {
        if !self.0.iter().any(|rule| rule.include == include && rule.text == text) {
            self.0.push(Rule { include, text: text.to_owned(), matcher: compile(text)? });
        }
        Ok(())
    }
}

fn compile(text: &str) -> Result<Regex, FilterError> {
    let built = RegexBuilder::new(&gosyntax::to_rust(text)?)
        .size_limit(RULE_SIZE)
        .dfa_size_limit(RULE_SIZE)
        .nest_limit(RULE_NESTING)
        .build();
    built.map_err(|e| FilterError::BadExpression { regexp: text.to_owned(), why: e.to_string() })
}

/// The rules of a run.
#[derive(Debug, Default)]
pub(super) struct RuleSet {
    pub(super) files: Chain,
    pub(super) directories: Chain,
    ignore_case: bool,
}

impl RuleSet {
    /// Collects in rclone's order, whatever the order on the command line: include, exclude, filter, each followed by
    /// its files; with any include, everything else is excluded at the end.
    pub(super) fn from_options(options: &FilterOptions, read: &mut Reader<'_>) -> Result<Self, FilterError> {
        let mut set = Self { ignore_case: options.ignore_case, ..Self::default() };
        for glob in &options.include {
            set.add(true, glob)?;
        }
        for_each_line("include-from", &options.include_from, read, |glob| set.add(true, glob))?;
        for glob in &options.exclude {
            set.add(false, glob)?;
        }
        for_each_line("exclude-from", &options.exclude_from, read, |glob| set.add(false, glob))?;
        for rule in &options.filter {
            set.add_rule(rule)?;
        }
        for_each_line("filter-from", &options.filter_from, read, |rule| set.add_rule(rule))?;
        if !options.include.is_empty() || !options.include_from.is_empty() {
            set.add(false, EVERYTHING.as_bytes())?;
        }
        Ok(set)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.0.is_empty() && self.directories.0.is_empty()
    }

    /// One line in the syntax of `--filter`.
    fn add_rule(&mut self, rule: &[u8]) -> Result<(), FilterError> {
        match rule {
            b"!" => {
                self.files.0.clear();
                self.directories.0.clear();
                Ok(())
            }
            [b'+', b' ', glob @ ..] => self.add(true, glob),
            [b'-', b' ', glob @ ..] => self.add(false, glob),
            _ => Err(FilterError::MalformedRule(String::from_utf8_lossy(rule).into_owned())),
        }
    }

    fn add(&mut self, include: bool, glob: &[u8]) -> Result<(), FilterError> {
        if glob.is_empty() {
            return Ok(());
        }
        let mut glob = as_go_sees(glob).into_owned();
        if glob.ends_with('/') && !include {
            glob.push_str("**");
        }
        let spans = glob.contains("**");
        let directory = spans || glob.ends_with('/');
        let file = spans || !directory;
        let text = self.expression(&glob)?;
        if file {
            self.files.add(include, &text)?;
            // An excluded file says nothing of its directory, except where all files are excluded.
            if include || glob == "*" {
                self.add_directories(include, &glob)?;
            }
        }
        if directory { self.directories.add(include, &text) } else { Ok(()) }
    }

    fn add_directories(&mut self, include: bool, glob: &str) -> Result<(), FilterError> {
        for directory in glob::directory_globs(glob) {
            // The root is always walked.
            if directory != "/" {
                let text = self.expression(&directory)?;
                self.directories.add(include, &text)?;
            }
        }
        Ok(())
    }

    fn expression(&self, glob: &str) -> Result<String, FilterError> {
        glob::path_to_regexp(glob, self.ignore_case)
    }
}

fn for_each_line(
    flag: &'static str,
    paths: &[Vec<u8>],
    read: &mut Reader<'_>,
    mut add: impl FnMut(&[u8]) -> Result<(), FilterError>,
) -> Result<(), FilterError> {
    for path in paths {
        let text = read_list(flag, path, read)?;
        meaningful_lines(&text).try_for_each(&mut add)?;
    }
    Ok(())
}
