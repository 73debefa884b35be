//! The bytes of an object: segments that several objects may share.
//!
//! Completing a multipart upload or copying an object never moves bytes: the new object lists the same segments.
//! A segment lies in memory or in a data file; a data file is removed when its last segment goes.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use s3s::StdError;
use s3s::stream::{ByteStream, RemainingLength};

use volsync_common::hash::FileHasher;
use volsync_md5::{Digest, Md5};

/// Bytes read from a data file at a time: large enough to amortise the call, small enough to stay in the cache.
const READ_SIZE: u64 = 256 * 1024;
/// Bodies up to this size stay in memory: every data file is an open descriptor, of which a process has few.
const MIN_FILE: u64 = 64 * 1024;
/// Bodies of at least this size are hashed when they are whole, those of several requests side by side; smaller ones as
/// they come.
const IN_LANES: u64 = 1024 * 1024;
/// Memory reserved up front for a body whose announced length nobody has checked yet.
const MAX_RESERVED: u64 = 64 * 1024 * 1024;

/// Where new bytes go.
#[derive(Debug)]
pub(crate) enum Backend {
    /// Kept in memory.
    Memory,
    /// One file per body of more than [`MIN_FILE`] bytes in this directory, named by a counter.
    Directory { dir: PathBuf, next: AtomicU64, spare: Arc<Spare> },
}

impl Backend {
    /// Files in `dir`. Up to `spare` bytes of files that nobody refers to any more are kept and written again.
    pub(crate) fn directory(dir: &Path, spare: u64) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self::Directory { dir: dir.to_owned(), next: AtomicU64::new(0), spare: Arc::new(Spare::new(spare)) })
    }

    /// Starts a body; `expected` is the announced length in bytes, a hint only.
    pub(crate) fn writer(&self, expected: Option<u64>) -> io::Result<ContentWriter> {
        let sink = match self {
            Self::Directory { dir, next, spare } if expected.is_none_or(|len| len > MIN_FILE) => {
                Sink::File(DataFile::take(dir, next, spare)?)
            }
            Self::Memory | Self::Directory { .. } => Sink::Memory(Vec::with_capacity(capacity(expected)?)),
        };
        let md5 = expected.is_none_or(|len| len < IN_LANES).then(Md5::new);
        Ok(ContentWriter { sink, len: 0, md5 })
    }
}

fn capacity(expected: Option<u64>) -> io::Result<usize> {
    usize::try_from(expected.unwrap_or(0).min(MAX_RESERVED)).map_err(io::Error::other)
}

/// Data files that nobody refers to.
#[derive(Debug)]
pub(crate) struct Spare {
    most: u64,
    files: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    files: Vec<(Arc<File>, PathBuf)>,
    bytes: u64,
}

impl Spare {
    fn new(most: u64) -> Self {
        Self { most, files: Mutex::default() }
    }

    fn take(&self) -> Option<(Arc<File>, PathBuf)> {
        let mut kept = self.lock();
        let (file, path) = kept.files.pop()?;
        kept.bytes -= file.metadata().map_or(0, |data| data.len()).min(kept.bytes);
        Some((file, path))
    }

    /// Keeps a file if there is room for it.
    fn keep(&self, file: &Arc<File>, path: &Path) -> bool {
        let Ok(len) = file.metadata().map(|data| data.len()) else { return false };
        let mut kept = self.lock();
        if kept.bytes.saturating_add(len) > self.most {
            return false;
        }
        kept.bytes += len;
        kept.files.push((Arc::clone(file), path.to_owned()));
        true
    }

    // Every change under the lock is complete in itself.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        for (_, path) in &self.lock().files {
            remove(path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "failed to remove a data file");
    }
}

/// A file that lives as long as someone refers to its bytes. One that was in use before may be longer than they are.
#[derive(Debug)]
struct DataFile {
    file: Arc<File>,
    path: PathBuf,
    spare: Arc<Spare>,
}

impl DataFile {
    fn take(dir: &Path, next: &AtomicU64, spare: &Arc<Spare>) -> io::Result<Self> {
        let spare = Arc::clone(spare);
        if let Some((file, path)) = spare.take() {
            return Ok(Self { file, path, spare });
        }
        let path = dir.join(format!("{:016x}.data", next.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { file: Arc::new(file), path, spare })
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if !self.spare.keep(&self.file, &self.path) {
            remove(&self.path);
        }
    }
}

enum Sink {
    Memory(Vec<u8>),
    File(DataFile),
}

/// Takes a body, and its MD5 at once if it is small.
pub(crate) struct ContentWriter {
    sink: Sink,
    len: u64,
    md5: Option<Md5>,
}

impl ContentWriter {
    pub(crate) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if let Some(md5) = &mut self.md5 {
            md5.update(chunk);
        }
        match &mut self.sink {
            Sink::Memory(buffer) => buffer.extend_from_slice(chunk),
            Sink::File(data) => data.file.write_all_at(chunk, self.len)?,
        }
        self.len += chunk.len() as u64;
        Ok(())
    }

    /// The content, and its MD5 unless that is [`Content::md5_in_lanes`]'s work.
    pub(crate) fn finish(self) -> (Content, Option<Digest>) {
        let source = match self.sink {
            Sink::Memory(buffer) => Source::Memory(Bytes::from(buffer)),
            Sink::File(data) => Source::File(Arc::new(data)),
        };
        let segments = vec![Segment { source, start: 0, len: self.len }];
        (Content { segments, len: self.len }, self.md5.map(Md5::finalize))
    }
}

#[derive(Clone, Debug)]
enum Source {
    Memory(Bytes),
    File(Arc<DataFile>),
}

#[derive(Clone, Debug)]
struct Segment {
    source: Source,
    start: u64,
    len: u64,
}

impl Segment {
    /// The first piece to send and what then remains.
    fn split_first(self) -> io::Result<(Bytes, Option<Self>)> {
        match &self.source {
            Source::Memory(bytes) => Ok((slice(bytes, self.start, self.len)?, None)),
            Source::File(data) => {
                let take = self.len.min(READ_SIZE);
                let mut buffer = vec![0; usize::try_from(take).map_err(io::Error::other)?];
                data.file.read_exact_at(&mut buffer, self.start)?;
                let rest = Self { source: self.source.clone(), start: self.start + take, len: self.len - take };
                Ok((buffer.into(), (rest.len > 0).then_some(rest)))
            }
        }
    }
}

fn slice(bytes: &Bytes, start: u64, len: u64) -> io::Result<Bytes> {
    let start = usize::try_from(start).map_err(io::Error::other)?;
    let len = usize::try_from(len).map_err(io::Error::other)?;
    Ok(bytes.slice(start..start + len))
}

/// The bytes of an object or part. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Content {
    segments: Vec<Segment>,
    len: u64,
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// No byte at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One content after the other.
    pub(crate) fn concat<'a>(parts: impl IntoIterator<Item = &'a Content>) -> Self {
        parts.into_iter().fold(Self::default(), |mut all, part| {
            all.segments.extend(part.segments.iter().filter(|s| s.len > 0).cloned());
            all.len += part.len;
            all
        })
    }

    /// The bytes in `range`, cut to what is there.
    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        let mut out = Self::default();
        let mut offset = 0;
        for segment in &self.segments {
            let start = range.start.clamp(offset, offset + segment.len);
            let end = range.end.clamp(offset, offset + segment.len);
            if end > start {
                let cut =
                    Segment { source: segment.source.clone(), start: segment.start + start - offset, len: end - start };
                out.len += cut.len;
                out.segments.push(cut);
            }
            offset += segment.len;
        }
        out
    }

    /// All bytes in one piece of memory.
    pub fn read_all(&self) -> io::Result<Bytes> {
        let mut pieces = self.stream();
        let mut all = Vec::with_capacity(usize::try_from(self.len).map_err(io::Error::other)?);
        while let Some(piece) = pieces.next_piece() {
            all.extend_from_slice(&piece?);
        }
        Ok(all.into())
    }

    /// MD5 over all bytes.
    pub(crate) fn md5(&self) -> io::Result<Digest> {
        let mut pieces = self.stream();
        let mut md5 = Md5::new();
        while let Some(piece) = pieces.next_piece() {
            md5.update(&piece?);
        }
        Ok(md5.finalize())
    }

    /// MD5 of a content that was just written in one piece, beside those of other requests.
    pub(crate) async fn md5_in_lanes(&self, hasher: &FileHasher) -> io::Result<Digest> {
        match self.segments.as_slice() {
            [Segment { source: Source::Memory(bytes), start: 0, .. }] => Ok(hasher.hash_bytes(bytes.clone()).await),
            [Segment { source: Source::File(data), start: 0, len }] => {
                Ok(hasher.hash_range(Arc::clone(&data.file), 0..*len).await?.md5)
            }
            _ => self.md5(),
        }
    }

    pub(crate) fn stream(&self) -> ContentStream {
        ContentStream { segments: self.segments.iter().filter(|s| s.len > 0).cloned().collect(), left: self.len }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len() as u64;
        Self { segments: vec![Segment { source: Source::Memory(bytes), start: 0, len }], len }
    }
}

/// A content on its way out.
///
/// Data files are read in `poll_next` itself: they were written moments ago and lie in the page cache, where a read is
/// a copy and a hand-over to another thread would cost more.
pub(crate) struct ContentStream {
    segments: VecDeque<Segment>,
    left: u64,
}

impl ContentStream {
    fn next_piece(&mut self) -> Option<io::Result<Bytes>> {
        let (piece, rest) = match self.segments.pop_front()?.split_first() {
            Ok(split) => split,
            Err(error) => return Some(Err(error)),
        };
        if let Some(rest) = rest {
            self.segments.push_front(rest);
        }
        self.left -= piece.len() as u64;
        Some(Ok(piece))
    }
}

impl Stream for ContentStream {
    type Item = Result<Bytes, StdError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.get_mut().next_piece().map(|piece| piece.map_err(StdError::from)))
    }
}

impl ByteStream for ContentStream {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(backend: &Backend, data: &[u8]) -> (Content, Option<Digest>) {
        let mut writer = backend.writer(None).unwrap();
        for chunk in data.chunks(7) {
            writer.write(chunk).unwrap();
        }
        writer.finish()
    }

    fn check(backend: &Backend) {
        let (first, sum) = written(backend, b"the first body");
        let (second, _) = written(backend, b", the second");
        assert_eq!(sum, Some(volsync_md5::md5(b"the first body")));
        let both = Content::concat([&first, &Content::default(), &second]);
        let text = b"the first body, the second";
        assert_eq!(both.read_all().unwrap(), text.as_slice());
        assert_eq!(both.md5().unwrap(), volsync_md5::md5(text));
        for start in 0..text.len() {
            for end in start..=text.len() {
                let cut = both.slice(start as u64..end as u64);
                assert_eq!(cut.len(), (end - start) as u64);
                assert_eq!(cut.read_all().unwrap(), text[start..end]);
            }
        }
    }

    #[test]
    fn contents_concat_and_slice_in_memory_and_in_files() {
        check(&Backend::Memory);
        let dir = tempfile::tempdir().unwrap();
        check(&Backend::directory(dir.path(), 0).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "data files outlive their contents");
    }

    #[test]
    fn spare_files_are_written_again_and_go_with_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let count = || std::fs::read_dir(dir.path()).unwrap().count();
        let backend = Backend::directory(dir.path(), 25).unwrap();
        drop(written(&backend, b"a long body"));
        assert_eq!(count(), 1);
        let (short, _) = written(&backend, b"short");
        assert_eq!((short.read_all().unwrap().as_ref(), count()), (b"short".as_slice(), 1));
        // The third one finds no room.
        let more = [written(&backend, b"a second one"), written(&backend, b"a third")];
        assert_eq!(count(), 3);
        drop((short, more));
        assert_eq!(count(), 2);
        drop(backend);
        assert_eq!(count(), 0);
    }

    #[tokio::test]
    async fn a_large_body_is_hashed_when_it_is_whole() {
        let (dir, hasher) = (tempfile::tempdir().unwrap(), FileHasher::start(1).unwrap());
        let data: Vec<u8> = (0..IN_LANES + 5).map(|n| (n % 251) as u8).collect();
        for backend in [Backend::Memory, Backend::directory(dir.path(), 0).unwrap()] {
            let mut writer = backend.writer(Some(data.len() as u64)).unwrap();
            writer.write(&data).unwrap();
            let (content, sum) = writer.finish();
            assert_eq!(sum, None);
            assert_eq!(content.md5_in_lanes(&hasher).await.unwrap(), volsync_md5::md5(&data));
        }
    }
}
