//! signpost-keypool: see `signpost-keypool --help` and [`signpost_keypool`].

use std::process::ExitCode;

use clap::Parser;
use signpost_keypool::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    daemon::exit::run(|| cli.run())
}
