//! Which operation a request is, told from its head alone: faults and counts need it before any body is read.

use http::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

/// The suffix of virtual-host addressing: `bucket.localhost`.
pub(crate) const DOMAIN: &str = "localhost";

/// Where a request goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) operation: &'static str,
    pub(crate) bucket: String,
    pub(crate) key: String,
}

/// The bucket a `Host` header names.
pub(crate) fn host_bucket(host: &str) -> Option<&str> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.strip_suffix(DOMAIN)?.strip_suffix('.').filter(|bucket| !bucket.is_empty())
}

pub(crate) fn target(method: &Method, uri: &Uri, headers: &HeaderMap) -> Target {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path = uri.path().strip_prefix('/').unwrap_or_default();
    let (bucket, key) = host_bucket(host).map_or_else(
        || path.split_once('/').map_or_else(|| (decode(path), ""), |(bucket, key)| (decode(bucket), key)),
        |bucket| (bucket.to_owned(), path),
    );
    let key = decode(key);
    let operation = operation(method, (!bucket.is_empty(), !key.is_empty()), uri.query().unwrap_or_default(), headers);
    Target { operation, bucket, key }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn operation(method: &Method, level: (bool, bool), query: &str, headers: &HeaderMap) -> &'static str {
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let copy = headers.contains_key("x-amz-copy-source");
    match (method.as_str(), level) {
        ("GET", (false, _)) => "ListBuckets",
        ("GET", (true, false)) if has("location") => "GetBucketLocation",
        ("GET", (true, false)) if has("uploads") => "ListMultipartUploads",
        ("GET", (true, false)) if query.split('&').any(|pair| pair == "list-type=2") => "ListObjectsV2",
        ("GET", (true, false)) => "ListObjects",
        ("HEAD", (true, false)) => "HeadBucket",
        ("PUT", (true, false)) => "CreateBucket",
        ("DELETE", (true, false)) => "DeleteBucket",
        ("POST", (true, false)) if has("delete") => "DeleteObjects",
        ("GET", (true, true)) if has("uploadId") => "ListParts",
        ("GET", (true, true)) => "GetObject",
        ("HEAD", (true, true)) => "HeadObject",
        ("PUT", (true, true)) if has("partNumber") && copy => "UploadPartCopy",
        ("PUT", (true, true)) if has("partNumber") => "UploadPart",
        ("PUT", (true, true)) if copy => "CopyObject",
        ("PUT", (true, true)) => "PutObject",
        ("DELETE", (true, true)) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", (true, true)) => "DeleteObject",
        ("POST", (true, true)) if has("uploads") => "CreateMultipartUpload",
        ("POST", (true, true)) if has("uploadId") => "CompleteMultipartUpload",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, host: &str, copy: bool, expect: (&'static str, &str, &str)) {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut headers = HeaderMap::from_iter([(http::header::HOST, host.parse().unwrap())]);
        if copy {
            headers.insert("x-amz-copy-source", "a/b".parse().unwrap());
        }
        let got = target(&method.parse().unwrap(), &uri.parse().unwrap(), &headers);
        assert_eq!((got.operation, got.bucket.as_str(), got.key.as_str()), expect, "{line}");
    }

    #[test]
    fn requests_are_told_apart_by_their_head() {
        let ip = "127.0.0.1:9000";
        check("GET /", ip, false, ("ListBuckets", "", ""));
        check("GET /b?list-type=2&prefix=x", ip, false, ("ListObjectsV2", "b", ""));
        check("GET /b/?prefix=list-type%3D2", ip, false, ("ListObjects", "b", ""));
        check("GET /b?uploads", ip, false, ("ListMultipartUploads", "b", ""));
        check("GET /b?location", ip, false, ("GetBucketLocation", "b", ""));
        check("HEAD /b", ip, false, ("HeadBucket", "b", ""));
        check("POST /b?delete=", ip, false, ("DeleteObjects", "b", ""));
        check("PUT /b/k%20%2B/x", ip, false, ("PutObject", "b", "k +/x"));
        check("PUT /b//k", ip, false, ("PutObject", "b", "/k"));
        check("PUT /b/k", ip, true, ("CopyObject", "b", "k"));
        check("PUT /b/k?partNumber=1&uploadId=u", ip, false, ("UploadPart", "b", "k"));
        check("PUT /b/k?partNumber=1&uploadId=u", ip, true, ("UploadPartCopy", "b", "k"));
        check("POST /b/k?uploads", ip, false, ("CreateMultipartUpload", "b", "k"));
        check("POST /b/k?uploadId=u", ip, false, ("CompleteMultipartUpload", "b", "k"));
        check("DELETE /b/k?uploadId=u", ip, false, ("AbortMultipartUpload", "b", "k"));
        check("DELETE /b/k", ip, false, ("DeleteObject", "b", "k"));
        check("GET /k/x?uploadId=u", "b.localhost:9000", false, ("ListParts", "b", "k/x"));
        check("GET /", "b.c.localhost", false, ("ListObjects", "b.c", ""));
        check("GET /b/k", "localhost:1", false, ("GetObject", "b", "k"));
    }
}
