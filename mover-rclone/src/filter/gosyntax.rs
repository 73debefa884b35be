//! Go's regular expression syntax (RE2, `regexp/syntax` of Go 1.25) rewritten for the Rust engine.
//!
//! The two agree on most text. Where they differ the same letters mean something else, and a filter that matches other
//! files than rclone's is how data gets lost: `\d` and `\w` are ASCII in Go, `\<` is a plain `<`, `[a&&b]` has no set
//! operators, `a{,2}` is literal, `\Q..\E` quotes, `\012` is octal.

use super::FilterError;

/// Rewrites an expression that Go accepts; what Go refuses is refused here or by the engine.
///
/// # Errors
/// Why the expression is no valid one, in Go's words where it is refused here.
pub(super) fn to_rust(expression: &str) -> Result<String, FilterError> {
    let mut parser = Parser { whole: expression, rest: expression, out: String::with_capacity(expression.len() * 2) };
    while let Some(c) = parser.next() {
        parser.outside(c)?;
    }
    Ok(parser.out)
}

struct Parser<'a> {
    whole: &'a str,
    rest: &'a str,
    out: String,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        self.rest.strip_prefix(prefix).map(|rest| self.rest = rest).is_some()
    }

    fn outside(&mut self, c: char) -> Result<(), FilterError> {
        match c {
            '\\' => self.escape()?,
            '[' => self.class()?,
            '{' => self.braces()?,
            '*' | '+' | '?' => self.repetition(c)?,
            '(' => self.group()?,
            '^' | '$' | '.' | '|' | ')' => self.out.push(c),
            _ if c.is_alphanumeric() || c == '/' => self.out.push(c),
            _ => self.literal(c),
        }
        Ok(())
    }

    /// `{n}`, `{n,}`, `{n,m}` repeat; any other brace is itself.
    fn braces(&mut self) -> Result<(), FilterError> {
        let Some(end) = repetition_end(self.rest) else {
            self.literal('{');
            return Ok(());
        };
        self.out.push('{');
        self.out.push_str(&self.rest[..end]);
        self.rest = &self.rest[end + 1..];
        self.repetition('}')
    }

    /// Go refuses a repetition of a repetition; only a `?` may follow, which makes it lazy.
    fn repetition(&mut self, c: char) -> Result<(), FilterError> {
        self.out.push(c);
        if self.eat("?") {
            self.out.push('?');
        }
        match self.rest.chars().next() {
            Some('*' | '+' | '?') => Err(self.bad("invalid nested repetition operator")),
            _ => Ok(()),
        }
    }

    fn group(&mut self) -> Result<(), FilterError> {
        self.out.push('(');
        let Some(after) = self.rest.strip_prefix('?') else { return Ok(()) };
        let flags = after.find([':', ')']).map_or(after, |end| &after[..end]);
        let named = after.starts_with("P<") || after.starts_with('<');
        if !named && !flags.chars().all(|f| "imsU-".contains(f)) {
            return Err(self.bad("invalid or unsupported Perl syntax"));
        }
        let end = if named { after.find('>').unwrap_or(0) } else { flags.len() };
        self.out.push('?');
        self.out.push_str(&after[..end]);
        self.rest = &after[end..];
        if named && self.eat(">") {
            self.out.push('>');
        } else if self.eat(":") {
            self.out.push(':');
        }
        Ok(())
    }

    fn literal(&mut self, c: char) {
        push_literal(&mut self.out, c);
    }

    fn escape(&mut self) -> Result<(), FilterError> {
        if self.eat("Q") {
            let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            quoted.chars().for_each(|c| push_literal(&mut self.out, c));
            return Ok(());
        }
        if self.eat("A") {
            self.out.push_str(r"\A");
        } else if self.eat("z") {
            self.out.push_str(r"\z");
        } else if self.eat("b") {
            self.out.push_str(r"(?-u:\b)");
        } else if self.rest.starts_with(['p', 'P']) {
            self.unicode_class()?;
        } else if let Some(set) = self.perl_class() {
            self.out.push_str(set);
        } else {
            let c = self.escaped_char()?;
            self.literal(c);
        }
        Ok(())
    }

    /// ASCII only in Go.
    fn perl_class(&mut self) -> Option<&'static str> {
        let set = match self.rest.chars().next()? {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => r"[\t\n\x0C\r ]",
            'S' => r"[^\t\n\x0C\r ]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            _ => return None,
        };
        self.next();
        Some(set)
    }

    /// `\pL`, `\p{Greek}`, `\P...`: the same in both.
    fn unicode_class(&mut self) -> Result<(), FilterError> {
        let end = match self.rest.as_bytes().get(1) {
            Some(b'{') => self.rest.find('}').map(|at| at + 1),
            Some(b) if b.is_ascii() => Some(2),
            _ => None,
        };
        let Some(end) = end else { return Err(self.bad("invalid character class range")) };
        self.out.push('\\');
        self.out.push_str(&self.rest[..end]);
        self.rest = &self.rest[end..];
        Ok(())
    }

    /// One character after a backslash.
    fn escaped_char(&mut self) -> Result<char, FilterError> {
        let Some(c) = self.next() else { return Err(self.bad("trailing backslash at end of expression")) };
        Ok(match c {
            '0' => return self.octal(0),
            '1'..='7' if self.rest.starts_with(|n: char| n.is_digit(8)) => {
                return self.octal(c.to_digit(8).unwrap_or(0));
            }
            'x' => return self.hex(),
            'a' => '\x07',
            'f' => '\x0C',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0B',
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(self.bad("invalid escape sequence")),
        })
    }

    fn octal(&mut self, first: u32) -> Result<char, FilterError> {
        let mut value = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
            self.next();
            value = value * 8 + digit;
        }
        char::from_u32(value).ok_or_else(|| self.bad("invalid escape sequence"))
    }

    fn hex(&mut self) -> Result<char, FilterError> {
        let digits = if self.eat("{") {
            let (digits, rest) = self.rest.split_once('}').ok_or_else(|| self.bad("invalid escape sequence"))?;
            self.rest = rest;
            digits
        } else {
            let digits = self.rest.get(..2).ok_or_else(|| self.bad("invalid escape sequence"))?;
            self.rest = &self.rest[2..];
            digits
        };
        let value = if digits.starts_with('+') { None } else { u32::from_str_radix(digits, 16).ok() };
        value.and_then(char::from_u32).ok_or_else(|| self.bad("invalid escape sequence"))
    }

    /// A bracketed class: no set operators and no nesting in Go.
    fn class(&mut self) -> Result<(), FilterError> {
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            if self.rest.is_empty() {
                return Err(self.bad("missing closing ]"));
            }
            self.class_item()?;
            first = false;
        }
        self.eat("]");
        self.out.push(']');
        Ok(())
    }

    fn class_item(&mut self) -> Result<(), FilterError> {
        if self.rest.starts_with("[:")
            && let Some(end) = self.rest.find(":]")
        {
            self.out.push_str(&self.rest[..end + 2]);
            self.rest = &self.rest[end + 2..];
            return Ok(());
        }
        if self.rest.starts_with("\\p") || self.rest.starts_with("\\P") {
            self.eat("\\");
            return self.unicode_class();
        }
        if let Some(after) = self.rest.strip_prefix('\\') {
            let before = std::mem::replace(&mut self.rest, after);
            if let Some(set) = self.perl_class() {
                self.out.push_str(set);
                return Ok(());
            }
            self.rest = before;
        }
        let low = self.class_char()?;
        push_literal(&mut self.out, low);
        if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
            self.eat("-");
            let high = self.class_char()?;
            if high < low {
                return Err(self.bad("invalid character class range"));
            }
            self.out.push('-');
            push_literal(&mut self.out, high);
        }
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, FilterError> {
        match self.next() {
            Some('\\') => self.escaped_char(),
            Some(c) => Ok(c),
            None => Err(self.bad("missing closing ]")),
        }
    }

    fn bad(&self, why: &str) -> FilterError {
        FilterError::BadExpression { regexp: self.whole.to_owned(), why: why.to_owned() }
    }
}

/// Where `n}`, `n,}` or `n,m}` after an opening brace ends.
fn repetition_end(rest: &str) -> Option<usize> {
    let end = rest.find('}')?;
    let (low, high) = rest[..end].split_once(',').unwrap_or((&rest[..end], ""));
    (!low.is_empty() && low.bytes().chain(high.bytes()).all(|b| b.is_ascii_digit())).then_some(end)
}

fn push_literal(out: &mut String, c: char) {
    use std::fmt::Write as _;
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(expression: &str, text: &str, expect: bool) {
        let rust = to_rust(expression).unwrap();
        let got = regex::Regex::new(&rust).unwrap_or_else(|e| panic!("{expression:?} as {rust:?}: {e}"));
        assert_eq!(got.is_match(text), expect, "{expression:?} as {rust:?} on {text:?}");
    }

    /// Each line: what Go's `regexp` says.
    #[test]
    fn text_that_means_something_else_in_rust_keeps_its_meaning_of_go() {
        check(r"^\d$", "7", true);
        check(r"^\d$", "\u{0663}", false);
        check(r"^\<a\>$", "<a>", true);
        check(r"^[a&&b]$", "&", true);
        check(r"^[a&&b]+$", "ab", true);
        check(r"^[[a]$", "[", true);
        check(r"^[]a]$", "]", true);
        check(r"^a{,2}$", "a{,2}", true);
        check(r"^a{2}$", "aa", true);
        check(r"^a{2,3}?$", "aaa", true);
        check(r"^a}]$", "a}]", true);
        check(r"^\Qa.b\E$", "a.b", true);
        check(r"^\Qa.b\E$", "axb", false);
        check(r"^\0101$", "\u{8}1", true);
        check(r"^\x41$", "A", true);
        check(r"^[\w-]+$", "a-b", true);
        check(r"^[^\W]$", "é", false);
        check(r"^(?i)a$", "A", true);
        check(r"^.$", "\n", false);
        check(r"^[^/]$", "\n", true);
        check(r"(^|/)\$", "a/$x", true);
        check(r"^[[:alpha:]]$", "q", true);
        check(r"^a#b c$", "a#b c", true);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for expression in [r"\q", "[a", "a**", r"\x{zz}", r"\", "[b-a]", "(?x)a", "(?=a)"] {
            let ours = to_rust(expression).map(|rust| regex::Regex::new(&rust));
            assert!(!matches!(ours, Ok(Ok(_))), "{expression:?}");
        }
    }

    proptest! {
        #[test]
        fn rewriting_never_panics(expression in "\\PC{0,40}") {
            let _ = to_rust(&expression);
        }
    }
}
