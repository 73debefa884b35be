//! Names of what is to be sent (`--files-from`), as they travel from the side that has the file to the sender: each with
//! a NUL, an empty one ends. They lie in frames since protocol 31 only.

use super::{Input, WireError, bad};

/// The oldest protocol in which names lie in frames like everything else. Before, they went past them.
pub const OLDEST: i32 = 31;

/// The longest name (Linux PATH_MAX, less NUL), and how many bytes of names are believed.
const NAME_MAX: usize = 4095;
const NAMES_BYTES: usize = 1 << 30;

/// Takes the names.
pub fn read(input: &mut impl Input) -> Result<Vec<Vec<u8>>, WireError> {
    let (mut names, mut name, mut left) = (Vec::new(), Vec::new(), NAMES_BYTES);
    loop {
        match input.byte()? {
            0 if name.is_empty() => return Ok(names),
            0 => names.push(std::mem::take(&mut name)),
            _ if name.len() == NAME_MAX || left == 0 => return bad("names of files that are too long"),
            byte => {
                left -= 1;
                name.push(byte);
            }
        }
    }
}

/// The names in the text of a file: lines, or with `nul` what has a NUL. Those that would be empty are none.
pub fn split(text: &[u8], nul: bool) -> impl Iterator<Item = &[u8]> {
    let ends = move |byte: &u8| if nul { *byte == 0 } else { matches!(byte, b'\n' | b'\r') };
    // Without `nul` a NUL cannot be part of a name either.
    text.split(move |byte| ends(byte) || *byte == 0).filter(|name| !name.is_empty())
}

/// Whether a sender that reads its own file takes the name for a remark. One that is told the names does not.
pub fn is_remark(name: &[u8]) -> bool {
    name.starts_with(b"#") || name.starts_with(b";")
}

/// Appends a name as it travels; an empty one ends them.
pub fn write(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.push(0);
}

/// For the fuzzer: any bytes are refused or understood, and what was understood comes back.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Ok(names) = read(&mut &*data) {
        let mut out = Vec::new();
        for name in &names {
            write(name, &mut out);
        }
        write(b"", &mut out);
        assert!(data.starts_with(&out));
        assert!(split(&out, true).eq(names.iter().map(Vec::as_slice)));
    }
    assert!(split(data, false).all(|name| !name.is_empty() && !name.contains(&b'\n')));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_end_as_in_rsync() {
        let names = |text: &str, nul| split(text.as_bytes(), nul).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(names("a\r\n\nb/c\n#x", false), [&b"a"[..], b"b/c", b"#x"]);
        assert_eq!(names("a\r\n\0b\0\0", true), [&b"a\r\n"[..], b"b"]);
        assert!(is_remark(b"#x") && is_remark(b";x") && !is_remark(b"x#"));
    }

    #[test]
    fn names_have_an_end() {
        assert!(read(&mut &b"a\0b"[..]).is_err());
        assert!(read(&mut &[&[b'x'; NAME_MAX + 1][..], &[0, 0]].concat()[..]).is_err());
        assert_eq!(read(&mut &[&[b'x'; NAME_MAX][..], &[0, 0]].concat()[..]).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(data in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(0)], 0..200)) {
            fuzz(&data);
        }
    }
}
