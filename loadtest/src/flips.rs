//! `flips`: one bit of one file is wrong, as after a bad block or a bad cable, and a part is started with it.
//!
//! A fleet is filled and killed, and its folders are kept as a picture. For each flip the picture is put back, one bit of one file is
//! turned over, and the part is started and asked for everything it knows. It may refuse to start, saying why; it may refuse to answer;
//! but what it answers has to be what it answered without the flip. What a proxy or a standby lost at the end of its log it may fetch again.
//! A backup is restored into an empty folder: that is refused, or the writer that begins with it answers as one with the backup as it was.

mod backup;
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
use backup::Restore;
use files::{Flip, Picture};
use questions::{Answers, Questions};

/// The parts of the fleet, and who has to run for a part to be asked.
const PARTS: [(&str, &[&str]); 5] = [
    // What was leased is not continued in a folder that was put back: codes are leased anew.
    ("admin", &["keypool-0", "admin"]),
    ("keypool-0", &["keypool-0"]),
    ("proxy-0", &["admin", "proxy-0"]),
    ("standby-0", &["admin", "standby-0"]),
    (BACKUP, &["keypool-0", "admin"]),
];
/// Not a process: what the writer has put away.
const BACKUP: &str = "backup";

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
        let dir = self.place.new_dir()?.canonicalize()?;
        let place = format!("admin.backup.url={}", dir.join(BACKUP).display());
        let own = [
            "admin.codes.block=20",
            "keypool.pool.low_watermark=2000",
            "keypool.pool.high_watermark=4000",
            // Each part is asked alone.
            "admin.replication.min_sync_replicas=0",
            "admin.search.commit_every_ms=100",
            "admin.backup.archive_every_s=1",
            &place,
        ];
        let mut options = self.place.options(&dir, 1, &own, &self.settings)?;
        options.standbys = 1;
        let restore = Restore { program: options.bin_dir.join("signpost-admin"), admin: dir.join("admin") };
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        let questions = Questions::fill(&fleet)?;
        questions.wait_for_witness(&fleet)?;
        let trial = Trial { fleet: &fleet, questions: &questions, restore };
        for (part, _) in PARTS {
            fleet.command(&format!("kill {part} 9"));
        }
        let picture = Picture::take(&fleet, &PARTS.map(|(part, _)| part))?;
        let mut before: BTreeMap<&str, Answers> = BTreeMap::new();
        for (part, running) in PARTS {
            picture.put_back()?;
            let started = trial.start(part, running)?;
            anyhow::ensure!(started.is_none(), "{part} does not start as it is: {started:?}");
            // A standby has the writer's counts.
            let counts = before.get("admin").filter(|_| part == "standby-0");
            let answers = questions.ask(part, counts)?;
            anyhow::ensure!(answers.refusals() == 0, "as it is {part} refuses {:?}", answers.refused());
            before.insert(part, answers);
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
            let outcome = trial.one(part, running, &before[part])?;
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

/// A fleet whose parts are started with a flip.
struct Trial<'a> {
    fleet: &'a Fleet,
    questions: &'a Questions,
    restore: Restore,
}

impl Trial<'_> {
    fn one(&self, part: &str, running: &[&str], before: &Answers) -> anyhow::Result<Outcome> {
        if let Some(refusal) = self.start(part, running)? {
            return Ok(judge_refusal(self.fleet, part, &refusal));
        }
        let after = self.questions.ask(part, Some(before))?;
        let different = before.different(&after);
        Ok(match different.first() {
            Some(first) => Outcome::Broken(format!("{} answers differ, the first: {first}", different.len())),
            None if after.refusals() > before.refusals() => Outcome::InPart,
            None => Outcome::AsBefore,
        })
    }

    /// Starts what runs when a part is asked; returns why one does not start.
    fn start(&self, part: &str, running: &[&str]) -> anyhow::Result<Option<serde_json::Value>> {
        if part == BACKUP
            && let Some(refusal) = self.restore.run()?
        {
            return Ok(Some(refusal));
        }
        let answers = running.iter().map(|part| self.fleet.command(&format!("start {part}")));
        Ok(answers.into_iter().find(|answer| answer["ok"] != true))
    }
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
