//! `flips`: one bit of one file is wrong, as after a bad block or a bad cable, and a part is started with it.
//!
//! A fleet is filled and killed, and its folders are kept as a picture. For each flip the picture is put back, one bit of one file is
//! turned over, and the part is started and asked for everything it knows. It may refuse to start, saying why; it may refuse to answer;
//! but what it answers has to be what it answered without the flip. What a proxy lost at the end of its log it may fetch again.

mod files;
mod questions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::Serialize;

use crate::figures;
use crate::fleet::Fleet;
use crate::pace::StopFlag;
use crate::progress::say;
use crate::trial::{self, Findings, PlaceArgs, Seed, Settings};
use files::{Flip, Picture};
use questions::{Answers, Questions};

/// The parts of the fleet, and who has to run besides for a part to be asked.
const PARTS: [(&str, &[&str]); 3] =
    [("admin", &["admin"]), ("keypool-0", &["keypool-0"]), ("proxy-0", &["admin", "proxy-0"])];

/// What `flips` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many bits, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// The first flip; those before it are left out, which repeats one flip of a longer run.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: u32,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What became of flips in one kind of file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kind {
    /// Flips.
    pub flips: u64,
    /// The part did not start, and said why.
    pub refused: u64,
    /// The part ran and said that it is not ready, and why.
    pub not_ready: u64,
    /// Everything was answered as before.
    pub as_before: u64,
    /// Some questions were refused, the others answered as before.
    pub in_part: u64,
    /// An answer was another one, or the part ended without a word.
    pub broken: u64,
}

/// What `flips` found out.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// By part and kind of file.
    pub kinds: BTreeMap<String, Kind>,
    /// What contradicts the contract.
    pub broken: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// The fleet did not start, or a flip changed an answer or ended a part without a word.
pub fn run(args: Args) -> anyhow::Result<()> {
    trial::run_seeded("flips", &args.place, args.seed, |seed, stop| args.measure(seed, stop))
}

impl Args {
    fn measure(&self, seed: u64, stop: &StopFlag) -> anyhow::Result<Results> {
        let own =
            ["admin.codes.block=20", "keypool.pool.low_watermark=2000", "keypool.pool.high_watermark=4000"];
        let options = self.place.options(self.place.dir()?, 1, &own, &self.settings)?;
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        let questions = Questions::fill(&fleet)?;
        questions.wait_for_witness(&fleet)?;
        for (part, _) in PARTS {
            fleet.command(&format!("kill {part} 9"));
        }
        let picture = Picture::take(&fleet, PARTS.map(|(part, _)| part))?;
        let mut before = BTreeMap::new();
        for (part, running) in PARTS {
            picture.put_back()?;
            let started = start(&fleet, running);
            anyhow::ensure!(started.is_none(), "{part} does not start as it is: {started:?}");
            before.insert(part, questions.ask(part)?);
            end(&fleet, running);
        }
        let mut results = Results { seed, ..Results::default() };
        for number in self.skip..self.skip.saturating_add(self.count) {
            anyhow::ensure!(!stop.is_set(), "stopped before the end");
            let mut random =
                SmallRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
            picture.put_back()?;
            let flip = picture.flip(number, &mut random)?;
            let (part, running) = PARTS[flip.part];
            let outcome = try_one(&fleet, &questions, part, running, &before[part])?;
            end(&fleet, running);
            results.note(number, &flip, outcome);
        }
        Ok(results)
    }
}

/// What a flip led to.
enum Outcome {
    Refused,
    NotReady(String),
    AsBefore,
    InPart,
    Broken(String),
}

fn try_one(
    fleet: &Fleet,
    questions: &Questions,
    part: &str,
    running: &[&str],
    before: &Answers,
) -> anyhow::Result<Outcome> {
    if let Some(refusal) = start(fleet, running) {
        return Ok(judge_refusal(fleet, part, &refusal));
    }
    let after = questions.ask(part)?;
    let different = before.different(&after);
    Ok(match different.first() {
        Some(first) => Outcome::Broken(format!("{} answers differ, the first: {first}", different.len())),
        None if after.refusals() > before.refusals() => Outcome::InPart,
        None => Outcome::AsBefore,
    })
}

/// A part that does not start has to end in order and say why, or to run and say why it is not ready.
fn judge_refusal(fleet: &Fleet, part: &str, refusal: &serde_json::Value) -> Outcome {
    let text = refusal["error"].as_str().unwrap_or_default();
    let lines = refusal["log"].as_array().map_or(0, Vec::len);
    let in_order = text.contains("exit code 1 ") || text.contains("exit code 78 ");
    // What is stuck answers nothing, or what it answers in its first moment.
    let is_stuck = text.contains("starting or stopping") || text.contains("does not answer");
    match lines > 0 {
        true if in_order => Outcome::Refused,
        true if refusal["pid"].is_number() && !is_stuck => Outcome::NotReady(text.to_owned()),
        _ => Outcome::Broken(format!("{part} in {}: {refusal}", fleet.dir().display())),
    }
}

/// Starts parts; returns why one does not start.
fn start(fleet: &Fleet, parts: &[&str]) -> Option<serde_json::Value> {
    let answers = parts.iter().map(|part| fleet.command(&format!("start {part}")));
    answers.into_iter().find(|answer| answer["ok"] != true)
}

fn end(fleet: &Fleet, parts: &[&str]) {
    for part in parts {
        // It may have ended by itself.
        let _ = fleet.command(&format!("kill {part} 9"));
    }
}

impl Results {
    fn note(&mut self, number: u32, flip: &Flip, outcome: Outcome) {
        let kind = self.kinds.entry(flip.kind.clone()).or_default();
        kind.flips += 1;
        match outcome {
            Outcome::Refused => kind.refused += 1,
            Outcome::NotReady(why) => {
                kind.not_ready += 1;
                say(format!("flips: flip {number}, {}: {why}", flip.place));
            }
            Outcome::AsBefore => kind.as_before += 1,
            Outcome::InPart => kind.in_part += 1,
            Outcome::Broken(what) => {
                kind.broken += 1;
                let line = format!("flip {number}, {}: {what}", flip.place);
                say(format!("flips: {line}"));
                self.broken.push(line);
            }
        }
    }
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        self.broken.len() as u64
    }

    fn text(&self) -> String {
        let sum: u64 = self.kinds.values().map(|kind| kind.flips).sum();
        let mut text = format!(
            "flips: seed {}, {} bits\n  {:<32}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
            self.seed,
            figures::count(sum),
            "file",
            "flips",
            "refused",
            "not ready",
            "in part",
            "as before",
            "broken"
        );
        for (name, kind) in &self.kinds {
            let Kind { flips, refused, not_ready, in_part, as_before, broken } = kind;
            text.push_str(&format!(
                "  {name:<32}{flips:>8}{refused:>10}{not_ready:>10}{in_part:>10}{as_before:>10}{broken:>10}\n"
            ));
        }
        self.broken.iter().for_each(|line| text.push_str(&format!("BROKEN {line}\n")));
        if !self.broken.is_empty() {
            text.push_str("  to see flip N alone, repeat with --skip N --count 1\n");
        }
        text
    }
}

/// The folder of a proxy's rings.
pub(crate) fn ring_dir(fleet: &Fleet, proxy: &str) -> anyhow::Result<PathBuf> {
    let path: &Path = &fleet.dir().join(proxy).join("config.toml");
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: toml::Table = text.parse()?;
    let dir = config.get("clicks").and_then(|clicks| clicks.get("ring_dir")?.as_str());
    Ok(PathBuf::from(dir.context("the proxy's configuration has no clicks.ring_dir")?))
}
