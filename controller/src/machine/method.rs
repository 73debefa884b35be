//! Which mover a replication wants.

use crate::api::{ReplicationDestinationSpec, ReplicationSourceSpec};
use std::fmt;

/// The movers that this controller runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// rclone.
    Rclone,
    /// rsync over SSH.
    Rsync,
    /// rsync over TLS.
    RsyncTls,
}

/// All of them, in upstream's order of registration, which messages keep.
const ENABLED: [Method; 3] = [Method::Rclone, Method::Rsync, Method::RsyncTls];

impl Method {
    /// The name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rclone => "rclone",
            Self::Rsync => "rsync",
            Self::RsyncTls => "rsync-tls",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which methods a specification names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// Of ours.
    pub movers: Vec<Method>,
    /// Of upstream's, and not ours.
    pub unsupported: Vec<&'static str>,
    /// Somebody else's.
    pub external: bool,
}

impl Configured {
    fn of(movers: [(bool, Method); 3], unsupported: [(bool, &'static str); 2], external: bool) -> Self {
        Self {
            movers: movers.into_iter().filter(|(named, _)| *named).map(|(_, method)| method).collect(),
            unsupported: unsupported.into_iter().filter(|(named, _)| *named).map(|(_, name)| name).collect(),
            external,
        }
    }
}

impl From<&ReplicationSourceSpec> for Configured {
    fn from(spec: &ReplicationSourceSpec) -> Self {
        let movers = [
            (spec.rclone.is_some(), Method::Rclone),
            (spec.rsync.is_some(), Method::Rsync),
            (spec.rsync_tls.is_some(), Method::RsyncTls),
        ];
        let unsupported = [(spec.restic.is_some(), "restic"), (spec.syncthing.is_some(), "syncthing")];
        Self::of(movers, unsupported, spec.external.is_some())
    }
}

impl From<&ReplicationDestinationSpec> for Configured {
    fn from(spec: &ReplicationDestinationSpec) -> Self {
        let movers = [
            (spec.rclone.is_some(), Method::Rclone),
            (spec.rsync.is_some(), Method::Rsync),
            (spec.rsync_tls.is_some(), Method::RsyncTls),
        ];
        Self::of(movers, [(spec.restic.is_some(), "restic"), (false, "")], spec.external.is_some())
    }
}

/// What follows from the methods that are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// This one runs.
    Mover(Method),
    /// A controller of somebody else's owns the object: not even its status is touched.
    External,
    /// None can run. The text becomes the condition.
    Refused(String),
}

/// Selects the one method that is named.
pub fn select(configured: &Configured) -> Selection {
    let named = configured.movers.len() + configured.unsupported.len() + usize::from(configured.external);
    match (&configured.movers[..], &configured.unsupported[..]) {
        _ if named > 1 => Selection::Refused("only one replication method can be supplied".to_owned()),
        ([method], _) => Selection::Mover(*method),
        (_, [name]) => Selection::Refused(format!("{name} is not supported: {}", none_specified())),
        _ if configured.external => Selection::External,
        _ => Selection::Refused(none_specified()),
    }
}

/// Upstream's words, with the suffix on which scripts match.
fn none_specified() -> String {
    let enabled: Vec<String> = ENABLED.iter().map(Method::to_string).collect();
    format!("a replication method must be specified - enabled movers: [{}]", enabled.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn exactly_one_method_is_selected() {
        let none = "a replication method must be specified - enabled movers: [rclone rsync rsync-tls]";
        let many = Selection::Refused("only one replication method can be supplied".into());
        for (spec, expect) in [
            (json!({}), Selection::Refused(none.into())),
            (json!({ "rclone": {} }), Selection::Mover(Method::Rclone)),
            (json!({ "rsync": {} }), Selection::Mover(Method::Rsync)),
            (json!({ "rsyncTLS": {} }), Selection::Mover(Method::RsyncTls)),
            (json!({ "external": {} }), Selection::External),
            (json!({ "restic": {} }), Selection::Refused(format!("restic is not supported: {none}"))),
            (json!({ "rclone": {}, "rsync": {} }), many.clone()),
            (json!({ "rclone": {}, "restic": {} }), many.clone()),
            (json!({ "rclone": {}, "external": {} }), many.clone()),
            (json!({ "restic": {}, "external": {} }), many.clone()),
        ] {
            let source: ReplicationSourceSpec = serde_json::from_value(spec.clone()).unwrap();
            let destination: ReplicationDestinationSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(select(&Configured::from(&source)), expect, "{spec}");
            assert_eq!(select(&Configured::from(&destination)), expect, "{spec}");
        }
        let syncthing = Configured { unsupported: vec!["syncthing"], ..Configured::default() };
        assert_eq!(select(&syncthing), Selection::Refused(format!("syncthing is not supported: {none}")));
    }
}
