//! Options of the command line, held against what the real rsync does with them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use volsync_tests::process::{Outcome, run};
use volsync_tests::rsync::{End, PAIRS, Pair, STOCK, Shell, Way, assert_same, command, items, transfer, with_sources};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::{Names, Random, awkward, shell};

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
}

/// The real rsync at both ends, the same way.
fn stock(pair: Pair) -> Pair {
    STOCK.into_iter().find(|stock| stock.way == pair.way).unwrap()
}

/// A source, and a destination that had it and has changed since: something new, gone, of another kind, with other
/// attributes.
fn changed() -> (TempDir, TempDir) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    awkward(source.path(), 41, Names::Upstream);
    awkward(destination.path(), 41, Names::Upstream);
    shell(
        destination.path(),
        "rm -r hollow plain owned d Case; mkdir -p surplus/deep owned; touch surplus/deep/f surplus/g owned/x; rm link-out
         ln -sfn elsewhere link-to-file; chmod 600 page; chown 7:8 zeros; setfacl -m u:9:r large; touch -d @77 empty
         setfattr -n user.other -v x setuid; rm -r sticky; echo > sticky; echo more >> sparse; rm pipe; mkdir pipe",
    );
    (source, destination)
}

fn sorted(outcome: &Outcome) -> Vec<String> {
    let mut lines = items(outcome);
    lines.retain(|line| !line.starts_with("cannot delete"));
    lines.sort();
    lines
}

#[test]
fn items_are_the_real_ones_in_a_dry_run_and_in_a_run() {
    let remote = Shell::local();
    let options = "-aAX --delete --itemize-changes";
    for pair in PAIRS {
        let (source, destination) = changed();
        let from = contents(source.path());
        let before = Tree::of(destination.path());
        let dry = format!("{options} --dry-run");
        let expected = sorted(&transfer(&remote, stock(pair), &dry, &from, destination.path()).success());
        let found = sorted(&transfer(&remote, pair, &dry, &from, destination.path()).success());
        assert_eq!(found, expected, "{pair:?}");
        before.assert_same(&Tree::of(destination.path()), Ignore::default());
        let (other, copy) = changed();
        let expected = sorted(&transfer(&remote, stock(pair), options, &contents(other.path()), copy.path()).success());
        let found = sorted(&transfer(&remote, pair, options, &from, destination.path()).success());
        assert_eq!(found, expected, "{pair:?}");
        // A second run finds nothing to do.
        let again = sorted(&transfer(&remote, pair, &dry, &from, destination.path()).success());
        assert_eq!(again, Vec::<String>::new(), "{pair:?}");
    }
}

#[test]
fn a_dry_run_makes_no_destination() {
    let remote = Shell::local();
    for pair in PAIRS {
        let (source, parent) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        shell(source.path(), "mkdir -p d/e; echo x > d/e/f; ln -s x l; mkfifo p; ln d/e/f hard");
        let to = parent.path().join("new");
        let options = "-aHn --delete --itemize-changes";
        let expected = sorted(&transfer(&remote, stock(pair), options, &contents(source.path()), &to).success());
        let found = sorted(&transfer(&remote, pair, options, &contents(source.path()), &to).success());
        // Which one of a group of hard links comes first is up to the receiver.
        let names = |lines: &[String]| lines.iter().filter(|line| !line.contains('f')).cloned().collect::<Vec<_>>();
        assert_eq!((names(&found), found.len()), (names(&expected), expected.len()), "{pair:?}");
        assert!(!to.exists(), "{pair:?}");
    }
}

#[test]
fn lines_have_the_form_that_is_asked_for() {
    let remote = Shell::local();
    let formats = [
        "%i|%n|%L|%f|%o",
        "%n",
        "%o_%f_%n%L",
        "%l|%'l|%12l|%-12l|%B|%U|%G|%M",
        "%C|%n",
        "%c|%n",
        "%a|%m|%%|%5n|%-30n|%",
    ];
    for pair in PAIRS.into_iter().filter(|pair| pair.client == End::Ours) {
        for format in formats {
            for more in ["-a", "-aH", "-ai", "-av --info=flist0,stats0", "-an"] {
                // Without contents there is no digest; stock then shows zeros.
                if more == "-an" && format.contains("%C") {
                    continue;
                }
                let run = |pair: Pair| {
                    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
                    let files = "mkdir -p d/e; echo hello > d/a; chmod 4755 d/a; ln -s a d/l; mkfifo p; chown 7:8 p; echo x > d/e/b";
                    shell(source.path(), &format!("{files}; mknod dev c 1 3; head -c 3000 /dev/zero > 's p'"));
                    shell(
                        destination.path(),
                        &format!("{files}; mkdir gone; echo > gone/x; ln -sf b d/l; echo old > d/a"),
                    );
                    for dir in [&source, &destination] {
                        shell(dir.path(), "find . -exec touch -h -d '2001-02-03 04:05:06' {} +");
                    }
                    shell(source.path(), "chmod 600 p");
                    let ours = pair.client == End::Ours || pair.server == End::Ours;
                    // As ours sends its list.
                    let list = if ours { "" } else { "--no-inc-recursive " };
                    let options = format!("{more} --delete {list}--checksum-choice=xxh64 --out-format={format}");
                    let outcome = transfer(&remote, pair, &options, &contents(source.path()), destination.path());
                    let text = String::from_utf8_lossy(&outcome.success().stdout).into_owned();
                    let root = source.path().display().to_string();
                    let mut lines: Vec<_> = text.replace(&root[1..], "SOURCE").lines().map(ToOwned::to_owned).collect();
                    // A deletion has no access, but that of the file before at a stock receiver.
                    lines.retain(|line| !line.contains("1970"));
                    lines.sort();
                    lines
                };
                assert_eq!(run(pair), run(stock(pair)), "{pair:?} {more} {format}");
            }
        }
    }
}

/// Numbers that do not depend on time or on how bytes are framed.
fn numbers(outcome: &Outcome) -> Vec<String> {
    let kept = ["Number of ", "Total file size", "Total transferred", "Literal data", "Matched data", "total size is"];
    let text = outcome.text();
    let lines = text.lines().filter(|line| kept.iter().any(|start| line.starts_with(start)));
    lines.map(|line| line.split("  speedup").next().unwrap().to_owned()).collect()
}

#[test]
fn statistics_are_the_real_ones() {
    let remote = Shell::local();
    for pair in PAIRS {
        let run = |pair: Pair| {
            let (source, destination) = changed();
            let outcome =
                transfer(&remote, pair, "-aAX --delete --stats", &contents(source.path()), destination.path());
            numbers(&outcome.success())
        };
        assert_eq!(run(pair), run(stock(pair)), "{pair:?}");
    }
}

#[test]
fn permissions_that_are_not_taken_over_stay_as_they_are() {
    let remote = Shell::local();
    for pair in PAIRS {
        for options in ["-rlt", "-rlt --inplace", "-rltog", "-rltc"] {
            let run = |pair: Pair| {
                let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
                let files =
                    "for mode in 0600 0644 0755 4755; do echo $0 > $mode; chmod $mode $mode; done; echo $0 > link";
                shell(source.path(), &files.replace("$0", "new"));
                shell(
                    source.path(),
                    "chmod 0644 0600; chmod 0600 0755; mkdir -m 0700 d; mkdir r r/r; echo > r/f; chmod 0511 r; chmod 0266 r/r; echo new > fresh; chmod 6777 fresh",
                );
                shell(
                    destination.path(),
                    &format!("{}; ln -sf 0600 link; mkdir -m 0750 d", files.replace("$0", "older")),
                );
                transfer(&remote, pair, options, &contents(source.path()), destination.path()).success();
                destination
            };
            let (expected, found) = (run(stock(pair)), run(pair));
            let ignore = Ignore { directory_times: true, file_times: true, ..Ignore::default() };
            let different = Tree::of(expected.path()).diff(&Tree::of(found.path()), ignore);
            assert!(different.is_empty(), "{pair:?} {options}: {different:?}");
        }
    }
}

#[test]
fn what_exists_is_judged_whatever_it_is() {
    let remote = Shell::local();
    let all = [
        "--existing",
        "--existing --delete",
        "--ignore-existing",
        "--ignore-existing --inplace",
        "--existing --ignore-existing",
        "--existing --force -n",
        "-u",
        "-uH --ignore-existing",
    ];
    for pair in PAIRS {
        for options in all {
            let run = |pair: Pair| {
                let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
                shell(
                    source.path(),
                    "for name in a b c e f; do echo x > $name; done; for name in l1 l2 l3; do ln -s t $name; done
                     mkfifo p1 p2 p3; mkdir dd dl dn; echo > dn/x; ln f hard; touch -h -d @1000000000 ./* dn/x .
                     touch -d @900000000 dd dl",
                );
                shell(
                    destination.path(),
                    "mkfifo a l2; ln -s q b; ln -s q p2; ln -s q dl; mkdir c e p3 l3; echo > e/x; echo file > l1
                     echo file > p1; echo > dd; touch -h -d @900000000 ./* e/x; touch -d @1100000000 p1 b; touch -d @1000000000 .",
                );
                let options = format!("-ai {options}");
                let outcome = transfer(&remote, pair, &options, &contents(source.path()), destination.path());
                (outcome, destination)
            };
            let ((expected, copy), (found, destination)) = (run(stock(pair)), run(pair));
            assert_eq!(found.code(), expected.code(), "{pair:?} {options}: {found}");
            let ignore = Ignore { directory_times: true, ..Ignore::default() };
            let different = Tree::of(copy.path()).diff(&Tree::of(destination.path()), ignore);
            assert!(different.is_empty(), "{pair:?} {options}: {different:?}\n{found}");
        }
    }
}

/// What a filter may hide, spare and delete.
fn filtered() -> (TempDir, TempDir) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for dir in [&source, &destination] {
        shell(
            dir.path(),
            "mkdir -p a/b/c d/cache 'sp ace' save keep; touch a/x.o a/keep.o a/b/y.o a/b/c/z d/cache/1 d/cache/2 top.o
             touch 'sp ace/f.tmp' 'st*r' save/me keep/me a/b/c/core; touch -d @1000000000 $(find . -name '*.o')",
        );
    }
    shell(source.path(), "echo new > a/b/c/z; echo new > a/x.o; rm -r save/me keep; mkdir new; touch new/n.o new/n");
    shell(
        destination.path(),
        "mkdir -p gone/sub gone/cache; touch gone/x.o gone/sub/f gone/cache/f a/extra.o a/extra top.tmp save/other",
    );
    (source, destination)
}

#[test]
fn long_attributes_that_several_files_share_arrive() {
    let remote = Shell::local();
    let changes = [
        "rm -rf -- *",
        "rm 1 2",
        "setfattr -x user.long 2; rm 3",
        "setfattr -x user.long d; rm -r 1 d/4",
        "setfattr -n user.long -v other 1; setfattr -n user.long -v other 2 d d/4",
        "echo >> 1; setfattr -n user.more -v x 2; rm 3",
        "setfattr -n user.long -v 0x$(printf %0200d 7) 1 3; rm d/4",
    ];
    for pair in PAIRS {
        for change in changes {
            for options in ["-aX", "-aX --inplace", "-aX --delete"] {
                let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
                shell(
                    source.path(),
                    "mkdir d e; for f in 1 2 3 d/4; do echo $f > $f; setfattr -n user.long -v $(printf %0900d 1) $f; done
                     setfattr -n user.long -v $(printf %0900d 1) d; setfattr -n user.long -v $(printf %0900d 2) e
                     setfattr -n user.other -v $(printf %050d 3) 2 d; find . -exec touch -d @1000000000 {} +",
                );
                let from = contents(source.path());
                transfer(&remote, stock(pair), options, &from, destination.path()).success();
                shell(destination.path(), change);
                transfer(&remote, pair, options, &from, destination.path()).success();
                assert_same(source.path(), destination.path(), Ignore::default());
            }
        }
    }
}

#[test]
fn what_would_stand_in_the_way_is_told_by_a_dry_run() {
    let remote = Shell::local();
    for pair in PAIRS {
        for options in ["-ain", "-ain --force", "-ain --delete", "-ai", "-ain --ignore-existing"] {
            let run = |pair: Pair| {
                let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
                shell(source.path(), "echo x > f; ln -s x l; mkfifo p; echo x > empty");
                shell(destination.path(), "mkdir -p f/d l p/d empty; echo > l/x");
                shell(source.path(), "touch -d @1000000000 .");
                shell(destination.path(), "touch -d @1000000000 .");
                transfer(&remote, pair, options, &contents(source.path()), destination.path())
            };
            let (expected, found) = (run(stock(pair)), run(pair));
            assert_eq!(found.code(), expected.code(), "{pair:?} {options}: {found}\n{expected}");
            assert_eq!(sorted(&found), sorted(&expected), "{pair:?} {options}");
        }
    }
}

#[test]
fn filter_rules_select_and_spare_as_the_real_ones() {
    let remote = Shell::local();
    let rules = [
        "--exclude=*.o",
        "--include=keep.o --exclude=*.o",
        "--exclude=*.o --delete-excluded",
        "--exclude=/a/b/",
        "--exclude=cache/ --exclude=/top.*",
        "--exclude=b/c/z --exclude=core",
        "--include=/a/*** --exclude=*",
        "--include=*/ --include=*.o --exclude=*",
        "--exclude=/a/**/z --exclude=st\\*r",
        "--filter=protect_save/* --filter=hide_new",
        "--filter=P_gone/ --filter=-s_x.o",
        "--filter=risk_a/extra.o --exclude=*.o --exclude=sp?ace",
        "--exclude=[a-d]/ --exclude=*.tmp --delete-after",
        "--exclude=gone/sub --delete-before",
        "--filter=-p_*.o --delete-delay",
    ];
    for pair in PAIRS {
        for rule in rules {
            let run = |pair: Pair| {
                let (source, destination) = filtered();
                let options = format!("-a --delete {rule}");
                transfer(&remote, pair, &options, &contents(source.path()), destination.path()).success();
                destination
            };
            let (expected, found) = (run(stock(pair)), run(pair));
            let ignore = Ignore { directory_times: true, file_times: true, ..Ignore::default() };
            let different = Tree::of(expected.path()).diff(&Tree::of(found.path()), ignore);
            assert!(different.is_empty(), "{pair:?} {rule}: {different:?}");
        }
    }
}

#[test]
fn rules_that_are_not_obeyed_are_refused_before_anything_is_deleted() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.server == End::Ours) {
        let (source, destination) = filtered();
        let options = "-a --delete --filter=:x_.rules";
        let outcome = transfer(&remote, pair, options, &contents(source.path()), destination.path()).exits(4);
        assert!(outcome.text().contains("--filter"), "{outcome}");
        assert!(destination.path().join("gone/x.o").exists());
    }
}

#[test]
fn what_is_there_is_listed_as_by_the_real_one() {
    let remote = Shell::local();
    let source = TempDir::new().unwrap();
    awkward(source.path(), 43, Names::Upstream);
    // Bytes that mean something to terminals are escaped in another way.
    shell(
        source.path(),
        "LC_ALL=C find . -depth -mindepth 1 -name '*[!-A-Za-z0-9_.]*' -exec rm -rf {} +
         mknod null c 1 3; mkdir -m 1777 sticky-dir; mkdir bare; touch -h -d @1000000000.7 ./* .",
    );
    let outer = source.path().display().to_string();
    for pair in PAIRS {
        for options in ["", "-r", "-a", "-ah", "-a --exclude=h* --list-only", "-rx"] {
            for from in [contents(source.path()), outer.clone(), format!("{outer}/plain")] {
                let destination = TempDir::new().unwrap();
                let list = |pair: Pair| {
                    // Without the place where it would go there is no pushing.
                    let push = if pair.way == Way::Push { " --list-only" } else { "" };
                    let mut command =
                        command(&remote, pair, &format!("{options}{push}"), &from, &destination.path().join("none"));
                    if pair.way == Way::Pull {
                        command = without_last(&command);
                    }
                    run(command.env("TZ", ":America/New_York")).success()
                };
                let (expected, found) = (list(stock(pair)).stdout, list(pair).stdout);
                assert!(!expected.is_empty());
                assert_eq!(
                    String::from_utf8_lossy(&found),
                    String::from_utf8_lossy(&expected),
                    "{pair:?} {options} {from}"
                );
                assert_eq!(fs::read_dir(destination.path()).unwrap().count(), 0);
            }
        }
    }
}

/// Without its last argument.
fn without_last(command: &Command) -> Command {
    let mut shorter = Command::new(command.get_program());
    let args: Vec<_> = command.get_args().collect();
    shorter.args(&args[..args.len() - 1]);
    shorter
}

#[test]
fn several_sources_go_to_one_place() {
    let remote = Shell::local();
    for pair in PAIRS {
        for options in ["-aHX --delete", "-aHXc", "-rt --delete-after", "-a --exclude=*.o"] {
            let run = |pair: Pair| {
                let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
                shell(
                    source.path(),
                    "mkdir -p a/sub b/sub c e; echo 1 > a/f; echo 2 > a/sub/g; echo 3 > b/f; echo 4 > b/sub/h; echo 5 > single
                     echo 6 > c/x.o; ln a/f c/hard; setfattr -n user.long -v $(printf %0100d 7) b/sub/h; ln -s f a/link
                     find . -exec touch -h -d @1000000000 {} +",
                );
                shell(
                    destination.path(),
                    "mkdir -p c/gone sub; echo > c/gone/x; echo > sub/old; echo > kept; find . -exec touch -d @9 {} +",
                );
                let all = ["a/", "b/", "c", "single", "e"].map(|name| source.path().join(name).display().to_string());
                let command = command(&remote, pair, options, "SOURCE", destination.path());
                let mut several = with_sources(&command, &all);
                volsync_tests::process::run(&mut several).success();
                destination
            };
            let (expected, found) = (run(stock(pair)), run(pair));
            let ignore = Ignore { directory_times: true, ..Ignore::default() };
            assert_same(expected.path(), found.path(), ignore);
        }
    }
}

#[test]
fn a_source_that_is_missing_does_not_keep_the_others() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.sender() == End::Ours) {
        let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        shell(source.path(), "echo 1 > f");
        shell(destination.path(), "echo > kept");
        let command = command(&remote, pair, "-a --delete", "SOURCE", destination.path());
        let mut several = Command::new(command.get_program());
        let place = source.path().display();
        for arg in command.get_args() {
            match arg.to_str().unwrap() {
                "SOURCE" => several.args([format!("{place}/none"), format!("{place}/")]),
                "peer:SOURCE" => several.args([format!("peer:{place}/none"), format!(":{place}/")]),
                other => several.arg(other),
            };
        }
        let outcome = run(&mut several).exits(23);
        assert!(outcome.text().contains("none"), "{outcome}");
        assert!(destination.path().join("f").exists() && destination.path().join("kept").exists());
    }
}

/// Old and new content where much moved, to and fro.
fn moved() -> (TempDir, TempDir) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let noise = Random::new(9).bytes(900_000);
    let hole = vec![0; 200_000];
    for (name, old, new) in [
        ("same", noise.clone(), [&noise[..500_000], b"x", &noise[500_001..]].concat()),
        ("forward", noise[100_000..].to_vec(), noise.clone()),
        ("back", noise.clone(), noise[100_000..].to_vec()),
        ("swapped", noise.clone(), [&noise[450_000..], &noise[..450_000]].concat()),
        ("shorter", noise.clone(), noise[..7000].to_vec()),
        ("emptied", noise.clone(), Vec::new()),
        ("zeroed", noise.clone(), [&noise[..5000], &hole, &noise[205_000..]].concat()),
        ("replaced", noise[..90_000].to_vec(), noise[300_000..390_000].to_vec()),
    ] {
        fs::write(destination.path().join(name), old).unwrap();
        fs::write(source.path().join(name), new).unwrap();
    }
    shell(
        source.path(),
        "echo > new; touch -d @8 *; chmod 640 back; echo > link; echo > dir; ln same hard; touch -d @7 .",
    );
    shell(
        destination.path(),
        "touch -d @9 *; ln same hard; ln -s /does/not/exist link; mkdir -p dir/deep; echo > dir/f",
    );
    (source, destination)
}

#[test]
fn files_are_written_where_they_stand() {
    let remote = Shell::local();
    for pair in PAIRS {
        for options in ["-aH --delete --inplace --stats", "-aHSz --delete --inplace --stats", "-aHW --delete --inplace"]
        {
            let run = |pair: Pair| {
                let (source, destination) = moved();
                let inode = |name: &str| fs::metadata(destination.path().join(name)).unwrap().ino();
                let before = ["same", "forward", "swapped", "shorter"].map(inode);
                let outcome = transfer(&remote, pair, options, &contents(source.path()), destination.path()).success();
                assert_same(source.path(), destination.path(), Ignore::default());
                assert_eq!(["same", "forward", "swapped", "shorter"].map(inode), before, "{pair:?}");
                let holes = fs::metadata(destination.path().join("zeroed")).unwrap().blocks() * 512 < 800_000;
                assert_eq!(holes, options.contains('S'), "{pair:?} {options}");
                numbers(&outcome)
            };
            assert_eq!(run(pair), run(stock(pair)), "{pair:?} {options}");
        }
    }
}

#[test]
fn a_limit_slows_down_whoever_sends() {
    let remote = Shell::local();
    let source = TempDir::new().unwrap();
    fs::write(source.path().join("noise"), Random::new(1).bytes(600 << 10)).unwrap();
    for pair in PAIRS.into_iter().filter(|pair| pair.sender() == End::Ours) {
        let destination = TempDir::new().unwrap();
        let outcome =
            transfer(&remote, pair, "-a --bwlimit=400", &contents(source.path()), destination.path()).success();
        assert!(outcome.took > Duration::from_secs(1), "{outcome}");
    }
}

#[test]
fn a_volume_is_pushed_and_pulled_by_a_word() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.client == End::Ours) {
        let (source, destination) = changed();
        let word = format!("{:?}", pair.way).to_lowercase();
        let from = source.path().display().to_string();
        transfer(&remote, pair, &word, &from, destination.path()).success();
        assert_same(source.path(), destination.path(), Ignore::default());
        let other = if word == "push" { "pull" } else { "push" };
        transfer(&remote, pair, other, &from, destination.path()).exits(1);
    }
}

/// Both places are here: the same names, items and trees as the real one's.
#[test]
fn places_of_one_machine_are_copied_and_listed_as_by_the_real_one() {
    for options in ["-aAXH --delete -i", "-aAXHS --no-whole-file -i", "-ain --delete", "-aR -i", "-az -i"] {
        let results = [End::Stock, End::Ours].map(|end| {
            let (source, destination) = changed();
            let mut command = Command::new(end.program());
            command.args(options.split(' ')).args(["./", "plain"]).arg(destination.path());
            let outcome = run(command.current_dir(source.path()));
            (outcome.code(), sorted(&outcome), source, destination)
        });
        let [(code, told, _, expected), (our_code, we_told, _, found)] = &results;
        assert_eq!((our_code, we_told), (code, told), "{options}");
        let ignore = Ignore { directory_times: true, file_times: true, ..Ignore::default() };
        assert_same(expected.path(), found.path(), ignore);
    }
    let source = TempDir::new().unwrap();
    shell(source.path(), "mkdir -p d/e; echo > d/f; echo > d/e/g; ln -s d l; mkfifo p; touch -h -d @9 d/f l p");
    for options in ["-r", "-a"] {
        let [expected, found] = [End::Stock, End::Ours].map(|end| {
            let outcome = run(Command::new(end.program()).arg(options).arg(contents(source.path()))).success();
            String::from_utf8(outcome.stdout).unwrap()
        });
        assert_eq!(found, expected);
    }
    let to = source.path().join("new/deep");
    let failed = run(Command::new(End::Ours.program()).args(["-a", "/does/not/exist"]).arg(&to)).exits(23);
    assert!(failed.text().contains("/does/not/exist") && !to.exists(), "{failed}");
}
