//! Against the real getfacl and setfacl (Debian package `acl`), which must be there.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::{ProptestConfig, prop, prop_assert_eq, proptest};

use super::acl::any_acl;
use super::facl::{Reader, Record, Subject, write_record};
use super::*;
use crate::dest::{Dest, DestOptions};
use crate::root::Strategy;
use crate::unprivileged;
use crate::walk::{Event, Kind, WalkOptions, walk};

/// Runs a tool and gives its output; a missing tool fails by name.
fn tool(dir: &Path, name: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let command = Command::new(name).args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = command.unwrap_or_else(|error| panic!("{name} is needed: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name} {args:?}");
    output.stdout
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A volume in `dir/data` with everything that a record can say.
fn plant(dir: &Path) {
    let data = dir.join("data");
    let awkward: [&[u8]; 7] =
        [b"with blank", b"#hash", b"back\\slash\\012", b"tab\there", b"\xff\xfe", "ü".as_bytes(), b"x\\"];
    std::fs::create_dir_all(data.join("sub/deep")).unwrap();
    for name in awkward {
        std::fs::write(data.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    std::fs::write(data.join("suid"), b"").unwrap();
    std::fs::write(data.join("sub/acl"), b"").unwrap();
    std::fs::write(data.join("sub/bare"), b"").unwrap();
    tool(&data, "setfacl", &["-m", "u:4242:rwx,u:7:r,g:77777:rw,m::r", "sub/acl"], b"");
    tool(&data, "setfacl", &["-d", "-m", "u:9:rwx,g::x,o::-", "sub"], b"");
    tool(&data, "setfacl", &["-m", "g:4:rwx", "sub/deep"], b"");
    set(&data.join("#hash"), 0o000);
    if is_root() {
        std::os::unix::fs::chown(data.join("suid"), Some(54321), Some(54322)).unwrap();
        std::os::unix::fs::chown(data.join("sub/deep"), Some(77), None).unwrap();
    }
    set(&data.join("suid"), 0o6751);
    set(&data.join("sub/deep"), 0o3775);
    set(&data, 0o1777);
}

fn relative(paths: &[&[u8]]) -> Vec<u8> {
    let line = |path: &&[u8]| [&b"data"[..], if path.is_empty() { &b""[..] } else { b"/" }, path, b"\n"].concat();
    paths.iter().flat_map(line).collect()
}

/// Our records of `dir/data`, and the paths in the same order for getfacl.
fn written(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let root = Root::open(&dir.join("data"), Strategy::Kernel).unwrap();
    let (mut text, mut paths) = (Vec::new(), relative(&[b""]));
    let mut record = |path: Option<&RelPath>| {
        let Some((stat, acls)) = read(&root, path).unwrap() else { return false };
        let path = path.map_or(&b""[..], RelPath::as_bytes);
        let subject = Subject { path, uid: stat.uid, gid: stat.gid, mode: stat.mode, empty_directory: false };
        write_record(&mut text, b"data", subject, &acls.access, acls.default.as_ref()).unwrap();
        true
    };
    assert!(record(None));
    for event in walk(&dir.join("data"), WalkOptions::default(), |_, _, _| true).unwrap() {
        let Event::Entry(entry) = event else { panic!("{event:?}") };
        let recorded = record(Some(&entry.path));
        assert_eq!(recorded, matches!(entry.kind, Kind::File | Kind::Directory));
        if recorded {
            paths.extend(relative(&[&entry.path]));
        }
    }
    (text, paths)
}

#[test]
fn records_are_those_of_getfacl() {
    let temp = tempfile::tempdir().unwrap();
    plant(temp.path());
    symlink("suid", temp.path().join("data/link")).unwrap();
    let (ours, paths) = written(temp.path());
    let theirs = tool(temp.path(), "getfacl", &["-P", "-n", "-"], &paths);
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    assert_eq!(ours, theirs);
}

fn strip(dir: &Path) {
    tool(dir, "setfacl", &["-R", "-b", "data"], b"");
    tool(dir, "chmod", &["-R", "u=rwX,go=,-s,-t", "data"], b"");
    if is_root() {
        tool(dir, "chown", &["-R", "0:0", "data"], b"");
    }
}

fn restore(dir: &Path, text: &[u8]) -> Vec<ApplyOutcome> {
    let dest = Dest::open(&dir.join("data"), DestOptions::default()).unwrap();
    let records = Reader::new(text).map(|record| {
        let record = record.unwrap();
        let path = record.path.strip_prefix(b"data/").map(|path| RelPath::new(path).unwrap());
        apply(&dest, path.as_ref(), &record, ApplyOptions::default()).unwrap()
    });
    records.collect()
}

#[test]
fn setfacl_restores_what_we_write_and_we_restore_what_getfacl_writes() {
    let temp = tempfile::tempdir().unwrap();
    plant(temp.path());
    let (before, paths) = written(temp.path());
    let theirs = tool(temp.path(), "getfacl", &["-P", "-"], &paths);
    strip(temp.path());
    assert_ne!(written(temp.path()).0, before);
    tool(temp.path(), "setfacl", &["--restore=-"], &before);
    assert_eq!(String::from_utf8_lossy(&written(temp.path()).0), String::from_utf8_lossy(&before));
    strip(temp.path());
    let numbers = tool(temp.path(), "getfacl", &["-P", "-n", "-"], &paths);
    assert_ne!(numbers, before);
    // Names of this machine are not those of the table, so numbers go back in; the names are read as far as known.
    assert!(Reader::new(&theirs[..]).flatten().count() > 8);
    assert!(restore(temp.path(), &before).iter().any(|outcome| outcome.changed));
    assert_eq!(String::from_utf8_lossy(&written(temp.path()).0), String::from_utf8_lossy(&before));
    // What is right is not touched.
    assert!(restore(temp.path(), &before).iter().all(|outcome| *outcome == ApplyOutcome::default()));
}

#[test]
fn a_name_with_a_newline_goes_there_and_back() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("data")).unwrap();
    std::fs::write(temp.path().join("data/a\nTransferred: 1\r"), b"").unwrap();
    set(&temp.path().join("data/a\nTransferred: 1\r"), 0o754);
    let before = written(temp.path()).0;
    for restored in [false, true] {
        strip(temp.path());
        if restored {
            restore(temp.path(), &before);
        } else {
            tool(temp.path(), "setfacl", &["--restore=-"], &before);
        }
        assert_eq!(written(temp.path()).0, before);
    }
}

#[test]
fn a_planted_link_is_refused_where_setfacl_follows_it() {
    let temp = tempfile::tempdir().unwrap();
    let victim = temp.path().join("victim");
    std::fs::create_dir_all(temp.path().join("data")).unwrap();
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("f"), b"").unwrap();
    set(&victim.join("f"), 0o600);
    symlink("../victim/f", temp.path().join("data/f")).unwrap();
    symlink("../victim", temp.path().join("data/d")).unwrap();
    let text = b"# file: data/f\nuser::rwx\ngroup::rwx\nother::rwx\n\n# file: data/d/f\nu::7\ng::7\no::7\n\n# file: data/none\nu::7\ng::7\no::7\n";
    let outcomes = restore(temp.path(), text);
    assert!(outcomes[0].refused && outcomes[1].refused && outcomes[2].missing);
    assert_eq!(std::fs::metadata(victim.join("f")).unwrap().mode() & 0o777, 0o600);
    let first = text.split_inclusive(|b| *b == b'\n').take(5).collect::<Vec<_>>().concat();
    tool(temp.path(), "setfacl", &["--restore=-"], &first);
    assert_eq!(
        std::fs::metadata(victim.join("f")).unwrap().mode() & 0o777,
        0o777,
        "the real one is why we never write links"
    );
}

#[test]
fn a_default_list_on_a_file_is_told_and_the_rest_applies() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("data")).unwrap();
    std::fs::write(temp.path().join("data/f"), b"").unwrap();
    let text = b"# file: data/f\n# flags: -s-\nu::7\ng::5\no::1\nd:u::7\n";
    let outcome = restore(temp.path(), text)[0];
    assert!(outcome.misplaced_default && outcome.changed);
    assert_eq!(std::fs::metadata(temp.path().join("data/f")).unwrap().mode() & 0o7777, 0o2751);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_list_is_set_and_printed_as_getfacl_prints_it(
        access in any_acl(),
        default in prop::option::of(any_acl()),
        special in 0u32..8,
    ) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("data")).unwrap();
        let dest = Dest::open(&temp.path().join("data"), DestOptions::default()).unwrap();
        let stat = *read(dest.root(), None).unwrap().map(|(stat, _)| stat).as_ref().unwrap();
        let special = special << 9;
        let record = Record {
            path: b"data".to_vec(),
            owner: Some(stat.uid),
            group: Some(stat.gid),
            special,
            access: access.clone(),
            default: default.clone(),
            empty_directory: false,
        };
        apply(&dest, None, &record, ApplyOptions::default()).unwrap();
        let mut ours = Vec::new();
        let subject = Subject { path: b"", uid: stat.uid, gid: stat.gid, mode: special, empty_directory: false };
        write_record(&mut ours, b"data", subject, &access, default.as_ref()).unwrap();
        let theirs = tool(temp.path(), "getfacl", &["-P", "-n", "data"], b"");
        prop_assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
        let read: Vec<_> = Reader::new(&theirs[..]).map(Result::unwrap).collect();
        prop_assert_eq!(read, [record]);
    }
}

#[test]
fn without_privilege_lists_and_modes_apply_and_owners_are_counted() {
    let temp = unprivileged::home();
    let outcomes = unprivileged::run(|| {
        std::fs::create_dir(temp.path().join("data")).unwrap();
        std::fs::write(temp.path().join("data/f"), b"").unwrap();
        set(&temp.path().join("data/f"), 0o000);
        restore(temp.path(), b"# file: data/f\n# owner: 0\n# group: 0\n# flags: --t\nu::7\nu:7:5\ng::5\no::1\n")
    });
    let expect = ApplyOutcome { owner_denied: true, changed: true, ..ApplyOutcome::default() };
    assert_eq!(outcomes, [expect]);
    assert_eq!(std::fs::metadata(temp.path().join("data/f")).unwrap().mode() & 0o7777, 0o1751);
}

#[test]
fn a_program_of_somebody_else_does_not_become_one_of_root() {
    if !is_root() {
        // Only root's files could become programs of root.
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("d")).unwrap();
    std::fs::write(temp.path().join("f"), b"").unwrap();
    let dest = Dest::open(temp.path(), DestOptions::default()).unwrap();
    let options = ApplyOptions { owners: false, ..ApplyOptions::default() };
    // A directory's bits make no program.
    let cases =
        [("f", 7, 7, 0o755, true), ("f", 0, 7, 0o4755, true), ("f", 0, 0, 0o6755, false), ("d", 7, 7, 0o6755, false)];
    for (name, owner, group, mode, mode_denied) in cases {
        let text = format!("# file: {name}\n# owner: {owner}\n# group: {group}\n# flags: ss-\nu::7\ng::5\no::5\n");
        let record = Reader::new(text.as_bytes()).next().unwrap().unwrap();
        let path = RelPath::new(name.as_bytes()).unwrap();
        let outcome = apply(&dest, Some(&path), &record, options).unwrap();
        assert_eq!(outcome.mode_denied, mode_denied, "{text}");
        assert_eq!(std::fs::metadata(temp.path().join(name)).unwrap().mode() & 0o7777, mode, "{text}");
    }
}

#[test]
fn a_file_nobody_may_read_still_tells_its_list() {
    let temp = unprivileged::home();
    let read = unprivileged::run(|| {
        std::fs::write(temp.path().join("f"), b"").unwrap();
        tool(temp.path(), "setfacl", &["-m", "u:7:rwx,m::---,u::-,o::-", "f"], b"");
        let root = Root::open(temp.path(), Strategy::Kernel).unwrap();
        read(&root, Some(&RelPath::new(*b"f").unwrap())).unwrap().unwrap().1
    });
    assert!(read.access.entries().any(|entry| entry == (acl::Entry::User(7), 7)) && read.access.mode() == 0);
}

#[test]
fn what_is_foreign_is_counted_not_fatal() {
    if !is_root() {
        // Only root can plant a file of somebody else.
        return;
    }
    let temp = unprivileged::home();
    std::fs::create_dir(temp.path().join("data")).unwrap();
    std::fs::write(temp.path().join("data/f"), b"").unwrap();
    let text = b"# file: data/f\nu::7\ng::7\no::7\n";
    let outcomes = unprivileged::run(|| restore(temp.path(), text));
    let expect = ApplyOutcome { mode_denied: true, ..ApplyOutcome::default() };
    assert_eq!(outcomes, [ApplyOutcome { owner_denied: outcomes[0].owner_denied, ..expect }]);
}

#[test]
fn where_lists_do_not_exist_a_mode_grants_no_more() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("d")).unwrap();
    std::fs::write(temp.path().join("f"), b"").unwrap();
    let dest = Dest::open(temp.path(), DestOptions::default()).unwrap();
    let options = ApplyOptions { lists: false, ..ApplyOptions::default() };
    // The record, the mode it leads to, and whether something was lost.
    let cases = [
        ("f", "u::7\ng::4\no::1\n", 0o741, false),
        ("f", "u::6\nu:9:7\ng::6\nm::3\no::0\n", 0o620, true),
        ("f", "# flags: s--\nu::7\ng::5\no::5\n", 0o4755, false),
        ("d", "# flags: -st\nu::7\ng::5\no::5\nd:u::7\n", 0o3755, true),
    ];
    for (name, text, mode, reduced) in cases {
        let record = Reader::new(format!("# file: {name}\n{text}").as_bytes()).next().unwrap().unwrap();
        let path = RelPath::new(name.as_bytes()).unwrap();
        let apply = || apply(&dest, Some(&path), &record, options).unwrap();
        let expect = ApplyOutcome { changed: true, reduced, ..ApplyOutcome::default() };
        assert_eq!(apply(), expect, "{text}");
        assert_eq!(std::fs::metadata(temp.path().join(name)).unwrap().mode() & 0o7777, mode, "{text}");
        assert!(!apply().changed, "{text}");
    }
}
