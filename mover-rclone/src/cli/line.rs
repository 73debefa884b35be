//! Which sub-command a command line names, wherever its flags stand.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use super::command::{Command, find};
use super::failure::Failure;
use crate::flags::table;

/// A command line taken apart, flags not yet read.
#[derive(Debug)]
pub struct Line {
    /// The sub-command; without one the program explains itself.
    pub command: Option<&'static Command>,
    /// The other words and all flags, in order.
    pub rest: Vec<OsString>,
    /// `--help` or `-h` stands somewhere.
    pub help: bool,
    /// `--version` or `-V` stands somewhere.
    pub version: bool,
}

impl Line {
    /// Takes `args` (without the program's name) apart.
    ///
    /// # Errors
    /// The first word is no sub-command.
    pub fn parse(args: &[OsString]) -> Result<Self, Failure> {
        let Some(at) = classes(args, "").iter().position(|class| *class == Class::Word) else {
            return Ok(Self::new(None, args.to_vec()));
        };
        let name = args[at].to_string_lossy();
        let command = find(&name).ok_or_else(|| Failure::NoCommand(name.into_owned()))?;
        let others = args.iter().enumerate().filter(|(n, _)| *n != at);
        Ok(Self::new(Some(command), others.map(|(_, arg)| arg.clone()).collect()))
    }

    fn new(command: Option<&'static Command>, rest: Vec<OsString>) -> Self {
        let classes = classes(&rest, command.map_or("", |command| command.name));
        let flags = || rest.iter().zip(&classes).filter(|(_, class)| **class == Class::Flag).map(|(arg, _)| arg);
        let asks = |short: &str, long: &str| flags().any(|flag| flag == short || flag == long);
        let (help, version) = (asks("-h", "--help"), asks("-V", "--version"));
        Self { command, rest, help, version }
    }
}

/// What one argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Word,
    Flag,
    /// It belongs to the flag before it.
    Value,
    /// `--`: whatever follows is a word.
    End,
}

fn classes(args: &[OsString], command: &str) -> Vec<Class> {
    let (mut value, mut ended) = (false, false);
    let class = |arg: &OsString| match arg.as_bytes() {
        _ if ended => Class::Word,
        _ if std::mem::take(&mut value) => Class::Value,
        b"--" => {
            ended = true;
            Class::End
        }
        [b'-', b'-', long @ ..] => {
            value = long_takes_next(long);
            Class::Flag
        }
        [b'-', letters @ ..] if !letters.is_empty() => {
            value = short_takes_next(letters, command);
            Class::Flag
        }
        _ => Class::Word,
    };
    args.iter().map(class).collect()
}

fn long_takes_next(text: &[u8]) -> bool {
    let name = std::str::from_utf8(text).unwrap_or_default();
    table::find_any(name).is_some_and(|flag| !flag.is_switch())
}

/// The last of several letters may take the next word, unless its value is attached.
fn short_takes_next(letters: &[u8], command: &str) -> bool {
    for (at, letter) in letters.iter().enumerate() {
        match table::find_short(char::from(*letter), command) {
            Some(flag) if flag.is_switch() => {}
            Some(_) => return at + 1 == letters.len(),
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let args: Vec<OsString> = text.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        Line::parse(&args).unwrap()
    }

    #[test]
    fn flags_may_stand_before_the_sub_command() {
        let cases = [
            ("ls r:", "ls", "r:"),
            ("--config x.conf ls r:", "ls", "--config x.conf r:"),
            ("--config=x.conf -v ls r:", "ls", "--config=x.conf -v r:"),
            ("-vvn sync a b", "sync", "-vvn a b"),
            ("-f ls sync a b", "sync", "-f ls a b"),
            ("-vfls sync a b", "sync", "-vfls a b"),
            ("-- sync a -x", "sync", "-- a -x"),
        ];
        for (text, command, rest) in cases {
            let line = line(text);
            let words: Vec<_> = line.rest.iter().map(|word| word.to_string_lossy()).collect();
            assert_eq!((line.command.unwrap().name, words.join(" ").as_str()), (command, rest));
            assert!(!line.help && !line.version);
        }
    }

    #[test]
    fn help_is_asked_for_anywhere_but_in_a_value() {
        for text in ["-h", "--help", "sync --help", "--help sync", "sync a b -h"] {
            assert!(line(text).help, "{text}");
        }
        for text in ["sync --include --help a b", "sync -f -h a", "sync -- --help", "sync --include=-h"] {
            assert!(!line(text).help, "{text}");
        }
        assert!(line("--version").version && line("-V").version);
        assert!(line("").command.is_none());
    }

    #[test]
    fn another_word_is_no_sub_command() {
        let error = Line::parse(&["snyc".into(), "a".into()]).unwrap_err();
        assert_eq!(error.to_string(), "unknown command \"snyc\" for \"mover-rclone\"; did you mean sync?");
    }
}
