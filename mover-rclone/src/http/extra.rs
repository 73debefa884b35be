//! Headers that the user adds to every request (`--header`).
//!
//! As rclone 1.75 (`fs/fshttp`): they are set after the request is signed, so no signature covers them, and replace what
//! we would send under the same name. Those that would break the framing of the message are left out, as Go's `net/http`
//! leaves them out. `--header-upload` and `--header-download` are written the same way, but the S3 layer sets and signs
//! them.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
};

/// Never taken from a user.
const FRAMING: [HeaderName; 6] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, TE, CONNECTION];

/// Headers in the order given.
#[derive(Clone, Debug, Default)]
pub struct ExtraHeaders(Vec<(HeaderName, HeaderValue)>);

/// A `--header` value that is none. The value itself may be a secret and is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHeader {
    /// There is no colon.
    #[error("a header is written as 'Name: value', like 'Cache-Control: no-store'")]
    NoColon,
    /// The name has characters that no header name has.
    #[error("the part before the colon is not the name of a header")]
    Name,
    /// The value has control characters.
    #[error("the value of the header has control characters")]
    Value,
}

impl ExtraHeaders {
    /// Reads values of `--header`, each `Name: value`.
    pub fn parse<T: AsRef<[u8]>>(given: impl IntoIterator<Item = T>) -> Result<Self, NoHeader> {
        given.into_iter().map(|text| split(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Those whose name is wanted, and the names of the others.
    pub fn choose(self, wanted: impl Fn(&str) -> bool) -> (Self, Vec<String>) {
        let (kept, others): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|(name, _)| wanted(name.as_str()));
        (Self(kept), others.into_iter().map(|(name, _)| name.to_string()).collect())
    }

    /// Sets them.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        self.apply_those(headers, |_| true);
    }

    /// Sets those whose name is wanted.
    pub(crate) fn apply_those(&self, headers: &mut HeaderMap, wanted: impl Fn(&HeaderName) -> bool) {
        for (name, value) in self.0.iter().filter(|(name, _)| !FRAMING.contains(name) && wanted(name)) {
            headers.insert(name.clone(), value.clone());
        }
    }
}

fn split(text: &[u8]) -> Result<(HeaderName, HeaderValue), NoHeader> {
    let colon = text.iter().position(|byte| *byte == b':').ok_or(NoHeader::NoColon)?;
    let (name, value) = (text[..colon].trim_ascii(), text[colon + 1..].trim_ascii());
    let name = HeaderName::from_bytes(name).map_err(|_| NoHeader::Name)?;
    let mut value = HeaderValue::from_bytes(value).map_err(|_| NoHeader::Value)?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_set() {
        let check = |given: &[&str], expect: Result<&[(&str, &str)], NoHeader>| {
            let applied = ExtraHeaders::parse(given).map(|extra| {
                let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("h"))]);
                extra.apply(&mut headers);
                headers.remove(HOST).filter(|host| host == "h").expect("the host stays");
                headers.iter().map(|(n, v)| (n.to_string(), v.to_str().expect("text").to_owned())).collect::<Vec<_>>()
            });
            let expect =
                expect.map(|pairs| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>());
            assert_eq!(applied, expect, "{given:?}");
        };
        check(&[], Ok(&[]));
        check(&["A:b"], Ok(&[("a", "b")]));
        check(&[" X-A : b: c "], Ok(&[("x-a", "b: c")]));
        check(&["X: "], Ok(&[("x", "")]));
        check(&["A: 1", "a: 2"], Ok(&[("a", "2")]));
        check(&["Host: x", "Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close"], Ok(&[]));
        check(&["nocolon"], Err(NoHeader::NoColon));
        check(&[" : x"], Err(NoHeader::Name));
        check(&["A B: c"], Err(NoHeader::Name));
        check(&["A: b\nC: d"], Err(NoHeader::Value));
    }
}
