//! ListObjects, both versions.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    ObjectStorageClass,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use std::sync::Arc;

use super::{Api, length, owner, strong};
use crate::store::Object;
use crate::store::listing::{After, Entry, Page, PageRequest};

/// What `encoding-type=url` leaves alone; a space becomes `+`, as from a HTML form. Seen on Amazon S3 and MinIO.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b' ');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string().replace(' ', "+")
}

/// How names are written in an answer.
#[derive(Clone, Copy)]
pub(super) struct Encoding(bool);

impl Encoding {
    pub(super) fn of(wanted: Option<&EncodingType>) -> S3Result<Self> {
        match wanted.map(EncodingType::as_str) {
            None | Some("") => Ok(Self(false)),
            Some(EncodingType::URL) => Ok(Self(true)),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    pub(super) fn show(self, name: &str) -> String {
        if self.0 { encode(name) } else { name.to_owned() }
    }
}

/// `max-keys` and its relatives: 1000 unless the client wants fewer; the server may allow fewer still.
pub(super) fn page_size(wanted: Option<i32>, most: usize) -> S3Result<usize> {
    let Some(wanted) = wanted else { return Ok(most) };
    let wanted = usize::try_from(wanted).map_err(|_| s3_error!(InvalidArgument, "a page size is not negative"))?;
    Ok(wanted.min(most))
}

/// A page in owned form.
struct Rendered {
    contents: Vec<s3s::dto::Object>,
    prefixes: Vec<CommonPrefix>,
    truncated: bool,
    token: Option<String>,
    last: Option<String>,
}

fn render(page: &Page<'_, Arc<Object>>, encoding: Encoding, with_owner: bool) -> Rendered {
    let mut contents = Vec::with_capacity(page.entries.len());
    let mut prefixes = Vec::new();
    for entry in &page.entries {
        match entry {
            Entry::Key(key, object) => contents.push(line(encoding.show(key), object, with_owner)),
            Entry::Prefix(name) => prefixes.push(CommonPrefix { prefix: Some(encoding.show(name)) }),
        }
    }
    let last = page.entries.last().filter(|_| page.truncated);
    Rendered {
        contents,
        prefixes,
        truncated: page.truncated,
        token: last.map(|entry| token(entry.position())),
        last: last.map(|entry| encoding.show(entry.name())),
    }
}

fn line(key: String, object: &Object, with_owner: bool) -> s3s::dto::Object {
    let class = object.attributes.storage_class.clone();
    s3s::dto::Object {
        key: Some(key),
        size: Some(length(object.content.len())),
        e_tag: Some(strong(&object.etag)),
        last_modified: Some(object.modified.into()),
        storage_class: Some(class.map_or(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD), Into::into)),
        owner: with_owner.then(owner),
        ..Default::default()
    }
}

/// A continuation token: opaque, and the same name whether it was a key or a common prefix.
fn token(position: After<'_>) -> String {
    let text = match position {
        After::Start => String::new(),
        After::Key(key) => format!("k{key}"),
        After::Prefix(prefix) => format!("p{prefix}"),
    };
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn open_token(token: &str) -> S3Result<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

fn token_position(text: &str) -> S3Result<After<'_>> {
    match (text.strip_prefix('k'), text.strip_prefix('p')) {
        (Some(key), _) => Ok(After::Key(key)),
        (None, Some(prefix)) => Ok(After::Prefix(prefix)),
        (None, None) => Err(s3_error!(InvalidArgument, "The continuation token provided is incorrect")),
    }
}

/// A marker that is itself a common prefix stands for everything under it, or version 1 would never get past it.
fn marker_position<'a>(marker: &'a str, prefix: &str, delimiter: &str) -> After<'a> {
    let rolled_up = !delimiter.is_empty() && marker.len() > prefix.len() && marker.ends_with(delimiter);
    match (marker.is_empty(), rolled_up) {
        (true, _) => After::Start,
        (false, true) => After::Prefix(marker),
        (false, false) => After::Key(marker),
    }
}

pub(super) fn v1(api: &Api, req: S3Request<ListObjectsInput>) -> S3Result<ListObjectsOutput> {
    let input = req.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let (prefix, delimiter) = (text(input.prefix.as_ref()), text(input.delimiter.as_ref()));
    let after = marker_position(text(input.marker.as_ref()), prefix, delimiter);
    let max = page_size(input.max_keys, api.page_max)?;
    let found = api
        .store
        .list(&input.bucket, &PageRequest { prefix, delimiter, after, max }, |page| render(page, encoding, true))?;
    Ok(ListObjectsOutput {
        // Only with a delimiter: otherwise the last key says it.
        next_marker: found.last.filter(|_| !delimiter.is_empty()),
        prefix: Some(encoding.show(prefix)),
        marker: Some(encoding.show(text(input.marker.as_ref()))),
        max_keys: Some(shown(max)),
        is_truncated: Some(found.truncated),
        contents: Some(found.contents),
        common_prefixes: Some(found.prefixes),
        delimiter: input.delimiter.as_deref().map(|d| encoding.show(d)),
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(super) fn v2(api: &Api, req: S3Request<ListObjectsV2Input>) -> S3Result<ListObjectsV2Output> {
    if api.quirks.v1_only {
        return Err(S3Error::new(S3ErrorCode::NotImplemented));
    }
    let input = req.input;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let (prefix, delimiter) = (text(input.prefix.as_ref()), text(input.delimiter.as_ref()));
    let opened = input.continuation_token.as_deref().map(open_token).transpose()?;
    let start_after = input.start_after.as_ref().filter(|_| !api.quirks.ignore_start_after);
    let after = match &opened {
        Some(opened) => token_position(opened)?,
        None => marker_position(text(start_after), prefix, delimiter),
    };
    let max = page_size(input.max_keys, api.page_max)?;
    let with_owner = input.fetch_owner.unwrap_or(false);
    let found = api.store.list(&input.bucket, &PageRequest { prefix, delimiter, after, max }, |page| {
        render(page, encoding, with_owner)
    })?;
    Ok(ListObjectsV2Output {
        key_count: Some(shown(found.contents.len() + found.prefixes.len())),
        next_continuation_token: found.token,
        prefix: Some(encoding.show(prefix)),
        max_keys: Some(shown(max)),
        is_truncated: Some(found.truncated),
        contents: Some(found.contents),
        common_prefixes: Some(found.prefixes),
        delimiter: input.delimiter.as_deref().map(|d| encoding.show(d)),
        start_after: input.start_after.as_deref().map(|s| encoding.show(s)),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..Default::default()
    })
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

pub(super) fn shown(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_amazon_does() {
        assert_eq!(encode("a b+c/d(1)%~é\n*"), "a+b%2Bc/d%281%29%25%7E%C3%A9%0A*");
    }

    #[test]
    fn tokens_come_back_as_positions() {
        for position in [After::Key("a/b"), After::Prefix("a/"), After::Key("")] {
            assert_eq!(token_position(&open_token(&token(position)).unwrap()).unwrap(), position);
        }
        assert!(open_token("not base64!").is_err());
        assert!(token_position("xyz").is_err());
    }

    #[test]
    fn markers_that_are_common_prefixes_stand_for_their_keys() {
        let check = |marker, prefix, delimiter, expect| assert_eq!(marker_position(marker, prefix, delimiter), expect);
        check("", "", "/", After::Start);
        check("a/", "", "/", After::Prefix("a/"));
        check("a/", "", "", After::Key("a/"));
        check("a/", "a/", "/", After::Key("a/"));
        check("a/b", "", "/", After::Key("a/b"));
    }
}
