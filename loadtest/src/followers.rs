//! `followers`: what many followers cost the writer's clients.
//!
//! Links are created at a rate, without waiting for proxies, in turns: a while with one follower, a while with many, and so on, so that whatever
//! else the machine does falls on both. Followers are clients of the feed without a disk: they take every record, acknowledge, and keep nothing.
//! All of them connect in the same instant, while links are created: that is what a fleet does that is started at once.
//!
//! - `crowd`: the followers · this file: the turns and the comparison

mod crowd;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::admin::{AdminApi, created};
use crate::fleet::{Fleet, Options, default_bin_dir};
use crate::http1::Connection;
use crate::latency::{Latency, Record};
use crate::pace::{StopFlag, ns_between, precise_sleeps};
use crate::progress::{print, say};
use crate::report::ReportArgs;
use crowd::{Crowd, Follower};

const API_TIMEOUT: Duration = Duration::from_secs(10);
/// How long all followers together may take from dialling to having everything.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
/// What is measured begins so long after the last follower has everything.
const SETTLED_FOR: Duration = Duration::from_millis(500);

/// What `followers` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the fleet; one made by an earlier run can be used again.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Followers in the turns with many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=500))]
    followers: u16,
    /// Turns of each kind.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    turns: u16,
    /// How long links are created in each turn, in seconds.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Links created a second.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Connections that create them.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Fails if the 99th percentile with many is more than so many times that with one.
    #[arg(long, value_name = "X")]
    ratio_max: Option<f64>,
    /// Folder of the binaries [default: the folder of this program]
    #[arg(long, value_name = "DIR", env = "SIGNPOST_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
}

/// One turn.
#[derive(Debug, Serialize)]
pub struct Turn {
    /// Followers in it.
    pub followers: usize,
    /// From their dialling, all at once, to the last of them having everything, in milliseconds.
    pub caught_up_ms: u64,
    /// Streams that were begun: more than followers if some had to try again.
    pub streams: u64,
    /// Links created while they connected, none of which may fail.
    pub created_meanwhile: u64,
    /// Links created in the measured time.
    pub created: u64,
    /// Frames they were sent in it, all together.
    pub frames: u64,
    /// The 99th percentile of a create in it, in microseconds.
    pub p99_us: f64,
}

/// What `followers` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// In their order.
    pub turns: Vec<Turn>,
    /// Creates of all turns with one follower.
    pub with_one: Record,
    /// Creates of all turns with many.
    pub with_many: Record,
    /// 99th percentile with many over that with one.
    pub p99_ratio: f64,
    /// Creates without a 201.
    pub failed: u64,
}

impl Results {
    fn text(&self) -> String {
        let mut text = String::from("followers   caught up   streams   creates   frames      p99\n");
        for turn in &self.turns {
            text.push_str(&format!(
                "{:>9} {:>8} ms {:>9} {:>9} {:>8} {:>5.0} µs\n",
                turn.followers, turn.caught_up_ms, turn.streams, turn.created, turn.frames, turn.p99_us
            ));
        }
        text.push_str(&format!("with one:  {}\n", self.with_one.summary.line()));
        text.push_str(&format!("with many: {}\n", self.with_many.summary.line()));
        text.push_str(&format!("p99 with many / with one: {:.2}; failed: {}\n", self.p99_ratio, self.failed));
        text
    }
}

/// Runs the command.
///
/// # Errors
/// The fleet did not start, followers did not get everything in time, a create failed, or the ratio is above what is allowed.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let begun = args.report.begin();
    let results = args.measure(&stop)?;
    print(results.text());
    let path = begun.write(&results)?;
    say(format!("report in {}", path.display()));
    anyhow::ensure!(results.failed == 0, "{} creates failed", results.failed);
    if let Some(most) = args.ratio_max {
        anyhow::ensure!(
            results.p99_ratio <= most,
            "the 99th percentile is {:.2} times as long, and {most} is allowed",
            results.p99_ratio
        );
    }
    Ok(())
}

/// What a time of creating links has given.
#[derive(Debug, Default)]
struct Creates {
    latency: Latency,
    failed: u64,
}

impl Args {
    fn measure(&self, stop: &StopFlag) -> anyhow::Result<Results> {
        let mut options = Options::new(&self.dir, 1)?;
        options.bin_dir = self.bin_dir.clone().map_or_else(default_bin_dir, Ok)?;
        let admin = options.bin_dir.join("signpost-admin");
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        // The fleet's own proxy would be a follower too.
        let stopped = fleet.command("stop proxy-0");
        anyhow::ensure!(stopped["ok"] == true, "{stopped}");
        say(format!("followers: making {} members", self.followers));
        let followers = self.members(&fleet, &admin)?;
        let api = AdminApi::new(fleet.ready().admin.parse()?, &fleet.ready().token, true);
        let (mut turns, mut one, mut many) = (Vec::new(), Creates::default(), Creates::default());
        for _ in 0..self.turns {
            for (count, sum) in [(1, &mut one), (followers.len(), &mut many)] {
                let turn = self.turn(&followers[..count], &api, sum, stop)?;
                say(format!("followers: {count}: p99 {:.0} µs", turn.p99_us));
                turns.push(turn);
            }
        }
        let p99 = |creates: &Creates| creates.latency.percentile_ns(99.0).max(1) as f64;
        let (with_one, with_many) = (one.latency.record_of(), many.latency.record_of());
        let (p99_ratio, failed) = (p99(&many) / p99(&one), one.failed + many.failed);
        Ok(Results { turns, with_one, with_many, p99_ratio, failed })
    }

    /// Adds the followers to the fleet, each with a credential of its own; those an earlier run has added are used again.
    fn members(&self, fleet: &Fleet, admin: &Path) -> anyhow::Result<Vec<Follower>> {
        let dir = fleet.dir().canonicalize()?;
        let (ca, config) = (dir.join("ca"), dir.join("admin").join("config.toml"));
        let feed = feed_of(&dir)?;
        let member = |n: u16| {
            let name = format!("follower-{n}");
            let tls = dir.join("followers").join(&name);
            if !tls.join("cert.pem").exists() {
                let output = Command::new(admin)
                    .args(["proxy", "add", &name, "--ca"])
                    .arg(&ca)
                    .arg("--out")
                    .arg(&tls)
                    .arg("--config")
                    .arg(&config)
                    .output()
                    .with_context(|| format!("cannot run {}", admin.display()))?;
                let said = String::from_utf8_lossy(&output.stderr);
                anyhow::ensure!(output.status.success(), "cannot add {name}: {said}");
            }
            Follower::new(feed.clone(), name, &tls)
        };
        std::fs::create_dir_all(dir.join("followers")).context("cannot make the followers' folder")?;
        (0..self.followers).map(member).collect()
    }

    fn turn(
        &self,
        followers: &[Follower],
        api: &AdminApi,
        sum: &mut Creates,
        stop: &StopFlag,
    ) -> anyhow::Result<Turn> {
        let count = followers.len();
        // Links are created while everybody dials.
        let dialling = StopFlag::default();
        let (crowd, meanwhile) = thread::scope(|scope| {
            let creating = scope.spawn(|| self.create(api, CAUGHT_UP_WITHIN, &dialling));
            let crowd = Crowd::start(followers).and_then(|crowd| {
                crowd.await_caught_up(CAUGHT_UP_WITHIN, stop)?;
                Ok(crowd)
            });
            dialling.set();
            (crowd, creating.join())
        });
        let meanwhile = meanwhile.map_err(|_| anyhow::anyhow!("a thread that creates links panicked"))?;
        let crowd = crowd?;
        anyhow::ensure!(stop.sleep_until(Instant::now() + SETTLED_FOR), "stopped before the end");
        let frames = crowd.frames();
        let creates = self.create(api, Duration::from_secs(self.seconds), stop);
        let turn = Turn {
            followers: count,
            caught_up_ms: crowd.caught_up_ms(),
            streams: crowd.streams(),
            created_meanwhile: meanwhile.latency.count() - meanwhile.failed,
            created: creates.latency.count() - creates.failed,
            frames: crowd.frames() - frames,
            p99_us: (creates.latency.percentile_ns(99.0) as f64 / 1e3).round(),
        };
        crowd.leave()?;
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        sum.latency.merge(&creates.latency);
        sum.failed += creates.failed + meanwhile.failed;
        Ok(turn)
    }

    /// Creates links at the rate, for a while or until stopped. Each is measured from when it was to begin.
    fn create(&self, api: &AdminApi, lasting: Duration, stop: &StopFlag) -> Creates {
        let every = Duration::from_secs(1) / self.rate;
        let most = u32::try_from(lasting.as_nanos() / every.as_nanos().max(1)).unwrap_or(u32::MAX);
        let start = Instant::now();
        let connection = |first: u16| {
            precise_sleeps();
            let mut connection = Connection::new(api.endpoint().clone(), API_TIMEOUT);
            let mut creates = Creates::default();
            for n in (u32::from(first)..most).step_by(usize::from(self.connections)) {
                let intended = start + every * n;
                if !stop.sleep_until(intended) {
                    break;
                }
                let request = api.create(&format!("https://example.org/followers/{n}"));
                let is_created = connection.exchange(&request).is_ok_and(|answer| created(&answer).is_ok());
                creates.failed += u64::from(!is_created);
                creates.latency.record(ns_between(intended, Instant::now()));
            }
            creates
        };
        let connection = &connection;
        thread::scope(|scope| {
            let all: Vec<_> =
                (0..self.connections).map(|first| scope.spawn(move || connection(first))).collect();
            let mut sum = Creates::default();
            for one in all {
                let Ok(one) = one.join() else { continue };
                sum.latency.merge(&one.latency);
                sum.failed += one.failed;
            }
            sum
        })
    }
}

/// Where the fleet's writer feeds proxies.
fn feed_of(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("proxy-0").join("config.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: toml::Table = text.parse().with_context(|| format!("cannot read {}", path.display()))?;
    let url = config.get("writers").and_then(|writers| writers.get("urls")?.get(0)?.as_str());
    Ok(url.context("the proxy's configuration has no writers.urls")?.to_owned())
}
