//! Entry point.

use std::ffi::OsString;
use std::sync::Arc;

use mover_rclone::cli::{self, Env};
use mover_rclone::config::ProcessEnv;

fn main() {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let env: Env = Arc::new(ProcessEnv);
    let code = cli::run(&args, &env);
    // Not by returning: a thread that hangs in the kernel would be waited for.
    std::process::exit(code as i32);
}
