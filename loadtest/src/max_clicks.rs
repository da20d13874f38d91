//! `max-clicks`: many clients follow links that end with a number of clicks, and never more than that many get through.
//!
//! The contract, per link: *received ≤ used ≤ limit*, whatever is killed; with nobody killed, received = limit. What was used and not received
//! was on its way when a proxy was killed. What is not known to be used is burned, and only with the memory of a proxy: `used + burned = limit`.
//! After a limit was lowered no more gets through than the new one, or than had by then.
//!
//! A promotion loses no click and gives none twice: grants are records, and none was shown to a proxy before a standby had it. A restore burns
//! what was left, and what was granted after the backup is in nobody's hands any more.
//!
//! - `visitors`: the clients · `api`: the links · `writers`: who is the writer · `restored`: the writer goes back · this file: the faults and the comparison

mod api;
mod restored;
mod visitors;
mod writers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::figures;
use crate::fleet::Fleet;
use crate::http1::Endpoint;
use crate::pace::StopFlag;
use crate::progress::say;
use crate::trial::{self, Findings, PlaceArgs, Seed, Settings};
use api::Api;
use restored::Backups;
use visitors::{Seen, Visitors};
use writers::{Writers, must};

/// How long one link may take to be used up.
const USED_UP_WITHIN: Duration = Duration::from_secs(120);
/// How long proxies may take to tell of their last clicks.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// How long a proxy stays away that was killed, in milliseconds.
const AWAY_MS: std::ops::Range<u64> = 0..500;
/// Time between two kills, in milliseconds.
const BETWEEN_MS: std::ops::Range<u64> = 100..1_000;

/// What `max-clicks` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of proxies.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    proxies: u16,
    /// Clients, each following the same link again and again until it has ended.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// How long a client rests after each redirect, in milliseconds: makes links last long enough for many kills.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    rest: u64,
    /// Limits of the links, one link after the other.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 2, 3, 10, 100, 1_000, 10_000])]
    limits: Vec<u64>,
    /// How often a proxy, chosen at random, is killed (SIGKILL) and started again while a link is followed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    kills: u32,
    /// Kills take a proxy's memory with them, as a power cut does.
    #[arg(long)]
    lose_memory: bool,
    /// Kills the writer and starts it again once while a link is followed.
    #[arg(long)]
    kill_writer: bool,
    /// Lowers every limit to half while the link is followed.
    #[arg(long)]
    lower: bool,
    /// Kills the writer for good and makes a standby the writer, while each of the last so many links is followed.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=4))]
    promotions: u16,
    /// Makes a backup while each link is followed, and has the writer go back to it later.
    #[arg(long, conflicts_with = "promotions")]
    restore: bool,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What became of one link.
#[derive(Debug, Serialize)]
pub struct Link {
    /// What it was made with.
    pub max_clicks: u64,
    /// What it was lowered to, and what was used by then.
    pub lowered: Option<Lowered>,
    /// What the clients saw.
    pub seen: Seen,
    /// What the log says in the end.
    pub standing: Standing,
    /// Kills of proxies while it was followed.
    pub kills: u32,
    /// Another server became the writer while it was followed.
    pub promoted: bool,
    /// The writer went back to a backup while it was followed.
    pub restored: bool,
    /// From the first request to the last click being settled, in milliseconds.
    pub took_ms: u64,
}

/// A limit that was lowered.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lowered {
    /// To this.
    pub to: u64,
    /// What was used when that was acknowledged.
    pub used: u64,
}

/// `GET /v1/links/{code}/limit`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Standing {
    /// The limit.
    pub max_clicks: u64,
    /// Redirects answered.
    pub used: u64,
    /// Clicks lost.
    pub burned: u64,
    /// Clicks nobody has.
    pub left: u64,
    held: Vec<serde_json::Value>,
}

/// What `max-clicks` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// One after the other.
    pub links: Vec<Link>,
    /// What contradicts the contract.
    pub broken: Vec<String>,
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        self.broken.len() as u64
    }

    fn text(&self) -> String {
        let mut text =
            String::from("  limit   received      used    burned  unanswered  refused 503   took\n");
        for link in &self.links {
            text.push_str(&format!(
                "{:>7} {:>10} {:>9} {:>9} {:>11} {:>12} {:>5.1} s\n",
                figures::count(link.max_clicks),
                figures::count(link.seen.redirected),
                figures::count(link.standing.used),
                figures::count(link.standing.burned),
                link.seen.unanswered,
                link.seen.busy,
                link.took_ms as f64 / 1_000.0
            ));
        }
        self.broken.iter().for_each(|line| text.push_str(&format!("broken: {line}\n")));
        text
    }
}

/// Runs the command.
///
/// # Errors
/// The fleet did not start, a link was not used up in time, or the contract was broken.
pub fn run(args: Args) -> anyhow::Result<()> {
    trial::run_seeded("max-clicks", &args.place, args.seed, |seed, stop| args.measure(seed, stop))
}

impl Args {
    fn measure(&self, seed: u64, stop: &StopFlag) -> anyhow::Result<Results> {
        // A proxy that is started while the writer is away is to serve at once.
        let dir = self.place.dir()?;
        let backups = self.restore.then(|| restored::setting(dir));
        let own: Vec<&str> =
            ["proxy.ready.without_writer_after_ms=0"].into_iter().chain(backups.as_deref()).collect();
        let mut options = self.place.options(dir, self.proxies, &own, &self.settings)?;
        options.standbys = self.promotions;
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        let mut random = SmallRng::seed_from_u64(seed);
        let mut results = Results { seed, links: Vec::new(), broken: Vec::new() };
        let mut writers = Writers::of(&fleet);
        let mut backups = Backups::of(&fleet, &self.place.bin_dir()?);
        for (index, &max_clicks) in self.limits.iter().enumerate() {
            let promote = writers.standbys() >= self.limits.len() - index;
            let link =
                self.follow(&fleet, (&mut writers, promote), &mut backups, max_clicks, &mut random, stop)?;
            let line = format!("max-clicks: limit {max_clicks}: {} received", link.seen.redirected);
            say(line);
            results.broken.extend(self.judge(&link));
            results.links.push(link);
        }
        Ok(results)
    }

    /// Makes a link and has it followed until it has ended.
    fn follow(
        &self,
        fleet: &Fleet,
        (writers, promote): (&mut Writers<'_>, bool),
        backups: &mut Backups<'_>,
        max_clicks: u64,
        random: &mut SmallRng,
        stop: &StopFlag,
    ) -> anyhow::Result<Link> {
        let mut api = writers.api()?;
        let target = format!("https://example.org/limited/{max_clicks}");
        let code = api.create(&target, max_clicks)?;
        let proxies: Vec<Endpoint> =
            fleet.ready().proxies.iter().map(|url| Ok(url.parse()?)).collect::<anyhow::Result<_>>()?;
        // A proxy that was away in that moment has it later: after a restore, when it has begun with a snapshot.
        api::previewed_everywhere(&proxies, &code, 200)?;
        let begun = Instant::now();
        let visitors = Visitors::start(
            &code,
            &target,
            &proxies,
            (self.clients, Duration::from_millis(self.rest)),
            begun + USED_UP_WITHIN,
            stop,
        );
        let mut lowered = None;
        if self.lower {
            lowered = Some(self.lower(&mut api, &code, max_clicks, &visitors)?);
        }
        if promote {
            used(max_clicks / 3, &visitors);
            writers.promote()?;
            api = writers.api()?;
        }
        if self.restore {
            used(max_clicks / 4, &visitors);
            let seq = backups.make()?;
            used(max_clicks / 2, &visitors);
            backups.restore(seq)?;
            api = writers.api()?;
        }
        let mut kills = 0;
        let writer_at = if self.kill_writer { self.kills / 2 } else { u32::MAX };
        while kills < self.kills && !visitors.are_done() && !stop.is_set() {
            if kills == writer_at {
                restart(fleet, writers.name(), random, None)?;
            }
            let proxy = format!("proxy-{}", random.random_range(0..self.proxies));
            let lose = self.lose_memory.then(|| memory_of(fleet, &proxy)).transpose()?;
            restart(fleet, &proxy, random, lose)?;
            kills += 1;
            std::thread::sleep(Duration::from_millis(random.random_range(BETWEEN_MS)));
        }
        let seen = visitors.join()?;
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        let standing = api.settled(&code)?;
        api::previewed_everywhere(&proxies, &code, 410)?;
        let took_ms = begun.elapsed().as_millis() as u64;
        let (promoted, restored) = (promote, self.restore);
        Ok(Link { max_clicks, lowered, seen, standing, kills, promoted, restored, took_ms })
    }

    fn lower(
        &self,
        api: &mut Api,
        code: &str,
        max_clicks: u64,
        visitors: &Visitors,
    ) -> anyhow::Result<Lowered> {
        used(max_clicks / 4, visitors);
        let to = (max_clicks / 2).max(1);
        api.lower(code, to)?;
        Ok(Lowered { to, used: api.standing(code)?.used })
    }

    fn judge(&self, link: &Link) -> Vec<String> {
        let (max, seen, log) = (link.max_clicks, &link.seen, &link.standing);
        let most = link.lowered.map_or(max, |lowered| lowered.to.max(lowered.used));
        let mut broken = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                broken.push(format!("limit {max}: {what}: {link:?}"));
            }
        };
        must(seen.redirected <= most, "more got through than the limit allows");
        must(seen.wrong == 0, "an answer that was none of 302, 410 and 503");
        // What was spent and not yet told of is lost with a memory, and burned; so is what was told to a log that was lost.
        let burns = self.lose_memory || self.restore;
        let untold = if burns { log.burned } else { 0 };
        must(seen.redirected <= log.used + untold, "more got through than was used");
        must(log.used <= seen.redirected + seen.unanswered, "clicks were used for nobody");
        must(log.used + log.burned == most, "used and burned are not the limit");
        must(log.used + log.burned <= most, "used and burned are more than the limit");
        must(log.burned == 0 || burns, "clicks were burned although no memory was lost");
        let is_whole = self.kills == 0 && !self.restore;
        must(!is_whole || seen.redirected == most, "not all got through");
        must(
            most - seen.redirected.min(most) <= log.burned + seen.unanswered,
            "more is missing than was burned",
        );
        must(self.kills > 0 || seen.unanswered == 0, "requests without an answer");
        broken
    }
}

/// Waits until so many redirects were received, while the link is being used up, if there is time for that.
fn used(clicks: u64, visitors: &Visitors) {
    while visitors.redirected() < clicks && !visitors.are_done() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills a part and starts it again, without the file of its memory if that is to be lost.
fn restart(fleet: &Fleet, part: &str, random: &mut SmallRng, lose: Option<PathBuf>) -> anyhow::Result<()> {
    must(fleet, &format!("kill {part} 9"))?;
    if let Some(memory) = lose {
        std::fs::remove_file(&memory).with_context(|| format!("cannot remove {}", memory.display()))?;
    }
    std::thread::sleep(Duration::from_millis(random.random_range(AWAY_MS)));
    must(fleet, &format!("start {part}"))
}

/// The file in which a proxy has its budgets.
fn memory_of(fleet: &Fleet, proxy: &str) -> anyhow::Result<PathBuf> {
    let path = fleet.dir().join(proxy).join("config.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: toml::Table = text.parse().with_context(|| format!("cannot read {}", path.display()))?;
    let ring_dir = config.get("clicks").and_then(|clicks| clicks.get("ring_dir")?.as_str());
    Ok(PathBuf::from(ring_dir.context("the proxy's configuration has no clicks.ring_dir")?).join("budgets"))
}
