//! Every flag of rclone 1.75 and what becomes of it here. The texts beside this file are the table; tests compare them
//! with what the real rclone prints.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Has rclone's effect.
    Implemented,
    /// Accepted without effect, and why that changes nothing that matters.
    Harmless(&'static str),
    /// An error when it is set, with the way to go instead.
    Refused(&'static str),
}

/// One flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The long name without dashes.
    pub name: &'static str,
    /// The letter of its short form.
    pub short: Option<char>,
    /// rclone's word for the type: `bool`, `int`, `SizeSuffix`, `stringArray` ...
    pub kind: &'static str,
    /// The value when it is not set.
    pub default: &'static str,
    /// Under which heading help lists it.
    pub group: &'static str,
    /// The sub-commands that have it; empty for all.
    pub commands: &'static str,
    /// What becomes of it.
    pub disposition: Disposition,
    /// A few words.
    pub help: &'static str,
}

const OWN: &str = include_str!("own.txt");
const FOREIGN: &str = include_str!("foreign.txt");
/// The heading of flags of backends that we lack.
pub const OTHER_BACKENDS: &str = "Other backends";

static TABLE: LazyLock<Vec<Flag>> = LazyLock::new(|| own(OWN).chain(foreign(FOREIGN)).collect());
static BY_NAME: LazyLock<HashMap<&'static str, Vec<&'static Flag>>> = LazyLock::new(|| {
    let mut index: HashMap<_, Vec<_>> = HashMap::new();
    for flag in all() {
        index.entry(flag.name).or_default().push(flag);
    }
    index
});

/// Every flag, in the order of help.
pub fn all() -> &'static [Flag] {
    &TABLE
}

/// The flag of this name for a sub-command.
pub fn find(name: &str, command: &str) -> Option<&'static Flag> {
    let flags = BY_NAME.get(name)?;
    let own = flags.iter().find(|flag| !flag.commands.is_empty() && flag.belongs_to(command));
    own.or_else(|| flags.iter().find(|flag| flag.commands.is_empty())).copied()
}

/// Some flag of this name; types and defaults of one name are the same wherever its value is read.
pub fn find_any(name: &str) -> Option<&'static Flag> {
    BY_NAME.get(name)?.first().copied()
}

/// Whether any sub-command has a flag of this name.
pub fn exists(name: &str) -> bool {
    BY_NAME.contains_key(name)
}

/// The flag with this letter for a sub-command.
pub fn find_short(letter: char, command: &str) -> Option<&'static Flag> {
    all().iter().find(|flag| flag.short == Some(letter) && flag.belongs_to(command))
}

impl Flag {
    /// Whether a sub-command has the flag.
    pub fn belongs_to(&self, command: &str) -> bool {
        self.commands.is_empty() || self.commands.split(' ').any(|own| own == command)
    }

    /// Whether it may be given more than once, each time adding a value.
    pub fn is_list(&self) -> bool {
        self.kind == "stringArray"
    }

    /// Whether it is one of rclone's main flags (its `fs/config.go`), which sections can set too.
    pub fn is_main(&self) -> bool {
        const GROUPS: [&str; 10] = [
            "Important",
            "Copy",
            "Sync",
            "Networking",
            "Performance",
            "Config",
            "Debugging",
            "Listing",
            "Logging",
            "Metadata",
        ];
        GROUPS.contains(&self.group)
    }

    /// Whether it stands without a value on the command line.
    pub fn is_switch(&self) -> bool {
        matches!(self.kind, "bool" | "count")
    }
}

fn own(text: &'static str) -> impl Iterator<Item = Flag> {
    let (mut group, mut commands) = ("", "");
    text.lines().filter_map(move |line| {
        if let Some(heading) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            (group, commands) = heading.split_once(": ").unwrap_or((heading, ""));
            return None;
        }
        own_line(line, group, commands)
    })
}

fn own_line(line: &'static str, group: &'static str, commands: &'static str) -> Option<Flag> {
    let mut fields = line.split(" | ").map(|field| if field == "-" { "" } else { field });
    let (name, short, kind, default) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (disposition, help) = (disposition(fields.next()?)?, fields.next()?);
    Some(Flag { name, short: short.chars().next(), kind, default, group, commands, disposition, help })
}

fn disposition(text: &'static str) -> Option<Disposition> {
    match text.split_once(": ") {
        None => (text == "implemented").then_some(Disposition::Implemented),
        Some(("harmless", why)) => Some(Disposition::Harmless(why)),
        Some(("refused", why)) => Some(Disposition::Refused(why)),
        Some(_) => None,
    }
}

fn foreign(text: &'static str) -> impl Iterator<Item = Flag> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.splitn(3, ' ');
        Some(Flag {
            name: fields.next()?,
            short: None,
            kind: fields.next()?,
            default: fields.next().unwrap_or(""),
            group: OTHER_BACKENDS,
            commands: "",
            disposition: Disposition::Harmless("that backend is not used here"),
            help: "option of a backend that is not used here",
        })
    })
}

/// `docs/flags.md`: every flag with its variable, default and disposition.
pub fn page() -> String {
    let mut out = String::from(
        "# Flags\n\nEvery flag of rclone 1.75, and what becomes of it here. `--a-b` can also be given as the variable \
         `RCLONE_A_B`. This page is generated from the table in `mover-rclone/src/flags`.\n",
    );
    let mut group = "";
    for flag in all() {
        if flag.group != group {
            group = flag.group;
            let whose = if flag.commands.is_empty() { String::new() } else { format!(" ({})", flag.commands) };
            out.extend(["\n## ", group, &whose, "\n\n| flag | default | here | meaning |\n|---|---|---|---|\n"]);
        }
        out.push_str(&page_row(flag));
    }
    out
}

fn page_row(flag: &Flag) -> String {
    let short = flag.short.map(|letter| format!("`-{letter}` ")).unwrap_or_default();
    let here = match flag.disposition {
        Disposition::Implemented => "implemented".to_owned(),
        Disposition::Harmless(why) => format!("no effect: {why}"),
        Disposition::Refused(why) => format!("refused: {why}"),
    };
    let default = if flag.default.is_empty() { String::new() } else { format!("`{}`", flag.default) };
    format!("| {short}`--{}` | {} | {here} | {} |\n", flag.name, default.replace('|', "\\|"), flag.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_flag() {
        let lines = |text: &str| text.lines().filter(|l| !l.is_empty() && !l.starts_with(['#', '['])).count();
        assert_eq!(own(OWN).count(), lines(OWN));
        assert_eq!(foreign(FOREIGN).count(), lines(FOREIGN));
        assert!(all().len() > 1100);
    }

    #[test]
    fn a_subcommand_sees_its_own_flags_only() {
        assert!(find("create-empty-src-dirs", "sync").is_some());
        assert!(find("create-empty-src-dirs", "ls").is_none());
        assert_eq!(find("order-by", "listremotes").map(|f| f.group), Some("Listing remotes"));
        assert_eq!(find_short('c', "sync").map(|f| f.name), Some("checksum"));
    }

    /// Set `UPDATE_DOCS=1` to write the page anew.
    #[test]
    fn the_page_of_flags_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/flags.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
            std::fs::write(path, page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == page(),
            "run the tests with UPDATE_DOCS=1 and commit docs/flags.md"
        );
    }
}
