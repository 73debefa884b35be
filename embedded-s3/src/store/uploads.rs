//! Multipart uploads from creation to completion.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::content::Content;
use super::{Attributes, Object, Store, StoreError};
use volsync_md5::{Digest, Md5};

/// Uploads sort by key, then in the order they were started.
pub(super) type UploadKey = (String, u64);

/// A part that has arrived.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its bytes.
    pub content: Content,
    /// ETag without quotes.
    pub etag: String,
    /// MD5 of its bytes.
    pub md5: Digest,
    /// When it arrived.
    pub modified: SystemTime,
}

/// An upload that is neither complete nor aborted.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Headers and metadata of the object to be.
    pub attributes: Attributes,
    /// When it was started.
    pub started: SystemTime,
    /// Parts by number.
    pub parts: BTreeMap<i32, Part>,
}

/// An unfinished upload as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadInfo {
    /// Object key.
    pub key: String,
    /// Upload ID.
    pub id: String,
    /// When it was started.
    pub started: SystemTime,
    /// Parts that have arrived.
    pub parts: usize,
}

fn show_id(id: u64) -> String {
    format!("upload-{id:016x}")
}

fn parse_id(text: &str) -> Result<u64, StoreError> {
    let digits = text.strip_prefix("upload-").ok_or(StoreError::NoSuchUpload)?;
    u64::from_str_radix(digits, 16).map_err(|_| StoreError::NoSuchUpload)
}

impl Store {
    /// Starts an upload and returns its ID.
    pub(crate) fn create_upload(&self, bucket: &str, key: &str, attributes: Attributes) -> Result<String, StoreError> {
        let id = self.new_id();
        let upload = Upload { attributes, started: self.clock.seconds(), parts: BTreeMap::new() };
        self.change(bucket, |found| {
            found.uploads.insert((key.to_owned(), id), upload);
            Ok(show_id(id))
        })
    }

    /// An unfinished upload.
    pub fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, StoreError> {
        let at = (key.to_owned(), parse_id(id)?);
        self.view(bucket, |found| found.uploads.get(&at).cloned().ok_or(StoreError::NoSuchUpload))
    }

    /// Adds or replaces a part and returns its ETag.
    pub(crate) fn put_part(
        &self,
        bucket: &str,
        (key, id): (&str, &str),
        number: i32,
        (content, md5): (Content, Digest),
    ) -> Result<Part, StoreError> {
        let at = (key.to_owned(), parse_id(id)?);
        let part = Part { content, etag: self.etag(&md5), md5, modified: self.clock.seconds() };
        self.change(bucket, |found| {
            let upload = found.uploads.get_mut(&at).ok_or(StoreError::NoSuchUpload)?;
            upload.parts.insert(number, part.clone());
            Ok(part)
        })
    }

    /// Forgets an upload and its parts.
    pub(crate) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), StoreError> {
        let at = (key.to_owned(), parse_id(id)?);
        self.change(bucket, |found| found.uploads.remove(&at).map(drop).ok_or(StoreError::NoSuchUpload))
    }

    /// Turns the named parts into the object. `wanted` are part numbers and ETags without quotes.
    pub(crate) fn complete_upload(
        &self,
        bucket: &str,
        (key, id): (&str, &str),
        wanted: &[(i32, String)],
        allowed: impl FnOnce(Option<&Object>) -> Result<(), StoreError>,
    ) -> Result<Arc<Object>, StoreError> {
        let at = (key.to_owned(), parse_id(id)?);
        self.change(bucket, |found| {
            let upload = found.uploads.get(&at).ok_or(StoreError::NoSuchUpload)?;
            allowed(found.objects.get(key).map(AsRef::as_ref))?;
            let parts = choose(&upload.parts, wanted, self.min_part_size)?;
            let object = Arc::new(self.assembled(&parts, upload.attributes.clone()));
            found.uploads.remove(&at);
            found.objects.insert(key.to_owned(), Arc::clone(&object));
            Ok(object)
        })
    }

    fn assembled(&self, parts: &[&Part], attributes: Attributes) -> Object {
        let etag = if self.random_etags { self.random_etag() } else { multipart_etag(parts.iter().map(|p| &p.md5)) };
        let content = Content::concat(parts.iter().map(|part| &part.content));
        let parts = parts.iter().map(|part| part.content.len()).collect();
        Object { content, etag, md5: None, parts, modified: self.clock.seconds(), attributes }
    }

    /// Unfinished uploads of a bucket, sorted by key and then by start.
    pub fn unfinished_uploads(&self, bucket: &str) -> Vec<UploadInfo> {
        let list = |found: &super::Bucket| {
            found
                .uploads
                .iter()
                .map(|((key, id), upload)| UploadInfo {
                    key: key.clone(),
                    id: show_id(*id),
                    started: upload.started,
                    parts: upload.parts.len(),
                })
                .collect()
        };
        self.view(bucket, |found| Ok(list(found))).unwrap_or_default()
    }
}

/// The parts of a completion request, checked in the order AWS reports faults.
fn choose<'a>(
    have: &'a BTreeMap<i32, Part>,
    wanted: &[(i32, String)],
    min_size: u64,
) -> Result<Vec<&'a Part>, StoreError> {
    if wanted.is_empty() {
        return Err(StoreError::MalformedXML);
    }
    if wanted.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(StoreError::InvalidPartOrder);
    }
    let find = |(number, etag): &(i32, String)| have.get(number).filter(|part| part.etag == *etag);
    let parts: Vec<&Part> = wanted.iter().map(find).collect::<Option<_>>().ok_or(StoreError::InvalidPart)?;
    let all_but_last = parts.iter().take(parts.len() - 1);
    if all_but_last.into_iter().any(|part| part.content.len() < min_size) {
        return Err(StoreError::EntityTooSmall);
    }
    Ok(parts)
}

/// MD5 of the concatenated part digests, a dash and the number of parts: what AWS and MinIO answer.
fn multipart_etag<'a>(sums: impl Iterator<Item = &'a Digest>) -> String {
    let mut all = Md5::new();
    let mut count = 0;
    for sum in sums {
        all.update(sum);
        count += 1;
    }
    format!("{}-{count}", hex::encode(all.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn part(text: &'static str) -> Part {
        let md5 = volsync_md5::md5(text.as_bytes());
        Part {
            content: Bytes::from_static(text.as_bytes()).into(),
            etag: hex::encode(md5),
            md5,
            modified: SystemTime::UNIX_EPOCH,
        }
    }

    fn check(wanted: &[(i32, &str)], expect: Result<&str, StoreError>) {
        let have = BTreeMap::from([(1, part("aaaa")), (2, part("bb")), (7, part("cccc"))]);
        let wanted: Vec<_> =
            wanted.iter().map(|(n, text)| (*n, hex::encode(volsync_md5::md5(text.as_bytes())))).collect();
        let got = choose(&have, &wanted, 4).map(|parts| {
            let content = Content::concat(parts.iter().map(|part| &part.content));
            String::from_utf8(content.read_all().unwrap().to_vec()).unwrap()
        });
        assert_eq!(got, expect.map(str::to_owned));
    }

    #[test]
    fn completion_takes_the_named_parts_or_says_why_not() {
        check(&[(1, "aaaa"), (7, "cccc")], Ok("aaaacccc"));
        check(&[(1, "aaaa"), (2, "bb")], Ok("aaaabb"));
        check(&[(1, "aaaa"), (2, "bb"), (7, "cccc")], Err(StoreError::EntityTooSmall));
        check(&[(7, "cccc"), (1, "aaaa")], Err(StoreError::InvalidPartOrder));
        check(&[(1, "aaaa"), (1, "aaaa")], Err(StoreError::InvalidPartOrder));
        check(&[(1, "other")], Err(StoreError::InvalidPart));
        check(&[(3, "aaaa")], Err(StoreError::InvalidPart));
        check(&[], Err(StoreError::MalformedXML));
    }

    #[test]
    fn the_multipart_etag_is_the_digest_of_digests() {
        // printf a | md5sum; printf b | md5sum; the two digests in binary | md5sum.
        let sums = [volsync_md5::md5(b"a"), volsync_md5::md5(b"b")];
        let joined = sums.concat();
        assert_eq!(multipart_etag(sums.iter()), format!("{}-2", hex::encode(volsync_md5::md5(&joined))));
    }
}
