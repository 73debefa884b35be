//! An object into a local file: every byte checked before the file gets its name.
//!
//! Small objects are collected and written in one piece. Larger ones are written and hashed as they arrive, what comes of
//! several at a time together. The largest come in ranges side by side, each written at its place and hashed in its turn.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use volsync_common::budget::Reservation;
use volsync_common::dest::{CommitMeta, Dest, Temp};
use volsync_common::report::Transfer;
use volsync_common::time::Timestamp;
use volsync_md5::Md5 as Hasher;

use super::commit::{self, Arrived, Committer, Finished};
use super::feed;
use super::item::{Item, ItemKind};
use super::metadata;
use super::ordered::{self, Ordered};
use super::parts::{Compared, Trouble};
use super::problems::Problem;
use super::run::Run;
use super::side::Local;
use super::steady::Steady;
use super::transfer::{Cure, Ended, Failed, SHOWN};
use super::writer::Written;
use crate::store::{Md5, ObjectMeta, Store};

/// Objects up to this size are collected before they are written.
const SMALL: u64 = 256 << 10;

/// Content that is handed to the writing threads at a time. Twice as much is in memory for each download, and about as much
/// again where its connection buffers.
const WRITE: usize = 512 << 10;

/// Largest range of a download in ranges: as much of each stream may wait in memory to be hashed in its turn.
const RANGE: u64 = 4 << 20;

/// The largest target of a link (Linux PATH_MAX).
const LINK_MAX: u64 = 4096;

/// Downloads `item` and hands it to `committer`.
pub(super) async fn download(
    run: &Arc<Run>,
    store: &Arc<dyn Store>,
    local: &Local,
    committer: &Committer,
    item: &Item,
    replacing: bool,
    again: bool,
) -> Result<Ended, Failed> {
    let Some(dest) = local.dest.clone() else {
        return Err(Failed::new(Problem::new(&item.path, "the destination is not open for writing"), Cure::None));
    };
    let transfer = run.context.counters.transfer(&item.path, item.size, SHOWN);
    let job = Download { run, store, dest, item };
    if item.kind == ItemKind::Link {
        let size = job.link().await?;
        transfer.finish(size);
        return Ok(Ended::Stored);
    }
    let options = &run.context.options;
    // Metadata is set on the open file, and a second attempt is to tell here how it ends.
    if item.size <= SMALL && !again && !options.metadata {
        let body = job.open(None, None).await?;
        // What has no MD5 is compared as a file.
        if body.meta.parts.is_none() {
            job.arrive(body, transfer, committer, replacing).await?;
            return Ok(Ended::Sealed);
        }
    }
    let in_ranges = options.multi_thread_cutoff.is_some_and(|cutoff| item.size >= cutoff.max(2 * RANGE));
    let (temp, meta) = if in_ranges && options.multi_thread_streams > 1 {
        job.in_ranges(&transfer).await?
    } else {
        job.in_one(&transfer).await?
    };
    job.verify_parts(&temp, &meta).await?;
    let size = meta.size;
    let sealed = job.seal(temp, meta).await?;
    committer.commit(Finished { sealed, transfer, item: item.clone(), replacing, size }).await?;
    Ok(Ended::Sealed)
}

/// Where what arrives is hashed.
enum Sum<'a> {
    /// When it is written, which is in order.
    Here(Hasher),
    /// Elsewhere, together with the other ranges of the file.
    Ordered(&'a Ordered),
}

struct Download<'a> {
    run: &'a Arc<Run>,
    store: &'a Arc<dyn Store>,
    dest: Dest,
    item: &'a Item,
}

impl Download<'_> {
    fn io(&self, what: &'static str) -> impl Fn(io::Error) -> Failed + '_ {
        move |error| Failed::io(self.item, what, &error)
    }

    async fn open(&self, range: Option<Range<u64>>, etag: Option<String>) -> Result<Steady, Failed> {
        let opened = Steady::open(self.store.clone(), self.item.path.clone(), range, etag).await;
        opened.map_err(|error| Failed::store(self.item, error))
    }

    async fn next(&self, body: &mut Steady) -> Result<Option<Bytes>, Failed> {
        body.next().await.map_err(|error| Failed::store(self.item, error))
    }

    /// The content must have this hash, if one is known.
    fn verify(&self, meta: &ObjectMeta, sum: Md5) -> Result<(), Failed> {
        commit::verify(self.item, meta.md5.filter(|_| !self.run.context.options.ignore_checksum), sum)
    }

    /// An object without an MD5 is what its parts are.
    async fn verify_parts(&self, temp: &Temp, meta: &ObjectMeta) -> Result<(), Failed> {
        let context = &self.run.context;
        let Some(parts) = meta.parts.filter(|_| !context.options.ignore_checksum) else { return Ok(()) };
        let file = &Arc::new(temp.reader().map_err(self.io("failed to read back the file"))?);
        let (store, path, hasher) = (&**self.store, &self.item.path, &*context.hasher);
        match (Compared { store, path, size: meta.size, parts, file, hasher }).digest().await {
            Ok(Some(digest)) => commit::verify(self.item, Some(parts.md5), digest),
            Ok(None) => {
                tracing::debug!(object = %path, "The store does not tell where parts end: not verified");
                Ok(())
            }
            Err(Trouble::Store(error)) => Err(Failed::store(self.item, error)),
            Err(Trouble::File(error)) => Err(self.io("failed to read back the file")(error)),
        }
    }

    async fn create(&self, size: u64) -> Result<Arc<Temp>, Failed> {
        let (dest, path) = (self.dest.clone(), self.item.path.clone());
        blocking(move || dest.create(&path, size)).await.map(Arc::new).map_err(self.io("failed to create the file"))
    }

    async fn in_one(&self, transfer: &Transfer) -> Result<(Arc<Temp>, ObjectMeta), Failed> {
        let memory = self.run.context.budget.reserve(3 * WRITE).await;
        let mut body = self.open(None, None).await?;
        let meta = body.meta.clone();
        let temp = self.create(meta.size).await?;
        let counted = self.run.writer.download();
        let sum = self.write_from(&temp, &mut body, 0..meta.size, Sum::Here(Hasher::new()), transfer).await?;
        drop((memory, counted));
        if let Some(sum) = sum {
            self.verify(&meta, sum.finalize())?;
        }
        Ok((temp, meta))
    }

    /// Writes what comes to `place`, one piece while the next one arrives, and has it hashed.
    async fn write_from(
        &self,
        temp: &Arc<Temp>,
        body: &mut Steady,
        place: Range<u64>,
        sum: Sum<'_>,
        transfer: &Transfer,
    ) -> Result<Option<Hasher>, Failed> {
        let fail = self.io("failed to write the file");
        let (mut sum, ordered) = match sum {
            Sum::Here(sum) => (Some(sum), None),
            Sum::Ordered(ordered) => (None, Some(ordered)),
        };
        let mut at = place.start;
        let mut writing: Option<Written> = None;
        loop {
            let room = match ordered {
                Some(ordered) => Some((ordered, ordered.room(WRITE).await)),
                None => None,
            };
            let Some(pieces) = self.gather(body, transfer).await? else { break };
            if let Some((ordered, room)) = room {
                ordered.arrived(at, &pieces, room);
            }
            if let Some(written) = writing.take() {
                sum = finished(written).await.map_err(&fail)?;
            }
            let len = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            writing = Some(self.run.writer.write(temp.clone(), at, pieces, sum.take()));
            at += len;
        }
        if let Some(written) = writing {
            sum = finished(written).await.map_err(&fail)?;
        }
        if at == place.end {
            return Ok(sum);
        }
        let text = format!("the object ended at byte {at}, not at {}", place.end);
        Err(Failed::new(Problem::new(&self.item.path, text), Cure::Retry))
    }

    /// Collects a small object and hands it over to be checked and written.
    async fn arrive(
        &self,
        mut body: Steady,
        transfer: Transfer,
        committer: &Committer,
        replacing: bool,
    ) -> Result<(), Failed> {
        let meta = body.meta.clone();
        let size = usize::try_from(meta.size).unwrap_or(usize::MAX);
        if meta.size > 2 * SMALL {
            return Err(Failed::new(Problem::new(&self.item.path, "the object grew meanwhile"), Cure::Retry));
        }
        let memory = self.run.context.budget.reserve(size).await;
        let pieces = self.gather(&mut body, &transfer).await?.unwrap_or_default();
        // A piece keeps the whole buffer of its connection, many times what was reserved: it is copied even if it is one.
        let content = Bytes::from(pieces.concat());
        if content.len() != size {
            return Err(Failed::new(Problem::new(&self.item.path, "the object ended early"), Cure::Retry));
        }
        let mtime = self.time(&meta);
        let item = self.item.clone();
        committer.write(Arrived { content, md5: meta.md5, mtime, transfer, item, replacing, memory }).await
    }

    /// About [`WRITE`] bytes as they come; `None` at the end.
    async fn gather(&self, body: &mut Steady, transfer: &Transfer) -> Result<Option<Vec<Bytes>>, Failed> {
        let mut pieces = Vec::new();
        let mut len = 0;
        while len < WRITE
            && let Some(piece) = self.next(body).await?
        {
            transfer.add(piece.len() as u64);
            len += piece.len();
            pieces.push(piece);
        }
        Ok((!pieces.is_empty()).then_some(pieces))
    }

    async fn in_ranges(&self, transfer: &Transfer) -> Result<(Arc<Temp>, ObjectMeta), Failed> {
        let options = &self.run.context.options;
        let range = options.multi_thread_chunk_size.unwrap_or(RANGE).clamp(1 << 20, RANGE);
        let first = self.open(Some(0..range.min(self.item.size)), None).await?;
        let meta = first.meta.clone();
        if meta.etag.is_none() {
            // Without a version the ranges could be of different contents.
            return self.in_one(transfer).await;
        }
        let streams = usize::try_from(options.multi_thread_streams).unwrap_or(1);
        let temp = self.create(meta.size).await?;
        let (ordered, _memory) = self.ordered(&temp, meta.size, streams, range).await;
        let count = meta.size.div_ceil(range);
        let mut first = Some(first);
        let jobs: Vec<_> = (0..count).map(|n| (n * range..meta.size.min((n + 1) * range), first.take())).collect();
        let parts = jobs.into_iter().map(|(part, body)| self.part(&temp, part, body, &meta, &ordered, transfer));
        let all: Vec<_> = parts.collect();
        stream::iter(all)
            .buffered(streams)
            .try_for_each(|end| {
                ordered.reached(end);
                std::future::ready(Ok(()))
            })
            .await?;
        let sum = ordered.sum().await.map_err(self.io("failed to read back the file"))?;
        self.verify(&meta, sum)?;
        Ok((temp, meta))
    }

    /// The hash of a download in ranges, from memory if there is room for that now, and the memory of it all.
    async fn ordered(&self, temp: &Arc<Temp>, size: u64, streams: usize, range: u64) -> (Ordered, Reservation) {
        let budget = &self.run.context.budget;
        let range = usize::try_from(range).unwrap_or(usize::MAX);
        // The last piece of a range may be short of the room it takes.
        let waiting = streams.saturating_mul(range.saturating_add(WRITE));
        let all = waiting.saturating_add(WRITE * streams);
        // Other downloads need some, too; and more than the whole budget would be granted once it is free.
        match (all <= budget.limit() / 4 * 3).then(|| budget.try_reserve(all)).flatten() {
            Some(memory) => (Ordered::in_memory(size, waiting), memory),
            None => {
                (Ordered::behind(temp.clone(), size), budget.reserve(2 * WRITE * streams + 2 * ordered::READ).await)
            }
        }
    }

    /// One range, written at its place; where it ends.
    async fn part(
        &self,
        temp: &Arc<Temp>,
        part: Range<u64>,
        body: Option<Steady>,
        meta: &ObjectMeta,
        ordered: &Ordered,
        transfer: &Transfer,
    ) -> Result<u64, Failed> {
        let mut body = match body {
            Some(body) => body,
            None => self.open(Some(part.clone()), meta.etag.clone()).await?,
        };
        self.write_from(temp, &mut body, part.clone(), Sum::Ordered(ordered), transfer).await?;
        Ok(part.end)
    }

    /// The time that the file gets.
    fn time(&self, meta: &ObjectMeta) -> Timestamp {
        let time = if self.run.context.options.use_server_modtime { self.item.mtime } else { meta.mtime };
        time.unwrap_or_else(Timestamp::now)
    }

    async fn seal(&self, temp: Arc<Temp>, meta: ObjectMeta) -> Result<volsync_common::dest::Sealed, Failed> {
        let with_metadata = self.run.context.options.metadata;
        let mtime = self.time(&meta);
        let seal = move || {
            let temp = Arc::into_inner(temp).ok_or_else(|| io::Error::other("the file is still being written"))?;
            let mode = if with_metadata { metadata::apply(temp.file(), &meta.metadata, false)? } else { None };
            temp.seal(CommitMeta { mtime, mode })
        };
        blocking(seal).await.map_err(self.io("failed to complete the file"))
    }

    /// A link from the object that holds its target.
    async fn link(&self) -> Result<u64, Failed> {
        let mut body = self.open(None, None).await?;
        let meta = body.meta.clone();
        let refuse = |text: &str| Failed::new(Problem::refusal(&self.item.path, text), Cure::None);
        if meta.size == 0 || meta.size >= LINK_MAX {
            return Err(refuse("the object holds no target of a link"));
        }
        let mut target = Vec::new();
        while let Some(piece) = self.next(&mut body).await? {
            target.extend_from_slice(&piece);
        }
        self.verify(&meta, volsync_md5::md5(&target))?;
        let path = feed::link_path(&self.item.path).ok_or_else(|| refuse("this is not the name of a link"))?;
        let dest = self.dest.clone();
        let mtime = self.time(&meta);
        let make = move || {
            dest.remove_file(&path)?;
            dest.symlink(&path, &target)?;
            dest.set_mtime(&path, mtime)
        };
        blocking(make).await.map_err(self.io("failed to make the link"))?;
        Ok(meta.size)
    }
}

async fn finished(written: Written) -> io::Result<Option<Hasher>> {
    written.await.map_err(io::Error::other)?
}

/// Runs file work on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
