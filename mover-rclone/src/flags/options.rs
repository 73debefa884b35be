//! Typed values of the flags that the engine obeys.

use std::time::Duration;

pub use volsync_common::telemetry::Level;
use volsync_common::time::Timestamp;

use crate::config::value::{self, ValueError};
use crate::filter::FilterOptions;

use super::given::{FlagError, Flags, Origin, invalid};
use super::table::{self, Flag};

/// How `--max-transfer` and `--max-duration` end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cutoff {
    /// At once.
    Hard,
    /// When the files under way are done.
    Soft,
    /// Before the file that would go over the limit.
    Cautious,
}

/// Bytes per second each way; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Towards the store.
    pub up: Option<u64>,
    /// From the store.
    pub down: Option<u64>,
}

/// Every flag with an effect, with rclone's defaults. Names are those of the flags; sizes are bytes, `None` is off.
#[derive(Clone, Debug)]
pub struct GlobalOptions {
    /// `--checksum`.
    pub checksum: bool,
    /// `--size-only`.
    pub size_only: bool,
    /// `--ignore-times`.
    pub ignore_times: bool,
    /// `--ignore-existing`.
    pub ignore_existing: bool,
    /// `--update`.
    pub update: bool,
    /// `--ignore-size`.
    pub ignore_size: bool,
    /// `--ignore-checksum`.
    pub ignore_checksum: bool,
    /// `--immutable`.
    pub immutable: bool,
    /// `--links`.
    pub links: bool,
    /// `--metadata`.
    pub metadata: bool,
    /// `--no-check-dest`.
    pub no_check_dest: bool,
    /// `--no-update-modtime`.
    pub no_update_modtime: bool,
    /// `--check-first`.
    pub check_first: bool,
    /// `--ignore-errors`.
    pub ignore_errors: bool,
    /// `--delete-excluded`.
    pub delete_excluded: bool,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--no-check-certificate`.
    pub no_check_certificate: bool,
    /// `--disable-http2`.
    pub disable_http2: bool,
    /// `--disable-http-keep-alives`.
    pub disable_http_keep_alives: bool,
    /// `--error-on-no-transfer`.
    pub error_on_no_transfer: bool,
    /// `--human-readable`.
    pub human_readable: bool,
    /// `--use-server-modtime`.
    pub use_server_modtime: bool,
    /// `--fast-list`.
    pub fast_list: bool,
    /// `--stats-one-line`.
    pub stats_one_line: bool,
    /// `--stats-one-line-date`.
    pub stats_one_line_date: bool,
    /// `--progress`.
    pub progress: bool,
    /// `--copy-links`.
    pub copy_links: bool,
    /// `--one-file-system`.
    pub one_file_system: bool,
    /// `--skip-links`.
    pub skip_links: bool,
    /// `--skip-specials`.
    pub skip_specials: bool,
    /// `--create-empty-src-dirs`.
    pub create_empty_src_dirs: bool,
    /// `--one-way`.
    pub one_way: bool,
    /// `--download`.
    pub download: bool,
    /// `--max-duration`.
    pub max_duration: Option<Duration>,
    /// `--modify-window`.
    pub modify_window: Duration,
    /// `--contimeout`.
    pub contimeout: Duration,
    /// `--timeout`.
    pub timeout: Duration,
    /// `--retries-sleep`.
    pub retries_sleep: Duration,
    /// `--stats`.
    pub stats: Duration,
    /// `--max-transfer` in bytes.
    pub max_transfer: Option<u64>,
    /// `--max-delete-size` in bytes.
    pub max_delete_size: Option<u64>,
    /// `--max-buffer-memory` in bytes.
    pub max_buffer_memory: Option<u64>,
    /// `--multi-thread-chunk-size` in bytes.
    pub multi_thread_chunk_size: Option<u64>,
    /// `--multi-thread-cutoff` in bytes.
    pub multi_thread_cutoff: Option<u64>,
    /// `--volsync-memory-limit` in bytes.
    pub volsync_memory_limit: Option<u64>,
    /// `--retries`.
    pub retries: u32,
    /// `--low-level-retries`.
    pub low_level_retries: u32,
    /// `--tpslimit-burst`.
    pub tpslimit_burst: u32,
    /// `--multi-thread-streams`.
    pub multi_thread_streams: u32,
    /// `--max-connections`.
    pub max_connections: u32,
    /// `--verbose`.
    pub verbose: u32,
    /// `--bind`.
    pub bind: Option<Vec<u8>>,
    /// `--client-cert`.
    pub client_cert: Option<Vec<u8>>,
    /// `--client-key`.
    pub client_key: Option<Vec<u8>>,
    /// `--http-proxy`.
    pub http_proxy: Option<Vec<u8>>,
    /// `--user-agent`.
    pub user_agent: Option<Vec<u8>>,
    /// `--log-file`.
    pub log_file: Option<Vec<u8>>,
    /// `--config`.
    pub config: Option<Vec<u8>>,
    /// `--password-command`.
    pub password_command: Option<Vec<u8>>,
    /// `--ca-cert`.
    pub ca_cert: Vec<Vec<u8>>,
    /// `--header`.
    pub header: Vec<Vec<u8>>,
    /// `--header-download`.
    pub header_download: Vec<Vec<u8>>,
    /// `--header-upload`.
    pub header_upload: Vec<Vec<u8>>,
    /// `--transfers`, `None` unless the user set it: then concurrency adapts.
    pub transfers: Option<u32>,
    /// `--max-delete`, `None` for no limit.
    pub max_delete: Option<u64>,
    /// `--max-depth`, `None` for no limit.
    pub max_depth: Option<u32>,
    /// `--tpslimit`, `None` for no limit.
    pub tpslimit: Option<f64>,
    /// `--bwlimit`.
    pub bwlimit: Bandwidth,
    /// `--cutoff-mode`.
    pub cutoff_mode: Cutoff,
    /// `--log-level`, or what `-v` and `-q` make of it.
    pub log_level: Level,
    /// `--stats-log-level`.
    pub stats_log_level: Level,
    /// `--use-json-log`, also as `--log-format json`.
    pub use_json_log: bool,
    /// `--log-format`.
    pub log_format: Vec<u8>,
    /// `--dump`: names of what to show.
    pub dump: Vec<Vec<u8>>,
    /// The filter flags.
    pub filter: FilterOptions,
    /// `--volsync-allow-empty-source`.
    pub allow_empty_source: bool,
    /// `--volsync-allow-foreign-prefix`.
    pub allow_foreign_prefix: bool,
    /// `--volsync-allow-missing-permissions`.
    pub allow_missing_permissions: bool,
    /// `--long` of listremotes.
    pub long: bool,
    /// `--json`: of listremotes its output, of what moves data its events.
    pub json: bool,
}

impl GlobalOptions {
    /// Reads the values; dates in ages count back from `now`.
    ///
    /// # Errors
    /// The first value that is not of its flag's type, and `-v` or `-q` together with `--log-level` on one command line.
    pub fn new(flags: &Flags, now: Timestamp) -> Result<Self, FlagError> {
        let get = Reader { flags, now };
        Ok(Self {
            checksum: get.bool("checksum")?,
            size_only: get.bool("size-only")?,
            ignore_times: get.bool("ignore-times")?,
            ignore_existing: get.bool("ignore-existing")?,
            update: get.bool("update")?,
            ignore_size: get.bool("ignore-size")?,
            ignore_checksum: get.bool("ignore-checksum")?,
            immutable: get.bool("immutable")?,
            links: get.bool("links")?,
            metadata: get.bool("metadata")?,
            no_check_dest: get.bool("no-check-dest")?,
            no_update_modtime: get.bool("no-update-modtime")?,
            check_first: get.bool("check-first")?,
            ignore_errors: get.bool("ignore-errors")?,
            delete_excluded: get.bool("delete-excluded")?,
            dry_run: get.bool("dry-run")?,
            no_check_certificate: get.bool("no-check-certificate")?,
            disable_http2: get.bool("disable-http2")?,
            disable_http_keep_alives: get.bool("disable-http-keep-alives")?,
            error_on_no_transfer: get.bool("error-on-no-transfer")?,
            human_readable: get.bool("human-readable")?,
            use_server_modtime: get.bool("use-server-modtime")?,
            fast_list: get.bool("fast-list")?,
            stats_one_line: get.bool("stats-one-line")?,
            stats_one_line_date: get.bool("stats-one-line-date")?,
            progress: get.bool("progress")?,
            copy_links: get.bool("copy-links")?,
            one_file_system: get.bool("one-file-system")?,
            skip_links: get.bool("skip-links")?,
            skip_specials: get.bool("skip-specials")?,
            create_empty_src_dirs: get.bool("create-empty-src-dirs")?,
            one_way: get.bool("one-way")?,
            download: get.bool("download")?,
            max_duration: get.limit_duration("max-duration")?,
            modify_window: get.duration("modify-window")?,
            contimeout: get.duration("contimeout")?,
            timeout: get.duration("timeout")?,
            retries_sleep: get.duration("retries-sleep")?,
            stats: get.duration("stats")?,
            max_transfer: get.size("max-transfer")?,
            max_delete_size: get.size("max-delete-size")?,
            max_buffer_memory: get.size("max-buffer-memory")?,
            multi_thread_chunk_size: get.size("multi-thread-chunk-size")?,
            multi_thread_cutoff: get.size("multi-thread-cutoff")?,
            volsync_memory_limit: get.size("volsync-memory-limit")?,
            retries: get.count("retries")?,
            low_level_retries: get.count("low-level-retries")?,
            tpslimit_burst: get.count("tpslimit-burst")?,
            multi_thread_streams: get.count("multi-thread-streams")?,
            max_connections: get.count("max-connections")?,
            verbose: get.count("verbose")?,
            bind: get.text("bind"),
            client_cert: get.text("client-cert"),
            client_key: get.text("client-key"),
            http_proxy: get.text("http-proxy"),
            user_agent: get.text("user-agent"),
            log_file: get.text("log-file"),
            config: get.text("config"),
            password_command: get.text("password-command"),
            ca_cert: flags.values("ca-cert"),
            header: flags.values("header"),
            header_download: flags.values("header-download"),
            header_upload: flags.values("header-upload"),
            transfers: if flags.origin("transfers").is_some() { Some(get.count("transfers")?) } else { None },
            max_delete: u64::try_from(get.int("max-delete")?).ok(),
            max_depth: u32::try_from(get.int("max-depth")?).ok(),
            tpslimit: get.float("tpslimit")?,
            bwlimit: get.typed("bwlimit", bandwidth)?.unwrap_or_default(),
            cutoff_mode: get.typed("cutoff-mode", cutoff)?.unwrap_or(Cutoff::Hard),
            log_level: get.log_level()?,
            stats_log_level: get.typed("stats-log-level", level)?.unwrap_or(Level::Info),
            use_json_log: get.bool("use-json-log")? || get.items("log-format")?.iter().any(|item| item == b"json"),
            log_format: flags.value("log-format").unwrap_or(b"date,time").to_vec(),
            dump: get.items("dump")?,
            filter: get.filter()?,
            allow_empty_source: get.bool(super::switches::ALLOW_EMPTY_SOURCE)?,
            allow_foreign_prefix: get.bool(super::switches::ALLOW_FOREIGN_PREFIX)?,
            allow_missing_permissions: get.bool(super::switches::ALLOW_MISSING_PERMISSIONS)?,
            long: get.bool("long")?,
            json: get.bool("json")?,
        })
    }
}

struct Reader<'a> {
    flags: &'a Flags,
    now: Timestamp,
}

impl Reader<'_> {
    /// The value that was given, parsed.
    fn typed<T>(&self, name: &str, parse: impl Fn(&[u8]) -> Result<T, ValueError>) -> Result<Option<T>, FlagError> {
        let Some((value, flag)) = self.flags.value(name).zip(table::find_any(name)) else { return Ok(None) };
        let origin = self.flags.origin(name).unwrap_or(Origin::CommandLine);
        parse(value).map(Some).map_err(|e| invalid(origin, flag, value, e.to_string()))
    }

    /// The value that was given, else the default of the table.
    fn or_default<T>(
        &self,
        name: &str,
        zero: T,
        parse: impl Fn(&[u8]) -> Result<T, ValueError>,
    ) -> Result<T, FlagError> {
        if let Some(value) = self.typed(name, &parse)? {
            return Ok(value);
        }
        let default = table::find_any(name).map_or("", |flag: &Flag| flag.default);
        Ok(parse(default.as_bytes()).unwrap_or(zero))
    }

    fn bool(&self, name: &str) -> Result<bool, FlagError> {
        self.or_default(name, false, value::bool)
    }

    fn int(&self, name: &str) -> Result<i64, FlagError> {
        self.or_default(name, 0, |text| value::int(text, 64))
    }

    /// A number; rclone takes negative ones for zero.
    fn count(&self, name: &str) -> Result<u32, FlagError> {
        let clamp = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        self.int(name).map(clamp)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, FlagError> {
        self.or_default(name, value::OFF, value::size).map(|bytes| u64::try_from(bytes).ok())
    }

    fn nanos(&self, name: &str) -> Result<i64, FlagError> {
        self.or_default(name, 0, |text| value::duration(text, self.now))
    }

    fn duration(&self, name: &str) -> Result<Duration, FlagError> {
        self.nanos(name).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
    }

    /// A limit: zero and off are none.
    fn limit_duration(&self, name: &str) -> Result<Option<Duration>, FlagError> {
        let nanos = self.nanos(name)?;
        Ok(u64::try_from(nanos).ok().filter(|_| nanos > 0 && nanos != i64::MAX).map(Duration::from_nanos))
    }

    fn age(&self, name: &str) -> Result<Option<i128>, FlagError> {
        let nanos = self.typed(name, |text| value::duration(text, self.now))?;
        Ok(nanos.filter(|&nanos| nanos != i64::MAX).map(i128::from))
    }

    fn float(&self, name: &str) -> Result<Option<f64>, FlagError> {
        Ok(self.typed(name, float)?.filter(|&number| number > 0.0))
    }

    fn text(&self, name: &str) -> Option<Vec<u8>> {
        self.flags.value(name).filter(|value| !value.is_empty()).map(<[u8]>::to_vec)
    }

    fn items(&self, name: &str) -> Result<Vec<Vec<u8>>, FlagError> {
        Ok(self.typed(name, |text| value::separated(text, b','))?.unwrap_or_default())
    }

    /// `--log-level` beats `-v` and `-q` from variables, which rclone calls fatal: VolSync always passes a level.
    fn log_level(&self) -> Result<Level, FlagError> {
        let (quiet, verbose) = (self.bool("quiet")?, self.count("verbose")?);
        let on_line = |name| self.flags.origin(name) == Some(Origin::CommandLine);
        if on_line("log-level") && (on_line("verbose") || on_line("quiet")) {
            return Err(FlagError::Conflict("can't set -v or -q and --log-level"));
        }
        if let Some(level) = self.typed("log-level", level)? {
            return Ok(level);
        }
        Ok(match (quiet, verbose) {
            (true, _) => Level::Error,
            (false, 0) => Level::Notice,
            (false, 1) => Level::Info,
            (false, _) => Level::Debug,
        })
    }

    fn filter(&self) -> Result<FilterOptions, FlagError> {
        let list = |name| self.flags.values(name);
        Ok(FilterOptions {
            include: list("include"),
            include_from: list("include-from"),
            exclude: list("exclude"),
            exclude_from: list("exclude-from"),
            filter: list("filter"),
            filter_from: list("filter-from"),
            files_from: list("files-from"),
            files_from_raw: list("files-from-raw"),
            files_from0: list("files-from0"),
            exclude_if_present: list("exclude-if-present"),
            ignore_case: self.bool("ignore-case")?,
            min_size: self.size("min-size")?,
            max_size: self.size("max-size")?,
            min_age: self.age("min-age")?,
            max_age: self.age("max-age")?,
        })
    }
}

fn wrong<T>(why: &str) -> Result<T, ValueError> {
    Err(ValueError(why.to_owned()))
}

/// One line end after a number is forgiven, as in rclone: Secrets often carry one.
fn float(text: &[u8]) -> Result<f64, ValueError> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let number = std::str::from_utf8(text).ok().and_then(|text| text.trim_start().parse::<f64>().ok());
    number.filter(|number| number.is_finite()).map_or_else(|| wrong("not a number"), Ok)
}

/// `RATE` or `UP:DOWN`, bare numbers in KiB/s.
fn bandwidth(text: &[u8]) -> Result<Bandwidth, ValueError> {
    if text.contains(&b',') || text.contains(&b' ') {
        return wrong("timetables are not supported: give one rate, or UP:DOWN");
    }
    let rate = |text: &[u8]| value::size(text).map(|bytes| u64::try_from(bytes).ok().filter(|&bytes| bytes > 0));
    match text.iter().position(|&b| b == b':') {
        Some(at) => Ok(Bandwidth { up: rate(&text[..at])?, down: rate(&text[at + 1..])? }),
        None => rate(text).map(|both| Bandwidth { up: both, down: both }),
    }
}

fn level(text: &[u8]) -> Result<Level, ValueError> {
    match text.to_ascii_uppercase().as_slice() {
        b"DEBUG" => Ok(Level::Debug),
        b"INFO" => Ok(Level::Info),
        b"NOTICE" | b"WARNING" => Ok(Level::Notice),
        b"ERROR" | b"EMERGENCY" | b"ALERT" | b"CRITICAL" => Ok(Level::Error),
        _ => wrong("must be DEBUG, INFO, NOTICE or ERROR"),
    }
}

fn cutoff(text: &[u8]) -> Result<Cutoff, ValueError> {
    match text.to_ascii_uppercase().as_slice() {
        b"HARD" => Ok(Cutoff::Hard),
        b"SOFT" => Ok(Cutoff::Soft),
        b"CAUTIOUS" => Ok(Cutoff::Cautious),
        _ => wrong("must be HARD, SOFT or CAUTIOUS"),
    }
}

#[cfg(test)]
mod tests;
