//! The command line of users: rsync's, as far as this program goes.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser};
use volsync_common::report::on_terminal;

use super::ArgsError;
use crate::delta::digest::SumKind;
use crate::options::{Beyond, Delete, Items, LEAVE_LOST_AND_FOUND, Options};
use crate::report::{Form, Format, Telling};
use crate::streams::DEFAULT;
use crate::wire::handshake::{compression_by_name, sum_by_name};
use crate::wire::names;
use crate::wire::sums::BLOCK_MAX;

const WHAT: &str = "What is kept";
const HOW: &str = "How it is transferred";
const WHICH: &str = "Which files take part (the first that fits decides)";
const DELETING: &str = "Deleting";
const TELLING: &str = "What is told";

/// Brings a directory to or from another machine over SSH by differences, or to another place of this one; rsync or
/// mover-rsync runs there.
///
/// `mover-rsync push DIRECTORY HOST:DIRECTORY` and `mover-rsync pull HOST:DIRECTORY DIRECTORY` bring a whole volume: what
/// the first directory holds, with -aAXHSx --delete. `mover-rsync serve DIRECTORY` is the other end of both, and of rsync, where no
/// sshd is to be configured (`mover-rsync serve --help`).
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "mover-rsync", version, disable_help_flag = true, args_override_self = true)]
pub struct Cli {
    /// Print this help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// As -rlptgoD
    #[arg(short, long, help_heading = WHAT)]
    archive: bool,
    /// Directories with what they hold
    #[arg(short, long, help_heading = WHAT)]
    recursive: bool,
    /// Directories without what they hold, but for that of `dir/`
    #[arg(short, long, help_heading = WHAT)]
    dirs: bool,
    /// Symbolic links
    #[arg(short, long, help_heading = WHAT)]
    links: bool,
    /// Permissions
    #[arg(short, long, help_heading = WHAT)]
    perms: bool,
    /// Modification times
    #[arg(short, long, help_heading = WHAT)]
    times: bool,
    /// Owners (as root)
    #[arg(short, long, help_heading = WHAT)]
    owner: bool,
    /// Groups
    #[arg(short, long, help_heading = WHAT)]
    group: bool,
    /// Devices, fifos and sockets
    #[arg(short = 'D', help_heading = WHAT)]
    devices_and_specials: bool,
    /// Access control lists (and permissions)
    #[arg(short = 'A', long, help_heading = WHAT)]
    acls: bool,
    /// Extended attributes
    #[arg(short = 'X', long, help_heading = WHAT)]
    xattrs: bool,
    /// Hard links
    #[arg(short = 'H', long, help_heading = WHAT)]
    hard_links: bool,
    /// Owners by number, not by name
    #[arg(long, help_heading = WHAT)]
    numeric_ids: bool,
    /// No times of directories
    #[arg(short = 'O', long, help_heading = WHAT)]
    omit_dir_times: bool,
    /// No times of links
    #[arg(short = 'J', long, help_heading = WHAT)]
    omit_link_times: bool,

    /// The remote shell, with arguments
    #[arg(short = 'e', long, default_value = "ssh", value_name = "COMMAND", help_heading = HOW)]
    rsh: String,
    /// The port of a daemon
    #[arg(long, help_heading = HOW)]
    pub port: Option<u16>,
    /// What a daemon wants to know of the user: the first line of this file (- is standard input), instead of RSYNC_PASSWORD
    #[arg(long, value_name = "FILE", help_heading = HOW)]
    pub password_file: Option<OsString>,
    /// Over a line that is long, so many connections to a mover-rsync, 1 for never more than one (needs a key that asks for
    /// nothing, and ssh)
    #[arg(long, value_name = "N", default_value_t = DEFAULT, value_parser = clap::value_parser!(u8).range(1..=16), help_heading = HOW)]
    pub streams: u8,
    /// The program to run on the other machine
    #[arg(long, default_value = "rsync", value_name = "PROGRAM", help_heading = HOW)]
    rsync_path: String,
    /// Zeros become holes
    #[arg(short = 'S', long, help_heading = HOW)]
    sparse: bool,
    /// Stay on one file system
    #[arg(short = 'x', long, help_heading = HOW)]
    one_file_system: bool,
    /// Compress
    #[arg(short = 'z', long, help_heading = HOW)]
    compress: bool,
    /// zstd, lz4, zlibx, zlib or none
    #[arg(long, visible_alias = "zc", value_name = "NAME", help_heading = HOW)]
    compress_choice: Option<String>,
    /// Of the compression
    #[arg(long, visible_alias = "zl", value_name = "LEVEL", allow_negative_numbers = true, help_heading = HOW)]
    compress_level: Option<i32>,
    /// Compare files by content
    #[arg(short, long, help_heading = HOW)]
    checksum: bool,
    /// xxh128, xxh3, xxh64 or md5
    #[arg(long, visible_alias = "cc", value_name = "NAME", help_heading = HOW)]
    checksum_choice: Option<String>,
    /// Whole files, no differences
    #[arg(short = 'W', long, help_heading = HOW)]
    whole_file: bool,
    /// Differences also between two places of this machine
    #[arg(long, visible_alias = "no-W", help_heading = HOW)]
    pub no_whole_file: bool,
    /// Write files where they stand: no second copy, but half a file when it is cut off
    #[arg(long, help_heading = HOW)]
    inplace: bool,
    /// Blocks of this size in bytes for differences
    #[arg(short = 'B', long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(BLOCK_MAX)), help_heading = HOW)]
    block_size: Option<u32>,
    /// Leave files alone that are newer there
    #[arg(short, long, help_heading = HOW)]
    update: bool,
    /// Equal size and time do not mean equal
    #[arg(short = 'I', long, help_heading = HOW)]
    ignore_times: bool,
    /// Equal size means equal
    #[arg(long, help_heading = HOW)]
    size_only: bool,
    /// Only files that exist there
    #[arg(long, visible_alias = "ignore-non-existing", help_heading = HOW)]
    existing: bool,
    /// Only files that do not exist there
    #[arg(long, help_heading = HOW)]
    ignore_existing: bool,
    /// A stock peer that is cut off keeps half a file, for the next time
    #[arg(long, help_heading = HOW)]
    partial: bool,
    /// The same, and --progress
    #[arg(short = 'P', help_heading = HOW)]
    partial_and_progress: bool,
    /// Give up after so many seconds of silence
    #[arg(long, default_value_t = 0, value_name = "SECONDS", help_heading = HOW)]
    timeout: u64,
    /// At most so much a second, in KiB or with a unit: 1.5m
    #[arg(long, value_name = "RATE", value_parser = rate, default_value = "0", hide_default_value = true, help_heading = HOW)]
    bwlimit: u64,
    /// Tell what would be done
    #[arg(short = 'n', long, help_heading = HOW)]
    dry_run: bool,
    /// Leave out what fits
    #[arg(long, value_name = "PATTERN", help_heading = WHICH)]
    exclude: Vec<OsString>,
    /// Do not leave out what fits
    #[arg(long, value_name = "PATTERN", help_heading = WHICH)]
    include: Vec<OsString>,
    /// A rule: "- PATTERN", "+ PATTERN", "protect PATTERN", "merge FILE", "dir-merge FILE", ...
    #[arg(short, long, value_name = "RULE", help_heading = WHICH)]
    filter: Vec<OsString>,
    /// Rules from .rsync-filter in each directory and above; given twice, without these files themselves
    #[arg(short = 'F', num_args = 0, default_missing_value = "", action = ArgAction::Append, help_heading = WHICH)]
    filter_files: Vec<OsString>,
    /// Without what CVS ignores, and what .cvsignore in each directory names
    #[arg(short = 'C', long, help_heading = WHICH)]
    cvs_exclude: bool,
    /// Patterns from a file, one a line
    #[arg(long, value_name = "FILE", help_heading = WHICH)]
    exclude_from: Vec<OsString>,
    /// Patterns from a file, one a line
    #[arg(long, value_name = "FILE", help_heading = WHICH)]
    include_from: Vec<OsString>,
    /// Only what this file names, one a line, from the only source; - is standard input, :FILE is there. Implies -R and
    /// -d, and -a does not imply -r
    #[arg(long, value_name = "FILE", help_heading = WHICH)]
    pub files_from: Option<OsString>,
    /// In all such files names and rules end with NUL
    #[arg(short = '0', long, help_heading = WHICH)]
    pub from0: bool,
    /// Paths as they are named, with the directories that lead there; from `/./` on, where it stands in them
    #[arg(short = 'R', long, help_heading = WHICH)]
    relative: bool,
    /// What --files-from names goes directly to the destination, without the directories that lead there
    #[arg(long, visible_alias = "no-R", help_heading = WHICH)]
    no_relative: bool,
    /// With -R or --files-from: the directories that lead to what is named are only made where they are missing
    #[arg(long, help_heading = WHICH)]
    no_implied_dirs: bool,
    /// The options before, in the order of the command line
    #[arg(skip)]
    selection: Vec<(Selection, OsString)>,

    /// What the source does not have, directory by directory
    #[arg(long, visible_alias = "del", help_heading = DELETING)]
    delete: bool,
    /// The same
    #[arg(long, help_heading = DELETING)]
    delete_during: bool,
    /// Before anything else
    #[arg(long, help_heading = DELETING)]
    delete_before: bool,
    /// At the end, what was found on the way
    #[arg(long, help_heading = DELETING)]
    delete_delay: bool,
    /// After everything else
    #[arg(long, help_heading = DELETING)]
    delete_after: bool,
    /// Also what filter rules leave out
    #[arg(long, help_heading = DELETING)]
    delete_excluded: bool,
    /// Although something of the source could not be read
    #[arg(long, help_heading = DELETING)]
    ignore_errors: bool,
    /// No more than so many
    #[arg(long, value_name = "NUMBER", help_heading = DELETING)]
    max_delete: Option<u64>,
    /// Directories make room for files, whatever they hold
    #[arg(long, help_heading = DELETING)]
    force: bool,

    /// A line for everything that changes
    #[arg(short, long, help_heading = TELLING)]
    itemize_changes: bool,
    /// Such lines in another form: %i what changes, %n the name, %L where a link leads, %f the path, %l the length, %b bytes
    /// over the connection, %o send, recv or del., %C the digest, %M the time, %B %U %G the access, %p %t; %'l with commas, %-9n
    /// in a width
    #[arg(long, visible_alias = "log-format", value_name = "FORMAT", help_heading = TELLING)]
    out_format: Option<String>,
    /// Names of what is transferred, and a summary
    #[arg(short, long, action = ArgAction::Count, help_heading = TELLING)]
    verbose: u8,
    /// Nothing
    #[arg(short, long, help_heading = TELLING)]
    quiet: bool,
    /// Numbers with units
    #[arg(short = 'h', long, action = ArgAction::Count, help_heading = TELLING)]
    human_readable: u8,
    /// How far it is: of each file, as rsync tells it (--info=progress2: of all). For push and pull bars on a terminal, which
    /// they show without it too, or else statistics every minute
    #[arg(long, help_heading = TELLING)]
    progress: bool,
    /// What is done and how far it is as machine events, one JSON object a line, and nothing else on standard output
    #[arg(long, help_heading = TELLING)]
    pub json: bool,
    /// No message of the day of a daemon
    #[arg(long, help_heading = TELLING)]
    pub no_motd: bool,
    /// Only list what would come
    #[arg(long, help_heading = TELLING)]
    list_only: bool,
    /// What was counted
    #[arg(long, help_heading = TELLING)]
    stats: bool,
    /// Which information, as rsync's words: stats1, stats2, name1, ...
    #[arg(long, value_name = "WORDS", value_delimiter = ',', help_heading = TELLING)]
    info: Vec<String>,

    /// `DIRECTORY`, `DIRECTORY/` (its contents) or files; here, as `[USER@]HOST:PATH`, or at a daemon as
    /// `rsync://HOST[:PORT]/MODULE/PATH` or `HOST::MODULE/PATH`. The last one is where everything goes, and either it or
    /// all others are here, or all are; further ones there may be written `:PATH`. A place alone is listed, `HOST::` tells the
    /// modules of a daemon
    #[arg(required = true, value_name = "SOURCE... DESTINATION")]
    places: Vec<OsString>,
    /// A whole volume is meant.
    #[arg(skip)]
    pub volume: Option<Direction>,
    /// Everything in the source, but not the directory itself: rsync's `--files-from` with all its names.
    #[arg(skip)]
    pub without_root: bool,
    /// What a mover wants beyond rsync of an end that is ours.
    #[arg(skip)]
    pub beyond: Beyond,
    /// `lost+found` is left alone: wherever it stands if the other end is stock, as upstream does, else in the root.
    #[arg(skip)]
    pub spares_lost_and_found: bool,
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From here.
    Push,
    /// To here.
    Pull,
}

/// An option about which files take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selection {
    Exclude,
    Include,
    Filter,
    ExcludeFrom,
    IncludeFrom,
    FilterFiles,
}

/// Their names.
const SELECTIONS: [(&str, Selection); 6] = [
    ("exclude", Selection::Exclude),
    ("include", Selection::Include),
    ("filter", Selection::Filter),
    ("exclude_from", Selection::ExcludeFrom),
    ("include_from", Selection::IncludeFrom),
    ("filter_files", Selection::FilterFiles),
];

/// What `push` and `pull` stand for.
const VOLUME: [&str; 2] = ["-aAXHSx", "--delete"];

/// What is printed at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Summary {
    /// Nothing.
    #[default]
    None,
    /// Bytes and speed.
    Short,
    /// Everything that was counted.
    Full,
}

/// What is shown to the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Show {
    /// That the list is sent.
    pub list: bool,
    /// At the end.
    pub summary: Summary,
    /// Numbers with units.
    pub human: bool,
    /// What is deleted.
    pub deletions: bool,
    /// Nothing is really done.
    pub dry_run: bool,
}

impl Cli {
    /// Understands a command line with the program's name in front.
    pub fn from_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut words: Vec<OsString> = words.into_iter().collect();
        let volume = match words.get(1).and_then(|word| word.to_str()) {
            Some("push") => Some(Direction::Push),
            Some("pull") => Some(Direction::Pull),
            _ => None,
        };
        if volume.is_some() {
            words.splice(1..2, VOLUME.map(OsString::from));
        }
        let matches = Self::command().try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.selection = selection(&matches);
        cli.volume = volume;
        Ok(cli)
    }

    /// The sources, and the destination unless the only source is to be listed.
    pub fn places(&self) -> (&[OsString], Option<&OsStr>) {
        match self.places.split_last() {
            Some((destination, sources @ [_, ..])) => (sources, Some(destination)),
            _ => (&self.places, None),
        }
    }

    /// A source as it is asked for: of a volume the contents.
    pub fn whole(&self, source: &[u8]) -> Vec<u8> {
        let slash = self.volume.is_some() && !source.ends_with(b"/");
        if slash { [source, b"/"].concat() } else { source.to_vec() }
    }

    /// Nothing is transferred, only listed.
    pub fn lists(&self) -> bool {
        self.list_only || self.places.len() == 1
    }

    /// Filter rules in the order of the command line.
    fn rules(&self) -> Result<Vec<Vec<u8>>, ArgsError> {
        let mut rules = Vec::new();
        let mut files = [&b": /.rsync-filter"[..], b"- .rsync-filter"].into_iter();
        for (kind, value) in &self.selection {
            match kind {
                Selection::FilterFiles => rules.extend(files.next().map(<[u8]>::to_vec)),
                Selection::Filter => rules.push(value.as_bytes().to_vec()),
                Selection::Exclude => rules.push(rule(b"- ", value.as_bytes())),
                Selection::Include => rules.push(rule(b"+ ", value.as_bytes())),
                Selection::ExcludeFrom => rules.extend(rules_from(b"- ", value, self.from0)?),
                Selection::IncludeFrom => rules.extend(rules_from(b"+ ", value, self.from0)?),
            }
        }
        Ok(rules)
    }

    /// The same, with what a mover adds for an end that is ours (`native`) or stock.
    pub fn rules_for(&self, native: bool) -> Result<Vec<Vec<u8>>, ArgsError> {
        let added = match native {
            true if self.beyond.volume || self.spares_lost_and_found => Some(LEAVE_LOST_AND_FOUND),
            false if self.spares_lost_and_found => Some(&b"- lost+found"[..]),
            _ => None,
        };
        Ok(self.rules()?.into_iter().chain(added.map(<[u8]>::to_vec)).collect())
    }

    /// The remote shell and its arguments; quotes keep blanks together.
    pub fn shell(&self) -> Result<Vec<String>, ArgsError> {
        let words = words(&self.rsh).ok_or_else(|| ArgsError::Usage(format!("-e {}: a quote is open", self.rsh)))?;
        if words.is_empty() { Err(ArgsError::Usage("-e names no program".into())) } else { Ok(words) }
    }

    /// The program there.
    pub fn program(&self) -> &str {
        &self.rsync_path
    }

    /// The options of the transfer.
    pub fn options(&self) -> Result<Options, ArgsError> {
        let whens = [self.delete_before, self.delete_during, self.delete_delay, self.delete_after];
        if whens.into_iter().filter(|when| *when).count() > 1 {
            return Err(ArgsError::Usage(
                "only one of --delete-before, -during, -delay and -after can be meant".into(),
            ));
        }
        let all = self.archive;
        let recursive = self.recursive || (all && self.files_from.is_none());
        let compression = match self.compress_choice.as_deref() {
            None => None,
            Some(name) => Some(compression_by_name(name).ok_or_else(|| unknown("--compress-choice", name))?),
        };
        let none = compression == Some(crate::wire::handshake::Compression::None);
        Ok(Options {
            recursive,
            dirs: (self.dirs || self.lists() || self.files_from.is_some()) && !recursive,
            list_only: self.lists(),
            links: all || self.links,
            perms: all || self.perms || self.acls,
            times: all || self.times,
            owner: all || self.owner,
            group: all || self.group,
            devices: all || self.devices_and_specials,
            specials: all || self.devices_and_specials,
            acls: self.acls,
            xattrs: self.xattrs,
            hard_links: self.hard_links,
            sparse: self.sparse,
            // Names in a list of files lead from the source, which is told that way.
            relative: ((self.relative || self.files_from.is_some()) && !self.no_relative) || self.without_root,
            no_implied_dirs: self.no_implied_dirs,
            from0: self.from0,
            cvs_exclude: self.cvs_exclude,
            one_file_system: self.one_file_system,
            checksum: self.checksum,
            whole_file: self.whole_file,
            inplace: self.inplace,
            update: self.update,
            ignore_times: self.ignore_times,
            size_only: self.size_only,
            omit_dir_times: self.omit_dir_times,
            omit_link_times: self.omit_link_times,
            numeric_ids: self.numeric_ids,
            delete: self.delete_when(),
            delete_excluded: self.delete_excluded,
            dry_run: self.dry_run,
            ignore_errors: self.ignore_errors,
            bwlimit: self.bwlimit,
            force: self.force,
            max_delete: self.max_delete,
            existing: self.existing,
            ignore_existing: self.ignore_existing,
            compress: (self.compress || compression.is_some()) && !none,
            compress_choice: compression.filter(|_| !none),
            compress_level: self.compress_level,
            checksum_choice: self.checksum_choice()?,
            block_size: self.block_size,
            partial: self.partial || self.partial_and_progress,
            timeout: self.timeout,
            items: match self.format() {
                _ if self.json => Items::Changes,
                // A server that is told to be verbose needs no further word.
                Some(format) if self.out_format.is_some() || self.itemize_changes || self.verbose == 0 => {
                    format.wants()
                }
                _ => Items::None,
            },
            verbose: self.verbose,
            ..Options::default()
        })
    }

    fn delete_when(&self) -> Delete {
        if self.delete_before {
            Delete::Before
        } else if self.delete_after {
            Delete::After
        } else if self.delete_delay {
            Delete::Delay
        } else if self.delete || self.delete_during || self.delete_excluded {
            Delete::During
        } else {
            Delete::Never
        }
    }

    fn checksum_choice(&self) -> Result<Option<(SumKind, SumKind)>, ArgsError> {
        let Some(names) = self.checksum_choice.as_deref() else { return Ok(None) };
        let (transfer, list) = names.split_once(',').unwrap_or((names, names));
        let find = |name: &str| sum_by_name(name).ok_or_else(|| unknown("--checksum-choice", name));
        Ok(Some((find(transfer)?, find(list)?)))
    }

    /// The level of a word of `--info`.
    fn word(&self, name: &str) -> Option<u8> {
        let level = |word: &String| {
            let word = word.to_ascii_lowercase();
            word.strip_prefix(name).map(|level| level.parse::<u8>().unwrap_or(1))
        };
        self.info.iter().rev().find_map(level)
    }

    /// Progress is told as rsync does.
    fn progress_as_rsync(&self) -> Option<Form> {
        let asked = (self.progress || self.partial_and_progress) && self.volume.is_none();
        let level = self.word("progress").unwrap_or(u8::from(asked));
        (level > 0).then_some(Form { whole: level > 1, human: self.human_readable > 0 })
    }

    /// How progress is told.
    pub fn telling(&self) -> Option<Telling> {
        if self.lists() || (self.quiet && !self.json) {
            return None;
        }
        match (self.json, self.progress_as_rsync(), self.volume) {
            (true, ..) => Some(Telling::Events),
            (false, Some(form), _) => Some(Telling::Lines(form)),
            (false, None, Some(_)) if self.progress || self.partial_and_progress => Some(Telling::Statistics),
            (false, None, Some(_)) if on_terminal() => Some(Telling::Bars),
            (false, None, _) => None,
        }
    }

    /// The form of lines about what changes.
    pub fn format(&self) -> Option<Format> {
        let by_progress = (self.progress || self.partial_and_progress) && self.volume.is_none();
        let names = self.word("name").map_or(self.verbose > 0 || by_progress, |level| level > 0);
        match &self.out_format {
            _ if self.quiet || self.json => None,
            Some(format) => Some(Format::parse(format)),
            None if self.itemize_changes => Some(Format::of_items()),
            None => names.then(Format::of_names),
        }
    }

    /// What is shown.
    pub fn show(&self) -> Show {
        let word = |name: &str| self.word(name);
        let summary = match word("stats").unwrap_or(if self.stats { 2 } else { self.verbose.min(1) }) {
            0 => Summary::None,
            1 => Summary::Short,
            _ => Summary::Full,
        };
        let by_progress = (self.progress || self.partial_and_progress) && self.volume.is_none();
        let list = word("flist").map_or(self.verbose > 0 || by_progress, |level| level > 0);
        let quiet = self.quiet || self.json;
        Show {
            list: list && !quiet && !self.lists(),
            summary: if quiet { Summary::None } else { summary },
            human: self.human_readable > 0,
            deletions: (self.verbose > 0 || self.format().is_some()) && !quiet,
            dry_run: self.dry_run,
        }
    }

    /// `--info` as it stands, for the server.
    pub fn info(&self) -> String {
        // What concerns this side alone is not told, as in rsync.
        let own = |word: &String| ["PROGRESS", "FLIST"].iter().any(|name| word.starts_with(name));
        let words = self.info.iter().map(|word| word.to_ascii_uppercase());
        words.filter(|word| !own(word)).collect::<Vec<_>>().join(",")
    }
}

/// The options about which files take part, in the order of the command line.
fn selection(matches: &ArgMatches) -> Vec<(Selection, OsString)> {
    let mut all: Vec<(usize, Selection, OsString)> = Vec::new();
    for (name, kind) in SELECTIONS {
        let places = matches.indices_of(name).into_iter().flatten();
        let values = matches.get_many::<OsString>(name).into_iter().flatten();
        all.extend(places.zip(values).map(|(place, value)| (place, kind, value.clone())));
    }
    all.sort_by_key(|(place, ..)| *place);
    all.into_iter().map(|(_, kind, value)| (kind, value)).collect()
}

/// A pattern as a rule. One that begins like a rule is one already, as in rsync.
fn rule(prefix: &[u8], pattern: &[u8]) -> Vec<u8> {
    if pattern == b"!" || pattern.starts_with(b"- ") || pattern.starts_with(b"+ ") {
        return pattern.to_vec();
    }
    [prefix, pattern].concat()
}

/// The rules of a file; lines that begin with `#` or `;` are comments.
fn rules_from(prefix: &[u8], file: &OsStr, nul: bool) -> Result<Vec<Vec<u8>>, ArgsError> {
    let text = read(file)?;
    let rules = names::split(&text, nul).filter(|line| !names::is_remark(line));
    Ok(rules.map(|line| rule(prefix, line)).collect())
}

/// The text of a file, or of standard input for `-`.
pub fn read(file: &OsStr) -> Result<Vec<u8>, ArgsError> {
    let mut text = Vec::new();
    let read = match file.as_bytes() {
        b"-" => std::io::stdin().lock().read_to_end(&mut text),
        _ => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut text)),
    };
    read.map_err(|error| {
        ArgsError::Usage(format!("cannot read {}: {error}", volsync_common::path::Shown(file.as_bytes())))
    })?;
    Ok(text)
}

/// A rate in KiB a second: a number with a fraction, and `K`, `M` or `G`, in units of 1,024, or of 1,000 with a `B`.
fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text} is no rate");
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "" | "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // More digits make no difference.
    let fraction = &fraction[..fraction.len().min(6)];
    let parse = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
    let part = parse(fraction)? * unit / 10_u64.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let bytes = parse(whole)?.checked_mul(unit).and_then(|bytes| bytes.checked_add(part)).ok_or_else(wrong)?;
    // Less than one is one: 0 means without limit.
    Ok(if bytes == 0 { 0 } else { (bytes.saturating_add(512) / 1024).max(1) })
}

fn unknown(option: &str, name: &str) -> ArgsError {
    ArgsError::Usage(format!("{option}={name}: that name is not known"))
}

/// Splits at blanks; single and double quotes keep them. `None` if a quote is open at the end.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// A command line whose words have no blanks.
#[cfg(test)]
pub(super) fn cli(line: &str) -> Cli {
    Cli::from_words(line.split(' ').map(OsString::from)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_keep_their_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# comment\n*.o\r\n\n+ x\n").unwrap();
        let line = format!(
            "m -a --include=a --exclude=b --exclude-from={} -f protect_c --include=d s h:d",
            file.path().display()
        );
        let expect: [&[u8]; 6] = [b"+ a", b"- b", b"- *.o", b"+ x", b"protect_c", b"+ d"];
        assert_eq!(cli(&line).rules().unwrap(), expect);
        let both = cli("m -aF --exclude=x -FF s h:d").rules().unwrap();
        assert_eq!(both, [&b": /.rsync-filter"[..], b"- x", b"- .rsync-filter"]);
        assert!(cli("m --exclude-from=/does/not/exist s h:d").rules().is_err());
    }

    #[test]
    fn rates_have_units() {
        for (text, kib) in
            [("0", Some(0)), ("100", Some(100)), ("1.5m", Some(1536)), ("2MB", Some(1953)), ("1b", Some(1))]
        {
            assert_eq!(rate(text).ok(), kib, "{text}");
        }
        assert!(["", "x", "1x", "-1", "1e99", "9999999999999999g"].iter().all(|text| rate(text).is_err()));
    }

    #[test]
    fn a_volume_is_everything_in_it() {
        let pull = cli("m pull -z h:/data /data");
        let options = pull.options().unwrap();
        assert_eq!((pull.volume, &pull.whole(b"h:/data")[..]), (Some(Direction::Pull), &b"h:/data/"[..]));
        assert!(options.acls && options.xattrs && options.hard_links && options.compress && options.deletes());
        assert_eq!(cli("m -a pull h:x").volume, None);
    }

    #[test]
    fn wrong_names_are_refused() {
        assert!(cli("m --compress-choice=zip s h:d").options().is_err());
        assert!(cli("m --delete-after --delete-before s h:d").options().is_err());
        assert!(cli("m --checksum-choice=md4 s h:d").options().is_err());
        assert!(!cli("m --compress-choice=none -z s h:d").options().unwrap().compress);
    }

    #[test]
    fn the_shell_is_split_like_a_command_line() {
        let shell = |text: &str| Cli { rsh: text.into(), ..Cli::default() }.shell().ok();
        assert_eq!(shell("ssh -p 22 -i '/a b/c'").unwrap(), ["ssh", "-p", "22", "-i", "/a b/c"]);
        assert_eq!(shell("x \"\"").unwrap(), ["x", ""]);
        assert_eq!((shell("ssh 'x"), shell("  ")), (None, None));
    }

    #[test]
    fn what_is_told_follows_the_words() {
        assert_eq!(cli("m -a s h:d").show(), Show::default());
        assert_eq!(cli("m -av s h:d").show().summary, Summary::Short);
        assert_eq!(cli("m -a --stats s h:d").show().summary, Summary::Full);
        assert_eq!(cli("m -av --info=stats0 s h:d").show().summary, Summary::None);
    }
}
