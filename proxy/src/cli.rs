//! The command line.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use daemon::exit::Exit;

use crate::config::Config;
use crate::{control, run};

/// Redirects visitors of short links, from memory or the local disk.
#[derive(Debug, Parser)]
#[command(name = "signpost-proxy", version)]
struct Arguments {
    /// The configuration file; config.example.toml has every key with its default
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Says what is wrong with the configuration, or prints what is in force, and ends
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Asks a running proxy what it has done and how it is, as JSON
    Stats {
        #[command(flatten)]
        at: At,
    },
    /// Has a running proxy read everything on its disk at once and compare it with its sums
    Scrub {
        #[command(flatten)]
        at: At,
    },
    /// Has a running proxy read its certificates and its ticket secret again; what is wrong with them changes nothing
    Reload {
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
struct At {
    /// Its control socket; otherwise the one in the configuration
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Does what the command line says.
///
/// # Errors
/// Why it could not.
pub fn main() -> Result<(), Exit> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Stats { at }) => call(at, arguments.config, "stats"),
        Some(Command::Scrub { at }) => call(at, arguments.config, "scrub"),
        Some(Command::Reload { at }) => call(at, arguments.config, "reload"),
        None => {
            let loaded = load(arguments.config)?;
            if arguments.check { print(&loaded.effective) } else { run(loaded.config) }
        }
    }
}

fn load(config: Option<PathBuf>) -> Result<daemon::config::Loaded<Config>, Exit> {
    let path = config.ok_or_else(|| Exit::Usage("say which configuration: --config FILE".into()))?;
    Ok(daemon::config::load(&path, Config::read)?)
}

fn call(at: At, config: Option<PathBuf>, command: &str) -> Result<(), Exit> {
    let socket = match at.socket {
        Some(socket) => socket,
        None => load(config)?.config.control_socket,
    };
    let answer = control::call(&socket, command).map_err(Exit::failure)?;
    print(&format!("{answer:#}\n"))
}

fn print(text: &str) -> Result<(), Exit> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Exit::failure)
}
