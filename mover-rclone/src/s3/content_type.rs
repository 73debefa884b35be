//! `Content-Type` by extension: what Go's built-in table answers. Never compared, so any table is interoperable.

const TABLE: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp4", "video/mp4"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("ts", "video/MP2T"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xml", "text/xml; charset=utf-8"),
    ("zip", "application/zip"),
];

/// The type of a file by its name.
pub(super) fn of(name: &[u8]) -> &'static str {
    let extension = name.iter().rposition(|b| *b == b'.').map(|at| name[at + 1..].to_ascii_lowercase());
    let found = extension.and_then(|e| TABLE.iter().find(|(known, _)| known.as_bytes() == e));
    found.map_or("application/octet-stream", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_extension_decides() {
        for (name, expect) in [
            ("a.TXT", "text/plain; charset=utf-8"),
            ("a.tar.gz", "application/gzip"),
            ("noext", "application/octet-stream"),
            (".json", "application/json"),
            ("a.", "application/octet-stream"),
        ] {
            assert_eq!(super::of(name.as_bytes()), expect);
        }
    }
}
