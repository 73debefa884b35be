//! Help and completion, made from the tables of sub-commands and flags.

use std::fmt::Write as _;

use clap::{Arg, ArgAction};
use clap_complete::Shell;

use super::Failure;
use super::command::{COMMANDS, Command, find};
use crate::flags::table::{self, Disposition, Flag};
use crate::flags::{self, switches};

const PROGRAM: &str = "mover-rclone";
const WIDTH: usize = 110;

const ENVIRONMENT: &str = "\
Every flag --a-b can be given as the variable RCLONE_A_B; the command line wins. Under the VolSync operator these are keys
of the Secret: it hands on those that begin with RCLONE_.

  RCLONE_CONFIG              path of rclone.conf
  RCLONE_CONFIG_PASS         password of an encrypted rclone.conf
  RCLONE_CONFIG_NAME_KEY     option KEY of the remote NAME, e.g. RCLONE_CONFIG_S3_TYPE
  RCLONE_S3_OPTION           an option of every s3 remote, e.g. RCLONE_S3_CHUNK_SIZE
  CUSTOM_CA                  file of CA certificates to trust instead of the system's, as --ca-cert
  HTTP_PROXY, HTTPS_PROXY, NO_PROXY
                             proxies, also in lower case
  AWS_*                      credentials, for remotes with env_auth = true

Set by the operator; with them and without arguments the program is the mover of a Job:

  DIRECTION                  source or destination
  RCLONE_CONFIG_SECTION, RCLONE_DEST_PATH
                             the remote and the path on it
  MOUNT_PATH                 the volume, /data unless set
  PRIVILEGED_MOVER           0 or 1
  DEBUG_MOVER                1: wait for somebody to look around instead of moving data
";

const EXIT_CODES: &str = "\
    0  all that was asked is done
    1  a failure without a code of its own: configuration, files that could not be copied, differences found by check
    2  the command line is wrong
    3  the source directory or bucket does not exist
    5  a temporary failure, retries used up: another run may succeed
    6  only failures that no retry mends
    7  a limit ended the run (--max-delete)
    8  --max-transfer was reached
    9  nothing was transferred, with --error-on-no-transfer
   10  --max-duration was reached
  143  ended by SIGTERM or SIGINT; the next run continues
";

/// What the program says of itself.
pub fn overview() -> String {
    let mut out = String::from(
        "Syncs volumes to and from object stores, as VolSync's rclone mover and interchangeable with rclone.\n\n\
         Usage: mover-rclone COMMAND [FLAGS] [ARGUMENTS]\n\nCommands:\n",
    );
    for command in COMMANDS {
        let _ = writeln!(out, "  {:<12} {}", command.name, command.about);
    }
    out.push_str(
        "\nArguments are directories or REMOTE:PATH, where REMOTE is a section of rclone.conf and PATH is BUCKET/PREFIX.\n\n\
         Examples:\n\
         \x20 mover-rclone push /data s3:backups/db      store a volume\n\
         \x20 mover-rclone pull s3:backups/db /data      restore it\n\
         \x20 mover-rclone ls s3:backups/db              what is stored?\n\
         \x20 mover-rclone config check                  can every remote be used?\n\n\
         See mover-rclone help COMMAND, and help flags, help environment, help exit-codes.\n",
    );
    out
}

/// Help on one sub-command.
pub fn of_command(command: &Command) -> String {
    let mut out = format!("{}\n\nUsage: {PROGRAM} {}\n\n{}\n", command.about, command.synopsis(), command.text);
    if !command.examples.is_empty() {
        out.push_str("\nExamples:\n");
    }
    for (line, meaning) in command.examples {
        let _ = writeln!(out, "  {PROGRAM} {line}\n      {meaning}");
    }
    let mut clap =
        clap::Command::new(command.name).help_template("{all-args}").term_width(WIDTH).disable_help_flag(true);
    for flag in flags_of(command).into_iter().filter(|flag| is_usual(command, flag)) {
        clap = clap.arg(argument(flag));
    }
    let _ = write!(out, "\n{}\n\nAll flags: {PROGRAM} help flags\n", clap.render_help().to_string().trim_end());
    out
}

/// What `help` prints.
///
/// # Errors
/// No such topic.
pub fn topic(words: &[String]) -> Result<String, Failure> {
    match words.first().map(String::as_str) {
        None => Ok(overview()),
        Some("flags") => Ok(all_flags()),
        Some("environment") => Ok(ENVIRONMENT.to_owned()),
        Some("exit-codes") => Ok(EXIT_CODES.to_owned()),
        Some(name) => find(name).map(of_command).ok_or_else(|| Failure::NoCommand(name.to_owned())),
    }
}

/// What `completion` prints.
///
/// # Errors
/// No such shell.
pub fn completion(words: &[String]) -> Result<String, Failure> {
    let shell = match words.first().map(String::as_str) {
        Some("bash") => Shell::Bash,
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        _ => return Err(Failure::Usage("completion knows bash, zsh and fish".to_owned())),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program(), PROGRAM, &mut script);
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// Every flag with an effect, by group.
fn all_flags() -> String {
    let mut out = String::from("Every flag --a-b can also be given as the variable RCLONE_A_B.\n");
    let mut group = "";
    for flag in table::all().iter().filter(|flag| flag.disposition == Disposition::Implemented) {
        if flag.group != group {
            group = flag.group;
            let whose = if flag.commands.is_empty() { String::new() } else { format!(" ({})", flag.commands) };
            let _ = write!(out, "\n{group}{whose}:\n");
        }
        let default = if has_default(flag) { format!(" [{}]", flag.default) } else { String::new() };
        let _ = writeln!(out, "  {:<42} {}{default}", flags::spelled(flag), flag.help);
    }
    out
}

/// Whether what happens without the flag is worth a word. How many transfers there are is found out here.
fn has_default(flag: &Flag) -> bool {
    flag.name != "transfers" && !matches!(flag.default, "" | "false" | "0" | "off" | "unset")
}

/// The flags of a sub-command that have an effect, each name once.
fn flags_of(command: &Command) -> Vec<&'static Flag> {
    let own = |flag: &Flag| table::find(flag.name, command.name).is_some_and(|found| std::ptr::eq(found, flag));
    table::all().iter().filter(|flag| flag.disposition == Disposition::Implemented && own(flag)).collect()
}

/// The flags that help on a sub-command names: its own and the few that everybody needs.
fn is_usual(command: &Command, flag: &Flag) -> bool {
    let moves = matches!(command.name, "push" | "pull" | "sync" | "copy" | "check");
    let switch = flag.name.starts_with(switches::PREFIX) && matches!(command.name, "push" | "pull");
    let common = ["verbose", "config"].contains(&flag.name);
    let usual = ["dry-run", "checksum", "transfers", "bwlimit", "include", "exclude", "progress", "stats"];
    let lists = command.name == "ls" && ["include", "exclude", "max-depth", "human-readable"].contains(&flag.name);
    !flag.commands.is_empty() || switch || common || lists || (moves && usual.contains(&flag.name))
}

fn argument(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).help(flag.help).help_heading(flag.group);
    let arg = match flag.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    if flag.is_switch() {
        return arg.action(ArgAction::SetTrue);
    }
    let arg = arg.value_name(flag.kind).action(ArgAction::Set);
    if has_default(flag) { arg.default_value(flag.default) } else { arg }
}

/// The whole program for the generators of completion scripts.
fn program() -> clap::Command {
    let commands = COMMANDS.iter().map(|command| {
        let base =
            clap::Command::new(command.name).about(command.about).args(flags_of(command).into_iter().map(argument));
        match choices(command) {
            [] => {
                base.arg(Arg::new("arguments").num_args(command.arguments.clone()).value_hint(clap::ValueHint::AnyPath))
            }
            choices => base.arg(Arg::new("choice").value_parser(choices.to_vec())),
        }
    });
    clap::Command::new(PROGRAM).disable_help_subcommand(true).subcommands(commands)
}

/// The words that a sub-command takes, where they are few.
fn choices(command: &Command) -> &'static [&'static str] {
    match command.name {
        "config" => &["dump", "show", "redacted", "file", "check"],
        "completion" => &["bash", "zsh", "fish"],
        "help" => &[
            "push",
            "pull",
            "sync",
            "copy",
            "check",
            "ls",
            "config",
            "listremotes",
            "version",
            "completion",
            "flags",
            "environment",
            "exit-codes",
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_worth_reading() {
        insta::assert_snapshot!("overview", overview());
        insta::assert_snapshot!("push", of_command(find("push").unwrap()));
        insta::assert_snapshot!("listremotes", of_command(find("listremotes").unwrap()));
    }

    #[test]
    fn every_command_and_topic_has_its_help() {
        let topics = COMMANDS.iter().map(|command| command.name).chain(["flags", "environment", "exit-codes"]);
        for name in topics {
            let text = topic(&[name.to_owned()]).unwrap();
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= 125, "help {name} has a line of {longest}");
        }
        assert!(topic(&["snyc".to_owned()]).is_err());
    }

    #[test]
    fn choices_are_the_commands_themselves() {
        let help = find("help").unwrap();
        assert!(COMMANDS.iter().all(|command| command.name == "help" || choices(help).contains(&command.name)));
    }

    /// What clap itself checks of a command, in builds with debug assertions only.
    #[test]
    fn no_two_flags_of_a_command_share_a_name() {
        for command in COMMANDS {
            let flags = flags_of(command);
            let names: std::collections::BTreeSet<_> = flags.iter().map(|flag| flag.name).collect();
            let letters: std::collections::BTreeSet<_> = flags.iter().filter_map(|flag| flag.short).collect();
            assert_eq!(names.len(), flags.len(), "{}", command.name);
            assert_eq!(letters.len(), flags.iter().filter(|flag| flag.short.is_some()).count(), "{}", command.name);
        }
    }
}
