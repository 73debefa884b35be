//! Where we differ from rclone on purpose. `docs/compat-rclone.md` has this table, word for word.

use std::fmt;

use crate::trace::{Change, Difference};

/// One difference, or several of one kind.
pub(crate) struct Known {
    /// Of these operations; empty for all.
    operations: &'static [&'static str],
    /// In these aspects; empty for the request as a whole.
    aspects: &'static [&'static str],
    how: How,
    why: &'static str,
    /// Part of the names of the cases where it occurs.
    case: &'static str,
}

/// As [`Change`]; of `Becomes` either the two values, or any.
#[derive(Debug, Clone, Copy)]
enum How {
    Missing,
    Added,
    Fewer,
    More,
    Becomes(&'static str, &'static str),
    Other,
}

use How::{Added, Becomes, Fewer, Missing, More, Other};

const LISTS: &[&str] = &["ListObjects", "ListObjectsV2"];

const fn known(
    operations: &'static [&'static str],
    aspects: &'static [&'static str],
    how: How,
    why: &'static str,
) -> Known {
    Known { operations, aspects, how, why, case: "" }
}

impl Known {
    /// In cases of this option or provider alone, which the reason names.
    const fn only(self, case: &'static str) -> Self {
        Self { case, ..self }
    }
}

/// All of them.
pub(crate) const KNOWN: &[Known] = &[
    known(&[], &["user-agent"], Other, "says who we are; `--user-agent` replaces it"),
    known(&[], &["accept-encoding"], Missing, "content is never asked for compressed"),
    known(&[], &["amz-sdk-invocation-id", "amz-sdk-request"], Missing, "statistics of AWS's SDK"),
    known(&[], &["x-amz-content-sha256"], Missing, "nothing to sign for without keys").only("anonymous"),
    known(&["CreateBucket"], &["x-amz-bucket-object-lock-enabled"], Missing, "`false` is what leaving it out means"),
    known(&["HeadObject (root)"], &[], Missing, "the path is always taken for a directory"),
    known(&["HeadObject", "HeadObject (permissions)"], &[], Missing, AFTER_UPLOAD),
    known(&["HeadObject"], &[], Fewer, AFTER_UPLOAD),
    known(&["HeadObject"], &[], More, "with `no_head`: before a copy, which is bound to the ETag that it tells")
        .only("no_head"),
    known(&["HeadObject"], &["?partNumber"], Added, "an object without MD5 is checked by the digest over its parts")
        .only("disable_checksum"),
    known(LISTS, &["?delimiter"], Missing, FLAT),
    known(LISTS, &["?delimiter", "?prefix"], Other, FLAT),
    known(LISTS, &[], Fewer, FLAT),
    known(LISTS, &[], More, RANGES).only("list_chunk = 2"),
    known(LISTS, &["?start-after"], Added, RANGES).only("list_chunk = 2"),
    known(&["DeleteObject"], &[], Missing, "deleted in batches"),
    known(&["DeleteObjects"], &[], Added, "deleted in batches"),
    known(&["CopyObject"], &["x-amz-copy-source-if-match"], Added, "no copy of what somebody else has just written"),
    known(&["CopyObject"], SYSTEM, Added, "rclone's copy loses them"),
    known(&["CopyObject"], &[], Missing, "Fastly has none: the content is uploaded again").only("Fastly"),
    known(&["PutObject"], &[], More, NO_COPY).only("Fastly"),
    known(&["PutObject"], &["x-amz-meta-mtime"], Other, NO_COPY).only("Fastly"),
    known(&["UploadPart"], &["content-type"], Missing, "a part has no type"),
    known(&["UploadPart", "PutObject"], &["expect"], Missing, "a refusal is read while the body is sent"),
    known(&["UploadPart"], &["x-amz-content-sha256"], Becomes("signed", "unsigned"), PARTS),
    known(&["UploadPart"], &["x-amz-content-sha256"], Becomes("empty, signed", "unsigned"), PARTS),
    known(&["CompleteMultipartUpload"], &["content-length"], Other, "quotes of ETags are escaped in another form"),
    known(&["PutObject"], &[], Added, EMPTY).only("\"off\""),
    known(&["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"], &[], Fewer, EMPTY).only("\"off\""),
    known(&["CreateMultipartUpload"], &["x-amz-meta-mtime", "x-amz-meta-md5chksum"], Other, EMPTY).only("\"off\""),
    known(&["UploadPart"], &["content-length", "content-md5"], Other, EMPTY).only("\"off\""),
    known(&["HeadObject (marker)", "PutObject (marker)"], &[], Missing, MARKERS),
    known(&["PutObject (marker)"], &["x-amz-storage-class"], Missing, "`STANDARD` is what leaving it out means"),
    known(&["PutObject (marker)"], &["x-amz-meta-mtime"], Other, "the time of the upload"),
    known(&["PutObject (marker)"], &["content-md5"], Added, "every body has its digest"),
    known(
        &["PutObject (marker)"],
        &["x-amz-content-sha256"],
        Becomes("unsigned", "empty"),
        "there is nothing to leave unsigned",
    ),
    known(&["DeleteObject (permissions)"], &[], Missing, "replaced in place: a restore never finds it missing"),
    known(&["PutObject (permissions)"], &[], More, "a mark stands in its place while the first push is under way"),
    known(
        &["PutObject (permissions)"],
        &["content-length", "content-md5"],
        Other,
        "owners as numbers, records sorted by name",
    ),
    known(&["PutObject (permissions)"], &["x-amz-meta-mtime"], Other, "the time of the upload"),
    known(&["ListMultipartUploads"], &[], Added, "uploads that interrupted runs left for a day are aborted"),
];

const AFTER_UPLOAD: &str = "after an upload: the answer to the upload has the ETag";
const FLAT: &str = "one flat listing instead of one per directory";
const PARTS: &str = "over plain HTTP: Content-MD5 protects a part, as it does a whole object";
const RANGES: &str = "a bucket of several pages is listed in ranges side by side";
const NO_COPY: &str = "Fastly has no CopyObject: the content is uploaded again";
const EMPTY: &str = "with `upload_cutoff = off` an empty file goes up in one request, not as an empty part";
const MARKERS: &str =
    "markers are made with `--create-empty-src-dirs`, for directories below the path, and where the listing has none";
const SYSTEM: &[&str] = &["cache-control", "content-disposition", "content-encoding", "content-language"];

impl Known {
    /// Whether this is it.
    pub(crate) fn is(&self, found: &Difference, name: &str) -> bool {
        let operation = self.operations.is_empty() || self.operations.contains(&found.operation.as_str());
        let aspect =
            self.aspects.contains(&found.aspect.as_str()) || (self.aspects.is_empty() && found.aspect.is_empty());
        operation && aspect && self.how.is(&found.change) && name.contains(self.case)
    }
}

impl How {
    fn is(self, change: &Change) -> bool {
        match (self, change) {
            (Missing, Change::Missing)
            | (Added, Change::Added)
            | (Fewer, Change::Fewer)
            | (More, Change::More)
            | (Other, Change::Becomes(..)) => true,
            (Becomes(theirs, ours), Change::Becomes(their, our)) => (theirs, ours) == (their.as_str(), our.as_str()),
            _ => false,
        }
    }

    fn text(self) -> String {
        match self {
            Missing => "only rclone".to_owned(),
            Added => "only we".to_owned(),
            Fewer => "we less often".to_owned(),
            More => "we more often".to_owned(),
            Becomes(theirs, ours) => format!("rclone {theirs}, we {ours}"),
            Other => "another value".to_owned(),
        }
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |names: &[&str], none: &str| {
            if names.is_empty() {
                none.to_owned()
            } else {
                names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            }
        };
        let (operations, aspects) = (all(self.operations, "all"), all(self.aspects, "the request"));
        write!(f, "| {operations} | {aspects} | {} | {} |", self.how.text(), self.why)
    }
}

/// The table of the page.
pub(crate) fn table() -> String {
    let rows: Vec<_> = KNOWN.iter().map(ToString::to_string).collect();
    format!("| operation | what | who | why |\n| --- | --- | --- | --- |\n{}\n", rows.join("\n"))
}
