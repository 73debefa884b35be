//! What is sent: directories' contents, directories, or files.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use volsync_common::dest::{Dest, DestOptions};
use volsync_common::path::{RelPath, Shown};
use volsync_common::root::{Root, Strategy};
use volsync_common::walk::Kind;

use super::names::Name;
use crate::args::ArgsError;
use crate::directories::{confined, named, split};
use crate::exit::{ExitCode, Fatal};

/// An open source. Nothing in it is reached by following links.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The directory that is walked, or that holds the only file.
    pub(super) root: Dest,
    /// Its path, for walking.
    pub(super) path: PathBuf,
    /// What paths of the list begin with, when the directory itself belongs to the transfer.
    pub(super) prefix: Option<Vec<u8>>,
    /// The only file.
    pub(super) file: Option<Vec<u8>>,
    /// The directory itself does not take part, only what is in it.
    pub(super) without_root: bool,
    /// What alone of the directory takes part.
    pub(super) names: Option<Arc<[Name]>>,
    /// Nothing outside of a directory is looked at, and that is where this is.
    pub(super) confined: Option<Confined>,
}

/// A place in a directory that nothing leads out of.
#[derive(Clone, Debug)]
pub(crate) struct Confined {
    /// Its path, for rules.
    pub(super) place: PathBuf,
    /// The path for walking goes by this descriptor: the name may lead elsewhere by now.
    _held: Arc<OwnedFd>,
}

impl Source {
    /// Opens what the user named: `dir/` and `dir/.` mean the contents of a directory, `dir` the directory with its
    /// name.
    pub(super) fn open(path: &Path) -> Result<Self, Fatal> {
        Self::try_open(path).map_err(|error| {
            let shown = Shown(path.as_os_str().as_bytes());
            Fatal::Other(ExitCode::Partial, format!("cannot read the source {shown}: {error}"))
        })
    }

    fn try_open(path: &Path) -> io::Result<Self> {
        let open = |path: &Path| Dest::open(path, DestOptions::default());
        let name = named(path.as_os_str().as_bytes()).map(<[u8]>::to_vec);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // A link to a directory is a link, unless a slash follows it.
        let is_dir = std::fs::symlink_metadata(path)?.is_dir();
        match name {
            Some(name) if !is_dir => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                Ok(Self {
                    root: open(parent)?,
                    path: parent.into(),
                    prefix: None,
                    file: Some(name),
                    without_root: false,
                    names: None,
                    confined: None,
                })
            }
            name => Ok(Self {
                root: open(path)?,
                path: path.into(),
                prefix: name,
                file: None,
                without_root: false,
                names: None,
                confined: None,
            }),
        }
    }

    /// A directory in which names begin.
    fn base(path: PathBuf) -> Result<Self, Fatal> {
        let root = Dest::open(&path, DestOptions::default()).map_err(|error| {
            let shown = Shown(path.as_os_str().as_bytes());
            Fatal::Other(ExitCode::Partial, format!("cannot read the source {shown}: {error}"))
        })?;
        Ok(Self { root, path, prefix: None, file: None, without_root: false, names: None, confined: None })
    }

    /// What a client calls `path` in the directory `root`, which nothing leads out of: no link is followed.
    fn beneath(root: &Path, path: &[u8]) -> Result<Self, Fatal> {
        let failed = |code, why: &dyn std::fmt::Display| {
            Fatal::Other(code, format!("cannot read the source {}: {why}", Shown(path)))
        };
        let Some(below) = confined(path) else {
            return Err(failed(ExitCode::FileSelect, &"it leads out of what is served"));
        };
        let contents = named(path).is_none() || below.is_empty();
        Self::try_beneath(root, &below, contents).map_err(|error| failed(ExitCode::Partial, &error))
    }

    fn try_beneath(root: &Path, below: &[u8], contents: bool) -> io::Result<Self> {
        let volume = Root::open(root, Strategy::Kernel)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let open = |path: &[u8]| {
            let path = if path.is_empty() { None } else { Some(RelPath::new(path).map_err(io::Error::other)?) };
            volume.open_at(path.as_ref(), flags, Mode::empty())
        };
        let is_dir = below.is_empty() || {
            let path = RelPath::new(below).map_err(io::Error::other)?;
            volume.stat(&path)?.kind() == Kind::Directory
        };
        let (parent, name) = split(below);
        let parent = if parent == b"." { b"" } else { parent };
        let (dir, prefix, file) = match (is_dir, contents) {
            (true, true) => (below, None, None),
            (true, false) => (below, Some(name.to_vec()), None),
            (false, false) => (parent, None, Some(name.to_vec())),
            (false, true) => return Err(io::ErrorKind::NotADirectory.into()),
        };
        let held = Arc::new(open(dir)?);
        let path = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        let confined = Some(Confined { place: root.join(OsStr::from_bytes(dir)), _held: held });
        let root = Dest::open(&path, DestOptions::default())?;
        Ok(Self { root, path, prefix, file, without_root: false, names: None, confined })
    }

    /// Whether it is a directory with all that it holds.
    pub(crate) fn is_whole(&self) -> bool {
        self.file.is_none() && self.names.is_none()
    }

    /// Whether the directory itself does not take part.
    pub(crate) fn is_without_root(&self) -> bool {
        self.without_root
    }

    /// The directory, open.
    pub(crate) fn root(&self) -> &Dest {
        &self.root
    }

    /// The directory's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where an entry of the list is, from the root; `.` for the root itself.
    pub(super) fn local<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        let Some(prefix) = &self.prefix else { return path };
        match path.strip_prefix(&prefix[..]) {
            Some([b'/', rest @ ..]) => rest,
            _ => b".",
        }
    }

    /// Where an entry of the list is, from where the user is, as rsync shows it: `dir/.` is the directory itself where only
    /// what is in it was named, and a slash in front is left out.
    pub(super) fn long(&self, path: &[u8]) -> Vec<u8> {
        let root = self.path.as_os_str().as_bytes();
        let root = root.strip_suffix(b"/.").unwrap_or(root);
        let root = root.strip_suffix(b"/").unwrap_or(root);
        let long = match (self.local(path), &self.prefix) {
            (b".", Some(_)) => root.to_vec(),
            (local, _) if root == b"." => local.to_vec(),
            (local, _) => [root, b"/", local].concat(),
        };
        long.strip_prefix(b"/").map(<[u8]>::to_vec).unwrap_or(long)
    }

    /// What something below the root is called in the list.
    pub(crate) fn listed(&self, local: &[u8]) -> Vec<u8> {
        match (&self.prefix, local) {
            (None, local) => local.to_vec(),
            (Some(prefix), b".") => prefix.clone(),
            (Some(prefix), local) => [prefix, &b"/"[..], local].concat(),
        }
    }
}

/// Everything that the user named.
#[derive(Clone, Debug)]
pub struct Sources {
    all: Vec<Source>,
    /// Some of it could not be opened, which was told.
    pub(super) incomplete: bool,
}

/// More of them have no numbers.
const SOURCES_MAX: usize = u16::MAX as usize;

impl Sources {
    /// Opens them. What cannot be opened is left out and told, unless there is nothing else.
    pub fn open<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, Fatal> {
        Self::gather(paths.into_iter().map(Source::open))
    }

    /// What a client calls `paths` in the directory `root`, which nothing leads out of.
    pub fn beneath(root: &Path, paths: &[Vec<u8>], relative: bool) -> Result<Self, Fatal> {
        let whole = [b".".to_vec()];
        let paths = if paths.is_empty() { &whole[..] } else { paths };
        if !relative {
            return Self::gather(paths.iter().map(|path| Source::beneath(root, path)));
        }
        let names = paths.iter().map(|path| Name::argument(path)).collect::<Result<Vec<_>, ArgsError>>()?;
        Self::by_name(names, |base| Source::beneath(root, &[base, b"/"].concat()))
    }

    fn gather(opened: impl Iterator<Item = Result<Source, Fatal>>) -> Result<Self, Fatal> {
        let (mut all, mut failed) = (Vec::new(), Vec::new());
        for source in opened {
            match source {
                Ok(_) if all.len() == SOURCES_MAX => {
                    return Err(too_many());
                }
                Ok(source) => all.push(source),
                Err(fatal) => failed.push(fatal),
            }
        }
        let incomplete = !failed.is_empty();
        let alone = if all.is_empty() { failed.pop() } else { None };
        for fatal in failed {
            crate::report::problem(&format!("rsync: {fatal}"));
        }
        alone.map_or(Ok(Self { all, incomplete }), Err)
    }

    /// What `names` lead to from the directory `from` (`--files-from`): with the directories that lead there if
    /// `relative`, else as so many sources.
    pub fn listed(from: &Path, names: &[Vec<u8>], relative: bool) -> Result<Self, Fatal> {
        if !from.is_dir() {
            let shown = Shown(from.as_os_str().as_bytes());
            return Err(Fatal::Other(ExitCode::FileSelect, format!("the source {shown} is no directory")));
        }
        let at = |base: &[u8]| if base == b"." { from.to_owned() } else { from.join(OsStr::from_bytes(base)) };
        if !relative {
            let path = |name: &Vec<u8>| {
                let Name { base, path, contents, .. } = Name::listed(name);
                let path = at(&base).join(OsStr::from_bytes(&path));
                if contents { path.join(".") } else { path }
            };
            let paths: Vec<_> = names.iter().map(path).collect();
            return Self::open(paths.iter().map(PathBuf::as_path));
        }
        Self::by_name(names.iter().map(|name| Name::listed(name)), |base| Source::base(at(base)))
    }

    /// What `paths` lead to, with the directories that lead there (`-R`).
    pub fn relative<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Fatal> {
        let names = paths.into_iter().map(Name::argument).collect::<Result<Vec<_>, ArgsError>>()?;
        Self::by_name(names, |base| Source::base(OsStr::from_bytes(base).into()))
    }

    /// By the directories in which names begin.
    fn by_name(
        names: impl IntoIterator<Item = Name>,
        open: impl Fn(&[u8]) -> Result<Source, Fatal>,
    ) -> Result<Self, Fatal> {
        let (mut bases, mut numbers) = (Vec::<(Vec<u8>, Vec<Name>)>::new(), HashMap::new());
        for name in names {
            let number = *numbers.entry(name.base.clone()).or_insert(bases.len());
            if number == bases.len() {
                bases.push((name.base.clone(), Vec::new()));
            }
            bases[number].1.push(name);
        }
        let (mut all, mut incomplete) = (Vec::new(), false);
        for (base, names) in bases {
            if all.len() == SOURCES_MAX {
                return Err(too_many());
            }
            match open(&base) {
                Ok(source) => all.push(Source { without_root: true, names: Some(names.into()), ..source }),
                Err(fatal) => {
                    crate::report::problem(&format!("rsync: {fatal}"));
                    incomplete = true;
                }
            }
        }
        Ok(Self { all, incomplete })
    }

    /// Leaves out the directories themselves, so that their attributes stay as they are there.
    #[must_use]
    pub fn without_roots(self) -> Self {
        Self { all: self.all.into_iter().map(|source| Source { without_root: true, ..source }).collect(), ..self }
    }

    /// With their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Source)> {
        (0..).zip(&self.all)
    }

    pub(super) fn get(&self, number: u16) -> Option<&Source> {
        self.all.get(usize::from(number))
    }

    /// The only one.
    pub(crate) fn single(&self) -> Option<&Source> {
        self.all.first().filter(|_| self.all.len() == 1 && !self.incomplete)
    }
}

fn too_many() -> Fatal {
    Fatal::Other(ExitCode::Usage, format!("more than {SOURCES_MAX} sources"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_means_the_contents() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("d")).unwrap();
        std::fs::write(temp.path().join("f"), b"").unwrap();
        std::os::unix::fs::symlink("d", temp.path().join("l")).unwrap();
        let open = |path: &str| Source::open(Path::new(&format!("{}/{path}", temp.path().display())));
        for path in ["d/", "d/.", "l/"] {
            let source = open(path).unwrap();
            assert_eq!((source.prefix.clone(), source.file.clone()), (None, None), "{path}");
            assert_eq!((source.local(b"x"), source.listed(b".")), (&b"x"[..], b".".to_vec()));
        }
        let dir = open("d").unwrap();
        assert_eq!((dir.listed(b"."), dir.listed(b"x/y")), (b"d".to_vec(), b"d/x/y".to_vec()));
        assert_eq!((dir.local(b"d"), dir.local(b"d/x/y")), (&b"."[..], &b"x/y"[..]));
        for file in ["f", "l"] {
            assert_eq!(open(file).unwrap().file, Some(file.as_bytes().to_vec()));
        }
        assert_eq!(open("none").unwrap_err().code(), 23);
        let paths = ["d", "none", "f"].map(|name| temp.path().join(name));
        let sources = Sources::open(paths.iter().map(PathBuf::as_path)).unwrap();
        assert!(sources.incomplete && sources.get(1).is_some_and(|source| source.file.is_some()));
        assert_eq!((sources.iter().count(), Sources::open([&*paths[1]]).unwrap_err().code()), (2, 23));
    }
}
