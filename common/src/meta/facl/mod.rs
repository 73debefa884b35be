//! permissions.facl: owners, groups, special bits and access lists of a volume in the text form of `getfacl`, which
//! upstream's mover writes with `getfacl -P -` and restores with `setfacl --restore`.

mod accounts;
mod read;
mod write;

pub use read::{FaclError, Reader, Record, fuzz};
pub use write::{Subject, write_record};

/// The comment in the record of a directory that is empty. An object store keeps no directories, so without it a restore
/// could not tell such a record from that of a socket or fifo (which upstream writes too). `setfacl` ignores comments that
/// it does not know.
pub const EMPTY_DIRECTORY: &[u8] = b"x-empty-directory:";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::meta::acl::any_acl;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            path in prop::collection::vec(any::<u8>().prop_filter("NUL", |b| *b != 0), 0..40),
            ids in (0..u32::MAX, 0..u32::MAX),
            mode in 0u32..8,
            access in any_acl(),
            default in prop::option::of(any_acl()),
            empty_directory: bool,
        ) {
            let mut text = Vec::new();
            let subject = Subject { path: &path, uid: ids.0, gid: ids.1, mode: mode << 9, empty_directory };
            write_record(&mut text, b"data", subject, &access, default.as_ref()).unwrap();
            write_record(&mut text, b"data", subject, &access, default.as_ref()).unwrap();
            let full = if path.is_empty() { b"data".to_vec() } else { [b"data/", &path[..]].concat() };
            let expect =
                Record { path: full, owner: Some(ids.0), group: Some(ids.1), special: mode << 9, access, default, empty_directory };
            let read: Vec<_> = Reader::new(&text[..]).map(Result::unwrap).collect();
            prop_assert_eq!(read, [expect.clone(), expect]);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&bytes);
        }

        #[test]
        fn nothing_like_a_record_panics(text in "((# (file|owner|flags): )?[du:a0-7, \\\\x#-]{0,12}\n){0,12}") {
            fuzz(text.as_bytes());
        }
    }
}
