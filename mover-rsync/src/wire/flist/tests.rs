use super::ids::Numeric;
use super::*;
use crate::wire::xattr::{Value, Xattr};
use proptest::prelude::*;
use volsync_common::meta::acl::Acl;

fn options(compat: u32, protocol: i32) -> ListOptions {
    ListOptions {
        protocol,
        compat: Compat(compat),
        owner: true,
        group: true,
        devices: true,
        specials: true,
        links: true,
        hard_links: true,
        acls: true,
        xattrs: true,
        numeric_ids: false,
        checksum: None,
    }
}

#[derive(Clone, Debug)]
struct File {
    path: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: Timestamp,
    rdev: (u32, u32),
    xattr: Option<Vec<u8>>,
}

impl File {
    fn entry(&self) -> NewEntry<'_> {
        let is = |kind| self.mode & S_IFMT == kind;
        let xattr = |value: &Vec<u8>| Xattr { name: b"user.x".to_vec(), value: Value::of(value.clone()) };
        let device = is(S_IFCHR) || is(S_IFBLK);
        NewEntry {
            path: &self.path,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            mtime: self.mtime,
            rdev: if device { self.rdev } else { (0, 0) },
            source: 0,
            top: false,
            no_content: is(S_IFDIR) && self.size == 7,
            target: if is(S_IFLNK) { b"target" } else { b"" },
            digest: b"",
            group: None,
            acl: WireAcl::access(&Acl::from_mode(self.mode), self.mode),
            default_acl: WireAcl::default(),
            xattrs: Xattrs(self.xattr.iter().map(xattr).collect()),
        }
    }
}

fn any_file() -> impl Strategy<Value = File> {
    let kinds = vec![S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK];
    let mode = (prop::sample::select(kinds), 0u32..0o10000).prop_map(|(kind, bits)| kind | bits);
    let name = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), 1u8..=255], 1..300)
        .prop_filter("a name", |name| !name.contains(&b'/') && name != b"." && name != b"..");
    let ids = (0u32..3, prop_oneof![0u32..3, Just(u32::MAX - 1)]);
    let time = (any::<i32>().prop_map(i64::from), prop_oneof![Just(0u32), 0u32..1_000_000_000]);
    let xattr = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    (name, mode, ids, 0u64..1 << 50, time, (0u32..300, 0u32..70_000), xattr).prop_map(
        |(path, mode, (uid, gid), size, (secs, nanos), rdev, xattr)| File {
            path,
            mode,
            uid,
            gid,
            size,
            mtime: Timestamp { secs, nanos },
            rdev,
            xattr,
        },
    )
}

fn written(options: ListOptions, files: &[File]) -> (Vec<u8>, FileList) {
    let (mut out, mut list, mut encoder) = (Vec::new(), FileList::new(0), Encoder::new(options));
    for file in files {
        encoder.write(&file.entry(), &Numeric, &mut list, &mut out);
    }
    encoder.end(1, &Numeric, &mut out);
    list.sort();
    (out, list)
}

#[test]
fn the_later_of_equal_names_and_files_named_as_directories_are_not_used() {
    let file = |path: &str, mode, uid| File {
        path: path.as_bytes().to_vec(),
        mode,
        uid,
        gid: 0,
        size: 0,
        mtime: Timestamp::default(),
        rdev: (0, 0),
        xattr: None,
    };
    let files = [
        file("d", S_IFLNK | 0o777, 1),
        file("d", S_IFDIR | 0o755, 2),
        file("a", S_IFREG, 3),
        file("a", S_IFREG, 4),
        file("d", S_IFREG, 5),
    ];
    let (_, list) = written(options(0x1ff, 32), &files);
    let active: Vec<_> = list.entries().iter().filter(|entry| entry.active).map(|entry| entry.uid).collect();
    assert_eq!((active, list.end()), (vec![3, 2], 5));
}

#[test]
fn paths_that_leave_the_transfer_are_refused() {
    let decode = |name: &[u8], dir: Option<&[u8]>| {
        let mut bytes = vec![0x19, name.len().to_le_bytes()[0]];
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0xa4, 0x81, 0, 0, 0, 0, 0]);
        let options = ListOptions { acls: false, xattrs: false, owner: false, group: false, ..options(0x09, 31) };
        let mut decoder = Decoder::new(options);
        let list = match dir {
            Some(dir) => decoder.read_segment(1, dir, &mut &bytes[..]),
            None => decoder.read_first(0, &mut &bytes[..]),
        };
        list.map(|(list, _)| list.path(&list.entries()[0]).to_vec()).ok()
    };
    assert_eq!(decode(b"a//./b/", None), Some(b"a/b".to_vec()));
    for name in [&b"../a"[..], b"a/../b", b"/etc/passwd", b"a\0b", b"", b"..", b"."] {
        assert_eq!(decode(name, None), None, "{name:?}");
    }
    assert_eq!(decode(b"d/a", Some(b"d")), Some(b"d/a".to_vec()));
    assert_eq!(decode(b"a", Some(b".")), Some(b"a".to_vec()));
    for name in [&b"a"[..], b"e/a", b"d/e/a", b"d"] {
        assert_eq!(decode(name, Some(b"d")), None, "{name:?}");
    }
}

/// For the fuzzer: any bytes are refused or give entries that keep the rules.
pub(super) fn decode_anything(data: &[u8]) {
    super::fuzz(data);
}

proptest! {
    #[test]
    fn every_list_comes_back(
        files in prop::collection::vec(any_file(), 0..20),
        compat in prop::sample::select(vec![0x1feu32, 0x1ff, 0x3f, 0x0e, 0x02]),
        protocol in 30i32..=32,
    ) {
        let options = options(compat, protocol);
        let (out, sent) = written(options, &files);
        let mut input = &out[..];
        let (received, end) = Decoder::new(options).read_first(0, &mut input).unwrap();
        prop_assert!(input.is_empty());
        prop_assert_eq!(end.io_error, u32::from(options.safe_end()));
        prop_assert_eq!(received.entries().len(), sent.entries().len());
        for (sent_entry, got) in sent.entries().iter().zip(received.entries()) {
            prop_assert_eq!(received.path(got), sent.path(sent_entry));
            prop_assert_eq!(received.target(got), sent.target(sent_entry));
            let nanos = if protocol >= 31 { sent_entry.mtime.nanos } else { 0 };
            prop_assert_eq!(got.mtime, Timestamp { nanos, ..sent_entry.mtime });
            let shape = |e: &Entry| (e.mode, e.uid, e.gid, e.size, e.rdev, e.no_content, e.active);
            prop_assert_eq!(shape(got), shape(sent_entry));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_anything(&bytes);
    }
}
