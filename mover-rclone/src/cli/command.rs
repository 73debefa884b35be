//! The sub-commands as data: what help, completion and the dispatcher know of each.

use std::ops::RangeInclusive;

use crate::sync::Goal;

/// What a sub-command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes one place equal to another.
    Move(Goal),
    /// Lists objects.
    List,
    /// Shows or checks the configuration.
    Config,
    /// Lists remotes.
    ListRemotes,
    /// Says which version this is.
    Version,
    /// Prints a completion script.
    Completion,
    /// Explains.
    Help,
}

/// One sub-command.
#[derive(Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its arguments as help writes them.
    pub usage: &'static str,
    /// How many arguments it takes.
    pub arguments: RangeInclusive<usize>,
    /// What it does.
    pub action: Action,
    /// One line.
    pub about: &'static str,
    /// What a user should know.
    pub text: &'static str,
    /// Command lines after the program's name, with what they do.
    pub examples: &'static [(&'static str, &'static str)],
}

/// Every sub-command, in the order of help.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "push",
        usage: "DIR REMOTE:PATH",
        arguments: 2..=2,
        action: Action::Move(Goal::Volume),
        about: "Store a volume in a bucket, as VolSync's source mover does",
        text: "\
Makes REMOTE:PATH equal to the directory DIR and stores owners, modes and ACLs beside it in permissions.facl. Files that
are equal by size and checksum stay where they are. DIR/lost+found takes no part. Nothing is deleted before everything
else has succeeded, and an empty DIR does not empty a prefix that holds a volume. As in VolSync --checksum,
--one-file-system and --create-empty-src-dirs are given unless the command line says =false.

The result can be restored by `pull`, by VolSync's own mover, and read by rclone. It does not depend on the name of DIR.",
        examples: &[
            ("push /data s3:backups/db", "store /data below backups/db of the remote [s3]"),
            ("push --dry-run /data s3:backups/db", "show what would be done"),
        ],
    },
    Command {
        name: "pull",
        usage: "REMOTE:PATH DIR",
        arguments: 2..=2,
        action: Action::Move(Goal::Volume),
        about: "Restore a volume from a bucket, as VolSync's destination mover does",
        text: "\
Makes the directory DIR equal to what `push` or VolSync's source mover stored below REMOTE:PATH, with owners, modes and
ACLs as far as this user may set them. A prefix without permissions.facl is refused: it holds no volume, and restoring it
would delete what DIR has.",
        examples: &[
            ("pull s3:backups/db /data", "make /data equal to the stored volume"),
            ("pull --dry-run s3:backups/db /data", "show what would be done"),
        ],
    },
    Command {
        name: "sync",
        usage: "SOURCE DESTINATION",
        arguments: 2..=2,
        action: Action::Move(Goal::Sync),
        about: "Make a destination equal to a source",
        text: "\
Copies what is missing or different to DESTINATION and deletes there what SOURCE does not have. Either may be a directory
or REMOTE:PATH. Files are compared by size and time, or by size and checksum with --checksum.",
        examples: &[
            ("sync /srv/photos s3:photos", "upload, deleting what is gone"),
            ("sync --checksum s3:photos /srv/photos", "download what differs by checksum"),
        ],
    },
    Command {
        name: "copy",
        usage: "SOURCE DESTINATION",
        arguments: 2..=2,
        action: Action::Move(Goal::Copy),
        about: "Copy what is missing or different, deleting nothing",
        text: "\
Copies what is missing or different from SOURCE to DESTINATION and deletes nothing. Either may be a directory or
REMOTE:PATH.",
        examples: &[("copy --include '*.sql' /dumps s3:dumps", "upload the dumps")],
    },
    Command {
        name: "check",
        usage: "SOURCE DESTINATION",
        arguments: 2..=2,
        action: Action::Move(Goal::Check),
        about: "Compare two places and change nothing",
        text: "\
Compares sizes and checksums of the files in SOURCE and DESTINATION and names every difference. Exits with 1 if there is
one.",
        examples: &[
            ("check --exclude /permissions.facl /data s3:backups/db", "is the stored volume up to date?"),
            ("check --one-way --download /data s3:backups/db", "compare bytes; more files in the bucket are fine"),
        ],
    },
    Command {
        name: "ls",
        usage: "REMOTE:PATH",
        arguments: 1..=1,
        action: Action::List,
        about: "List objects with size and path",
        text: "Prints the size in bytes and the path of every object below REMOTE:PATH that the filters let pass.",
        examples: &[("ls s3:backups/db", "what is stored?"), ("ls --include '*.gz' s3:backups", "only some")],
    },
    Command {
        name: "config",
        usage: "dump|show|redacted|file|check [NAME]",
        arguments: 1..=2,
        action: Action::Config,
        about: "Show or check the configuration",
        text: "\
  dump             everything as JSON, passwords included
  show [NAME]      the file, or one remote, passwords included
  redacted [NAME]  the same without what is secret
  file             where the configuration is read from
  check [NAME]     open every remote, or one, without sending a request, and say what would be used

The configuration is $RCLONE_CONFIG, or --config, or rclone.conf in the usual places of rclone. Remotes can also come from
variables RCLONE_CONFIG_NAME_TYPE and so on.",
        examples: &[("config check", "can every remote be used?"), ("config redacted s3", "something to paste in a report")],
    },
    Command {
        name: "listremotes",
        usage: "",
        arguments: 0..=0,
        action: Action::ListRemotes,
        about: "List the remotes of the configuration and of the environment",
        text: "Prints one remote a line, with a colon after its name.",
        examples: &[("listremotes --long", "with types")],
    },
    Command {
        name: "version",
        usage: "",
        arguments: 0..=0,
        action: Action::Version,
        about: "Show the version",
        text: "Prints the version of this program and that of the rclone whose behaviour it has.",
        examples: &[],
    },
    Command {
        name: "completion",
        usage: "bash|zsh|fish",
        arguments: 1..=1,
        action: Action::Completion,
        about: "Print a completion script for a shell",
        text: "Prints a script that makes the shell complete sub-commands and flags.",
        examples: &[("completion bash > /etc/bash_completion.d/mover-rclone", "for all users of bash")],
    },
    Command {
        name: "help",
        usage: "[COMMAND|flags|environment|exit-codes]",
        arguments: 0..=2,
        action: Action::Help,
        about: "Explain a sub-command or a topic",
        text: "Explains one sub-command, or: flags (all of them), environment (variables), exit-codes.",
        examples: &[("help push", "what push does"), ("help flags", "every flag with its default")],
    },
];

/// The sub-command of this name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

impl Command {
    /// The name and its arguments.
    pub fn synopsis(&self) -> String {
        if self.usage.is_empty() { self.name.to_owned() } else { format!("{} {}", self.name, self.usage) }
    }
}
