//! `signpost`: the client of the API.

use std::process::ExitCode;

use clap::Parser;
use signpost_cli::cli::Cli;

fn main() -> ExitCode {
    daemon::exit::run(|| signpost_cli::cli::run(Cli::parse()))
}
