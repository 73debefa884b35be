//! Complete listings, in parallel where the bucket is large.
//!
//! One flat page answers for a small bucket. Otherwise a listing by `/` tells where directories begin, and ranges
//! between such points are listed flat, side by side, with `start-after` (`marker`). Ranges are only trusted as long as
//! every key lies where it was asked for and keys ascend; a server that does otherwise is listed again from one end to
//! the other, where only its own continuation counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::{StreamExt as _, stream};
use http::Method;
use volsync_common::path::Shown;

use super::client::{Call, S3Client};
use super::keys::{Keys, unescape};
use super::meta::{etag_md5, payer};
use super::settings::S3Settings;
use super::xml::{self, Page};
use crate::store::{BoxFuture, Listed, ListingBuilder, StoreError, StoreErrorKind};

/// Ranges listed side by side at most; the request limiter decides how many really are.
const RANGES: usize = 128;

/// Pages that a range should have at least: at its end it reads up to a page that belongs to the next one.
const PAGES_A_RANGE: usize = 4;

/// Pages of the listing by `/` without one directory on them before it stops looking for more.
const BARREN: usize = 2;

/// One page to ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// Continue after this key.
    after: Option<Vec<u8>>,
    /// Continue as the last page said.
    token: Option<String>,
    /// Group by `/`.
    by_directory: bool,
}

/// A page with its keys decoded.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    page: Page,
    keys: Vec<Vec<u8>>,
    prefixes: Vec<Vec<u8>>,
    /// NextMarker of ListObjects.
    marker: Option<Vec<u8>>,
}

/// Who answers; a server, or a test.
pub(super) trait Pages: Send + Sync {
    fn page(&self, ask: Ask) -> BoxFuture<'_, Result<Keyed, StoreError>>;
}

/// Pages of one bucket.
pub(super) struct BucketPages<'a> {
    client: &'a S3Client,
    settings: &'a S3Settings,
    prefix: &'a [u8],
    v1: bool,
    encode: AtomicBool,
}

impl<'a> BucketPages<'a> {
    pub(super) fn new(client: &'a S3Client, settings: &'a S3Settings, prefix: &'a [u8]) -> Self {
        let quirks = settings.quirks();
        Self { client, settings, prefix, v1: quirks.list_v1, encode: AtomicBool::new(quirks.url_encode) }
    }

    async fn fetch(&self, ask: &Ask, encode: bool) -> Result<Result<Keyed, xml::BadXml>, StoreError> {
        let size = self.settings.list_chunk.max(1).to_string();
        let mut call = Call::new("ListObjects", Method::GET, None).query("max-keys", size).query("prefix", self.prefix);
        if !self.v1 {
            call = call.query("list-type", "2");
        }
        if encode {
            call = call.query("encoding-type", "url");
        }
        if ask.by_directory {
            call = call.query("delimiter", "/");
        }
        if let Some(after) = &ask.after {
            call = call.query(if self.v1 { "marker" } else { "start-after" }, after);
        }
        if let Some(token) = &ask.token {
            call = call.query("continuation-token", token);
        }
        let answer = self.client.send(payer(call, self.settings)?).await?;
        Ok(xml::page(&answer.bytes).map(|page| self.decode(page, encode)))
    }

    fn decode(&self, mut page: Page, encode: bool) -> Keyed {
        let text = |s: &String| if encode { unescape(s.as_bytes()) } else { s.as_bytes().to_vec() };
        let keys: Vec<_> = page.entries.iter().map(|e| text(&e.key)).collect();
        let prefixes: Vec<_> = page.prefixes.iter().map(text).collect();
        let marker = if self.v1 { page.next.take().map(|m| text(&m)) } else { None };
        Keyed { page, keys, prefixes, marker }
    }
}

impl Pages for BucketPages<'_> {
    fn page(&self, ask: Ask) -> BoxFuture<'_, Result<Keyed, StoreError>> {
        Box::pin(async move {
            let encode = self.encode.load(Ordering::Relaxed);
            let bad = match self.fetch(&ask, encode).await? {
                Ok(keyed) => return below(keyed, self.prefix),
                Err(bad) => bad,
            };
            if encode {
                return Err(protocol(bad.to_string()));
            }
            // Keys that XML cannot hold: from here on every page is asked for percent-encoded.
            self.encode.store(true, Ordering::Relaxed);
            below(self.fetch(&ask, true).await?.map_err(|bad| protocol(bad.to_string()))?, self.prefix)
        })
    }
}

fn protocol(reason: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Protocol, "ListObjects", String::new(), reason)
}

/// A page with a key that was not asked for, or with one twice, may lack one that is there.
fn below(keyed: Keyed, prefix: &[u8]) -> Result<Keyed, StoreError> {
    if let Some(key) = keyed.keys.iter().find(|key| !key.starts_with(prefix)) {
        return Err(protocol(format!("the server lists {}, which is not below the prefix", Shown(key))));
    }
    match repeated(&keyed.keys) {
        Some(key) => Err(protocol(format!("the server lists {} twice on one page", Shown(key)))),
        None => Ok(keyed),
    }
}

fn repeated(keys: &[Vec<u8>]) -> Option<&Vec<u8>> {
    // The usual page needs no copy.
    if keys.is_sorted_by(|one, next| one < next) {
        return None;
    }
    let mut sorted: Vec<_> = keys.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).find_map(|pair| (pair[0] == pair[1]).then_some(pair[0]))
}

/// Where a chain of pages goes on; an error where it would not advance.
fn next(keyed: &Keyed, ask: &Ask) -> Result<Option<Ask>, StoreError> {
    if !keyed.page.truncated {
        return Ok(None);
    }
    let last = keyed.marker.as_ref().or_else(|| keyed.keys.last().max(keyed.prefixes.last()));
    let next = match (&keyed.page.next, last) {
        (Some(token), _) => Ask { token: Some(token.clone()), after: None, by_directory: ask.by_directory },
        (None, Some(last)) => Ask { token: None, after: Some(last.clone()), by_directory: ask.by_directory },
        (None, None) => return Err(protocol("the server says that more follows, but not where")),
    };
    let stuck = next.token.is_some() && next.token == ask.token;
    let back = next.token.is_none() && next.after <= ask.after;
    if stuck || back { Err(protocol("the server sends the same page again")) } else { Ok(Some(next)) }
}

/// Everything below the prefix.
pub(super) async fn list(
    pages: &dyn Pages,
    keys: &Keys,
    etag_is_md5: bool,
    listed: &(dyn Fn(u64) + Send + Sync),
) -> Result<ListingBuilder, StoreError> {
    let sink = Sink { keys, etag_is_md5, listed, count: AtomicU64::new(0) };
    let ask = Ask::default();
    let first = pages.page(ask.clone()).await?;
    let Some(rest) = next(&first, &ask)? else {
        let mut all = ListingBuilder::default();
        sink.add(&first, &mut all);
        return Ok(all);
    };
    let from = first.keys.last().cloned().unwrap_or_default();
    let points = split_points(pages, &from).await?;
    let points = thinned(points, &first.keys, keys.prefix());
    if !ascends(&first.keys, &[], None) {
        return chain(pages, &sink, ListingBuilder::default(), &first, Some(rest)).await;
    }
    let mut all = ListingBuilder::default();
    sink.add(&first, &mut all);
    let Some(parts) = ranges(pages, &sink, from, points).await? else {
        tracing::warn!("the server does not list by ranges: listing from one end to the other");
        return chain(pages, &sink, ListingBuilder::default(), &first, Some(rest)).await;
    };
    for part in parts {
        all.append(part);
    }
    Ok(all)
}

/// From one end to the other.
async fn chain(
    pages: &dyn Pages,
    sink: &Sink<'_>,
    mut all: ListingBuilder,
    first: &Keyed,
    mut ask: Option<Ask>,
) -> Result<ListingBuilder, StoreError> {
    sink.count.store(0, Ordering::Relaxed);
    sink.add(first, &mut all);
    while let Some(this) = ask {
        let page = pages.page(this.clone()).await?;
        sink.add(&page, &mut all);
        ask = next(&page, &this)?;
    }
    Ok(all)
}

/// As many of the points as make ranges of some pages each, if the directories to come are like those of the first page.
fn thinned(points: Vec<Vec<u8>>, first: &[Vec<u8>], prefix: &[u8]) -> Vec<Vec<u8>> {
    let directory = |key: &Vec<u8>| {
        let rest = key.get(prefix.len()..).unwrap_or_default();
        rest.iter().position(|b| *b == b'/').map(|at| rest[..at].to_vec())
    };
    let mut directories: Vec<_> = first.iter().map(directory).collect();
    directories.dedup();
    let known = directories.len().max(1);
    // In pages: each of the first page's directories holds 1 / known of a page.
    let pages = points.len() / known;
    let wanted = (pages / PAGES_A_RANGE).min(RANGES - 1);
    let step = points.len().checked_div(wanted).unwrap_or(usize::MAX).max(1);
    points.into_iter().skip(step - 1).step_by(step).take(wanted).collect()
}

/// Beginnings of directories after `from`, ascending.
async fn split_points(pages: &dyn Pages, from: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut points: Vec<Vec<u8>> = Vec::new();
    let mut barren = 0;
    let mut ask = Some(Ask { after: Some(from.to_vec()), token: None, by_directory: true });
    while let Some(this) = ask.filter(|_| barren < BARREN) {
        let page = pages.page(this.clone()).await?;
        barren = if page.prefixes.is_empty() { barren + 1 } else { 0 };
        // Some servers start again at a directory that is the marker: what is known by then has to do.
        ask = next(&page, &this).unwrap_or_default();
        points.extend(page.prefixes);
    }
    points.retain(|p| p.as_slice() > from);
    points.sort_unstable();
    points.dedup();
    Ok(points)
}

/// Lists `(from, p1]`, `(p1, p2]`, ... side by side; `None` when the server does not keep to ranges.
async fn ranges(
    pages: &dyn Pages,
    sink: &Sink<'_>,
    from: Vec<u8>,
    points: Vec<Vec<u8>>,
) -> Result<Option<Vec<ListingBuilder>>, StoreError> {
    let starts = std::iter::once(from).chain(points.iter().cloned());
    let ends = points.iter().cloned().map(Some).chain([None]);
    let jobs: Vec<_> = starts.zip(ends).map(|(start, end)| range(pages, sink, start, end)).collect();
    let mut parts = Vec::with_capacity(jobs.len());
    let mut results = stream::iter(jobs).buffer_unordered(RANGES);
    while let Some(part) = results.next().await {
        match part? {
            Some(part) => parts.push(part),
            None => return Ok(None),
        }
    }
    Ok(Some(parts))
}

/// One range, its end included; `None` at the first key that is out of place.
async fn range(
    pages: &dyn Pages,
    sink: &Sink<'_>,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
) -> Result<Option<ListingBuilder>, StoreError> {
    let mut part = ListingBuilder::default();
    let mut last = start.clone();
    let mut ask = Some(Ask { after: Some(start), ..Ask::default() });
    while let Some(this) = ask {
        let mut page = pages.page(this.clone()).await?;
        if !ascends(&page.keys, sink.keys.prefix(), Some(&last)) {
            return Ok(None);
        }
        ask = next(&page, &this)?;
        if let Some(key) = page.keys.last() {
            last.clone_from(key);
        }
        if let Some(end) = &end {
            let inside = page.keys.partition_point(|k| k <= end);
            if inside < page.keys.len() {
                ask = None;
            }
            page.keys.truncate(inside);
            page.page.entries.truncate(inside);
            if last >= *end {
                ask = None;
            }
        }
        sink.add(&page, &mut part);
    }
    Ok(Some(part))
}

fn ascends(keys: &[Vec<u8>], prefix: &[u8], after: Option<&Vec<u8>>) -> bool {
    let begins = keys.first().zip(after).is_none_or(|(first, after)| first > after);
    begins && keys.is_sorted() && keys.iter().all(|k| k.starts_with(prefix))
}

struct Sink<'a> {
    keys: &'a Keys,
    etag_is_md5: bool,
    listed: &'a (dyn Fn(u64) + Send + Sync),
    count: AtomicU64,
}

impl Sink<'_> {
    fn add(&self, page: &Keyed, into: &mut ListingBuilder) {
        for (key, entry) in page.keys.iter().zip(&page.page.entries) {
            let Some(path) = self.keys.path(key) else { continue };
            // The root's own marker is no object of the volume.
            if path.is_empty() {
                continue;
            }
            let directory = entry.size == 0 && path.ends_with(b"/");
            let path = path.strip_suffix(b"/").filter(|_| directory).unwrap_or(&path);
            let md5 = etag_md5(&entry.etag).filter(|_| self.etag_is_md5);
            into.push(Listed { path, size: entry.size, md5, mtime: entry.modified, directory });
        }
        let count = page.keys.len() as u64;
        (self.listed)(self.count.fetch_add(count, Ordering::Relaxed) + count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::DEFAULT_ENCODING;
    use super::super::xml::Entry;
    use super::*;
    use std::collections::BTreeSet;

    struct Fake {
        keys: BTreeSet<Vec<u8>>,
        ignores_after: bool,
        asked: AtomicU64,
    }

    impl Pages for Fake {
        fn page(&self, ask: Ask) -> BoxFuture<'_, Result<Keyed, StoreError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let after = ask.token.map(String::into_bytes).or(ask.after.filter(|_| !self.ignores_after));
            let mut keyed = Keyed::default();
            let mut last: Option<Vec<u8>> = None;
            for key in self.keys.iter().filter(|k| after.as_ref().is_none_or(|a| *k > a)) {
                let slash = key[2..].iter().position(|b| *b == b'/').filter(|_| ask.by_directory);
                let group = slash.map(|at| key[..at + 3].to_vec());
                if group.is_some() && (group == last || group == after) {
                    continue;
                }
                if keyed.keys.len() + keyed.prefixes.len() == 10 {
                    keyed.page.truncated = true;
                    keyed.page.next = last.map(|l| {
                        let end = if l.ends_with(b"/") { "\u{10ffff}" } else { "" };
                        String::from_utf8(l).unwrap() + end
                    });
                    break;
                }
                match group {
                    Some(group) => keyed.prefixes.push(group.clone()),
                    None => keyed.keys.push(key.clone()),
                }
                last = keyed.keys.last().max(keyed.prefixes.last()).cloned();
            }
            let entry = |k: &Vec<u8>| Entry { key: String::from_utf8_lossy(k).into(), ..Entry::default() };
            keyed.page.entries = keyed.keys.iter().map(entry).collect();
            Box::pin(std::future::ready(Ok(keyed)))
        }
    }

    async fn listed(count: usize, ignores_after: bool) -> (usize, u64) {
        let keys = (0..count).map(|n| format!("p/d{:03}/f{:02}", n / 20, n % 20).into_bytes()).collect();
        let fake = Fake { keys, ignores_after, asked: AtomicU64::new(0) };
        let keys = Keys::new(b"p", DEFAULT_ENCODING).unwrap();
        let all = list(&fake, &keys, true, &|_| {}).await.unwrap();
        (all.finish(true).len(), fake.asked.into_inner())
    }

    #[tokio::test]
    async fn every_key_is_listed_once_however_the_server_behaves() {
        assert_eq!(listed(10, false).await, (10, 1));
        assert_eq!(listed(2000, false).await.0, 2000);
        assert_eq!(listed(2000, true).await.0, 2000);
        assert_eq!(listed(0, false).await, (0, 1));
    }

    #[test]
    fn a_key_that_was_not_asked_for_is_an_error() {
        let keyed = |key: &[u8]| Keyed { keys: vec![b"p/a".to_vec(), key.to_vec()], ..Keyed::default() };
        assert!(below(keyed(b"p/b"), b"p/").is_ok() && below(keyed(b""), b"").is_ok());
        assert!(below(keyed(b"q/b"), b"p/").is_err());
    }

    #[test]
    fn a_key_that_is_listed_twice_is_an_error() {
        let keyed = |keys: &[&str]| Keyed {
            keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            ..Keyed::default()
        };
        for (keys, fine) in [
            (&["a", "b", "c"][..], true),
            (&["b", "a", "c"], true),
            (&["a", "b", "b"], false),
            (&["b", "a", "b"], false),
            (&[], true),
        ] {
            assert_eq!(below(keyed(keys), b"").is_ok(), fine, "{keys:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_advance_is_an_error() {
        let page = |next: Option<&str>| Keyed {
            page: Page { truncated: true, next: next.map(str::to_owned), ..Page::default() },
            ..Keyed::default()
        };
        let ask = Ask { token: Some("t".into()), ..Ask::default() };
        assert!(next(&page(Some("t")), &ask).is_err());
        assert!(next(&page(Some("u")), &ask).is_ok());
        assert!(next(&page(None), &ask).is_err());
    }
}
