//! `fleet`: the real binaries on loopback, set up as a user would, with mTLS between them as when deployed.
//!
//! [`Fleet`] is the library's side of it, for tests; the command puts standard input and output around it.
//!
//! Invariants: a part keeps its ports and data when it is started again, also by a later run on the same folder;
//! nothing is restarted by itself; when the fleet ends, however it ends, no process of it is left: a part is killed by
//! the kernel if the thread that started it is gone.

mod binaries;
mod command;
mod config;
mod handle;
mod layout;
mod options;
pub(crate) mod ports;
mod preload;
pub(crate) mod process;
pub(crate) mod readiness;
mod setting;
mod setup;
mod supervisor;

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::thread;

use anyhow::Context;
use serde_json::Value;

use crate::pace::StopFlag;
use crate::progress::{print, say};

pub use binaries::{BINARIES, default_bin_dir};
pub use handle::{Fleet, Pids, Ready};
pub use options::{FixedPorts, Options, Variable};
pub(crate) use process::end_with_this_thread;
pub use setting::Setting;

const HELP_COMMANDS: &str = "\
Commands on standard input, one a line, each answered by one JSON line:
  status                 state, pid and readiness of every part
  kill PART SIGNAL       sends a signal: a number or a name (9, KILL, STOP, CONT, TERM)
  stop PART              ends a part in good order and waits for it
  start PART             starts a part and answers when it is ready, or why not after 30 s
  spawn PART             starts a part and does not wait
  promote PART           makes a standby the writer and answers when it is
  quit                   stops everything and ends
Parts: admin, standby-0 …, keypool-0 …, proxy-0 …";

/// What `fleet` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP_COMMANDS)]
pub struct Args {
    /// Folder for configuration, data, logs, the token (`token`) and the codes of preloaded links (`keys.txt`).
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Number of proxies.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    proxies: u16,
    /// Number of standbys of the admin API, which then waits for one of them.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=4))]
    standbys: u16,
    /// Number of key pools; the slots of the code space are shared out among them when the folder is new.
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    keypools: u16,
    /// Synthetic links to preload; links that an earlier run preloaded count.
    #[arg(long, value_name = "L", default_value_t = 0)]
    links: u64,
    /// A setting for the configuration of a part, as proxy.KEY=VALUE, admin.KEY=VALUE, keypool.KEY=VALUE or
    /// proxy-0.KEY=VALUE for one of them; KEY is a dotted path, VALUE is TOML (or a bare string). May be repeated.
    #[arg(long = "set", value_name = "PART.KEY=VALUE")]
    set: Vec<Setting>,
    /// Folder of the binaries [default: the folder of this program]
    #[arg(long, value_name = "DIR", env = "SIGNPOST_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    ports: FixedPorts,
    /// Run until a signal; standard input is not read.
    #[arg(long)]
    until_signal: bool,
}

enum Event {
    Line(String),
    End,
}

/// Runs the command.
///
/// # Errors
/// Why the fleet cannot be started.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::default();
    let (events, incoming) = mpsc::channel();
    let end = events.clone();
    // The other end is gone only when the program is about to end anyway.
    stop.clone().call_on_signals(move || drop(end.send(Event::End)))?;
    if !args.until_signal {
        let stop = stop.clone();
        let read = move || read_commands(&events, &stop);
        thread::Builder::new()
            .name("stdin".into())
            .spawn(read)
            .context("cannot start the thread that reads commands")?;
    }
    let options = args.options()?;
    let fleet = match Fleet::start_stoppable(options, stop.clone()) {
        Ok(fleet) => fleet,
        Err(_) if stop.is_set() => {
            say("fleet: stopped while starting");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    print(format!(
        "{}\n",
        serde_json::to_string(fleet.ready()).context("cannot put the addresses into JSON")?
    ));
    while let Ok(Event::Line(line)) = incoming.recv() {
        let answer = fleet.command(&line);
        print(format!("{answer}\n"));
        if fleet.has_ended() {
            break;
        }
    }
    drop(fleet);
    say("fleet: stopped");
    Ok(())
}

/// Hands lines on until standard input ends. If it ends before the first line, nobody will ever say anything: the
/// fleet is stopped even while it starts.
fn read_commands(events: &Sender<Event>, stop: &StopFlag) {
    let mut any = false;
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        any = true;
        if events.send(Event::Line(line)).is_err() {
            return;
        }
    }
    if !any {
        stop.set();
    }
    // As above: nobody listens any more only when the program ends.
    let _ = events.send(Event::End);
}

impl Args {
    fn options(self) -> anyhow::Result<Options> {
        let bin_dir = self.bin_dir.map_or_else(default_bin_dir, Ok)?;
        Ok(Options {
            dir: self.dir,
            bin_dir,
            proxies: self.proxies,
            standbys: self.standbys,
            keypools: self.keypools,
            links: self.links,
            settings: self.set,
            ports: self.ports,
            environment: Vec::new(),
            visitors_known: false,
        })
    }
}

/// `{"error": …}`: what a command is answered that was not done.
fn refusal(error: impl std::fmt::Display) -> Value {
    serde_json::json!({ "error": error.to_string() })
}
