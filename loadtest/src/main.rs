//! The program `signpost-loadtest`: parses the command line and runs one command. Exit codes: 0 done and clean, 1 a
//! failure or a check that did not hold, 2 a wrong command line.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use signpost_loadtest::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is gone; the exit code still says it.
            let _ = writeln!(std::io::stderr(), "signpost-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
