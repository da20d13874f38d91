//! The command line.

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use daemon::exit::Exit;

use crate::client::Client;
use crate::commands::{
    api, clicks, create, delete, domains, edit, export, get, groups, import, list, qr, tokens, users,
};
use crate::output;
use crate::settings::{Common, Settings};

/// The client of a Signpost API: makes, reads, changes and moves short links.
///
/// Results go to stdout, everything else to stderr. Exit code 1: something was refused or failed; 2: the command line makes no sense; 78: the configuration
/// is not valid.
#[derive(Debug, Parser)]
#[command(name = "signpost", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make links: one, several, or a list of URLs from standard input
    Create(create::Create),
    /// Show a link
    Get(get::Get),
    /// Change a link
    Edit(edit::Edit),
    /// Delete links
    Delete(delete::Delete),
    /// List links, newest first
    List(list::List),
    /// Show how often a link was followed
    Clicks(clicks::Clicks),
    /// Draw the short URL of a link as a QR code
    Qr(qr::Qr),
    /// Write all links as lines of JSON
    Export(export::Export),
    /// Read links from an export, of this API or of another shortener
    Import(import::Import),
    /// Users: whom links and tokens belong to
    #[command(subcommand)]
    Users(users::Users),
    /// Groups of users
    #[command(subcommand)]
    Groups(groups::Groups),
    /// Tokens: who may ask for what, and how much
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Domains: names under which codes are of their own
    #[command(subcommand)]
    Domains(domains::Domains),
    /// Send any request of the API and print what it answers
    Api(api::Api),
    /// Print what makes a shell complete this command
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Runs what the command line says.
///
/// # Errors
/// Why it was not done, with the exit code.
pub fn run(cli: Cli) -> Result<(), Exit> {
    if let Command::Completions { shell } = cli.command {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "signpost", &mut text);
        return output::print(String::from_utf8_lossy(&text).trim_end());
    }
    let settings = Settings::load(&cli.common)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Exit::failure)?;
    let done = runtime.block_on(async {
        let mut client = Client::of(&settings)?;
        let output = settings.output;
        match &cli.command {
            Command::Create(create) => create.run(&mut client, output).await,
            Command::Get(get) => get.run(&mut client, output).await,
            Command::Edit(edit) => edit.run(&mut client, output).await,
            Command::Delete(delete) => delete.run(&mut client).await,
            Command::List(list) => list.run(&mut client, output).await,
            Command::Clicks(clicks) => clicks.run(&mut client, output).await,
            Command::Qr(qr) => qr.run(&mut client).await,
            Command::Users(users) => users.run(&mut client, output).await,
            Command::Groups(groups) => groups.run(&mut client, output).await,
            Command::Tokens(tokens) => tokens.run(&mut client, output).await,
            Command::Domains(domains) => domains.run(&mut client, output).await,
            Command::Export(export) => export.run(&mut client).await,
            Command::Import(import) => import.run(&mut client, output).await,
            Command::Api(api) => api.run(&mut client, output).await,
            Command::Completions { .. } => Ok(()),
        }
    });
    // A read of standard input cannot be called off: nobody waits for it.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
