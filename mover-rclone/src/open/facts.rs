//! What `config check` says of a remote that can be used.

use volsync_common::path::Shown;

use super::{Kind, s3};
use crate::config::{Backend, Remote};

/// A line a fact, without secrets.
pub(super) fn of(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Plain(remote) if remote.backend == Backend::S3 => of_s3(remote),
        Kind::Plain(remote) => given(remote),
        Kind::Crypt(remote, crypt, inner) => {
            let contents = if crypt.contents { "names and contents" } else { "names, not contents" };
            let place = crypt.remote.to_string();
            let mut lines = vec![format!("encrypts {contents}, keeps them in {place}")];
            lines.extend(given(remote));
            lines.extend(of(inner));
            lines
        }
    }
}

fn of_s3(remote: &Remote) -> Vec<String> {
    let o = &remote.options;
    let text = |key: &str| o.bytes(key).map(|value| Shown(value).to_string()).unwrap_or_default();
    let or = |value: String, other: &str| if value.is_empty() { other.to_owned() } else { value };
    let endpoint = or(text("endpoint"), "AWS");
    let region = or(text("region"), "us-east-1");
    let mut lines = vec![format!("endpoint {endpoint}, region {region}"), signs(remote)];
    lines.extend(given(remote));
    lines
}

fn signs(remote: &Remote) -> String {
    let Ok(who) = s3::credentials(&remote.options) else { return String::new() };
    let base = match (who.access_key_id.is_empty(), who.env_auth) {
        (false, _) => "signs with the access key of the configuration",
        (true, true) => "signs with what the environment has: variables, profiles, tokens, metadata services",
        (true, false) => "does not sign: no access key, and env_auth is off",
    };
    if who.role_arn.is_empty() {
        return base.to_owned();
    }
    format!("{base}, as the role {}", Shown(who.role_arn.as_bytes()))
}

fn given(remote: &Remote) -> Vec<String> {
    let given = remote.options.given();
    if given.is_empty() { Vec::new() } else { vec![format!("given: {}", given.join(", "))] }
}
