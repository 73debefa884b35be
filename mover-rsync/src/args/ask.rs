//! What a client asks of its server: the same options as words of the reference.

use super::client::Direction;
use crate::options::{Delete, Items, Names, Options};
use crate::wire::handshake::{compression_name, sum_name};

/// The command line of the server that belongs to these options, in the order of the reference, without the program.
/// `letters` are our capabilities.
pub fn server_args(options: &Options, direction: Direction, letters: &str, info: &str) -> Vec<String> {
    let push = direction == Direction::Push;
    let mut args = vec!["--server".to_owned()];
    if !push {
        args.push("--sender".to_owned());
    }
    args.push(bundle(options, push, letters));
    let mut add = |condition: bool, text: String| {
        if condition {
            args.push(text);
        }
    };
    add(push && options.list_only, "--list-only".into());
    add(push && options.dirs && options.deletes(), "--no-r".into());
    add(push && options.items == Items::Names, "--log-format=X".into());
    add(push && options.items == Items::Operations, "--log-format=%o".into());
    add(push && options.items > Items::Operations, "--log-format=%i".into());
    add(options.compress_level.is_some(), format!("--compress-level={}", options.compress_level.unwrap_or_default()));
    add(options.block_size.is_some(), format!("-B{}", options.block_size.unwrap_or_default()));
    add(options.timeout > 0, format!("--timeout={}", options.timeout));
    add(options.bwlimit > 0, format!("--bwlimit={}", options.bwlimit));
    if let Some((transfer, list)) = options.checksum_choice {
        let names = if transfer == list { String::new() } else { format!(",{}", sum_name(list)) };
        add(true, format!("--checksum-choice={}{names}", sum_name(transfer)));
    }
    if let Some(choice) = options.compress_choice {
        add(true, format!("--compress-choice={}", compression_name(choice)));
    }
    add(push && options.max_delete.is_some(), format!("--max-delete={}", options.max_delete.unwrap_or_default()));
    // A client that receives does these itself.
    for (set, option) in [
        (push && options.delete == Delete::Before, "--delete-before"),
        (push && options.delete == Delete::During && !options.delete_excluded, "--delete"),
        (push && options.delete == Delete::Delay, "--delete-delay"),
        (push && options.delete == Delete::After, "--delete-after"),
        (push && options.delete_excluded, "--delete-excluded"),
        (push && options.force, "--force"),
        (push && options.size_only, "--size-only"),
        (push && options.partial, "--partial"),
        (options.ignore_errors, "--ignore-errors"),
        (options.numeric_ids, "--numeric-ids"),
        (push && options.ignore_existing, "--ignore-existing"),
        (push && options.existing, "--existing"),
    ] {
        add(set, option.into());
    }
    add(!info.is_empty(), format!("--info={info}"));
    add(options.inplace, "--inplace".into());
    // Otherwise servers before 3.1.3 would write whole files.
    add(options.inplace && options.sparse && !options.whole_file, "--no-W".into());
    match &options.names {
        None | Some(Names::Here) => {}
        // As they travel, names end with NUL.
        Some(Names::Client) => args.extend(["--files-from=-".into(), "--from0".into()]),
        Some(Names::There(file)) => {
            args.extend(["--files-from".into(), file.clone()]);
            args.extend(options.from0.then(|| "--from0".into()));
        }
    }
    let names = matches!(options.names, Some(Names::Client | Names::There(_)));
    args.extend((names && !options.relative).then(|| "--no-relative".into()));
    args.extend((options.relative && options.no_implied_dirs).then(|| "--no-implied-dirs".into()));
    args.push(".".into());
    args
}

/// The options that are letters.
fn bundle(options: &Options, push: bool, letters: &str) -> String {
    // A server that hears of names knows that it is about directories.
    let implied = options.names.is_some() && !options.list_only && !(push && options.deletes());
    let flags = [
        ('u', options.update),
        ('n', options.dry_run),
        ('l', options.links),
        ('d', options.dirs && !implied),
        ('O', push && options.omit_dir_times),
        ('J', push && options.omit_link_times),
        ('W', options.whole_file),
        ('H', options.hard_links),
        ('o', options.owner),
        ('g', options.group),
        ('D', options.devices),
        ('t', options.times),
        ('p', options.perms),
        ('A', options.acls),
        ('X', options.xattrs),
        ('r', options.recursive),
        ('c', options.checksum),
        ('C', options.cvs_exclude),
        ('I', options.ignore_times),
        ('R', options.relative),
        ('x', options.one_file_system),
        ('S', options.sparse),
        ('z', options.compress && options.compress_choice.is_none()),
    ];
    let mut bundle = format!("-{}", "v".repeat(options.verbose.into()));
    bundle.extend(flags.iter().filter(|(_, set)| *set).map(|(letter, _)| letter));
    bundle + "e." + letters
}

#[cfg(test)]
mod tests {
    use super::super::client::{Summary, cli};
    use super::*;
    use crate::report::Format;

    #[test]
    fn volsyncs_source_sends_what_upstream_sends() {
        let cli = cli("mover-rsync -aAhHSxz --delete --itemize-changes --info=stats2,misc2 /data/ root@h:.");
        let options = cli.options().unwrap();
        let args = server_args(&options, Direction::Push, "iLsfxCIvu", &cli.info());
        let upstream = "--server -lHogDtpArxSze.iLsfxCIvu --log-format=%i --delete --info=STATS2,MISC2 .";
        assert_eq!(args.join(" "), upstream);
        let show = cli.show();
        assert_eq!((cli.format(), show.summary, show.human), (Some(Format::of_items()), Summary::Full, true));
        // The server's end understands the same.
        let understood = super::super::server::parse(&args).unwrap().options;
        assert_eq!(understood, options);
    }

    #[test]
    fn volsyncs_rsync_tls_client_sends_what_upstream_sends() {
        let args = |line: &str, without_root: bool| {
            let mut cli = cli(line);
            cli.without_root = without_root;
            let options = cli.options().unwrap();
            server_args(&options, Direction::Push, "iLsfxCIvu", &cli.info()).join(" ")
        };
        let copies = "m -aAhHSxz -r --exclude=lost+found --itemize-changes --info=stats2,misc2 /data/ rsync://h/data";
        let recorded = "--server -lHogDtpArRxSze.iLsfxCIvu --log-format=%i --info=STATS2,MISC2 .";
        assert_eq!(args(copies, true), recorded);
        let deletes =
            "m -rx --exclude=lost+found --ignore-existing --ignore-non-existing --delete /data/ rsync://h/data";
        assert_eq!(args(deletes, false), "--server -rxe.iLsfxCIvu --delete --ignore-existing --existing .");
    }

    #[test]
    fn partial_files_are_the_peers_business() {
        let args = |direction| server_args(&cli("m -aP s h:d").options().unwrap(), direction, "", "");
        assert!(args(Direction::Push).contains(&"--partial".into()));
        assert!(!args(Direction::Pull).contains(&"--partial".into()));
    }

    #[test]
    fn our_options_survive_the_way_to_a_server_of_ours() {
        for line in [
            "m -a --checksum-choice=md5 --compress-choice=lz4 s h:d",
            "m -rltc -B 1000 --timeout=9 --checksum-choice=xxh64,md5 s h:d",
            "m -aX --delete-after --max-delete=3 --force --size-only --existing s h:d",
            "m -aIuWOJ --numeric-ids --delete-delay --ignore-existing --zl=-5 -z s h:d",
            "m -an --delete-excluded --ignore-errors --bwlimit=1.5m s h:d",
            "m -aS --inplace s h:d",
            "m -a --list-only s h:d",
            "m -ldtCR s h:d",
            "m -d --delete s h:d",
        ] {
            let options = cli(line).options().unwrap();
            let args = server_args(&options, Direction::Push, "LsfxCIvu", "");
            assert_eq!(super::super::server::parse(&args).unwrap().options, options, "{line}");
        }
    }

    #[test]
    fn a_server_that_sends_is_told_what_concerns_it() {
        let options = cli("m -aAHSxzOn --delete --max-delete=3 --force -i --inplace --bwlimit=7 --numeric-ids h:s d")
            .options()
            .unwrap();
        let args = server_args(&options, Direction::Pull, "LsfxCIvu", "").join(" ");
        assert_eq!(args, "--server --sender -nlHogDtpArxSze.LsfxCIvu --bwlimit=7 --numeric-ids --inplace --no-W .");
    }
}
