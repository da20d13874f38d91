//! `signpost-admin`: the writer and its operator's commands.

use std::process::ExitCode;

use clap::Parser;
use signpost_admin::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    daemon::exit::run(|| signpost_admin::cli::run(Cli::parse()))
}
