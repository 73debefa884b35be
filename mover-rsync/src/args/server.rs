//! The command line of a server: `rsync --server [--sender] -LETTERSe.CAPABILITIES [--long...] . PATH...`.
//!
//! Every option that a stock client sends is known: obeyed, without effect at a server, or refused by name. Refusing is
//! better than a transfer that is not what was asked for.

use super::ArgsError;
use crate::delta::digest::SumKind;
use crate::options::{Delete, Items, Names, Options};
use crate::wire::handshake::{compression_by_name, sum_by_name};
use crate::wire::sums::BLOCK_MAX;

/// More arguments than this are not looked at.
const ARGS_MAX: usize = 100_000;

/// A server's command line, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerArgs {
    /// We send.
    pub sender: bool,
    /// What to do.
    pub options: Options,
    /// Letters of what the client can do.
    pub capabilities: Vec<u8>,
    /// What to send or where to receive.
    pub paths: Vec<Vec<u8>>,
}

/// Understands the arguments after the program's name.
pub fn parse<A: AsRef<[u8]>>(args: &[A]) -> Result<ServerArgs, ArgsError> {
    if args.len() > ARGS_MAX {
        return Err(usage("too many arguments"));
    }
    let mut parsed = ServerArgs::default();
    let mut args = args.iter().map(AsRef::as_ref).peekable();
    let mut server = false;
    while let Some(arg) = args.next_if(|arg| arg.starts_with(b"-") && *arg != b"-") {
        if arg == b"--server" {
            server = true;
        } else if let Some(long) = arg.strip_prefix(b"--") {
            parsed.long(long, &mut args)?;
        } else {
            parsed.letters(&arg[1..])?;
        }
    }
    if !server {
        return Err(usage("--server is missing"));
    }
    match args.next() {
        Some(b".") => {}
        _ => return Err(usage("the \".\" before the paths is missing")),
    }
    if parsed.options.delete_excluded && parsed.options.delete == Delete::Never {
        parsed.options.delete = Delete::During;
    }
    // What is named one by one is wanted, directories too.
    parsed.options.dirs |= parsed.options.names.is_some() && !parsed.options.recursive;
    parsed.paths = args.map(<[u8]>::to_vec).collect();
    if parsed.paths.iter().any(|path| path.contains(&0)) {
        return Err(usage("a path with a NUL byte"));
    }
    Ok(parsed)
}

fn usage(what: impl Into<String>) -> ArgsError {
    ArgsError::Usage(what.into())
}

fn shown(arg: &[u8]) -> String {
    volsync_common::path::Shown(arg).to_string()
}

/// Long options without effect at a server, with the reason.
const IGNORED: &[(&str, &str)] = &[
    ("stats", "the client counts for itself"),
    ("partial", "half a file never gets a name; the next run sends it again"),
    ("msgs2stderr", "messages go to standard error anyway"),
    ("no-msgs2stderr", "messages are few and go to standard error"),
    ("use-qsort", "the order does not depend on it"),
    ("super", "what the user may do is tried"),
    ("no-W", "differences are the default"),
    ("no-r", "recursion is asked for by a letter"),
    ("open-noatime", "files are opened that way where it is allowed"),
    ("delete-missing-args", "there is one argument, and it exists"),
    ("ignore-missing-args", "there is one argument, and it exists"),
    ("no-relative", "paths are not relative unless -R says so"),
];

/// Long options with a value that have no effect at a server.
const IGNORED_VALUES: &[(&str, &str)] = &[
    ("info", "the server prints no such messages"),
    ("debug", "the server prints no such messages"),
    ("skip-compress", "suffixes have no effect in current rsync either"),
    ("max-alloc", "memory is bounded by the protocol's limits"),
    ("stderr", "messages go to standard error anyway"),
];

impl ServerArgs {
    fn letters(&mut self, letters: &[u8]) -> Result<(), ArgsError> {
        let options = &mut self.options;
        if let Some(size) = letters.strip_prefix(b"B") {
            options.block_size = Some(block_size("block-size", &shown(size))?);
            return Ok(());
        }
        for (at, letter) in letters.iter().enumerate() {
            match letter {
                b'e' => {
                    // What follows the dot; around it stands the number of a development version.
                    let rest = &letters[at + 1..];
                    let dot = rest.iter().position(|b| *b == b'.').map_or(rest.len(), |dot| dot + 1);
                    let letters = rest[dot..].iter().copied().skip_while(u8::is_ascii_digit);
                    self.capabilities = letters.collect();
                    return Ok(());
                }
                b'v' => options.verbose = options.verbose.saturating_add(1),
                b'q' => options.verbose = 0,
                b'l' => options.links = true,
                b'W' => options.whole_file = true,
                b'H' => options.hard_links = true,
                b'o' => options.owner = true,
                b'g' => options.group = true,
                b'D' => (options.devices, options.specials) = (true, true),
                b't' => options.times = true,
                b'p' => options.perms = true,
                b'A' => (options.acls, options.perms) = (true, true),
                b'X' => options.xattrs = true,
                b'r' => options.recursive = true,
                b'c' => options.checksum = true,
                b'I' => options.ignore_times = true,
                b'u' => options.update = true,
                b'O' => options.omit_dir_times = true,
                b'J' => options.omit_link_times = true,
                b'x' => options.one_file_system = true,
                b'S' => options.sparse = true,
                b'z' => options.compress = true,
                b'R' => options.relative = true,
                b'C' => options.cvs_exclude = true,
                b'n' => options.dry_run = true,
                b'd' => options.dirs = true,
                b'h' | b'i' | b'P' => {}
                known @ (b'E' | b's' | b'b' | b'U' | b'N' | b'K' | b'm' | b'y' | b'L' | b'k') => {
                    return Err(ArgsError::Unsupported(format!("-{}", char::from(*known))));
                }
                other => return Err(usage(format!("unknown option -{}", shown(&[*other])))),
            }
        }
        Ok(())
    }

    fn long<'a>(&mut self, arg: &[u8], rest: &mut impl Iterator<Item = &'a [u8]>) -> Result<(), ArgsError> {
        let (name, value) = match arg.iter().position(|b| *b == b'=') {
            Some(at) => (&arg[..at], Some(&arg[at + 1..])),
            None => (arg, None),
        };
        let name = std::str::from_utf8(name).map_err(|_| usage(format!("unknown option --{}", shown(arg))))?;
        if value.is_none() && self.switch(name) {
            return Ok(());
        }
        if value.is_some() || TAKE_VALUE.contains(&name) {
            let value = value.or_else(|| rest.next());
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            let text = text.ok_or_else(|| usage(format!("--{name} without a proper value")))?;
            return self.value(name, text);
        }
        if UNSUPPORTED.contains(&name) {
            return Err(ArgsError::Unsupported(format!("--{name}")));
        }
        Err(usage(format!("unknown option --{}", shown(arg))))
    }

    /// Options without a value.
    fn switch(&mut self, name: &str) -> bool {
        let options = &mut self.options;
        match name {
            "sender" => self.sender = true,
            "delete" | "delete-during" => options.delete = Delete::During,
            "delete-before" => options.delete = Delete::Before,
            "delete-delay" => options.delete = Delete::Delay,
            "delete-after" => options.delete = Delete::After,
            "delete-excluded" => options.delete_excluded = true,
            "force" => options.force = true,
            "ignore-errors" => options.ignore_errors = true,
            "size-only" => options.size_only = true,
            "numeric-ids" => options.numeric_ids = true,
            "existing" | "ignore-non-existing" => options.existing = true,
            "ignore-existing" => options.ignore_existing = true,
            "fsync" => options.fsync = true,
            "list-only" => options.list_only = true,
            "no-implied-dirs" => options.no_implied_dirs = true,
            "from0" => options.from0 = true,
            "inplace" => options.inplace = true,
            "specials" => options.specials = true,
            "no-specials" => options.specials = false,
            "new-compress" => self.compress_with("zlibx"),
            "old-compress" => self.compress_with("zlib"),
            name => return IGNORED.iter().any(|(known, _)| *known == name),
        }
        true
    }

    fn compress_with(&mut self, name: &str) {
        self.options.compress_choice = compression_by_name(name);
        self.options.compress = true;
    }

    /// Options with a value.
    fn value(&mut self, name: &str, value: &str) -> Result<(), ArgsError> {
        let options = &mut self.options;
        match name {
            // Old releases send `%i` only to ask for item lines; `%o` also asks for deletions, `X` for names.
            "log-format" | "out-format" => {
                options.items = match (value.contains("%i%I"), value.contains("%i")) {
                    (true, _) => Items::All,
                    (false, true) => Items::Changes,
                    (false, false) if value.contains("%o") => Items::Operations,
                    (false, false) => Items::Names,
                };
            }
            "compress-level" => options.compress_level = Some(number(name, value)?),
            "compress-choice" | "zc" => {
                let choice = compression_by_name(value);
                options.compress_choice = Some(choice.ok_or_else(|| unsupported(name, value))?);
                options.compress = true;
            }
            "checksum-choice" | "cc" => options.checksum_choice = Some(checksum_choice(name, value)?),
            "checksum-seed" => options.seed = Some(number(name, value)?),
            "timeout" => options.timeout = number(name, value)?,
            "bwlimit" => options.bwlimit = number(name, value)?,
            "max-delete" => options.max_delete = Some(u64::try_from(number::<i64>(name, value)?).unwrap_or(0)),
            "files-from" if value == "-" => options.names = Some(Names::Client),
            "files-from" => options.names = Some(Names::There(value.to_owned())),
            "block-size" => options.block_size = Some(block_size(name, value)?),
            "modify-window" if value == "0" => {}
            name if IGNORED_VALUES.iter().any(|(known, _)| *known == name) => {}
            _ if TAKE_VALUE.contains(&name) => return Err(unsupported(name, value)),
            _ => return Err(usage(format!("unknown option --{name}={value}"))),
        }
        Ok(())
    }
}

/// Long options that take a value, in the next argument if there is no `=`.
const TAKE_VALUE: &[&str] = &[
    "iconv",
    "compress-level",
    "log-format",
    "out-format",
    "timeout",
    "bwlimit",
    "backup-dir",
    "suffix",
    "checksum-choice",
    "cc",
    "compress-choice",
    "zc",
    "max-delete",
    "min-size",
    "max-size",
    "only-write-batch",
    "skip-compress",
    "max-alloc",
    "modify-window",
    "checksum-seed",
    "partial-dir",
    "usermap",
    "groupmap",
    "temp-dir",
    "compare-dest",
    "copy-dest",
    "link-dest",
    "info",
    "debug",
    "stderr",
    "files-from",
    "log-file",
    "block-size",
    "confine-root",
];

/// Switches of rsync that are not obeyed here.
const UNSUPPORTED: &[&str] = &[
    "daemon",
    "delay-updates",
    "copy-unsafe-links",
    "safe-links",
    "append",
    "append-verify",
    "write-devices",
    "copy-devices",
    "remove-source-files",
    "remove-sent-files",
    "preallocate",
    "munge-links",
    "drop-D",
    "mkpath",
];

fn unsupported(name: &str, value: &str) -> ArgsError {
    ArgsError::Unsupported(format!("--{name}={value}"))
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, ArgsError> {
    value.parse().map_err(|_| usage(format!("--{name}={value} is not a number that fits")))
}

fn block_size(name: &str, value: &str) -> Result<u32, ArgsError> {
    let size = number(name, value)?;
    match size {
        1..=BLOCK_MAX => Ok(size),
        _ => Err(usage(format!("--{name}={value} is not between 1 and {BLOCK_MAX}"))),
    }
}

/// `A` or `A,B`: for transfers and for `--checksum`.
fn checksum_choice(name: &str, value: &str) -> Result<(SumKind, SumKind), ArgsError> {
    let (transfer, list) = value.split_once(',').unwrap_or((value, value));
    let find = |part: &str| sum_by_name(part).ok_or_else(|| unsupported(name, value));
    Ok((find(transfer)?, find(list)?))
}

/// For the fuzzer: any arguments, one a line, are understood or refused.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let args: Vec<_> = data.split(|b| *b == b'\n').collect();
    let _ = parse(&args);
    let _ = parse(&[&[&b"--server"[..]], &args[..], &[b"."]].concat());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn understood(line: &str) -> Result<ServerArgs, ArgsError> {
        parse(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn volsyncs_command_line_is_understood() {
        let line = "--server -lHogDtpArxSze.iLsfxCIvu --log-format=%i --delete --info=MISC2,STATS2 . .";
        let args = understood(line).unwrap();
        let o = &args.options;
        assert!(o.links && o.hard_links && o.owner && o.group && o.devices && o.specials && o.times && o.perms);
        assert!(o.acls && o.recursive && o.one_file_system && o.sparse && o.compress && !o.xattrs && !args.sender);
        assert_eq!((o.delete, o.items), (Delete::During, Items::Changes));
        assert_eq!((&args.capabilities[..], args.paths), (&b"iLsfxCIvu"[..], vec![b".".to_vec()]));
    }

    #[test]
    fn older_and_other_command_lines_are_understood() {
        assert_eq!(understood("--server -lHogDtpre.iLsf . /d /e").unwrap().paths.len(), 2);
        assert_eq!(understood("--server -re31.14iLsf . /d").unwrap().capabilities, b"iLsf");
        assert!(understood("--server -re. . /d").unwrap().capabilities.is_empty());
        assert!(understood("--server --sender -r . /d").unwrap().sender);
        let choices = "--server -r --checksum-choice=md5,xxh64 --compress-choice lz4 --timeout=30 . d";
        let options = understood(choices).unwrap().options;
        assert_eq!(options.checksum_choice, Some((SumKind::Md5, SumKind::Xxh64)));
        assert!(options.compress && options.timeout == 30);
        assert_eq!(understood("--server -r --partial . d").unwrap(), understood("--server -r . d").unwrap());
        assert!(!understood("--server -rD --no-specials . d").unwrap().options.specials);
        let listed = understood("--server --sender -lR --files-from /x --from0 . d").unwrap().options;
        assert_eq!((listed.names, listed.from0, listed.dirs), (Some(Names::There("/x".into())), true, true));
        assert_eq!(understood("--server -r -B1000 . d").unwrap().options.block_size, Some(1000));
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_by_name() {
        for (line, code, named) in [
            ("--server -r --append . d", 4, "--append"),
            ("--server -rL . d", 4, "-L"),
            ("--server -rE . d", 4, "-E"),
            ("--server -r --munge-links . d", 4, "--munge-links"),
            ("--server -r --partial-dir x . d", 4, "--partial-dir=x"),
            ("--server -r --daemon . d", 4, "--daemon"),
            ("--server -r --nonsense . d", 1, "--nonsense"),
            ("--server -r --non=sense . d", 1, "--non=sense"),
            ("--server -r? . d", 1, "-?"),
            ("--server -r -Bx . d", 1, "block-size=x"),
            ("--server -r --timeout=x . d", 1, "--timeout=x"),
            ("--server -r --block-size=131073 . d", 1, "131073"),
            ("--server -r --checksum-choice=md4 . d", 4, "md4"),
            ("--server -r --timeout", 1, "--timeout"),
            ("--server -r d", 1, "\".\""),
            ("-r . d", 1, "--server"),
        ] {
            let error = understood(line).unwrap_err();
            assert!(error.code() == code && error.to_string().contains(named), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_arguments_panic(line in "[-a-zA-Z=.0-9,% \n]{0,60}") {
            fuzz(line.as_bytes());
        }
    }
}
