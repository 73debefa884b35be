//! What takes part in a transfer by lists of names, paths and files of rules, held against what the real rsync does with them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use volsync_tests::process::{Outcome, run};
use volsync_tests::rsync::{PAIRS, Pair, STOCK, Shell, Way, command, items, transfer, with_sources};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::shell;

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
}

/// Panics unless both runs ended with the same code, told the same, and left the same behind.
#[track_caller]
fn assert_alike((expected, copy): &(Outcome, TempDir), (found, destination): &(Outcome, TempDir), case: &str) {
    let told = |outcome: &Outcome| {
        let mut lines = items(outcome);
        lines.retain(|line| !line.starts_with("created directory") && !line.starts_with("cannot delete"));
        lines.sort();
        lines
    };
    assert_eq!((found.code(), told(found)), (expected.code(), told(expected)), "{case}: {found}\n{expected}");
    // Those of directories that are not sent are up to the clock; of the others the items tell.
    let ignore = Ignore { directory_times: true, ..Ignore::default() };
    let different = Tree::of(copy.path()).diff(&Tree::of(destination.path()), ignore);
    assert!(different.is_empty(), "{case}: {different:?}");
}

/// Holds every pair that goes such a way against the real rsync at both ends.
#[track_caller]
fn hold(ways: &[Way], case: &str, run: impl Fn(Pair) -> (Outcome, TempDir)) {
    for stock in STOCK.into_iter().filter(|stock| ways.contains(&stock.way)) {
        let expected = run(stock);
        for pair in PAIRS.into_iter().filter(|pair| pair.way == stock.way) {
            assert_alike(&expected, &run(pair), &format!("{pair:?} {case}"));
        }
    }
}

const BOTH: &[Way] = &[Way::Push, Way::Pull];

/// A source, and a destination with things that it lacks; all of one time.
fn trees() -> (TempDir, TempDir) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    shell(
        source.path(),
        "mkdir -p a/b/c x/y .hid w/deep; chmod 2750 a; chmod 700 x/y; echo 1 > a/b/c/f; echo 2 > a/b/g; echo 3 > a/h
         echo 4 > x/y/z; echo 5 > top; echo 6 > '#hash'; echo 8 > 'sp ace'; echo 9 > x/w; ln -s top link; ln top hard
         echo 10 > w/deep/k; echo 11 > w/l; setfattr -n user.x -v y x; find . -exec touch -h -d @1000000000 {} +",
    );
    shell(
        destination.path(),
        "mkdir -p a/extra x/y/extra w/deep; echo > a/old; echo > x/y/old; echo > w/deep/old; echo > w/old; echo > other
         find . -exec touch -h -d @900000000 {} +",
    );
    (source, destination)
}

/// Runs both ends with a list of names that is at hand as `kind` says.
fn listed(remote: &Shell, pair: Pair, options: &str, names: &str, kind: Kind) -> (Outcome, TempDir) {
    let ((source, destination), files) = (trees(), TempDir::new().unwrap());
    let file = files.path().join("names");
    std::fs::write(&file, names).unwrap();
    let colon = if kind == Kind::There { ":" } else { "" };
    let place = if kind == Kind::Input { "-".to_owned() } else { format!("{colon}{}", file.display()) };
    let options = format!("-aX -i {options} --files-from={place}");
    let command = command(remote, pair, &options, &contents(source.path()), destination.path());
    let outcome = match kind {
        Kind::Input => {
            let mut piped = Command::new("sh");
            piped.args(["-c", "exec \"$@\" < \"$0\""]).arg(&file).arg(command.get_program()).args(command.get_args());
            run(&mut piped)
        }
        Kind::Here | Kind::There => {
            let mut whole = Command::new(command.get_program());
            run(whole.args(command.get_args()))
        }
    };
    (outcome, destination)
}

/// Where the names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In a file of the client.
    Here,
    /// On its standard input.
    Input,
    /// In a file of the server.
    There,
}

#[test]
fn what_a_list_names_is_sent_as_by_the_real_one() {
    let remote = Shell::local();
    let all = "a/b/c/f\n#hash\ntop\r\n\nx/y/\nsp ace\nnone\nw\nlink\n";
    for kind in [Kind::Here, Kind::Input, Kind::There] {
        for options in ["", "-r --delete", "-n --delete", "-rc --delete-after"] {
            // After an error a stock sender lets some things be deleted, and ours nothing.
            let all = if options.contains("--delete") { all.replace("none\n", "") } else { all.into() };
            let run = |pair| listed(&remote, pair, options, &all, kind);
            hold(BOTH, &format!("{kind:?} {options}"), run);
        }
        let nul = all.replace('\n', "\0");
        hold(BOTH, &format!("{kind:?} with NUL"), |pair| listed(&remote, pair, "-0 -z", &nul, kind));
    }
}

#[test]
fn names_of_a_list_lead_where_the_real_one_goes() {
    let remote = Shell::local();
    let lists = [
        "x\nx/y/\n.\n",
        "./x/./y/z\n/a//b/../h\n../top\na/../../x/w\nw/deep/..\n",
        "a/b/./g\n./x/y\n",
        "x/y/\nx/w\na/b/c/f\na/b/c/f\ntop/\ntop\nx/.\nx\na/./\n",
        "x/none/z\nnone\n",
        "",
    ];
    for names in lists {
        // A stock client believes no server that resolves them, and none that sends the way to what it excludes.
        let ways = if names.contains("..") { &[Way::Push] } else { BOTH };
        for (options, ways) in [
            ("", ways),
            ("-r --delete --ignore-errors", ways),
            ("--exclude=y --exclude=f --exclude=/top", ways),
            ("-r --exclude=/x/y --exclude=a", &[Way::Push]),
        ] {
            hold(ways, &format!("{options} {names:?}"), |pair| listed(&remote, pair, options, names, Kind::Here));
        }
    }
}

#[test]
fn names_without_what_leads_there_are_sent_as_by_the_real_one() {
    let remote = Shell::local();
    for names in ["a/b/c/f\nx/y/z\ntop\nw\n", "x/y/\na/b\n", "/a/./b/g\nw/../a/h\n"] {
        // A stock client believes no server that resolves what leads up.
        let ways = if names.contains("..") { &[Way::Push] } else { BOTH };
        for options in ["--no-relative", "--no-relative -r", "--no-implied-dirs", "--no-implied-dirs -r"] {
            let run = |pair| listed(&remote, pair, options, names, Kind::Here);
            hold(ways, &format!("{options} {names:?}"), run);
        }
    }
    for kind in [Kind::Input, Kind::There] {
        for options in ["--no-relative", "--no-implied-dirs"] {
            let run = |pair| listed(&remote, pair, options, "a/b/c/f\nx/y\n", kind);
            hold(BOTH, &format!("{options} {kind:?}"), run);
        }
    }
}

#[test]
fn a_long_list_blocks_nobody() {
    let remote = Shell::local();
    let source = TempDir::new().unwrap();
    // More than all buffers on the way hold, in both directions. A stock client looks at each name for each name.
    let rest = "-a-name-that-takes-some-room-in-every-buffer".repeat(5);
    shell(source.path(), &format!("mkdir d; cd d; seq -f %05g{rest} 3000 | xargs touch -d @1000000000"));
    let list = TempDir::new().unwrap();
    shell(list.path(), &format!("(cd {}; find d -type f) > names", source.path().display()));
    let file = list.path().join("names");
    for pair in PAIRS {
        for colon in ["", ":"] {
            let destination = TempDir::new().unwrap();
            let options = format!("-a --files-from={colon}{} --timeout=60", file.display());
            transfer(&remote, pair, &options, &contents(source.path()), destination.path()).success();
            let count = std::fs::read_dir(destination.path().join("d")).unwrap().count();
            assert_eq!(count, 3000, "{pair:?} {colon}");
        }
    }
}

#[test]
fn paths_are_kept_as_by_the_real_one() {
    let remote = Shell::local();
    for options in ["-R", "-R --delete", "-R --exclude=/top --exclude=f"] {
        for ends in [&["/./a/b", "/./top"][..], &["/a/./b/"], &["/./"], &["/./none", "/./x/y"]] {
            let run = |pair: Pair| {
                let (source, destination) = trees();
                let ends = ends.iter().filter(|end| !options.contains("--delete") || !end.contains("none"));
                let all: Vec<_> = ends.map(|end| format!("{}{end}", source.path().display())).collect();
                let command = command(&remote, pair, &format!("-aX -i {options}"), "SOURCE", destination.path());
                let mut several = with_sources(&command, &all);
                (volsync_tests::process::run(&mut several), destination)
            };
            hold(BOTH, &format!("{options} {ends:?}"), run);
        }
    }
}

#[test]
fn what_a_list_cannot_be_is_refused() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.client == volsync_tests::rsync::End::Ours) {
        for (list, code) in [("/does/not/exist", 1), ("elsewhere:/x", 1)] {
            let (source, destination) = trees();
            let options = format!("-a --files-from={list}");
            transfer(&remote, pair, &options, &contents(source.path()), destination.path()).exits(code);
        }
        if pair.way == Way::Push {
            let (source, destination) = trees();
            let file = source.path().join("top").display().to_string();
            transfer(&remote, pair, "-a --files-from=/dev/null", &file, destination.path()).exits(3);
        }
    }
}

/// Trees with files of rules.
fn ruled() -> (TempDir, TempDir) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for dir in [&source, &destination] {
        shell(
            dir.path(),
            r"mkdir -p a/b/c d/cache e/CVS top/a .git save; touch a/x.o a/keep.o a/b/y.o a/b/c/z a/b/c/core d/cache/1 top.o
              touch 'd/sp ace' e/f~ e/CVS/Root e/main.c e/made top/a/q save/me .git/config a/b/z 'a/b/w1' 'a/b/w2'
              printf '# remark
- *.o
; other
+ /a/b/c/z
- z
' > .rules
              printf '+ keep.o
- /b/w1
P extra
' > a/.rules
              printf '!
- c/core
' > a/b/.rules
              printf -- '- f~\n- q' > top/.rules; printf -- '-_x.o\n+_q -_core' > a/.words
              printf 'made *.log
!
q' > e/.cvsignore; printf 'w2' > a/b/.cvsignore; printf -- '- /d/cache
' > .rsync-filter
              printf -- '- /cache
- made
' > d/.rsync-filter",
        );
    }
    shell(
        source.path(),
        "echo new > a/b/c/z; echo new > a/x.o; rm -r save/me; mkdir new; touch new/n.o new/n; rm a/b/z",
    );
    shell(
        destination.path(),
        r"mkdir -p gone/sub gone/CVS; touch gone/x.o gone/sub/f gone/sub/g.o gone/CVS/x a/extra.o a/extra save/other e/new.log
          printf -- '- *.o
-s f
' > gone/sub/.rules; printf -- '- other
' > save/.rules; touch d/made top/a/surplus~ d/cache/2
          printf -- '- surplus~
' > top/.rules",
    );
    for dir in [&source, &destination] {
        shell(dir.path(), "find . -exec touch -h -d @1000000000 {} +");
    }
    shell(source.path(), "touch -d @1100000000 a/b/c/z a/x.o");
    (source, destination)
}

#[test]
fn files_of_rules_select_and_spare_as_the_real_ones() {
    let remote = Shell::local();
    let merge = TempDir::new().unwrap();
    shell(
        merge.path(),
        r"printf '# remark
- *.o

protect extra
+ q
' > rules; printf 'a/b
*.o
#x
' > plain
                          printf '+_*/ -_x.o
+_*.o' > words; printf -- '- top.o\0- z\0' > nul; printf '. plain2
- q' > nested",
    );
    let at = |name: &str| format!("{}/{name}", merge.path().display());
    shell(
        merge.path(),
        &format!(
            "printf -- '- sub
' > plain2; printf '. {}/plain2
- q
' > nested",
            merge.path().display()
        ),
    );
    let rules = [
        format!("--filter=merge_{}", at("rules")),
        format!("--filter=.-_{}", at("plain")),
        format!("--filter=.w_{} --filter=-_*", at("words")),
        format!("--filter=.sp_{}", at("rules")),
        format!("-0 --filter=._{}", at("nul")),
        format!("--filter=._{} --exclude=y.o", at("nested")),
        "--filter=:e_.rules".into(),
        "--filter=:_.rules --delete-after".into(),
        "--filter=:np_.rules --delete-before".into(),
        "--filter=:w_.words --exclude=.rules".into(),
        "--filter=:s_.rsync-filter --delete-excluded".into(),
        "--filter=:-n_.cvsignore".into(),
        "-FF --delete-after".into(),
        "--exclude=e/ -F --filter=:sC --include=x.o --exclude=*.o".into(),
        "-C".into(),
        "-C --include=core --filter=:C".into(),
        "--filter=:C --filter=-C --delete-after".into(),
        "-C --delete-excluded".into(),
        "--filter=-/_a/b/c --filter=-/_/nowhere".into(),
    ];
    for rule in &rules {
        let run = |pair: Pair| {
            let (source, destination) = ruled();
            let options = if rule.contains("--delete") { "-ai" } else { "-ai --delete" };
            let options = format!("{options} {rule}");
            let mut command = command(&remote, pair, &options, &contents(source.path()), destination.path());
            let command = command.env("CVSIGNORE", "main.c *.bak").env("HOME", merge.path());
            (volsync_tests::process::run(command), destination)
        };
        hold(BOTH, rule, run);
    }
}

#[test]
fn rules_lie_above_the_tree_and_in_a_named_directory() {
    let remote = Shell::local();
    for (rule, end) in [
        ("-F", "in/tree/"),
        ("-F", "in/tree"),
        ("--filter=:_../../.rsync-filter", "in/tree/"),
        ("--filter=:_../.rsync-filter", "in/tree/"),
        ("--filter=:_.rsync-filter", "in/tree"),
        ("-FF", "in"),
    ] {
        let run = |pair: Pair| {
            let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            shell(
                source.path(),
                r"mkdir -p in/tree/d; touch in/tree/a in/tree/b in/tree/d/a in/tree/d/b in/tree/d/c in/tree/d/e
                      printf -- '- /in/tree/a
' > .rsync-filter; printf -- '- d/b
- /tree/b
' > in/.rsync-filter
                      printf -- '- /d/c
' > in/tree/.rsync-filter; find . -exec touch -d @1000000000 {} +",
            );
            shell(
                destination.path(),
                r"mkdir tree; touch tree/old other; printf -- '- other
- old
' > .rsync-filter
                                            find . -exec touch -d @1000000000 {} +",
            );
            let from = format!("{}/{end}", source.path().display());
            let options = format!("-ai --delete {rule}");
            (transfer(&remote, pair, &options, &from, destination.path()), destination)
        };
        hold(BOTH, &format!("{rule} {end}"), run);
    }
}

#[test]
fn files_of_rules_that_name_others_or_are_links_are_read_as_by_the_real_one() {
    let remote = Shell::local();
    let trees = || {
        let (source, destination) = ruled();
        for dir in [&source, &destination] {
            shell(
                dir.path(),
                r"printf ': .more\n- y.o\n: .rules\n' > a/.rules; printf -- '- q\n: .even\n' > a/.more
                  printf -- '- w1\n' > a/b/.more; printf -- '- z\n' > a/b/.even; printf -- '- core\n' > a/b/c/.even
                  rm a/b/.rules; mkdir d/deep; printf -- '- 1\n' > d/deep/list; printf '. deep/list\n' > d/.rules
                  printf -- '- main.c\n' > elsewhere; ln -s ../elsewhere e/.rules; ln -sf /nowhere save/.rules
                  find . -exec touch -h -d @1000000000 {} +; touch -d @1100000000 a/b/c/z",
            );
        }
        (source, destination)
    };
    for options in ["--filter=:_.rules", "--delete-after --filter=:_.rules", "--filter=:n_.rules"] {
        let run = |pair| {
            let (source, destination) = trees();
            shell(destination.path(), "rm -rf a/b/w1 a/b/c/core e/main.c d/cache");
            let options = format!("-ai {options}");
            (transfer(&remote, pair, &options, &contents(source.path()), destination.path()), destination)
        };
        hold(BOTH, options, run);
    }
}

#[test]
fn rules_select_extended_attributes_as_the_real_ones() {
    let remote = Shell::local();
    let rules = ["-x_user.b", "-xr_user.b", "-xs_user.b", "+x_user.a --filter=-x_*", "-x_trusted.* --filter=-_g"];
    for (rule, delete) in rules.into_iter().flat_map(|rule| [(rule, ""), (rule, "--delete ")]) {
        let run = |pair| {
            let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            shell(
                source.path(),
                "touch f g user.b; mkdir d; for x in f d; do setfattr -n user.a -v 1 $x; setfattr -n user.b -v 2 $x
                 setfattr -n trusted.c -v 3 $x; done; find . -exec touch -d @5 {} +",
            );
            shell(
                destination.path(),
                "touch f user.b; for x in f; do setfattr -n user.b -v old $x; setfattr -n user.z -v old $x; done
                 find . -exec touch -d @5 {} +",
            );
            let options = format!("-aXi {delete}--filter={rule}");
            (transfer(&remote, pair, &options, &contents(source.path()), destination.path()), destination)
        };
        hold(BOTH, &format!("{delete}{rule}"), run);
    }
}

#[test]
fn a_file_of_rules_that_makes_no_sense_ends_the_transfer() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.sender() == volsync_tests::rsync::End::Ours) {
        let (source, destination) = ruled();
        shell(source.path(), "echo nonsense > d/.rules");
        let before = Tree::of(destination.path());
        let outcome = transfer(
            &remote,
            pair,
            "-a --delete-after --filter=:_.rules",
            &contents(source.path()),
            destination.path(),
        );
        assert_ne!(outcome.code(), 0, "{outcome}");
        assert!(outcome.text().contains("nonsense"), "{outcome}");
        before.assert_same(&Tree::of(destination.path()), Ignore { directory_times: true, ..Ignore::default() });
    }
}
