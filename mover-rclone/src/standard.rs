//! Names in the form in which rclone has them inside (its `lib/encoder`, `Standard`): control characters are their
//! pictures, so filters see them that way, and a name is one line of a list.

use std::borrow::Cow;

/// Before a character that would otherwise be taken for a picture.
const QUOTE: char = '\u{201b}';

/// The standard form of a path; bytes that are not UTF-8 stay as they are.
pub(crate) fn standard(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.iter().any(|b| *b < 0x20 || *b == 0x7f || *b == PICTURES) {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len() + 8);
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut out, c);
        }
        out.extend_from_slice(chunk.invalid());
    }
    Cow::Owned(out)
}

/// The first byte of the pictures, U+2400 to U+2421, in UTF-8; of other characters too.
const PICTURES: u8 = 0xe2;

fn push(out: &mut Vec<u8>, c: char) {
    let mut add = |c: char| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    match c {
        '\0'..='\x1f' => add(char::from_u32(0x2400 + u32::from(c)).unwrap_or(c)),
        '\x7f' => add('\u{2421}'),
        '\u{2400}'..='\u{241f}' | '\u{2421}' => {
            add(QUOTE);
            add(c);
        }
        c => add(c),
    }
}

#[cfg(test)]
mod tests {
    use super::standard;

    #[test]
    fn a_name_is_one_line() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"a/b c", b"a/b c"),
            (b"new\nline\x7f", "new\u{240a}line\u{2421}".as_bytes()),
            ("\u{240a}".as_bytes(), "\u{201b}\u{240a}".as_bytes()),
            ("euro \u{20ac}".as_bytes(), "euro \u{20ac}".as_bytes()),
            (b"\xe9\n\xff", b"\xe9\xe2\x90\x8a\xff"),
        ];
        for (path, expect) in cases {
            assert_eq!(&*standard(path), expect);
        }
    }
}
