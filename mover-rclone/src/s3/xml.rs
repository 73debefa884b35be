//! The XML that S3 answers with. Total: any bytes give a value or [`BadXml`]; names this code does not know are skipped.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::Event;
use volsync_common::time::Timestamp;

use super::dates::parse_iso;

/// Longest answer that is read, in bytes. A page of 1000 keys of 1024 bytes, percent-encoded, with its tags is 4 MiB.
pub(super) const LIMIT: usize = 16 << 20;

/// Deepest nesting; S3's own answers have four levels.
const DEPTH: usize = 16;

/// An answer that is not the XML it should be.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not valid XML: {0}")]
pub struct BadXml(String);

/// Calls `leaf` with parent, name and text of every element as it ends.
fn walk(data: &[u8], mut leaf: impl FnMut(&str, &str, &str)) -> Result<(), BadXml> {
    let text = std::str::from_utf8(data).map_err(|e| BadXml(e.to_string()))?;
    let bad = |e: quick_xml::Error| BadXml(e.to_string());
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let mut stack: Vec<String> = Vec::new();
    let mut content = String::new();
    let mut seen = false;
    loop {
        match reader.read_event().map_err(bad)? {
            Event::Start(start) => {
                if stack.len() >= DEPTH {
                    return Err(BadXml("nested too deeply".into()));
                }
                stack.push(start.local_name().as_ref().to_owned());
                seen = true;
                content.clear();
            }
            Event::End(_) => {
                let name = stack.pop().unwrap_or_default();
                leaf(stack.last().map_or("", String::as_str), &name, &content);
                content.clear();
            }
            Event::Text(piece) => content.push_str(&piece),
            Event::CData(piece) => content.push_str(&piece),
            Event::GeneralRef(entity) => content.push(match entity.resolve_char_ref().map_err(bad)? {
                Some(c) => c,
                None => named(&entity).ok_or_else(|| BadXml("an entity that XML does not define".into()))?,
            }),
            Event::Eof => break,
            _ => {}
        }
    }
    if !seen || !stack.is_empty() { Err(BadXml("it ends too early".into())) } else { Ok(()) }
}

fn named(entity: &str) -> Option<char> {
    Some(match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// One object of a listing, its key as it stands in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified: Option<Timestamp>,
}

/// One page of ListObjects, either version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    pub(super) prefixes: Vec<String>,
    pub(super) truncated: bool,
    /// NextContinuationToken or NextMarker.
    pub(super) next: Option<String>,
}

pub(super) fn page(data: &[u8]) -> Result<Page, BadXml> {
    let mut page = Page::default();
    let mut entry = Entry::default();
    // What is doubtful is an error: half a listing looks like a volume from which the rest was deleted.
    let (mut truncated, mut wrong) = (None, None);
    let mut root = String::new();
    walk(data, |parent, name, text| match (parent, name) {
        ("Contents", "Key") => text.clone_into(&mut entry.key),
        ("Contents", "Size") => match text.trim().parse() {
            Ok(size) => entry.size = size,
            Err(_) => wrong = Some("a size that is no number"),
        },
        ("Contents", "ETag") => text.trim().trim_matches('"').clone_into(&mut entry.etag),
        ("Contents", "LastModified") => entry.modified = parse_iso(text.as_bytes()),
        (_, "Contents") if entry.key.is_empty() => wrong = Some("an object without a key"),
        (_, "Contents") => page.entries.push(std::mem::take(&mut entry)),
        ("CommonPrefixes", "Prefix") => page.prefixes.push(text.to_owned()),
        (_, "IsTruncated") => match text.trim() {
            "true" => truncated = Some(true),
            "false" => truncated = Some(false),
            _ => wrong = Some("IsTruncated is neither true nor false"),
        },
        (_, "NextContinuationToken" | "NextMarker") if !text.is_empty() => page.next = Some(text.to_owned()),
        ("", name) => name.clone_into(&mut root),
        _ => {}
    })?;
    match wrong {
        Some(why) => Err(BadXml(why.into())),
        None if root != "ListBucketResult" => Err(BadXml("it is not a listing".into())),
        None => Ok(Page { truncated: truncated.unwrap_or(page.next.is_some()), ..page }),
    }
}

/// An `<Error>`, or one result of DeleteObjects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct S3Error {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) key: String,
    pub(super) region: String,
}

impl S3Error {
    fn set(&mut self, name: &str, text: &str) {
        match name {
            "Code" => text.trim().clone_into(&mut self.code),
            "Message" => text.trim().clone_into(&mut self.message),
            "Key" => text.clone_into(&mut self.key),
            "Region" => text.trim().clone_into(&mut self.region),
            _ => {}
        }
    }
}

/// The error in a body, if it is one; bodies that are not XML (a proxy's page) have none.
pub(super) fn error(data: &[u8]) -> Option<S3Error> {
    let mut error = S3Error::default();
    let mut root = String::new();
    walk(data, |parent, name, text| match (parent, name) {
        ("Error", name) => error.set(name, text),
        ("", name) => name.clone_into(&mut root),
        _ => {}
    })
    .ok()?;
    (root == "Error").then_some(error)
}

/// The failures that a DeleteResult lists.
pub(super) fn delete_errors(data: &[u8]) -> Result<Vec<S3Error>, BadXml> {
    let (mut errors, mut current, mut root) = (Vec::new(), S3Error::default(), String::new());
    walk(data, |parent, name, text| match (parent, name) {
        ("Error", name) => current.set(name, text),
        ("DeleteResult", "Error") => errors.push(std::mem::take(&mut current)),
        ("", name) => name.clone_into(&mut root),
        _ => {}
    })?;
    if root == "DeleteResult" { Ok(errors) } else { Err(BadXml("it is not a DeleteResult".into())) }
}

/// The text of the first element of a name anywhere in the answer.
pub(super) fn field(data: &[u8], wanted: &str) -> Result<Option<String>, BadXml> {
    let mut found = None;
    walk(data, |_, name, text| {
        if name == wanted && found.is_none() {
            found = Some(text.trim().to_owned());
        }
    })?;
    Ok(found)
}

/// One unfinished multipart upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) id: String,
    pub(super) initiated: Option<Timestamp>,
}

/// Key and upload id after which the next page of ListMultipartUploads begins.
pub(super) type Marker = (String, String);

/// One page of ListMultipartUploads with the markers of the next.
pub(super) fn uploads(data: &[u8]) -> Result<(Vec<Upload>, Option<Marker>), BadXml> {
    let (mut all, mut current) = (Vec::new(), Upload::default());
    let (mut truncated, mut key, mut id) = (false, String::new(), String::new());
    walk(data, |parent, name, text| match (parent, name) {
        ("Upload", "Key") => text.clone_into(&mut current.key),
        ("Upload", "UploadId") => text.clone_into(&mut current.id),
        ("Upload", "Initiated") => current.initiated = parse_iso(text.as_bytes()),
        (_, "Upload") => all.push(std::mem::take(&mut current)),
        (_, "IsTruncated") => truncated = text.trim() == "true",
        (_, "NextKeyMarker") => text.clone_into(&mut key),
        (_, "NextUploadIdMarker") => text.clone_into(&mut id),
        _ => {}
    })?;
    Ok((all, truncated.then_some((key, id))))
}

/// Text as element content.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() => {
                let _ = write!(out, "&#x{:X};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether XML 1.0 can hold the key at all; other keys cannot be named in a DeleteObjects request.
pub(super) fn can_hold(key: &str) -> bool {
    key.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..))
}

/// Entry for fuzzing: any bytes are an answer or are refused.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let _ = (page(data), error(data), delete_errors(data), uploads(data), field(data, "ETag"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_is_read() {
        let xml = br#"<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Name>b</Name><Prefix>p/</Prefix><IsTruncated>true</IsTruncated><NextContinuationToken>t=&#61;</NextContinuationToken>
            <Contents><Key>p/a&amp;b&#xA; &lt;</Key><Size>3</Size><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>
            <Owner><ID>1</ID></Owner><LastModified>2026-11-21T04:23:34.000Z</LastModified></Contents>
            <CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes><EncodingType>url</EncodingType></ListBucketResult>"#;
        let page = page(xml).unwrap();
        assert_eq!(page.entries.len(), 1);
        assert_eq!(page.entries[0].key, "p/a&b\n <");
        assert_eq!((page.entries[0].size, page.entries[0].etag.len()), (3, 32));
        assert_eq!(page.entries[0].modified.map(|t| t.secs), Some(1_795_235_014));
        assert_eq!((page.prefixes, page.next.as_deref()), (vec!["p/d/".to_owned()], Some("t==")));
        assert!(page.truncated);
    }

    #[test]
    fn what_is_cut_or_of_another_kind_is_refused() {
        for bad in [
            &b""[..],
            b"<html/>",
            b"<ListBucketResult><Contents><Key>a</Key>",
            b"<ListBucketResult>",
            b"<ListBucketResult><Contents><Size>x</Size></Contents></ListBucketResult>",
            b"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
            b"<ListBucketResult><IsTruncated>trte</IsTruncated></ListBucketResult>",
            b"<ListBucketResult>&bomb;</ListBucketResult>",
            b"<Error><Code>SlowDown</Code></Error>",
        ] {
            assert!(page(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(delete_errors(b"<Error><Code>x</Code></Error>").is_err());
    }

    #[test]
    fn errors_are_found_where_they_stand() {
        let e = error(b"<Error><Code>NoSuchKey</Code><Message>m &amp; n</Message><Key>k</Key></Error>").unwrap();
        assert_eq!((e.code.as_str(), e.message.as_str()), ("NoSuchKey", "m & n"));
        assert_eq!(error(b"<CompleteMultipartUploadResult/>"), None);
        let failed = b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>";
        assert_eq!(delete_errors(failed).unwrap()[0].key, "b");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data: Vec<u8>, text in "[<>/&;A-Za-z#x!\\[\\]?-]{0,80}") {
            fuzz(&data);
            fuzz(text.as_bytes());
        }

        #[test]
        fn escaped_keys_come_back(key in "\\PC{0,20}") {
            let xml = format!("<R><Key>{}</Key></R>", escape(&key));
            prop_assert_eq!(field(xml.as_bytes(), "Key").unwrap().unwrap(), key.trim());
        }
    }
}
