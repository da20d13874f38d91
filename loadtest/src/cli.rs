//! The command line: one variant per command; each command's arguments stand in its own module.

use clap::{Parser, Subcommand};

use crate::{
    allocations, clicks, contest, create, fault, fault_sweep, fleet, flips, followers, framing, handshakes,
    import, leases, links, list, max_clicks, power_cuts, promotions, redirect, verify,
};

/// Load, checks and local fleets for Signpost.
#[derive(Debug, Parser)]
#[command(name = "signpost-loadtest", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a local fleet of the real binaries and takes commands for it on standard input.
    Fleet(fleet::Args),
    /// Creates links through the admin API, at a rate or as fast as the connections allow.
    Create(create::Args),
    /// Imports made-up links with titles, tags and dates, as one stream of lines.
    Import(import::Args),
    /// Asks for lists of every kind, at a rate, and measures each kind from the intended start.
    List(list::Args),
    /// Asks for redirects at a rate and measures from the intended start of each request.
    Redirect(redirect::Args),
    /// Sends a known number of redirects through kills and cut connections and compares with what is counted.
    Clicks(clicks::Args),
    /// Has many clients follow links that end with a number of clicks, and compares with what the log says.
    MaxClicks(max_clicks::Args),
    /// Creates links with one follower and with many, in turns, and compares how long that takes.
    Followers(followers::Args),
    /// Loses writers under load, promotes standbys, and compares everything that was acknowledged.
    Promotions(promotions::Args),
    /// Works with a fleet while its processes and cables fail, and checks that nothing acknowledged is lost.
    Fault(fault::Args),
    /// Has the Nth call of a part that changes a file fail, for every N, and checks that nothing acknowledged is lost.
    FaultSweep(fault_sweep::Args),
    /// Turns one bit of one file over, again and again, and checks that no answer changes.
    Flips(flips::Args),
    /// Cuts the power of one part after the other, which loses what was not synced, and checks everything acknowledged.
    PowerCuts(power_cuts::Args),
    /// Has many clients claim the same aliases and checks that each ends up with one owner.
    Contest(contest::Args),
    /// Counts what a running proxy allocates for requests of every kind.
    Allocations(allocations::Args),
    /// Opens a TLS connection for every request, with whole handshakes or resumed ones.
    Handshakes(handshakes::Args),
    /// Leases codes from key pools that are killed, restored from old copies and split, and looks for one that came twice.
    Leases(leases::Args),
    /// Writes the codes of preloaded links with their targets.
    Links(links::Args),
    /// Asks every proxy for every key once and compares the targets.
    Verify(verify::Args),
    /// Sends odd bytes to a proxy, nginx, HAProxy and h11, and compares where each sees requests.
    Framing(framing::Args),
}

impl Cli {
    /// Runs the command that was typed.
    ///
    /// # Errors
    /// What failed, or which check did not hold.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Fleet(args) => fleet::run(args),
            Command::Create(args) => create::run(args),
            Command::Import(args) => import::run(args),
            Command::List(args) => list::run(args),
            Command::Redirect(args) => redirect::run(args),
            Command::Clicks(args) => clicks::run(args),
            Command::MaxClicks(args) => max_clicks::run(args),
            Command::Followers(args) => followers::run(args),
            Command::Promotions(args) => promotions::run(args),
            Command::Fault(args) => fault::run(args),
            Command::FaultSweep(args) => fault_sweep::run(args),
            Command::Flips(args) => flips::run(args),
            Command::PowerCuts(args) => power_cuts::run(args),
            Command::Contest(args) => contest::run(args),
            Command::Allocations(args) => allocations::run(args),
            Command::Handshakes(args) => handshakes::run(args),
            Command::Leases(args) => leases::run(args),
            Command::Links(args) => links::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Framing(args) => framing::run(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_argument_has_help() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            for argument in command.get_arguments() {
                let documented = argument.get_help().is_some() || argument.get_long_help().is_some();
                assert!(documented, "{} {} has no help", command.get_name(), argument.get_id());
            }
        }
    }
}
