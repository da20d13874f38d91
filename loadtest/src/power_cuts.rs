//! `power-cuts`: the machine of one part loses its power, again and again, while clients work.
//!
//! The data of every part is on a disk of ours (FUSE) that keeps what is not synced apart. A cut kills the part, takes from its disk what
//! was not synced, whole, in part or torn, and a proxy's memory of clicks with it. Then the part is started, and everything that was
//! acknowledged has to be there.

mod disk;
mod mount;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::fault::checker::{self, Objection};
use crate::fault::history::Entry;
use crate::fault::steps::{LEASES_OFTEN, Steps};
use crate::figures;
use crate::fleet::Fleet;
use crate::pace::StopFlag;
use crate::progress::say;
use crate::trial::{self, Findings, PlaceArgs, Seed, Settings};
use mount::Mount;

/// The parts whose power is cut, each in its turn.
const PARTS: [&str; 3] = ["admin", "keypool-0", "proxy-0"];
/// When the power is cut, in milliseconds after the clients began.
const CUT_AT_MS: std::ops::Range<u64> = 0..600;
/// How many cuts pass between two lines of progress.
const PROGRESS_EVERY: u32 = 20;

/// What `power-cuts` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many cuts, one after the other.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `power-cuts` found out.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// Cuts by part.
    pub cuts: BTreeMap<String, u64>,
    /// Changes that were acknowledged.
    pub acknowledged: u64,
    /// Redirects of links with and without a limit, all of them compared with the counts at the end.
    pub redirects: u64,
    /// What contradicts the contract.
    pub objections: Vec<Objection>,
}

/// Runs the command.
///
/// # Errors
/// The machine has no FUSE, the fleet did not start, or the contract was broken.
pub fn run(args: Args) -> anyhow::Result<()> {
    trial::run_seeded("power-cuts", &args.place, args.seed, |seed, stop| args.measure(seed, stop))
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        self.objections.len() as u64
    }

    fn text(&self) -> String {
        let mut text = format!(
            "power-cuts: {} cuts ({:?}), {} changes acknowledged, {} redirects, {} objections\n",
            figures::count(self.cuts.values().sum()),
            self.cuts,
            figures::count(self.acknowledged),
            figures::count(self.redirects),
            self.objections.len()
        );
        for Objection { rule, seen } in &self.objections {
            text.push_str(&format!("BROKEN {rule}: {seen}\n"));
        }
        text
    }
}

impl Args {
    fn measure(&self, seed: u64, stop: &StopFlag) -> anyhow::Result<Results> {
        let dir = self.place.new_dir()?;
        let mounts: Vec<Mount> = PARTS
            .iter()
            .map(|part| Mount::on(&dir.join(part).join("data")))
            .collect::<anyhow::Result<_>>()?;
        let options = self.place.options(dir, 1, &LEASES_OFTEN, &self.settings)?;
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        let steps = Steps::of(&fleet, &dir.join("history.ndjson"))?;
        let mut results = Results { seed, ..Results::default() };
        let mut random = SmallRng::seed_from_u64(seed);
        for number in 0..self.count {
            anyhow::ensure!(!stop.is_set(), "stopped before the end");
            let place = number as usize % PARTS.len();
            let (part, mount) = (PARTS[place], &mounts[place]);
            one(&fleet, &steps, part, mount, &mut random).with_context(|| format!("cut {number}, {part}"))?;
            *results.cuts.entry(part.to_owned()).or_default() += 1;
            results.objections = checker::check(&steps.entries());
            if !results.objections.is_empty() {
                break;
            }
            if (number + 1).is_multiple_of(PROGRESS_EVERY) {
                say(format!("power-cuts: {} of {}", number + 1, self.count));
            }
        }
        steps.everything()?;
        results.objections = checker::check(&steps.entries());
        results.acknowledged = steps.acknowledged();
        results.redirects = steps.redirects();
        Ok(results)
    }
}

/// One cut, and the start after it.
fn one(
    fleet: &Fleet,
    steps: &Steps<'_>,
    part: &str,
    mount: &Mount,
    random: &mut SmallRng,
) -> anyhow::Result<()> {
    let must = |line: String| -> anyhow::Result<()> {
        let answer = fleet.command(&line);
        anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
        Ok(())
    };
    // A writer's absence makes proxies wait before they come back; a proxy that is started comes at once.
    let restarted = if part == "keypool-0" { None } else { Some("proxy-0") };
    if let Some(proxy) = restarted {
        steps.away(proxy);
    }
    let at = Instant::now() + Duration::from_millis(random.random_range(CUT_AT_MS));
    let recorder = steps.recorder();
    std::thread::scope(|scope| {
        let cut = scope.spawn(|| {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            let begin_us = recorder.now_us();
            must(format!("kill {part} 9"))?;
            if part == "proxy-0" {
                recorder.add(Entry::PowerLost { proxy: 0, begin_us, end_us: recorder.now_us() });
            }
            Ok(())
        });
        let worked = steps.work();
        cut.join().map_err(|_| anyhow::anyhow!("the thread that cuts panicked"))?.and(worked)
    })?;
    mount.cut(random);
    if part == "proxy-0" {
        let rings = crate::flips::ring_dir(fleet, part)?;
        std::fs::remove_dir_all(&rings).with_context(|| format!("cannot empty {}", rings.display()))?;
    }
    must(format!("start {part}"))?;
    if part == "admin" {
        must("kill proxy-0 9".to_owned())?;
        must("start proxy-0".to_owned())?;
    }
    steps.when_quiet()
}
