//! What people see: everything on standard output, in colour where that is wanted. With `--json` only the document.

use std::io::{self, Write as _};

use anstyle::Style;
use volsync_common::report::{on_terminal, units};

use crate::mover::Step;

/// Bold text.
pub(crate) const BOLD: Style = Style::new().bold();
/// Headings and asides.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What went well.
pub(crate) const GOOD: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(anstyle::AnsiColor::Green)));
/// What did not.
pub(crate) const BAD: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(anstyle::AnsiColor::Red)));

/// Standard output for people, or nothing of it.
pub(crate) struct Screen {
    quiet: bool,
}

impl Screen {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Prints a paragraph. That nobody reads it is no failure.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            let _nobody_reads = writeln!(anstream::stdout(), "{text}");
        }
    }

    /// Prints the first line.
    pub(crate) fn headline(&self, text: &str) {
        self.say(&format!("{BOLD}{text}{BOLD:#}"));
    }

    /// Prints the document that `--json` asks for.
    #[expect(clippy::unused_self, reason = "all output goes through here")]
    pub(crate) fn document(&self, text: &str) {
        let _nobody_reads = writeln!(io::stdout(), "{text}");
    }

    /// Tells something under a name.
    pub(crate) fn tell(&self, name: &str, text: &str) {
        self.say(&format!("{DIM}{name:<8}{DIM:#} {text}"));
    }

    /// Tells of a step, and how it went where the mover does not: on a terminal it shows bars, then a line.
    pub(crate) fn step(&self, what: &str, run: impl FnOnce() -> anyhow::Result<Step>) -> anyhow::Result<Step> {
        let (name, how) = what.split_once(' ').unwrap_or((what, ""));
        self.tell(name, how);
        let step = run()?;
        let moved = match step.transferred {
            0 => "nothing to transfer".to_owned(),
            files => format!("{}, {}", units::counted(files, "file"), units::bytes(step.bytes)),
        };
        if !on_terminal() {
            self.tell("", &format!("{moved} in {:.2} s", step.seconds));
        }
        Ok(step)
    }
}
