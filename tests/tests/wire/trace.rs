//! Requests as values that can be compared, and how two programs' requests differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use volsync_embedded_s3::RequestRecord;

/// Where the story's objects are in the bucket.
pub(crate) const PATH: &str = "p";

/// The SHA-256 of nothing, as signatures have it.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Query parameters whose values the server or the moment decides.
const FREE: [&str; 5] = ["uploadId", "continuation-token", "marker", "start-after", "key-marker"];

/// What one program asked: aspects of each request by operation and key.
pub(crate) type Trace = BTreeMap<(String, String), Vec<Aspects>>;

/// The method, each query parameter and each header of a request; names of parameters begin with `?`.
pub(crate) type Aspects = BTreeMap<String, String>;

/// One thing that is different.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// The operation, with `(root)` for the path itself as an object and `(marker)` for directories.
    pub(crate) operation: String,
    /// Which aspect; empty for the request as a whole.
    pub(crate) aspect: String,
    /// How.
    pub(crate) change: Change,
}

/// In which way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Only rclone has it.
    Missing,
    /// Only we have it.
    Added,
    /// Both ask, we less often.
    Fewer,
    /// Both ask, we more often.
    More,
    /// rclone's values and ours.
    Becomes(String, String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, aspect, change } = self;
        write!(f, "{operation} {aspect} {change:?}")
    }
}

/// The requests for `bucket`.
pub(crate) fn of(records: &[RequestRecord], bucket: &str) -> Trace {
    let mut trace = Trace::new();
    for record in records.iter().filter(|record| record.bucket == bucket) {
        let key = (record.operation.clone(), record.key.clone());
        trace.entry(key).or_default().push(aspects(record, bucket));
    }
    trace
}

fn aspects(record: &RequestRecord, bucket: &str) -> Aspects {
    let headers = record.headers.iter().filter(|(name, _)| name != "x-amz-date");
    let headers = headers.map(|(name, value)| (name.clone(), header(name, &value.replace(bucket, "BUCKET"))));
    let query = record.query.split('&').filter(|pair| !pair.is_empty());
    let query = query.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query =
        query.map(|(name, value)| (format!("?{name}"), if FREE.contains(&name) { "*" } else { value }.to_owned()));
    let fixed =
        [("method".to_owned(), record.method.clone()), ("path".to_owned(), record.path.replace(bucket, "BUCKET"))];
    headers.chain(query).chain(fixed).collect()
}

/// What of a header's value the program decides.
fn header(name: &str, value: &str) -> String {
    match name {
        "x-amz-content-sha256" => match value {
            "UNSIGNED-PAYLOAD" => "unsigned".to_owned(),
            EMPTY => "empty".to_owned(),
            _ => "signed".to_owned(),
        },
        "authorization" => {
            let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
            let scope = rest.split_once("Credential=").and_then(|(_, rest)| rest.split_once(',')).unwrap_or_default().0;
            let scope: Vec<_> = scope.split('/').skip(2).collect();
            format!("{scheme} {}", scope.join("/"))
        }
        // rclone leaves these two as they are; a percent-encoded path is the same with either.
        "x-amz-copy-source" => value.replace("%26", "&").replace("%3D", "="),
        _ => value.to_owned(),
    }
}

/// Every difference once.
pub(crate) fn compare(rclone: &Trace, ours: &Trace) -> BTreeSet<Difference> {
    let mut all = BTreeSet::new();
    let keys: BTreeSet<_> = rclone.keys().chain(ours.keys()).collect();
    for key in keys {
        let operation = label(&key.0, &key.1);
        let whole = |change| Difference { operation: operation.clone(), aspect: String::new(), change };
        match (rclone.get(key), ours.get(key)) {
            (Some(theirs), Some(ours)) => {
                all.extend(counts(theirs.len(), ours.len()).map(whole));
                all.extend(requests(&operation, theirs, ours));
            }
            (Some(_), None) => all.extend([whole(Change::Missing)]),
            _ => all.extend([whole(Change::Added)]),
        }
    }
    all
}

fn label(operation: &str, key: &str) -> String {
    match key {
        PATH => format!("{operation} (root)"),
        "p/permissions.facl" => format!("{operation} (permissions)"),
        marker if marker.ends_with('/') => format!("{operation} (marker)"),
        _ => operation.to_owned(),
    }
}

fn counts(theirs: usize, ours: usize) -> Option<Change> {
    match ours.cmp(&theirs) {
        std::cmp::Ordering::Less => Some(Change::Fewer),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(Change::More),
    }
}

fn requests(operation: &str, theirs: &[Aspects], ours: &[Aspects]) -> Vec<Difference> {
    let names: BTreeSet<&String> = theirs.iter().chain(ours).flat_map(BTreeMap::keys).collect();
    let values = |side: &[Aspects], name: &String| -> BTreeSet<Option<String>> {
        side.iter().map(|aspects| aspects.get(name).cloned()).collect()
    };
    let of = |name: &String| Some((values(theirs, name), values(ours, name))).filter(|(theirs, ours)| theirs != ours);
    let differ = names.into_iter().filter_map(|name| Some((name, of(name)?)));
    let difference = |(name, (theirs, ours)): (&String, (BTreeSet<_>, BTreeSet<_>))| Difference {
        operation: operation.to_owned(),
        aspect: name.clone(),
        change: change(&theirs, &ours),
    };
    differ.map(difference).collect()
}

fn change(theirs: &BTreeSet<Option<String>>, ours: &BTreeSet<Option<String>>) -> Change {
    let none = |side: &BTreeSet<Option<String>>| side.iter().all(Option::is_none);
    let text = |side: &BTreeSet<Option<String>>| {
        side.iter().map(|value| value.clone().unwrap_or_else(|| "-".to_owned())).collect::<Vec<_>>().join(", ")
    };
    if none(ours) {
        Change::Missing
    } else if none(theirs) {
        Change::Added
    } else {
        Change::Becomes(text(theirs), text(ours))
    }
}
