//! What users write becomes what the engine obeys.

use super::*;
use crate::config::env::MapEnv;
use crate::config::resolve::BackendFlags as _;
use proptest::prelude::*;
use std::ffi::OsString;
use volsync_common::exit::ExitCode;

fn parse(vars: &[(&str, &str)], args: &[&str]) -> Result<(GlobalOptions, Flags, Vec<OsString>), FlagError> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let (flags, rest) = Flags::parse(&MapEnv::new(vars.iter().copied()), "sync", &args)?;
    Ok((GlobalOptions::new(&flags, Timestamp::default())?, flags, rest))
}

fn options(vars: &[(&str, &str)], args: &[&str]) -> GlobalOptions {
    parse(vars, args).unwrap().0
}

#[track_caller]
fn check_error(vars: &[(&str, &str)], args: &[&str], code: ExitCode, text: &str) {
    let error = parse(vars, args).unwrap_err();
    assert!(error.to_string().contains(text), "{error}");
    assert_eq!(error.exit_code(), code);
}

#[test]
fn defaults_are_rclones() {
    let o = options(&[], &[]);
    assert_eq!((o.transfers, o.retries, o.low_level_retries), (None, 3, 10));
    assert_eq!((o.modify_window, o.timeout), (Duration::from_nanos(1), Duration::from_mins(5)));
    assert_eq!((o.stats, o.contimeout), (Duration::from_mins(1), Duration::from_mins(1)));
    assert_eq!((o.max_delete, o.max_transfer, o.max_duration, o.max_depth), (None, None, None, None));
    assert_eq!((o.multi_thread_cutoff, o.multi_thread_streams), (Some(256 << 20), 4));
    assert_eq!((o.log_level, o.stats_log_level), (Level::Notice, Level::Info));
    assert!(!o.checksum && o.filter == FilterOptions::default());
}

#[test]
fn a_secret_of_volsync_is_understood() {
    let vars =
        [("RCLONE_TRANSFERS", "19\n"), ("RCLONE_CHECKSUM", "1"), ("RCLONE_STATS", "20s"), ("RCLONE_VERBOSE", "2")];
    let o = options(&vars, &["--log-level", "DEBUG", "--one-file-system", "--create-empty-src-dirs"]);
    assert_eq!((o.transfers, o.checksum, o.stats), (Some(19), true, Duration::from_secs(20)));
    assert_eq!(o.log_level, Level::Debug);
    assert!(o.one_file_system && o.create_empty_src_dirs);
}

#[test]
fn the_command_line_beats_a_variable_and_adds_to_its_list() {
    let o =
        options(&[("RCLONE_EXCLUDE", "a,\"b,c\"\n"), ("RCLONE_RETRIES", "5")], &["--exclude", "d,e", "--retries=7"]);
    assert_eq!(o.filter.exclude, [b"a".to_vec(), b"b,c".to_vec(), b"d,e".to_vec()]);
    assert_eq!(o.retries, 7);
}

#[test]
fn pflags_syntax_is_understood() {
    let (o, _, rest) =
        parse(&[], &["-nvv", "src", "--checksum=false", "-f", "- a", "-f- b", "--", "-x", "dst"]).unwrap();
    assert_eq!((o.dry_run, o.log_level, o.checksum), (true, Level::Debug, false));
    assert_eq!(o.filter.filter, [b"- a".to_vec(), b"- b".to_vec()]);
    assert_eq!(rest, ["src", "-x", "dst"]);
}

#[test]
fn bad_flags_end_the_run_with_rclones_codes() {
    check_error(&[], &["--transfer", "1"], ExitCode::Usage, "did you mean --transfers?");
    check_error(&[], &["--retries"], ExitCode::Usage, "needs an argument: --retries");
    check_error(&[], &["--retries", "x"], ExitCode::Usage, "for --retries");
    check_error(&[("RCLONE_RETRIES", "x")], &[], ExitCode::Failure, "for RCLONE_RETRIES");
    check_error(&[("RCLONE_CHECKSUM", "1\n")], &[], ExitCode::Failure, "RCLONE_CHECKSUM");
    check_error(&[("RCLONE_BWLIMIT", "08:00,512 12:00,10M")], &[], ExitCode::Failure, "timetables");
    check_error(&[("RCLONE_BACKUP_DIR", "x")], &[], ExitCode::Failure, "RCLONE_BACKUP_DIR");
    check_error(&[], &["-i"], ExitCode::Usage, "--interactive is refused");
    check_error(&[], &["-v", "--log-level", "INFO"], ExitCode::Usage, "log-level");
}

#[test]
fn a_refused_flag_at_its_default_is_no_error() {
    assert!(parse(&[("RCLONE_TRACK_RENAMES", "false"), ("RCLONE_DRIVE_CHUNK_SIZE", "nonsense")], &[]).is_ok());
}

#[test]
fn variables_of_a_service_named_rclone_are_reported_once() {
    let vars = [
        ("RCLONE_PORT", "tcp://10.0.0.1:80"),
        ("RCLONE_SERVICE_HOST", "10.0.0.1"),
        ("RCLONE_DEST_PATH", "p"),
        ("RCLONE_CONFIG_SECTION", "s"),
        ("RCLONE_CONFIG_S_TYPE", "s3"),
        ("HOME", "/"),
    ];
    let report = parse(&vars, &[]).unwrap().1.report_unknown();
    assert_eq!(report.as_deref(), Some("ignored variables that are no flags: RCLONE_PORT, RCLONE_SERVICE_HOST"));
}

#[test]
fn values_have_rclones_units() {
    let o = options(&[], &["--bwlimit", "10M:off", "--max-transfer", "5", "--max-age", "2d", "--tpslimit", "2.5"]);
    assert_eq!(o.bwlimit, Bandwidth { up: Some(10 << 20), down: None });
    assert_eq!((o.max_transfer, o.tpslimit), (Some(5 << 10), Some(2.5)));
    assert_eq!(o.filter.max_age, Some(2 * 86_400 * 1_000_000_000));
}

#[test]
fn switches_and_backend_options_are_kept() {
    let (o, flags, _) = parse(
        &[("RCLONE_VOLSYNC_ALLOW_EMPTY_SOURCE", "1"), ("RCLONE_S3_CHUNK_SIZE", "9M")],
        &["--s3-region", "x", "--copy-links"],
    )
    .unwrap();
    assert!(o.allow_empty_source && !o.allow_foreign_prefix);
    assert_eq!(flags.command_line("s3", "region").as_deref(), Some("x"));
    assert_eq!(flags.command_line("s3", "chunk_size"), None);
    assert_eq!(flags.command_line("local", "copy_links").as_deref(), Some("true"));
    assert_eq!(
        super::super::switches::advice(super::super::switches::ALLOW_EMPTY_SOURCE),
        "add key RCLONE_VOLSYNC_ALLOW_EMPTY_SOURCE=1 to the Secret or pass --volsync-allow-empty-source"
    );
}

proptest! {
    #[test]
    fn any_arguments_are_flags_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..120)) {
        super::super::fuzz(&data);
    }
}
