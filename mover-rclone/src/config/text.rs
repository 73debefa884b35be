//! Byte strings the way Go's `strings` package treats them: the reference reads its files with it.

/// Cuts Unicode White_Space off both ends (Go `strings.TrimSpace`): NBSP and U+3000 go, U+200B and U+FEFF stay, bytes
/// that are not UTF-8 are no white space.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some((c, after)) = first_char(rest) {
        if !c.is_whitespace() {
            break;
        }
        rest = after;
    }
    while let Some((before, c)) = last_char(rest) {
        if !c.is_whitespace() {
            break;
        }
        rest = before;
    }
    rest
}

/// The first character and what follows; `None` at the end and before bytes that are not UTF-8.
pub(super) fn first_char(bytes: &[u8]) -> Option<(char, &[u8])> {
    (1..=bytes.len().min(4)).find_map(|n| {
        let (head, after) = bytes.split_at_checked(n)?;
        Some((std::str::from_utf8(head).ok()?.chars().next()?, after))
    })
}

fn last_char(bytes: &[u8]) -> Option<(&[u8], char)> {
    (1..=bytes.len().min(4)).find_map(|n| {
        let (before, tail) = bytes.split_at_checked(bytes.len() - n)?;
        let mut chars = std::str::from_utf8(tail).ok()?.chars();
        chars.next().map(|c| (before, c))
    })
}

/// Where `needle` first stands in `hay`.
pub(super) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len().max(1)).position(|w| w == needle)
}

/// Where `needle` last stands in `hay`.
pub(super) fn rfind(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len().max(1)).rposition(|w| w == needle)
}

/// `text` in double quotes as Go's `%q` writes it, for messages that must read as the reference's.
pub(super) fn quoted(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0b' => out.push_str("\\v"),
                '\x0c' => out.push_str("\\f"),
                c if c.is_ascii_control() => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for b in chunk.invalid() {
            let _ = write!(out, "\\x{b:02x}");
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_unicode_white_space() {
        let cases: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b" \t\r\x0b\x0ca b ", b"a b"),
            ("\u{a0}\u{3000}x\u{85}".as_bytes(), b"x"),
            ("\u{200b}x\u{feff}".as_bytes(), "\u{200b}x\u{feff}".as_bytes()),
            (b" \xff\xa0 ", b"\xff\xa0"),
            (b"\xa0", b"\xa0"),
        ];
        for (input, expect) in cases {
            assert_eq!(trim(input), *expect, "{input:?}");
        }
    }

    #[test]
    fn quoting_is_go_quoting() {
        assert_eq!(quoted(b"a\"\\\n\x01\xff"), r#""a\"\\\n\x01\xff""#);
        assert_eq!(quoted("ü\u{7f}".as_bytes()), "\"ü\\x7f\"");
    }
}
