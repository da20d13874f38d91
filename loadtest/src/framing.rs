//! `framing`: where does a request end? A table of odd bytes, sent to a real proxy and to others who read HTTP.
//!
//! A server that sees a request where the one before it sees a body, or the other way round, can be made to answer a
//! request that nobody was to send. So every case of the table says what Signpost answers and whether the connection
//! goes on, and the same bytes go to nginx, HAProxy and h11. Signpost must answer as the table says, must never see
//! more requests than the strictest of the others that answers the undisputed part, and must do the same however the
//! bytes are cut on their way.
//!
//! | module | what it is for |
//! |---|---|
//! | [`cases`] | the tables: `framing/http1.txt` and `framing/http2.txt` |
//! | [`bytes`], [`frames`] | their ways of writing bytes, and frames of HTTP/2 |
//! | [`exchange`], [`http2`] | send bytes, collect answers |
//! | [`peers`] | the others, started for the run |
//! | [`judge`] | what is a finding |
//!
//! A request counts as seen when it is answered, whatever the answer but a refusal to read it. Answers are counted,
//! not what reaches a backend: a peer that answers by itself shows what it reads as one request, without what its
//! forwarding mends or breaks.

pub mod bytes;
pub mod cases;
pub mod exchange;
pub mod frames;
pub mod http2;
pub mod judge;
pub mod peers;
mod run;

use std::path::PathBuf;

use anyhow::Context;

use self::run::Speakers;
use crate::fleet::{Fleet, Options, default_bin_dir};
use crate::http1::Endpoint;
use crate::progress::{print, say};

/// What `framing` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the fleet and the configuration of the others.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Folder of the binaries [default: the folder of this program]
    #[arg(long, value_name = "DIR", env = "SIGNPOST_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    /// Only cases with this in their name.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Print every case, not only those with a finding.
    #[arg(long)]
    table: bool,
}

/// Runs the command.
///
/// # Errors
/// What is missing, or how many findings there are.
pub fn run(args: Args) -> anyhow::Result<()> {
    let chosen = |cases: Vec<cases::Case>| -> Vec<_> {
        cases.into_iter().filter(|case| case.name.contains(&args.only)).collect()
    };
    let http1 = chosen(cases::http1().context("framing/http1.txt")?);
    let http2 = chosen(cases::http2().context("framing/http2.txt")?);
    let bin_dir = args.bin_dir.map_or_else(default_bin_dir, Ok)?;
    let h2c = peers::free_port()?;
    let listener = format!("proxy.listener=[{{ address = \"{h2c}\", h2c = true }}]");
    let settings = vec![listener.parse().map_err(anyhow::Error::msg)?];
    let fleet = Fleet::start(Options { bin_dir, settings, ..Options::new(args.dir.join("fleet"), 1)? })?;
    run::create_links(&fleet)?;
    let peers = peers::start(&args.dir)?;
    let begun = std::time::Instant::now();
    let signpost = fleet.ready().proxies[0].parse::<Endpoint>()?.address();
    let mut verdicts = run::run(&http1, &Speakers { signpost, peers: &peers, is_http2: false })?;
    let mut table = judge::table(&verdicts, args.table);
    let of_http2 = run::run(&http2, &Speakers { signpost: h2c, peers: &peers, is_http2: true })?;
    table.push_str(&judge::table(&of_http2, args.table));
    verdicts.extend(of_http2);
    let findings = verdicts.iter().filter(|verdict| !verdict.findings.is_empty()).count();
    print(table);
    say(format!(
        "framing: {} cases, {} exchanges in {:.0} s, {findings} with a finding",
        verdicts.len(),
        verdicts.iter().map(|verdict| verdict.exchanges).sum::<usize>(),
        begun.elapsed().as_secs_f64(),
    ));
    anyhow::ensure!(findings == 0, "{findings} cases with a finding");
    Ok(())
}
