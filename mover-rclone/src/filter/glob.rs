//! rclone's globs as regular expressions, and the directories that an include rule needs walked.
//!
//! The text of the expression is rclone's own (`--dump filters` prints it); [`super::gosyntax`] makes of it what the
//! Rust engine understands.

use super::FilterError;

/// Nesting of `{}` that is accepted; more only makes the expression compiler work.
const MAX_DEPTH: usize = 64;

/// Turns a glob relative to the sync root into the expression for whole paths.
///
/// # Errors
/// Unbalanced brackets and braces, or three stars in a row.
pub(super) fn path_to_regexp(glob: &str, ignore_case: bool) -> Result<String, FilterError> {
    let (anchor, rest) = match glob.strip_prefix('/') {
        Some(rest) => ("^", rest),
        None => ("(^|/)", glob),
    };
    let case = if ignore_case { "(?i)" } else { "" };
    Ok(format!("{case}{anchor}{}$", Translator::new(glob, rest).run()?))
}

struct Translator<'a> {
    glob: &'a str,
    rest: &'a str,
    out: String,
    stars: usize,
    braces: usize,
    brackets: usize,
}

impl<'a> Translator<'a> {
    fn new(glob: &'a str, rest: &'a str) -> Self {
        Self { glob, rest, out: String::with_capacity(rest.len() * 2), stars: 0, braces: 0, brackets: 0 }
    }

    fn run(mut self) -> Result<String, FilterError> {
        while let Some(c) = self.rest.chars().next() {
            self.rest = &self.rest[c.len_utf8()..];
            if c == '*' && self.brackets == 0 {
                self.stars += 1;
                continue;
            }
            self.flush_stars()?;
            if self.brackets > 0 { self.in_class(c)? } else { self.outside(c)? }
        }
        self.flush_stars()?;
        match (self.brackets, self.braces) {
            (0, 0) => Ok(self.out),
            (0, _) => Err(self.mismatch("'{' and '}'")),
            _ => Err(self.mismatch("'[' and ']'")),
        }
    }

    fn flush_stars(&mut self) -> Result<(), FilterError> {
        self.out.push_str(match self.stars {
            0 => "",
            1 => "[^/]*",
            2 => ".*",
            _ => return Err(FilterError::TooManyStars(self.glob.to_owned())),
        });
        self.stars = 0;
        Ok(())
    }

    /// A backslash has no meaning in a class: the first `]` that balances ends it.
    fn in_class(&mut self, c: char) -> Result<(), FilterError> {
        match c {
            '[' => self.brackets += 1,
            ']' => self.brackets -= 1,
            _ => {}
        }
        self.out.push(c);
        if self.brackets > MAX_DEPTH { Err(self.mismatch("'[' and ']'")) } else { Ok(()) }
    }

    fn outside(&mut self, c: char) -> Result<(), FilterError> {
        match c {
            '\\' => self.escaped(),
            '[' => {
                self.brackets = 1;
                self.out.push('[');
            }
            ']' => return Err(self.mismatch("']'")),
            '{' if self.rest.starts_with('{') => return self.raw(),
            '{' => {
                self.braces += 1;
                if self.braces > MAX_DEPTH {
                    return Err(self.mismatch("'{' and '}'"));
                }
                self.out.push('(');
            }
            '}' if self.braces == 0 => return Err(self.mismatch("'{' and '}'")),
            '}' => {
                self.braces -= 1;
                self.out.push(')');
            }
            ',' if self.braces > 0 => self.out.push('|'),
            '?' => self.out.push_str("[^/]"),
            '.' | '+' | '(' | ')' | '|' | '^' | '$' => {
                self.out.push('\\');
                self.out.push(c);
            }
            _ => self.out.push(c),
        }
        Ok(())
    }

    /// The next character keeps its backslash. A backslash at the very end joins the `$` that follows, so such a glob
    /// matches a dollar sign and is not anchored: odd, and the same in rclone.
    fn escaped(&mut self) {
        self.out.push('\\');
        if let Some(c) = self.rest.chars().next() {
            self.rest = &self.rest[c.len_utf8()..];
            self.out.push(c);
        }
    }

    /// `{{regular expression}}`: ends at the last brace of the first run of two or more.
    fn raw(&mut self) -> Result<(), FilterError> {
        let inner = &self.rest[1..];
        let Some(at) = inner.find("}}") else { return Err(self.mismatch("'{{' and '}}'")) };
        let run = inner[at..].bytes().take_while(|&b| b == b'}').count();
        let end = at + run - 2;
        self.out.push('(');
        self.out.push_str(&inner[..end]);
        self.out.push(')');
        self.rest = &inner[end + 2..];
        Ok(())
    }

    fn mismatch(&self, what: &'static str) -> FilterError {
        FilterError::Mismatched { what, glob: self.glob.to_owned() }
    }
}

/// The globs of the directories that must be walked to reach the files of an include rule, deepest first.
///
/// Where braces or raw expressions hide a slash nothing can be pruned: every directory is walked.
pub(super) fn directory_globs(glob: &str) -> Vec<String> {
    const EVERYTHING: &str = "/**";
    if too_hard(glob) {
        return vec![EVERYTHING.to_owned()];
    }
    let glob = squeeze_slashes(glob);
    let mut rest = glob.as_str();
    let mut out: Vec<String> = Vec::new();
    while let Some((at, what)) = last_boundary(rest) {
        rest = &rest[..at];
        let dir = format!("{rest}{what}/");
        if out.last() != Some(&dir) {
            out.push(dir);
        }
    }
    if out.is_empty() {
        out.push(EVERYTHING.to_owned());
    }
    out
}

/// Where the last directory boundary is: a slash, or two stars, which may stand for slashes.
fn last_boundary(glob: &str) -> Option<(usize, &'static str)> {
    match (glob.rfind('/'), glob.rfind("**")) {
        (slash, Some(stars)) if slash.is_none_or(|s| stars > s) => Some((stars, "**")),
        (slash, _) => slash.map(|s| (s, "")),
    }
}

fn squeeze_slashes(glob: &str) -> String {
    let mut out = String::with_capacity(glob.len());
    for c in glob.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

/// Braces with a slash or two stars inside, nested braces, and raw expressions. Escapes are not looked at, as in
/// rclone.
fn too_hard(glob: &str) -> bool {
    let mut open: Option<usize> = None;
    for (at, c) in glob.char_indices() {
        match c {
            '{' if open.is_some() => return true,
            '{' => open = Some(at),
            '}' => {
                let inside = open.take().map(|from| &glob[from..at]);
                if inside.is_some_and(|s| s.contains('/') || s.contains("**")) {
                    return true;
                }
            }
            _ => {}
        }
    }
    glob.contains("}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(glob: &str, expect: &str) {
        let got = path_to_regexp(glob, false).unwrap_or_else(|e| format!("E {e}"));
        assert_eq!(got, expect, "{glob:?}");
    }

    /// What rclone 1.75.2 prints with `--dump filters`.
    #[test]
    fn globs_become_the_expressions_that_rclone_prints() {
        check("*.jpg", r"(^|/)[^/]*\.jpg$");
        check("permissions.facl", r"(^|/)permissions\.facl$");
        check("lost+found/**", r"(^|/)lost\+found/.*$");
        check("/dir/**", r"^dir/.*$");
        check("a/**/b", r"(^|/)a/.*/b$");
        check("{a,b}/*.x", r"(^|/)(a|b)/[^/]*\.x$");
        check("x[a-c]", r"(^|/)x[a-c]$");
        check("[!a]x", r"(^|/)[!a]x$");
        check("a?b", r"(^|/)a[^/]b$");
        check(r"a\*b", r"(^|/)a\*b$");
        check(r"{{[a-z]+\.txt}}", r"(^|/)([a-z]+\.txt)$");
        check("{a,{b,c}d}e/f", "(^|/)(a|(b|c)d)e/f$");
        check("{{a}}b{{c/d}}", "(^|/)(a)b(c/d)$");
        check("{{a}}}", "(^|/)(a})$");
        check("{{{a}}}", "(^|/)({a})$");
        check("{{a{2}}}", "(^|/)(a{2})$");
        check("{a,b[,]c}", "(^|/)(a|b[,]c)$");
        check("{[}]}", "(^|/)([}])$");
        check("[*]", "(^|/)[*]$");
        check(r"\", r"(^|/)\$");
        check("a.b+c(d)^$&-~#", r"(^|/)a\.b\+c\(d\)\^\$&-~#$");
        check("{a?*,**}", "(^|/)(a[^/][^/]*|.*)$");
        check("é", "(^|/)é$");
    }

    #[test]
    fn unbalanced_globs_are_refused_in_the_words_of_rclone() {
        check("***", r#"E too many stars in "***""#);
        check("[a", r#"E mismatched '[' and ']' in glob "[a""#);
        check("[[]", r#"E mismatched '[' and ']' in glob "[[]""#);
        check("a]", r#"E mismatched ']' in glob "a]""#);
        check(r"[\]]", r#"E mismatched ']' in glob "[\\]]""#);
        check("{a", r#"E mismatched '{' and '}' in glob "{a""#);
        check("a}}b", r#"E mismatched '{' and '}' in glob "a}}b""#);
        check("{{a", r#"E mismatched '{{' and '}}' in glob "{{a""#);
        check("{a,{{b}}}", r#"E mismatched '{' and '}' in glob "{a,{{b}}}""#);
    }

    fn check_dirs(glob: &str, expect: &[&str]) {
        assert_eq!(directory_globs(glob), expect, "{glob:?}");
    }

    #[test]
    fn directories_on_the_way_to_an_included_file_are_walked() {
        check_dirs("*.jpg", &["/**"]);
        check_dirs("/a/b/*.txt", &["/a/b/", "/a/", "/"]);
        check_dirs("a/**/b", &["a/**/", "a/"]);
        check_dirs("a**b/c", &["a**b/", "a**/"]);
        check_dirs("/a/**", &["/a/**/", "/a/", "/"]);
        check_dirs("a//b", &["a/"]);
        check_dirs("{a,b}/c/{d,e}", &["{a,b}/c/", "{a,b}/"]);
        check_dirs("{a/b,c}/d", &["/**"]);
        check_dirs("x{a{b}c}/d", &["/**"]);
        check_dirs("/{{a/b}}/c", &["/**"]);
        check_dirs(r"\{\{/a", &["/**"]);
        check_dirs("[{]/a", &["[{]/"]);
        check_dirs(r"x\}\}/a", &[r"x\}\}/"]);
    }
}
