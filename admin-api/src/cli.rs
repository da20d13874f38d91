//! The command line: `serve`, and the operator's commands. What needs the state asks the running service over its control socket; making
//! credentials is done here and now, with the certificate authority's folder.

mod backups;
mod call;
mod credentials;
mod domains;
mod proxies;
mod restore;
mod standbys;
mod sweep;
mod tokens;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use daemon::exit::Exit;

use crate::{config, server};

/// The writer of a Signpost fleet: HTTP API, journal, replication feed.
#[derive(Debug, Parser)]
#[command(name = "signpost-admin", version, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    /// Check the configuration, print the one in force, and end; nothing is opened
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the service is configured, or reached.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Configuration file of the service
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Control socket of the running service, instead of the one in the configuration
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (the default)
    Serve,
    /// Make the fleet's certificate authority (offline)
    #[command(subcommand)]
    Ca(credentials::Ca),
    /// Make credentials for key pools (offline)
    #[command(subcommand)]
    Keypool(credentials::Keypool),
    /// Proxies that follow this writer
    #[command(subcommand)]
    Proxy(proxies::Proxy),
    /// Servers that follow this writer and can take its place
    #[command(subcommand)]
    Standby(standbys::Standbys),
    /// Make this standby the writer: the one before it can acknowledge nothing afterwards
    Promote {
        /// Go on though acknowledged changes may be missing: what is at risk is said
        #[arg(long)]
        accept_loss: bool,
    },
    /// Fetch what this writer's log has lost from sync members, and begin a new epoch (with the service stopped)
    Recover {
        /// The feed of a sync member, https://HOST:PORT; give every one there is
        #[arg(long, value_name = "URL", required = true)]
        from: Vec<String>,
    },
    /// Tokens of the API
    #[command(subcommand)]
    Token(tokens::Token),
    /// Domains that short links live on
    #[command(subcommand)]
    Domain(domains::Domain),
    /// Show which links that have ended would be swept
    Sweep(sweep::Sweep),
    /// Make a backup now, or show how they go
    #[command(subcommand)]
    Backup(backups::Backup),
    /// Make the log and the counts anew out of backups, as the beginning of a new epoch (offline)
    Restore(restore::Restore),
    /// Show the fleet's id and the head of the log
    Status,
}

/// Runs what the command line says.
///
/// # Errors
/// Why it was not done, with the exit code.
pub fn run(cli: Cli) -> Result<(), Exit> {
    let common = &cli.common;
    match cli.command {
        None | Some(Command::Serve) => serve(common, cli.check),
        Some(_) if cli.check => Err(Exit::Usage("--check goes with --config alone".to_owned())),
        Some(Command::Ca(command)) => credentials::ca(&command),
        Some(Command::Keypool(command)) => credentials::keypool(&command),
        Some(Command::Proxy(command)) => proxies::run(common, &command),
        Some(Command::Standby(command)) => standbys::run(common, &command),
        Some(Command::Promote { accept_loss }) => standbys::promote(common, accept_loss),
        Some(Command::Recover { from }) => standbys::recover(common, &from),
        Some(Command::Token(command)) => tokens::run(common, &command),
        Some(Command::Domain(command)) => domains::run(common, &command),
        Some(Command::Sweep(command)) => sweep::run(common, &command),
        Some(Command::Backup(command)) => backups::run(common, &command),
        Some(Command::Restore(command)) => restore::run(common, &command),
        Some(Command::Status) => {
            let status = common.call("status", serde_json::Value::Null)?;
            print(&format!("{status:#}"))
        }
    }
}

fn serve(common: &Common, check: bool) -> Result<(), Exit> {
    let Some(path) = &common.config else {
        return Err(Exit::Usage("give the configuration: --config FILE (see --help)".to_owned()));
    };
    let loaded = config::load(path)?;
    if check {
        return print(loaded.effective.trim_end());
    }
    daemon::telemetry::init(&loaded.config.log);
    let stop = daemon::shutdown::on_signals().map_err(Exit::failure)?;
    server::run(&loaded.config, &stop).map_err(Exit::failure)
}

/// Prints a line to stdout. A reader that has gone away is no failure.
fn print(line: &str) -> Result<(), Exit> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::failure(error)),
        _ => Ok(()),
    }
}

/// Prints a line to stderr: for people, where stdout is for scripts.
fn tell(line: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
