//! Entry point.

use std::sync::Arc;

use mover_rclone::cli::{self, Env};
use mover_rclone::config::ProcessEnv;
use mover_rclone::contract::{self, Start};

fn main() {
    let env: Env = Arc::new(ProcessEnv);
    let code = match Start::of(std::env::args_os().collect(), &*env) {
        Start::Job => contract::run(&env),
        Start::CommandLine(args) => cli::run(&args, &env),
        Start::Shell => contract::shell(),
        Start::Remove(args) => contract::remove(&args),
    };
    // Not by returning: a thread that hangs in the kernel would be waited for.
    std::process::exit(code as i32);
}
