//! `embedded-s3`: the embedded S3 server as a program of its own.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use volsync_embedded_s3::{Server, ServerOptions};

/// An S3 server for tests, demonstrations and benchmarks. Nothing survives a restart.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The access key clients sign with.
    #[arg(long, default_value = "EMBEDDEDACCESSKEY")]
    access_key: String,
    /// The secret that belongs to the access key.
    #[arg(long, default_value = "embedded+secret/key")]
    secret_key: String,
    /// A bucket to create; may be given several times.
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
    /// Speak HTTPS and write the authority's certificate to ca.crt in this directory.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// Milliseconds added before each answer.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Keep object bytes in files in this directory instead of in memory.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Serve requests, counts and faults for tests on this address.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Count requests but do not remember each of them.
    #[arg(long)]
    no_record: bool,
    /// End when standard input does, which a parent holds and says nothing on.
    #[arg(long)]
    with_parent: bool,
}

impl Arguments {
    fn options(&self) -> ServerOptions {
        ServerOptions {
            listen: self.listen,
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            buckets: self.buckets.clone(),
            tls: self.tls_dir.is_some(),
            data_dir: self.data_dir.clone(),
            latency: Duration::from_millis(self.latency_ms),
            record: !self.no_record,
            ..ServerOptions::default()
        }
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let server = Server::start(arguments.options()).await?;
    let ca = write_ca(&arguments, &server)?;
    let admin = match arguments.admin {
        Some(address) => Some(server.serve_admin(address).await?),
        None => None,
    };
    let ready = serde_json::json!({
        "endpoint": server.endpoint(),
        "access_key": server.access_key(),
        "secret_key": server.secret_key(),
        "host_endpoint": server.host_endpoint(),
        "admin": admin,
        "ca": ca,
    });
    writeln!(io::stdout(), "{ready}")?;
    if arguments.with_parent {
        std::thread::spawn(|| {
            let _ended = io::copy(&mut io::stdin(), &mut io::sink());
            std::process::exit(0);
        });
    }
    tokio::signal::ctrl_c().await
}

fn write_ca(arguments: &Arguments, server: &Server) -> io::Result<Option<PathBuf>> {
    let (Some(dir), Some(pem)) = (&arguments.tls_dir, server.ca_pem()) else { return Ok(None) };
    std::fs::create_dir_all(dir)?;
    let path = dir.join("ca.crt");
    std::fs::write(&path, pem)?;
    Ok(Some(path))
}
