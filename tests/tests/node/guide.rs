//! The files and commands of `docs/kubernetes.md`, as they are written there.

use std::fs;
use std::path::Path;

use serde_json::json;
use volsync_tests::mover::repository;
use volsync_tests::peers;
use volsync_tests::process::run;

use crate::cluster::Cluster;
use crate::minio;
use crate::replication::from_snapshot;

/// A fenced block: what stands behind its fence, and its lines.
struct Block {
    language: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut parts = page.split("\n```");
    parts.next();
    // Every second part is between two blocks.
    let inner = parts.step_by(2).map(|part| {
        let (language, text) = part.split_once('\n').unwrap();
        Block { language: language.to_owned(), text: format!("{text}\n") }
    });
    inner.collect()
}

#[test]
fn what_the_guide_says_works() {
    let cluster = Cluster::take();
    let namespace = cluster.namespace("guide", &json!({}));
    minio::start(&namespace, &[]);
    let page = fs::read_to_string(repository().join("docs/kubernetes.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(repository().join("deploy"), dir.path().join("deploy")).unwrap();
    let mut script = String::from("set -euxo pipefail\n");
    for Block { language, text } in blocks(&page) {
        match language.as_str() {
            "yaml" => {
                let name = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap();
                fs::write(dir.path().join(name), &text).unwrap();
            }
            "sh" => script += &text.replace("REGISTRY", "localhost").replace("TAG", "test"),
            _ => {}
        }
    }
    let mut shell = cluster.inside(&peers::tool("bash"));
    shell.arg("-c").arg(functions(&namespace.name) + &script).current_dir(dir.path());
    shell.env("NAMESPACE", &namespace.name);
    let outcome = run(&mut shell).success();
    assert!(outcome.text().contains("Rclone completed in"), "{outcome}");

    let mirror = namespace.get("replicationdestination/mirror")["status"]["latestImage"]["name"].clone();
    namespace.claim("mirror", &from_snapshot(mirror.as_str().unwrap()));
    let greeting = |claim: &str| fs::read_to_string(namespace.volume(claim).join("greetings/first")).unwrap();
    assert_eq!(["data", "restored", "mirror"].map(greeting), ["hello\n"; 3]);
}

/// The two programs that the reader has, in the namespace where the reader is.
fn functions(namespace: &str) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display());
    format!(
        "kubectl() {{ {} --namespace {namespace} \"$@\"; }}\nhelm() {{ {} \"$@\"; }}\n",
        quoted(&peers::kubectl()),
        quoted(&peers::helm())
    )
}
