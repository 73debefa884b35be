//! The S3 server for who has none.

use super::Failure;
use serde_json::{Value, json};
use std::{fs, io, path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// The name of the secret that leads to it, the section in it, and the bucket.
const SECRET: &str = "embedded-s3";
const SECTION: &str = "s3";
const BUCKET: &str = "volumes";

/// Starts the server, which ends with its value. Gives besides a document with the secret.
pub(super) async fn start(program: &Path, directory: &Path) -> Result<(Child, String), Failure> {
    let data = directory.join("s3");
    if data.exists() {
        // What a server before has left, which this one knows nothing of.
        fs::remove_dir_all(&data).map_err(Failure::io(&data))?;
    }
    let mut command = Command::new(program);
    command.args(["--with-parent", "--no-record", "--bucket", BUCKET, "--data-dir"]).arg(&data);
    // Its standard input ends when this program does, in whatever way.
    let started = command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut server = started.map_err(Failure::io(program))?;
    let ready = match server.stdout.take() {
        Some(output) => BufReader::new(output).lines().next_line().await.map_err(Failure::io(program))?,
        None => None,
    };
    let ready = ready.and_then(|line| serde_json::from_str::<Value>(&line).ok());
    let ready = ready.ok_or_else(|| Failure::io(program)(io::Error::other("the server has not started")))?;
    let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
    tracing::info!(endpoint = text("endpoint"), bucket = BUCKET, secret = SECRET, "an S3 server is there");
    let config = format!(
        "[{SECTION}]\ntype = s3\nprovider = Minio\nendpoint = {}\naccess_key_id = {}\nsecret_access_key = {}\nregion = us-east-1\n",
        text("endpoint"),
        text("access_key"),
        text("secret_key"),
    );
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": SECRET }, "stringData": { "rclone.conf": config },
    });
    Ok((server, secret.to_string()))
}
