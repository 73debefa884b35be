//! rclone under VolSync's mover flow against `mover-rclone`, on one S3 server. The server has cores of its own, as if it were
//! another machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use volsync_embedded_s3::{Server, ServerOptions};

use crate::Arguments;
use crate::contestant::{Contestant, Work};
use crate::cores::Cores;
use crate::measure;
use crate::record::{self, Extra, Row};
use crate::workload::{self, Made, Volumes};

const BUCKET: &str = "bench";

/// Every chosen volume's way, by each contestant in turn.
pub(crate) fn rows(arguments: &Arguments) -> anyhow::Result<Vec<Row>> {
    let scratch = tempfile::tempdir_in(&arguments.dir).context("scratch directory")?;
    let cores = Cores::split()?;
    let runtime = cores.for_server()?;
    let server = runtime.block_on(server(arguments, scratch.path().join("objects")))?;
    cores.take_for_programs()?;
    let contestants = contestants(arguments, &server, scratch.path())?;
    let volumes = workload::chosen(arguments.quick, &arguments.only, &workload::RCLONE)?;
    let mut rows = Vec::new();
    arguments.rounds(&volumes, scratch.path(), contestants.len(), |volumes, made, pair, who| {
        chain(volumes, made, pair, (who, &contestants[who]), &server, &arguments.suffix(), &mut rows)
    })?;
    Ok(rows)
}

async fn server(arguments: &Arguments, objects: PathBuf) -> anyhow::Result<Server> {
    std::fs::create_dir(&objects)?;
    let latency = Duration::from_millis(arguments.latency_ms);
    let options = ServerOptions {
        data_dir: Some(objects),
        spare_data: u64::MAX,
        latency,
        tls: arguments.tls,
        record: false,
        ..ServerOptions::with_bucket(BUCKET)
    };
    Ok(Server::start(options).await?)
}

fn contestants(arguments: &Arguments, server: &Server, dir: &Path) -> anyhow::Result<Vec<Contestant>> {
    let config = dir.join("rclone.conf");
    std::fs::write(
        &config,
        format!(
            "[bench]\ntype = s3\nprovider = Other\nendpoint = {}\naccess_key_id = {}\nsecret_access_key = {}\n",
            server.endpoint(),
            server.access_key(),
            server.secret_key()
        ),
    )?;
    let ca = server.ca_pem().map(|pem| (dir.join("ca.crt"), pem));
    if let Some((path, pem)) = &ca {
        std::fs::write(path, pem)?;
    }
    let ca = ca.map(|(path, _)| path);
    let ours = arguments.ours.iter().map(|binary| Contestant::ours(binary, &config, ca.clone()));
    Ok(std::iter::once(Contestant::rclone(&arguments.rclone, &config, ca.clone())).chain(ours).collect())
}

/// One contestant's way through one kind of volume: first push, nothing changed, a little changed, restore.
fn chain(
    volumes: &Volumes,
    made: &Made,
    pair: usize,
    (who, contestant): (usize, &Contestant),
    server: &Server,
    suffix: &str,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let remote = format!("{BUCKET}/{}-{who}-{pair}", volumes.name);
    let scratch = tempfile::tempdir_in(&made.dir)?;
    let target = scratch.path().join("restored");
    std::fs::create_dir(&target)?;
    let steps = [
        ("first push", Some(Work::push(&made.first, &remote))),
        ("unchanged", Some(Work::push(&made.first, &remote))),
        ("changed", made.changed.as_ref().map(|changed| Work::push(changed, &remote))),
        ("restore", Some(Work::pull(&target, &remote))),
    ];
    for (step, work) in steps {
        let Some(work) = work else { continue };
        let before = server.recorder().total();
        let sample = measure::run(contestant.commands(&work, scratch.path()), &scratch.path().join("log"))
            .with_context(|| format!("{} {step} by {}", volumes.name, contestant.name()))?;
        let requests = server.recorder().total() - before;
        eprintln!("{} {step}, pair {pair}, {}: {:.2} s", volumes.name, contestant.name(), sample.wall);
        record::add(
            rows,
            &format!("{} {step}{suffix}", volumes.name),
            contestant.key(),
            sample,
            Extra::Requests(requests),
        );
    }
    empty_bucket(server)
}

/// The next chain finds as much room as this one: volumes and objects may lie in memory.
fn empty_bucket(server: &Server) -> anyhow::Result<()> {
    for key in server.store().keys(BUCKET) {
        server.store().delete(BUCKET, &key)?;
    }
    Ok(())
}
