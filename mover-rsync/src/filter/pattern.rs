//! Patterns of filter rules, as the manual of rsync describes them.

/// A pattern, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    /// It begins at the root of the transfer.
    anchored: bool,
    /// It is held against the whole path, not against the last element.
    whole: bool,
    /// It fits directories only.
    dir_only: bool,
    /// It ends in `/***`: it fits a directory and everything in it.
    with_contents: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: anything but a slash.
    Any,
    /// `[...]`: one of these bytes, never a slash.
    Class(Box<[bool; 256]>),
    /// `*`: anything without a slash.
    Star,
    /// `**`: anything.
    Stars,
}

impl Pattern {
    pub(super) fn new(text: &[u8]) -> Self {
        let (anchored, text) = text.strip_prefix(b"/").map_or((false, text), |rest| (true, rest));
        let with_contents = text.ends_with(b"/***");
        let (dir_only, text) = match text.strip_suffix(b"/") {
            Some(rest) if !rest.is_empty() => (true, rest),
            _ => (false, text),
        };
        let whole = anchored || text.contains(&b'/') || text.windows(2).any(|two| two == b"**");
        Self { tokens: tokens(text), anchored, whole, dir_only, with_contents }
    }

    /// Whether it begins at a root.
    pub(super) fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// Whether it fits a path below the root of the transfer.
    pub(super) fn fits(&self, path: &[u8], is_dir: bool) -> bool {
        if self.dir_only && !is_dir {
            return false;
        }
        let ended;
        let path = if self.with_contents && is_dir {
            ended = [path, b"/"].concat();
            &ended
        } else {
            path
        };
        if !self.whole {
            let last = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
            return matches(&self.tokens, &path[last..]);
        }
        if self.anchored {
            return matches(&self.tokens, path);
        }
        let starts = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at + 1);
        std::iter::once(0).chain(starts).any(|start| matches(&self.tokens, &path[start..]))
    }
}

/// A backslash takes the meaning of what follows, but only in patterns with wildcards.
fn tokens(text: &[u8]) -> Vec<Token> {
    let wild = text.iter().any(|b| matches!(b, b'*' | b'?' | b'['));
    let mut tokens = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        let token = match byte {
            b'\\' if wild && at < text.len() => {
                at += 1;
                Token::Byte(text[at - 1])
            }
            b'*' => {
                let more = text[at..].iter().take_while(|b| **b == b'*').count();
                at += more;
                if more > 0 { Token::Stars } else { Token::Star }
            }
            b'?' => Token::Any,
            b'[' => match class(&text[at..]) {
                Some((class, len)) => {
                    at += len;
                    Token::Class(class)
                }
                None => Token::Byte(b'['),
            },
            byte => Token::Byte(*byte),
        };
        tokens.push(token);
    }
    tokens
}

/// Whether a byte belongs to a class.
type Belongs = fn(&u8) -> bool;

/// Named classes of POSIX.
const NAMED: [(&[u8], Belongs); 8] = [
    (b"alnum", u8::is_ascii_alphanumeric),
    (b"alpha", u8::is_ascii_alphabetic),
    (b"digit", u8::is_ascii_digit),
    (b"upper", u8::is_ascii_uppercase),
    (b"lower", u8::is_ascii_lowercase),
    (b"space", u8::is_ascii_whitespace),
    (b"punct", u8::is_ascii_punctuation),
    (b"xdigit", u8::is_ascii_hexdigit),
];

/// What follows `[` up to its `]`: the bytes it means, and its length. `None` if it has no end.
fn class(text: &[u8]) -> Option<(Box<[bool; 256]>, usize)> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut class = Box::new([false; 256]);
    let mut at = usize::from(negated);
    let first = at;
    loop {
        let byte = *text.get(at)?;
        at += 1;
        if byte == b']' && at - 1 > first {
            break;
        }
        if byte == b'['
            && let Some((name, len)) = named(&text[at..])
        {
            (0..=u8::MAX).filter(name).for_each(|b| class[usize::from(b)] = true);
            at += len;
            continue;
        }
        let low = escaped(text, byte, &mut at)?;
        let high = match text.get(at..at + 2) {
            Some([b'-', end]) if *end != b']' => {
                at += 2;
                escaped(text, *end, &mut at)?
            }
            _ => low,
        };
        (low..=high).for_each(|b| class[usize::from(b)] = true);
    }
    if negated {
        class.iter_mut().for_each(|member| *member = !*member);
    }
    class[usize::from(b'/')] = false;
    Some((class, at))
}

fn escaped(text: &[u8], byte: u8, at: &mut usize) -> Option<u8> {
    if byte != b'\\' {
        return Some(byte);
    }
    *at += 1;
    text.get(*at - 1).copied()
}

/// `:NAME:]`, and its length.
fn named(text: &[u8]) -> Option<(Belongs, usize)> {
    NAMED.iter().find_map(|(name, fits)| {
        let rest = text.strip_prefix(b":")?.strip_prefix(*name)?;
        rest.starts_with(b":]").then_some((*fits, name.len() + 3))
    })
}

/// Whether the tokens fit all of `text`: every place in the pattern that can be reached is followed at once, so that no
/// pattern takes more than its length times that of the text.
fn matches(tokens: &[Token], text: &[u8]) -> bool {
    let mut now = vec![false; tokens.len() + 1];
    let mut next = now.clone();
    reach(tokens, &mut now, 0);
    for byte in text {
        next.fill(false);
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| now[*at]) {
            match token {
                Token::Star if *byte != b'/' => reach(tokens, &mut next, at),
                Token::Stars => reach(tokens, &mut next, at),
                Token::Byte(wanted) if wanted == byte => reach(tokens, &mut next, at + 1),
                Token::Any if *byte != b'/' => reach(tokens, &mut next, at + 1),
                Token::Class(class) if class[usize::from(*byte)] => reach(tokens, &mut next, at + 1),
                _ => {}
            }
        }
        std::mem::swap(&mut now, &mut next);
    }
    now[tokens.len()]
}

/// Marks a place, and those after stars that may stand for nothing.
fn reach(tokens: &[Token], places: &mut [bool], from: usize) {
    let stars = tokens[from..].iter().take_while(|token| matches!(token, Token::Star | Token::Stars)).count();
    places[from..=from + stars].fill(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_the_manual_says() {
        for (pattern, path, is_dir, fits) in [
            ("foo", "foo", false, true),
            ("foo", "a/foo", false, true),
            ("foo", "afoo", false, false),
            ("/foo", "foo", false, true),
            ("/foo", "a/foo", false, false),
            ("foo/", "foo", false, false),
            ("foo/", "a/foo", true, true),
            ("foo/bar", "foo/bar", false, true),
            ("foo/bar", "x/foo/bar", false, true),
            ("foo/bar", "xfoo/bar", false, false),
            ("*.o", "a/b.o", false, true),
            ("*.o", "a.o/b", false, false),
            ("/a*c", "a/c", false, false),
            ("/a**c", "a/b/c", false, true),
            ("a**", "x/ab/c", false, true),
            ("/foo/*/bar", "foo/x/bar", false, true),
            ("/foo/*/bar", "foo/x/y/bar", false, false),
            ("/foo/**/bar", "foo/x/y/bar", false, true),
            ("/foo/**/bar", "foo/bar", false, false),
            ("d/***", "d", true, true),
            ("d/***", "d", false, false),
            ("d/***", "x/d/e/f", false, true),
            ("?", "x", false, true),
            ("?", "xy", false, false),
            ("[a-c]x", "bx", false, true),
            ("[!a-c]x", "bx", false, false),
            ("[]a]", "]", false, true),
            ("[[:digit:]_]", "7", false, true),
            ("[[:digit:]_]", "_", false, true),
            ("[[:digit:]]", "x", false, false),
            ("[a", "[a", false, true),
            ("a\\b", "a\\b", false, true),
            ("a\\*", "a*", false, true),
            ("a\\*", "ab", false, false),
            ("*", "anything", true, true),
            ("/", "x", false, false),
        ] {
            assert_eq!(Pattern::new(pattern.as_bytes()).fits(path.as_bytes(), is_dir), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let (pattern, path) = ("*a".repeat(2000) + "b", "a".repeat(4000));
        assert!(!Pattern::new(pattern.as_bytes()).fits(path.as_bytes(), false));
    }
}
