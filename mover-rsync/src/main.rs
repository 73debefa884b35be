//! Entry point.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use clap::Parser as _;
use mover_rsync::args::client::Cli;
use mover_rsync::{client, server};

/// rsync's code for a wrong command line.
const USAGE: u8 = 1;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    if args.iter().any(|arg| arg == b"--server") {
        return server::run(&args).into();
    }
    match Cli::try_parse() {
        Ok(cli) => client::run(&cli).into(),
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nobody may be there to read it.
            let _printed = error.print();
            code.into()
        }
    }
}
