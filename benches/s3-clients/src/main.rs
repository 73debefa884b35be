//! What a PUT costs in the client: aws-sdk-s3, our S3 store, and our HTTP layer alone.
//!
//! `s3-clients` runs everything; `s3-clients CLIENT SIZE IN_FLIGHT COUNT` one case, in a process of its own so that
//! getrusage counts the client alone. The server is a third process that answers at once and looks at nothing.

use std::future::Future;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

mod ours;
mod sdk;

/// What is measured: name, object size, requests in flight, requests.
const CASES: [(usize, usize, usize); 2] = [(1 << 10, 64, 20_000), (8 << 20, 8, 200)];
const CLIENTS: [&str; 5] = ["sdk", "sdk-unsigned", "store", "store-unsigned", "http"];

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => all(),
        ["server"] => serve().await,
        [client, server, size, in_flight, count] => {
            run(
                client,
                server.parse()?,
                Load { size: size.parse()?, in_flight: in_flight.parse()?, count: count.parse()? },
            )
            .await
        }
        _ => bail!("usage: s3-clients [CLIENT SERVER SIZE IN_FLIGHT COUNT | server]"),
    }
}

/// Every case, round after round, the server beside them.
fn all() -> Result<()> {
    let program = std::env::current_exe()?;
    let mut server = Command::new(&program).arg("server").stdout(Stdio::piped()).spawn()?;
    let mut address = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(server.stdout.take().context("the server's output")?),
        &mut address,
    )?;
    for _round in 0..5 {
        for (size, in_flight, count) in CASES {
            for client in CLIENTS {
                let numbers = [size, in_flight, count].map(|number| number.to_string());
                Command::new(&program).args([client, address.trim()]).args(numbers).status()?;
            }
        }
    }
    server.kill()?;
    server.wait()?;
    Ok(())
}

async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(answer(socket));
    }
}

/// Reads a head and its body; the answer is always the same.
async fn answer(socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut socket = BufReader::with_capacity(1 << 18, socket);
    let mut line = Vec::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if socket.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            if line == b"\r\n" {
                break;
            }
            let text = std::str::from_utf8(&line)?.to_ascii_lowercase();
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        tokio::io::copy(&mut (&mut socket).take(length), &mut tokio::io::sink()).await?;
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-amz-request-id: 1\r\n\r\n").await?;
    }
}

#[derive(Clone, Copy)]
struct Load {
    size: usize,
    in_flight: usize,
    count: usize,
}

async fn run(client: &str, server: SocketAddr, load: Load) -> Result<()> {
    match client {
        "sdk" => measure(client, load, sdk::put(server, load.size, true)).await,
        "sdk-unsigned" => measure(client, load, sdk::put(server, load.size, false)).await,
        "store" => measure(client, load, ours::put(server, load, true)?).await,
        "store-unsigned" => measure(client, load, ours::put(server, load, false)?).await,
        "http" => measure(client, load, ours::bare(server, load.size)?).await,
        other => bail!("no client is called {other}"),
    }
}

/// Keeps `in_flight` tasks busy until `count` requests are done, and prints what one cost.
async fn measure<F, P>(name: &str, load: Load, put: P) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
    P: Fn(usize) -> F + Send + Sync + 'static,
{
    let put = Arc::new(put);
    round(load.in_flight * 2, load.in_flight, &put).await?;
    let (cpu, start) = (cpu_time(), Instant::now());
    round(load.count, load.in_flight, &put).await?;
    let (took, cpu) = (start.elapsed(), cpu_time() - cpu);
    let each = cpu.as_secs_f64() * 1e6 / load.count as f64;
    println!(
        "{name:16} {:>8} B x {:<3} {each:>8.1} us CPU a request {:>9.0} requests/s",
        load.size,
        load.in_flight,
        load.count as f64 / took.as_secs_f64()
    );
    Ok(())
}

async fn round<F, P>(count: usize, in_flight: usize, put: &Arc<P>) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
    P: Fn(usize) -> F + Send + Sync + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (next, put) = (Arc::clone(&next), Arc::clone(put));
            tokio::spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return Ok::<_, anyhow::Error>(());
                    }
                    put(index).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

fn cpu_time() -> Duration {
    // Seconds and clock ticks of /proc would be too coarse.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
