//! Names of what is to be sent: of `--files-from`, and arguments under `-R`.

use volsync_common::path::Shown;

use crate::args::ArgsError;
use crate::directories::join;

/// A name, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// What stands before `/./`: it leads to the file, and is not sent.
    pub(crate) base: Vec<u8>,
    /// What is sent, below the base; `.` for the base itself.
    pub(crate) path: Vec<u8>,
    /// What is directly in the directory belongs to it: it ends like `dir/`.
    pub(crate) contents: bool,
    /// The base itself is sent before it: it begins with `./`.
    pub(crate) rooted: bool,
}

impl Name {
    /// A line of a file of names. Nothing leads out of the directory from which they are meant: a slash in front means
    /// nothing, and `..` goes up to there at most.
    pub(crate) fn listed(text: &[u8]) -> Self {
        let mut elements: Vec<&[u8]> = Vec::new();
        for element in text.split(|b| *b == b'/') {
            match element {
                b"" => {}
                b".." => {
                    while elements.pop_if(|last| *last == b".").is_some() {}
                    elements.pop();
                }
                element => elements.push(element),
            }
        }
        Self::of(&elements, text)
    }

    /// What it is called without the directories that lead there; `None` if what is in it is meant.
    pub(crate) fn alone(&self) -> Option<Vec<u8>> {
        (!self.contents).then(|| crate::directories::split(&self.path).1.to_vec())
    }

    /// An argument of the command line: its path is sent as it stands, and begins in `/` or in the current directory.
    pub(crate) fn argument(text: &[u8]) -> Result<Self, ArgsError> {
        let (base, below) = match text.windows(3).position(|three| three == b"/./") {
            Some(at) => (&text[..=at], &text[at + 3..]),
            None => (if text.starts_with(b"/") { &b"/"[..] } else { b"." }, text),
        };
        if below.split(|b| *b == b'/').any(|element| element == b"..") {
            return Err(ArgsError::Usage(format!("{} leads up, which -R cannot send", Shown(text))));
        }
        let below = Self::listed(below);
        // Only the first mark counts.
        let path = if below.base == b"." { below.path } else { join(&below.base, &below.path) };
        Ok(Self { base: base.to_vec(), path, ..below })
    }

    fn of(elements: &[&[u8]], text: &[u8]) -> Self {
        let slash = text.ends_with(b"/");
        let ends = |at: usize| at + 1 < elements.len() || slash;
        let marked = (1..elements.len()).find(|at| elements[*at] == b"." && ends(*at));
        let (base, below) = match marked {
            Some(at) => (&elements[..at], &elements[at + 1..]),
            None => (&elements[..0], elements),
        };
        let path = plain(below);
        let last = text.rsplit(|b| *b == b'/').next().unwrap_or_default();
        Self {
            base: plain(base),
            rooted: marked.is_none() && below.len() > 1 && below.first() == Some(&&b"."[..]),
            contents: slash || path == b"." || matches!(last, b"." | b".."),
            path,
        }
    }
}

/// Without `.` in it; `.` if nothing is left.
fn plain(elements: &[&[u8]]) -> Vec<u8> {
    let elements: Vec<_> = elements.iter().copied().filter(|element| *element != b".").collect();
    if elements.is_empty() { b".".to_vec() } else { elements.join(&b'/') }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_mean_what_they_mean_to_rsync() {
        for (text, base, path, contents, rooted) in [
            ("a/b/f", ".", "a/b/f", false, false),
            ("/a//b/../h", ".", "a/h", false, false),
            ("../out", ".", "out", false, false),
            ("a/../../out", ".", "out", false, false),
            ("x/", ".", "x", true, false),
            ("x//", ".", "x", true, false),
            ("x/.", ".", "x", true, false),
            ("x/./", "x", ".", true, false),
            ("x/y/..", ".", "x", true, false),
            (".", ".", ".", true, false),
            ("./", ".", ".", true, false),
            ("/", ".", ".", true, false),
            ("..", ".", ".", true, false),
            ("./x/y", ".", "x/y", false, true),
            ("./x/./y/z", "x", "y/z", false, false),
            ("a/b/./g", "a/b", "g", false, false),
        ] {
            let expect = Name { base: base.as_bytes().to_vec(), path: path.as_bytes().to_vec(), contents, rooted };
            assert_eq!(Name::listed(text.as_bytes()), expect, "{text}");
        }
    }

    #[test]
    fn arguments_begin_where_they_say() {
        for (text, base, path) in [
            ("/a/b", "/", "a/b"),
            ("a/b", ".", "a/b"),
            ("/srv/./a/b", "/srv/", "a/b"),
            ("../x/./y", "../x/", "y"),
            ("x/./y/./z", "x/", "y/z"),
            ("/", "/", "."),
        ] {
            let name = Name::argument(text.as_bytes()).unwrap();
            assert_eq!((&name.base[..], &name.path[..]), (base.as_bytes(), path.as_bytes()), "{text}");
        }
        assert!(Name::argument(b"../x").is_err());
    }

    proptest! {
        #[test]
        fn no_name_leads_out(text in "[./a\n]{0,12}") {
            let name = Name::listed(text.as_bytes());
            for path in [&name.base, &name.path] {
                prop_assert!(path == b"." || volsync_common::path::check(path).is_ok(), "{:?}", name);
            }
        }
    }
}
