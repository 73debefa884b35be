//! A volume before and after changes of every kind, and an embedded server to move it through.

use std::fs;

use tempfile::TempDir;
use volsync_embedded_s3::ServerOptions;

use crate::embedded::Embedded;
use crate::mover::Mover;
use crate::tree::{Ignore, Tree};
use crate::volume;

/// The bucket of every scene.
pub const BUCKET: &str = "volumes";

/// Lines of a remote with which the large files go up in parts.
pub const PARTS: &str = "upload_cutoff = 5Mi\nchunk_size = 5Mi";

/// From before to after two small files are new, one is different, two are gone, and two new ones need three and two parts.
pub struct Scene {
    /// The server, with the empty bucket [`BUCKET`].
    pub server: Embedded,
    /// The volume before.
    pub before: TempDir,
    /// The volume after.
    pub after: TempDir,
    /// Lines of the remote.
    lines: String,
}

impl Scene {
    /// With a server as it comes.
    pub fn new() -> Self {
        Self::with(ServerOptions::default())
    }

    /// With a server set up as the caller wants it.
    pub fn with(options: ServerOptions) -> Self {
        let [before, after] = [1, 2].map(|_| TempDir::with_prefix("volume-").unwrap());
        for dir in [&before, &after] {
            volume::plain(dir.path(), 1, 6, 2, 1..9_000);
        }
        fs::write(before.path().join("gone"), b"gone").unwrap();
        fs::write(before.path().join("gone too"), b"gone").unwrap();
        fs::create_dir(after.path().join("made")).unwrap();
        fs::write(after.path().join("made/new"), b"new").unwrap();
        fs::write(after.path().join("made/other"), b"other").unwrap();
        fs::write(after.path().join("d0/f0"), b"different").unwrap();
        fs::write(after.path().join("large"), volume::Random::new(3).bytes(11 << 20)).unwrap();
        fs::write(after.path().join("also large"), volume::Random::new(4).bytes(6 << 20)).unwrap();
        let server = Embedded::with(ServerOptions { buckets: vec![BUCKET.to_owned()], ..options });
        Self { server, before, after, lines: PARTS.to_owned() }
    }

    /// With one more line of the remote.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines = format!("{}\n{line}", self.lines);
        self
    }

    /// The mover of this server.
    pub fn mover(&self) -> Mover {
        Mover::with_options(&self.server, &self.lines)
    }

    /// `BUCKET/PREFIX`, which holds the volume as it was before; all faults are over.
    #[track_caller]
    pub fn stored(&self, prefix: &str) -> String {
        self.server.faults().clear();
        let path = format!("{BUCKET}/{prefix}");
        self.mover().push(self.before.path(), &path).success();
        path
    }

    /// A directory that holds the volume as it was before.
    pub fn restored(&self) -> TempDir {
        let dir = TempDir::with_prefix("target-").unwrap();
        volume::shell(dir.path(), &format!("cp -a {}/. .", self.before.path().display()));
        dir
    }

    /// How a directory differs from the volume after, as far as a bucket can hold it.
    pub fn differs(&self, dir: &TempDir) -> Vec<String> {
        Tree::of(self.after.path()).diff(&Tree::of(dir.path()), Ignore::LOST_IN_BUCKET)
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}
