//! The command line.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use daemon::control;
use daemon::exit::Exit;
use serde_json::{Value, json};

use crate::bench::{self, BenchArgs};
use crate::config::Config;
use crate::control::code;
use crate::server;
use crate::supply::restore;

/// The key supply: random 7-character codes, leased to signpost-admin in blocks, each code once.
///
/// Without a command it runs as a daemon until SIGTERM or SIGINT. Exit codes: 0 done, 1 failure, 2 usage, 78 bad
/// configuration.
#[derive(Debug, Parser)]
#[command(name = "signpost-keypool", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The configuration file of the daemon
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the configuration and print what is in force
    #[arg(long, requires = "config")]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the running daemon has: unused and used codes, leases, rate of refilling
    Stats(Daemon),
    /// Show which slots of the code space the running daemon's pool owns
    Slots(Daemon),
    /// Fill up to the high watermark now
    Refill(Daemon),
    /// Give codes back whose links are gone; they return after pool.quarantine_days, or never if that is 0
    Release(DaemonCodes),
    /// Take codes out of circulation that came into use without a lease
    MarkUsed(DaemonCodes),
    /// Make a pool of its own out of a backup, a clone or a damaged database: new pool id, everything unused is burned
    ///
    /// No daemon may run on it. Slots and used codes stay.
    Restored(RestoredArgs),
    /// Measure generating and leasing in a directory of its own
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Daemon {
    /// The daemon's configuration file, which names its control socket
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's control socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DaemonCodes {
    #[command(flatten)]
    daemon: Daemon,
    /// Codes of 7 characters
    #[arg(value_name = "CODE", required = true)]
    codes: Vec<String>,
}

#[derive(Debug, Args)]
struct RestoredArgs {
    /// The configuration file of the daemon
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// It failed; the error says with which exit code to end.
    pub fn run(self) -> Result<(), Exit> {
        match self.command {
            None => serve_or_check(self.config, self.check),
            Some(Command::Stats(daemon)) => daemon.call("stats", Value::Null),
            Some(Command::Slots(daemon)) => daemon.call("slots", Value::Null),
            Some(Command::Refill(daemon)) => daemon.call("refill", Value::Null),
            Some(Command::Release(args)) => args.call("release"),
            Some(Command::MarkUsed(args)) => args.call("mark-used"),
            Some(Command::Restored(args)) => restored(&args),
            Some(Command::Bench(args)) => bench::run(&args),
        }
    }
}

impl Daemon {
    fn call(self, command: &str, args: Value) -> Result<(), Exit> {
        let socket = match (self.socket, self.config) {
            (Some(socket), _) => socket,
            (None, Some(config)) => Config::load(&config)?.config.control_socket,
            (None, None) => return Err(Exit::Usage("give --config FILE or --socket PATH".to_owned())),
        };
        let answer = control::call(&socket, command, args).map_err(Exit::failure)?;
        let lines: String = match &answer {
            Value::Object(members) => {
                members.iter().map(|(key, value)| format!("{key}: {}\n", plain(value))).collect()
            }
            other => format!("{other}\n"),
        };
        print(&lines)
    }
}

impl DaemonCodes {
    fn call(self, command: &str) -> Result<(), Exit> {
        for text in &self.codes {
            code(text).map_err(Exit::Usage)?;
        }
        self.daemon.call(command, json!({ "codes": self.codes }))
    }
}

fn serve_or_check(config: Option<PathBuf>, check: bool) -> Result<(), Exit> {
    let path =
        config.ok_or_else(|| Exit::Usage("give --config FILE; --help says what else there is".to_owned()))?;
    let loaded = Config::load(&path)?;
    if !check {
        return server::run(loaded, &path.display().to_string());
    }
    server::check(&loaded.config)?;
    print(&loaded.effective)
}

fn restored(args: &RestoredArgs) -> Result<(), Exit> {
    let config = Config::load(&args.config)?.config;
    let restored = restore(&config.data_dir).map_err(Exit::failure)?;
    print(&format!(
        "pool {} is pool {} now; {} unused codes are burned\n",
        restored.old_id, restored.new_id, restored.burned
    ))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Writes to stdout. A reader that has gone away, such as `head`, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Exit> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::failure(error)),
        _ => Ok(()),
    }
}
