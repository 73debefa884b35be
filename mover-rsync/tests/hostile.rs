//! A sender that wants to write outside of the destination, or more than it was asked for.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mover_rsync::accounts::IdMap;
use mover_rsync::delta::digest::SumKind;
use mover_rsync::exit::Fatal;
use mover_rsync::filter::Filter;
use mover_rsync::options::{Delete, Options};
use mover_rsync::outcome::Outcome;
use mover_rsync::receiver::{self, Requested, Target, Wanted};
use mover_rsync::report::Screen;
use mover_rsync::session::{Agreed, Terms};
use mover_rsync::stream::{Demux, Mux};
use mover_rsync::wire::Output;
use mover_rsync::wire::flist::ids::Numeric;
use mover_rsync::wire::flist::{Encoder, FileList, NewEntry};
use mover_rsync::wire::handshake::{Compat, Compression};
use mover_rsync::wire::item::{Item, ItemFlags};
use mover_rsync::wire::ndx::{Ndx, NdxState};
use mover_rsync::wire::sums::SumHead;
use tempfile::TempDir;

const FILE: u32 = 0o100_644;
const DIR: u32 = 0o040_755;
const LINK: u32 = 0o120_777;

/// A path, its mode, and the target of a link.
type Line<'a> = (&'a str, u32, &'a [u8]);

fn terms() -> Terms {
    let options = Options {
        recursive: true,
        links: true,
        times: true,
        perms: true,
        numeric_ids: true,
        delete: Delete::During,
        ..Options::default()
    };
    let agreed = Agreed {
        protocol: 32,
        compat: Compat(Compat::VARINT_FLIST_FLAGS | Compat::SAFE_FLIST | Compat::AVOID_XATTR_OPTIM),
        sum: SumKind::Xxh128,
        list_sum: SumKind::Xxh128,
        compression: Compression::None,
        seed: 1,
        stores: false,
        meeting: None,
    };
    let screen = Screen::default();
    Terms { options, agreed, filter: Filter::default(), screen: Some(screen), made_links: None }
}

/// What the sender says: a list, then content for each file of it, asked for or not.
fn said(terms: &Terms, lines: &[Line<'_>]) -> Vec<u8> {
    let (mut encoder, mut list) = (Encoder::new(terms.list()), FileList::new(0));
    let mut mux = Mux::new(Vec::new());
    mux.framed();
    for (path, mode, target) in lines {
        let entry = NewEntry { path: path.as_bytes(), mode: *mode, target, size: 4, ..NewEntry::default() };
        encoder.write(&entry, &Numeric, &mut list, mux.data());
    }
    encoder.end(0, &Numeric, mux.data());
    let mut ndx = NdxState::default();
    for number in (0..).take(lines.len()).filter(|number| lines[*number as usize].1 == FILE) {
        let out = mux.data();
        ndx.write(Ndx::File(number), out);
        Item::plain(ItemFlags::TRANSFER | ItemFlags::NEW).write(out);
        SumHead::default().write(out);
        out.int(4);
        out.raw(b"evil");
        out.int(0);
        let mut whole = SumKind::Xxh128.whole();
        whole.update(b"evil");
        out.raw(whole.finish().as_bytes());
    }
    mux.into_inner().unwrap()
}

/// Receives that list below `destination`, having asked for `requested`.
fn received(destination: &Path, requested: Option<&str>, lines: &[Line<'_>]) -> Result<Outcome, Fatal> {
    let terms = terms();
    let input = Demux::new(Cursor::new(said(&terms, lines)));
    let mut out = Mux::new(Vec::new());
    out.framed();
    let target = Target::new(destination.as_os_str().as_bytes());
    let requested = requested.map(|name| Requested::whole([name.into()]));
    receiver::run(&target, terms, Wanted { requested, names: None }, IdMap::numeric(), input, &mut out)
}

#[test]
fn no_path_leads_out_of_the_destination() {
    for path in ["../evil", "a/../../evil", "/evil", "..", "a/..", ""] {
        let parent = TempDir::new().unwrap();
        let destination = parent.path().join("d");
        fs::create_dir(&destination).unwrap();
        let result = received(&destination, None, &[(".", DIR, b""), (path, FILE, b"")]);
        assert!(matches!(result, Err(Fatal::Wire(_))), "{path}: {result:?}");
        assert!(!parent.path().join("evil").exists() && !Path::new("/evil").exists(), "{path}");
    }
}

#[test]
fn links_that_the_sender_makes_are_not_followed() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("old"), b"old").unwrap();
    let target = outside.path().as_os_str().as_bytes();
    for lines in [
        vec![(".", DIR, &b""[..]), ("l", LINK, target), ("l/evil", FILE, b"")],
        vec![(".", DIR, b""), ("l", LINK, target), ("l", DIR, b""), ("l/evil", FILE, b"")],
        vec![(".", DIR, b""), ("a", DIR, b""), ("a/l", LINK, target), ("a/l/d", DIR, b""), ("a/l/old", FILE, b"")],
    ] {
        let destination = TempDir::new().unwrap();
        // How it ends depends on whether an answer comes before the question; what stands afterwards does not.
        let _result = received(destination.path(), None, &lines);
        let left: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["old"]);
        assert_eq!(fs::read(outside.path().join("old")).unwrap(), b"old");
    }
}

#[test]
fn a_server_sends_what_was_asked_for_and_nothing_else() {
    for lines in [
        vec![("other", FILE, &b""[..])],
        vec![("want", DIR, b""), ("wanted", FILE, b"")],
        vec![(".", DIR, b""), ("want", FILE, b"")],
    ] {
        let destination = TempDir::new().unwrap();
        fs::write(destination.path().join("kept"), b"kept").unwrap();
        fs::write(destination.path().join("other"), b"kept").unwrap();
        let result = received(destination.path(), Some("want"), &lines);
        assert!(
            matches!(&result, Err(Fatal::Wire(error)) if error.to_string().contains("nobody asked for")),
            "{result:?}"
        );
        for name in ["kept", "other"] {
            assert_eq!(fs::read(destination.path().join(name)).unwrap(), b"kept");
        }
    }
}
