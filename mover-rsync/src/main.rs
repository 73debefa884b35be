//! Entry point.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use mover_rsync::args::client::Cli;
use mover_rsync::block::command;
use mover_rsync::contract::{self, Entry, destination, forced, source, tls_destination, tls_source};
use mover_rsync::{client, serve, server};

/// rsync's code for a wrong command line.
const USAGE: u8 = 1;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    match Entry::find(&words) {
        Some(Entry::Source(args)) => return source::run(&args).into(),
        Some(Entry::Destination(args)) => return destination::run(&args).into(),
        Some(Entry::Forced(args)) => return forced::run(&args).into(),
        Some(Entry::Diskrsync(args)) => return command::run(&args).into(),
        Some(Entry::TlsSource(args)) => return tls_source::run(&args).into(),
        Some(Entry::TlsDestination(args)) => return tls_destination::run(&args).into(),
        Some(Entry::TlsSession(args)) => return tls_destination::session(&args).into(),
        Some(Entry::Serve(args)) => return serve::run(&args).into(),
        Some(Entry::Shell) => return contract::shell().into(),
        Some(Entry::Remove(args)) => return contract::remove(&args).into(),
        None => {}
    }
    if words.iter().any(|word| word == "--server") {
        let args: Vec<_> = words.into_iter().skip(1).map(OsStringExt::into_vec).collect();
        return server::run(&args).into();
    }
    match Cli::from_words(words) {
        Ok(cli) => client::run(&cli).into(),
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nobody may be there to read it.
            let _printed = error.print();
            code.into()
        }
    }
}
