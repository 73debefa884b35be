//! Transfers between the real rsync and ours, in all roles, compared entry by entry.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use volsync_tests::process::run;
use volsync_tests::rsync::{
    End, NO_XATTRS, PAIRS, Shell, Sshd, VOLSYNC, assert_same, command, command_of, items, transfer,
};
use volsync_tests::tree::{Ignore, Tree};
use volsync_tests::volume::{Names, Random, awkward, plain, shell};

/// All times are old: the real rsync takes times of one second for equal.
fn volume() -> (TempDir, TempDir) {
    let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    awkward(source.path(), 11, Names::All);
    shell(
        source.path(),
        "mknod null c 1 3; mknod loop b 7 260; mkdir linked; ln plain linked/third; ln link-out linked/symlink
         setfattr -n user.long -v $(printf %0100d 7) with-xattr; chown -h 5:6 link-dangling; touch -h -d @77 link-out
         touch -d @1300000000.25 null loop linked with-xattr .",
    );
    (source, destination)
}

fn contents(dir: &Path) -> String {
    format!("{}/", dir.display())
}

/// Changes of every kind to what was copied.
fn change(source: &Path) {
    let mut random = Random::new(3);
    let mut large = fs::read(source.join("large")).unwrap();
    large.splice(1_000_000..1_000_500, random.bytes(700));
    fs::write(source.join("large"), large).unwrap();
    shell(
        source,
        "rm -r hollow shared; echo file > hollow; mkdir -p shared/deeper; rm link-to-file; ln -s other link-to-file
         rm page; mkdir page; echo inside > page/x; chmod 640 plain; chown 9:9 setuid; chmod 4711 setuid
         setfacl -b with-acl; setfacl -m u:99:r owned; setfattr -x user.note with-xattr; rm pipe; echo > pipe
         rm -r long; rm linked/third; ln owned linked/third; mv sparse sparser; touch -d @5 read-only; rm null
         setfacl -k inheriting; setfacl -d -m g:5:w sticky; mkdir -m 0 locked
         find . -mmin -60 -print0 | xargs -0 touch -h -d @1400000000.5",
    );
}

#[test]
fn everything_is_kept_copied_changed_and_left_alone() {
    let remote = Shell::local();
    for pair in PAIRS {
        let (source, destination) = volume();
        let options = format!("{VOLSYNC} -X");
        let (from, to) = (contents(source.path()), destination.path());
        shell(to, "mkdir -p old/deep; echo > old/deep/file; ln -s x old/link; mkdir plain");
        let first = transfer(&remote, pair, &options, &from, to).success();
        assert!(items(&first).contains(&"*deleting   old/deep/file".to_owned()), "{first}");
        assert_same(source.path(), to, Ignore::default());
        change(source.path());
        transfer(&remote, pair, &options, &from, to).success();
        assert_same(source.path(), to, Ignore::default());
        let last = transfer(&remote, pair, &options, &from, to).success();
        assert_eq!(items(&last), Vec::<String>::new(), "{pair:?}");
    }
}

#[test]
fn volsyncs_options_over_a_real_sshd() {
    let remote = Shell::Ssh(Sshd::start());
    for pair in PAIRS {
        let (source, destination) = volume();
        let from = contents(source.path());
        for _ in 0..2 {
            let outcome = transfer(&remote, pair, VOLSYNC, &from, destination.path()).success();
            // What the controller picks out for its status.
            let text = outcome.text();
            assert!(text.lines().any(|line| line.starts_with("sent ") && line.contains(" bytes  received ")), "{text}");
            assert!(text.lines().any(|line| line.starts_with("total size is ")), "{text}");
            assert_same(source.path(), destination.path(), NO_XATTRS);
            change_once(source.path());
        }
    }
}

fn change_once(source: &Path) {
    if source.join("shared/deeper").exists() { shell(source, "rm -r shared/deeper") } else { change(source) }
}

/// Old and new content in which most is equal, so that differences are sent.
fn pair_of_contents(source: &Path, destination: &Path) {
    let mut random = Random::new(4);
    let mut content = random.bytes(700_000);
    fs::write(destination.join("noise"), &content).unwrap();
    content.splice(300_100..300_100, random.bytes(50));
    content.splice(650_000..650_010, []);
    fs::write(source.join("noise"), &content).unwrap();
    fs::write(destination.join("zeros"), vec![0; 300_000]).unwrap();
    let mut zeros = vec![0; 310_000];
    zeros[100_000] = 1;
    fs::write(source.join("zeros"), zeros).unwrap();
    let text = (0..9000).map(|n| format!("line {n} of some text")).collect::<Vec<_>>().join("\n");
    fs::write(source.join("text"), text.replace("line 777 ", "LINE 777 ")).unwrap();
    fs::write(destination.join("text"), text).unwrap();
    fs::write(source.join("same time"), b"new").unwrap();
    fs::write(destination.join("same time"), b"old").unwrap();
    shell(source, "touch -d @8 *; touch -d @9 'same time'");
    shell(destination, "touch -d @9 *; mkdir -p gone/x; echo > gone/x/y; echo > gone-file");
}

#[test]
fn every_digest_compression_and_way_of_working_agrees() {
    let remote = Shell::local();
    let options = [
        "",
        "-z",
        "--compress-choice=lz4",
        "--compress-choice=zlibx",
        "--compress-choice=zlib",
        "-z --compress-level=1",
        "--checksum-choice=xxh3",
        "--checksum-choice=xxh64",
        "--checksum-choice=md5",
        "--checksum-choice=xxh64,md5 -c",
        "-c",
        "-W",
        "-B 1000",
        "-I",
        "--timeout=20",
        "--numeric-ids",
        "--delete-before",
        "--delete-after",
        "--delete-delay",
    ];
    for pair in PAIRS {
        for option in options {
            let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            pair_of_contents(source.path(), destination.path());
            let all = format!("-aHAX --delete --stats {option}");
            let outcome = transfer(&remote, pair, &all, &contents(source.path()), destination.path()).success();
            if !option.split(' ').any(|word| word == "-c" || word == "-I") {
                shell(source.path(), "echo -n old > 'same time'; touch -d @9 'same time'");
            }
            assert_same(source.path(), destination.path(), Ignore { directory_times: true, ..Ignore::default() });
            if !option.contains("-W") {
                let matched = outcome.text().lines().find_map(|line| line.strip_prefix("Matched data: ").map(digits));
                assert!(matched.unwrap() > 900_000, "{option}: {outcome}");
            }
        }
    }
}

fn digits(text: &str) -> u64 {
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn old_protocols_of_the_real_client_are_spoken() {
    let remote = Shell::local();
    let options = ["--protocol=30", "--protocol=31", "--protocol=30 -z", "--no-inc-recursive", "--secluded-args"];
    let stock = PAIRS.into_iter().filter(|pair| pair.client == End::Stock);
    for (pair, option) in stock.flat_map(|pair| options.map(|option| (pair, option))) {
        let (source, destination) = volume();
        let options = format!("-aAHSxX --delete {option}");
        let outcome = transfer(&remote, pair, &options, &contents(source.path()), destination.path());
        if option == "--secluded-args" {
            // Upstream's restricted shell does not take them either.
            assert!(outcome.code() != 0 && outcome.text().contains("-s is not supported"), "{outcome}");
            continue;
        }
        outcome.success();
        let nanoseconds = option.contains("=30");
        let ignore = Ignore { file_times: nanoseconds, directory_times: nanoseconds, ..Ignore::default() };
        assert_same(source.path(), destination.path(), ignore);
    }
    let (source, destination) = volume();
    let old = transfer(&remote, PAIRS[0], "-a --protocol=29", &contents(source.path()), destination.path());
    assert_ne!(old.code(), 0);
    assert!(old.text().contains("at least 30"), "{old}");
}

#[test]
fn many_files_in_many_directories_arrive() {
    let remote = Shell::local();
    for pair in PAIRS {
        let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        plain(source.path(), 5, 4000, 300, 0..3000);
        shell(source.path(), "touch -d @1111111111.5 d* .");
        for _ in 0..2 {
            transfer(&remote, pair, "-a --delete", &contents(source.path()), destination.path()).success();
            assert_same(source.path(), destination.path(), Ignore::default());
            // Another second: a directory that differs in less is left alone, by the real rsync too.
            shell(
                source.path(),
                "rm -r d1*; mkdir d1; touch d1/new; for d in d2*; do echo x > $d/f; done
                                  touch -d @1234567890.5 d* .",
            );
        }
    }
}

#[test]
fn a_directory_or_a_file_can_be_named() {
    let remote = Shell::local();
    for pair in PAIRS {
        let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        shell(source.path(), "mkdir -p d/e; echo 1 > d/e/f; echo 2 > g; touch -d @7 d d/e");
        let named = |name: &str| source.path().join(name).display().to_string();
        transfer(&remote, pair, "-a", &named("d"), destination.path()).success();
        transfer(&remote, pair, "-a", &named("g"), destination.path()).success();
        let ignore = Ignore { directory_times: true, ..Ignore::default() };
        assert_same(source.path(), destination.path(), ignore);
        let new = destination.path().join("new");
        transfer(&remote, pair, "-a", &contents(&source.path().join("d")), &new).success();
        assert_same(&source.path().join("d"), &new, Ignore::default());
        // A file alone gets the name that the user gave, whether there is something of that name or not.
        for (file, content) in [("g", "2\n"), ("d/e/f", "1\n")] {
            let renamed = destination.path().join("renamed");
            transfer(&remote, pair, "-aI", &named(file), &renamed).success();
            assert_eq!(fs::read_to_string(renamed).unwrap(), content);
        }
    }
}

#[test]
fn holes_stay_holes() {
    let remote = Shell::local();
    for pair in PAIRS {
        let (source, destination) = volume();
        transfer(&remote, pair, VOLSYNC, &contents(source.path()), destination.path()).success();
        let blocks = fs::metadata(destination.path().join("sparse")).unwrap().blocks();
        assert!(blocks <= 64, "{blocks} blocks of 512 bytes for six bytes");
    }
}

/// As an ordinary user, who cannot read everything.
fn unprivileged(mut command: Command) -> Command {
    let mut outer = Command::new("setpriv");
    outer.args(["--reuid=1234", "--regid=1234", "--clear-groups"]).arg(command.get_program());
    outer.args(command.get_args());
    command.env_clear();
    outer
}

#[test]
fn what_cannot_be_read_ends_with_23_and_deletes_nothing() {
    let remote = Shell::local();
    // The real rsync deletes here and there before it knows of an error, where it sends its list in segments.
    let safe = PAIRS.into_iter().filter(|pair| pair.sender() == End::Ours || pair.client == End::Ours);
    for pair in safe {
        let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        shell(
            source.path(),
            "mkdir locked open; echo 1 > locked/f; echo 2 > open/f; echo 3 > secret; chown -R 1234 .
                              chmod 000 locked secret; chmod 755 .",
        );
        shell(destination.path(), "mkdir -p locked open; echo kept > locked/f; echo kept > old; chown -R 1234 .");
        let command = command(&remote, pair, "-rlt --delete", &contents(source.path()), destination.path());
        allow_all(destination.path());
        let outcome = run(&mut unprivileged(command)).exits(23);
        assert!(outcome.text().contains("secret"), "{outcome}");
        assert_eq!(fs::read(destination.path().join("open/f")).unwrap(), b"2\n");
        assert_eq!(fs::read(destination.path().join("locked/f")).unwrap(), b"kept\n");
        assert_eq!(fs::read(destination.path().join("old")).unwrap(), b"kept\n");
        assert!(!destination.path().join("secret").exists());
    }
}

fn allow_all(dir: &Path) {
    shell(dir, "chmod 755 .");
}

#[test]
fn without_privileges_content_and_times_still_arrive() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.receiver() == End::Ours) {
        let (source, destination) = volume();
        shell(source.path(), "chmod -R a+rX .; rm null loop; chmod 755 .");
        shell(destination.path(), "chown 1234:1234 .; chmod 755 .");
        let command = command(&remote, pair, "-rlpt --delete", &contents(source.path()), destination.path());
        run(&mut unprivileged(command)).success();
        let ignore = Ignore { owners: true, xattrs: true, specials: true, permissions: true, ..Ignore::default() };
        Tree::of(source.path()).assert_same(&Tree::of(destination.path()), ignore);
    }
}

#[test]
fn a_full_disk_ends_with_11_and_leaves_no_torn_file() {
    let remote = Shell::local();
    let source = TempDir::new().unwrap();
    fs::write(source.path().join("large"), Random::new(1).bytes(3 << 20)).unwrap();
    for pair in PAIRS.into_iter().filter(|pair| pair.receiver() == End::Ours) {
        let small = TempDir::new().unwrap();
        shell(small.path(), "mount -t tmpfs -o size=1m none .");
        let outcome = transfer(&remote, pair, "-a", &contents(source.path()), small.path());
        let left = fs::read_dir(small.path()).unwrap().count();
        shell(Path::new("/"), &format!("umount {}", small.path().display()));
        assert_eq!((outcome.code(), left), (11, 0), "{outcome}");
    }
}

#[test]
fn a_link_planted_at_the_destination_is_not_followed() {
    let remote = Shell::local();
    for pair in PAIRS.into_iter().filter(|pair| pair.receiver() == End::Ours) {
        let (source, destination, outside) =
            (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
        shell(source.path(), "mkdir d; echo new > d/f; echo new > g");
        shell(outside.path(), "echo old > f; echo old > g");
        std::os::unix::fs::symlink(outside.path(), destination.path().join("d")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("g"), destination.path().join("g")).unwrap();
        transfer(&remote, pair, "-a --delete", &contents(source.path()), destination.path()).success();
        assert_same(source.path(), destination.path(), Ignore::default());
        assert_eq!(fs::read(outside.path().join("f")).unwrap(), b"old\n");
        assert_eq!(fs::read(outside.path().join("g")).unwrap(), b"old\n");
    }
}

#[test]
fn trees_deeper_than_any_path_are_deleted_with_few_descriptors() {
    let remote = Shell::local();
    let few = ["prlimit", "--nofile=100"];
    for pair in PAIRS.into_iter().filter(|pair| pair.receiver() == End::Ours) {
        let (source, destination) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        shell(source.path(), "echo > file");
        deep(destination.path(), 2500);
        shell(destination.path(), "for n in $(seq 200); do mkdir -p kept$n; touch kept$n/x; done");
        shell(source.path(), "for n in $(seq 200); do mkdir kept$n; done");
        let (from, options) = (contents(source.path()), "-a --delete-delay");
        run(&mut command_of(&remote, pair, [&[], &few], options, &from, destination.path())).success();
        assert_same(source.path(), destination.path(), Ignore { directory_times: true, ..Ignore::default() });
    }
}

/// A directory of so many levels.
fn deep(dir: &Path, levels: usize) {
    let mut at = fs::File::open(dir).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).unwrap().into();
    }
}
