//! `fault-sweep`: the Nth call of a process that changes a file fails, for N = 1, 2, … until there is no Nth.
//!
//! A library of ours (`shim/fail_nth.c`) is preloaded into one part of a fleet. For each N the part is started, clients work with the
//! fleet, the part is ended (every other time by SIGKILL), started again without a fault, and everything that was acknowledged has to be
//! there. Ending with a message, refusing and answering with an error are all fine; so is a part that goes on because nobody relies on
//! what failed.
//!
//! A restore is swept too (`restore`): whichever of its calls fails, it says so, and begun again it makes the whole log.

mod plan;
mod restore;
mod work;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use serde::Serialize;

use crate::fault::checker::{self, Objection};
use crate::fault::steps::{LEASES_OFTEN, Steps};
use crate::figures;
use crate::fleet::Fleet;
use crate::pace::StopFlag;
use crate::progress::{print, say};
use crate::report::command_line;
use crate::shim::{Shim, variable};
use crate::trial::{self, Findings, PlaceArgs, Settings};
use plan::{Plan, SOURCE};
use work::{Extent, Piece, Work};

/// A sweep that has not ended by then makes no progress: the part writes more with every start.
const N_MAX: u64 = 20_000;

/// How a part ends that is killed, as the fleet says it.
const KILLED: &str = "signal 9";

/// So many N are tried by one fleet where several work at once. A fleet that has been through more takes longer for each.
const PIECE: u64 = 40;

/// How many N pass between two lines of progress.
const PROGRESS_EVERY: u64 = 20;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// That call fails with EIO, later ones do not.
    Eio,
    /// The disk is full from that call on.
    Full,
    /// That call writes half of what it should.
    Short,
    /// The process is killed when it makes that call.
    Kill,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        match text {
            "eio" => Ok(Mode::Eio),
            "full" => Ok(Mode::Full),
            "short" => Ok(Mode::Short),
            "kill" => Ok(Mode::Kill),
            _ => Err(format!("{text:?} is no mode: eio, full, short, kill")),
        }
    }
}

/// What `fault-sweep` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The parts whose calls fail; `restore` is the command that restores a writer.
    #[arg(long, value_name = "PART,…", value_delimiter = ',', default_values_t = ["admin", "keypool-0", "proxy-0", restore::PART].map(str::to_owned))]
    parts: Vec<String>,
    /// How they fail: eio, full, short, kill [default: all]
    #[arg(long, value_name = "MODE,…", value_delimiter = ',')]
    modes: Vec<Mode>,
    /// The first N.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=N_MAX))]
    from: u64,
    /// The last N [default: until no Nth is left]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// From one N to the next.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=N_MAX))]
    step: u64,
    /// Fleets that work at once, each on 40 of the N. Each takes about 350 MiB, and hardly a processor: most of the time something is
    /// waited for.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    jobs: u64,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    place: PlaceArgs,
}

/// One part, one mode, every N.
#[derive(Debug, Serialize)]
pub struct Sweep {
    /// Whose calls failed.
    pub part: String,
    /// How.
    pub mode: Mode,
    /// The N that were tried.
    pub tried: u64,
    /// Calls that failed.
    pub failed: u64,
    /// The last N, or the first one that was not there any more.
    pub last: u64,
    /// Whether the sweep ended because no Nth was left.
    pub whole: bool,
    /// What became of the part, and how often.
    pub ends: BTreeMap<String, u64>,
    /// Changes that were acknowledged.
    pub acknowledged: u64,
    /// Redirects, all of them compared with the counts at the end.
    pub redirects: u64,
}

/// What `fault-sweep` found out.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// One after the other.
    pub sweeps: Vec<Sweep>,
    /// What contradicts the contract; the sweep it was seen in ended there.
    pub objections: Vec<(String, Objection)>,
}

/// Runs the command.
///
/// # Errors
/// There is no C compiler, a fleet did not start, or the contract was broken.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let typed = command_line(std::env::args());
    let again =
        format!("to see one again, in a new folder: {typed} with its --parts, --modes, --from and --to");
    trial::run(&args.place, &again, || args.measure(&stop))
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        self.objections.len() as u64
    }

    /// The sweeps were printed one by one: each takes long.
    fn text(&self) -> String {
        let line =
            |(whose, seen): &(String, Objection)| format!("BROKEN {whose}: {}: {}\n", seen.rule, seen.seen);
        self.objections.iter().map(line).collect()
    }
}

impl Args {
    fn measure(&self, stop: &StopFlag) -> anyhow::Result<Results> {
        let dir = self.place.dir()?;
        trial::make(dir)?;
        let shim = Shim::build(dir, "fail_nth", SOURCE)?;
        let all = || vec![Mode::Eio, Mode::Full, Mode::Short, Mode::Kill];
        let modes = if self.modes.is_empty() { all() } else { self.modes.clone() };
        let sweeps = self.parts.iter().flat_map(|part| modes.iter().map(move |mode| (part.clone(), *mode)));
        let piece = if self.jobs == 1 { u64::MAX } else { PIECE };
        let (from, to, step) = (self.from, self.to.unwrap_or(N_MAX), self.step);
        let work = Work::new(sweeps, Extent { from, to, step, piece });
        let results = Mutex::new(Results::default());
        let job = || -> anyhow::Result<()> {
            while let Some(piece) = work.next() {
                let made = self.sweep(dir, &shim, &piece, stop);
                let made = made.with_context(|| format!("sweep of {}, {:?}", piece.part, piece.mode));
                let (sweep, objections) = made.inspect_err(|_| work.give_up())?;
                let whole = work.done(sweep, !objections.is_empty());
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                results.objections.extend(objections);
                if let Some(sweep) = whole {
                    print(sweep.text());
                    results.sweeps.push(sweep);
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let jobs: Vec<_> = (0..self.jobs).map(|_| scope.spawn(job)).collect();
            let ended = jobs.into_iter().map(|job| job.join().unwrap_or_else(|panic| resume_unwind(panic)));
            ended.collect::<anyhow::Result<Vec<()>>>()
        })?;
        Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tries one piece, with a fleet of its own.
    fn sweep(
        &self,
        own: &Path,
        shim: &Shim,
        piece: &Piece,
        stop: &StopFlag,
    ) -> anyhow::Result<(Sweep, Vec<(String, Objection)>)> {
        let Piece { part, mode, .. } = piece;
        let name = format!("{part}-{mode:?}-{}", piece.from).to_lowercase();
        let dir = own.join(&name);
        trial::make(&dir.join(part))?;
        let plan = Plan::make(&own.join(format!("{name}.plan")), *mode)?;
        let mut sweep = Sweep::of(part, *mode);
        if part == restore::PART {
            let options = self.place.options(&dir, 1, &restore::SETTINGS, &self.settings)?;
            let trial = restore::Trial::prepare(options, shim, &plan, &own.join(format!("{name}.ndjson")))?;
            let objections = self.every(&name, piece, &plan, &mut sweep, stop, |at| trial.one(at))?;
            return Ok((sweep, objections));
        }
        let fleet = self.fleet(&dir, shim, &plan, part)?;
        let steps = Steps::of(&fleet, &own.join(format!("{name}.ndjson")))?;
        let mut objections = self.every(&name, piece, &plan, &mut sweep, stop, |at| {
            let end = one(&fleet, &steps, &plan, part, at)?;
            Ok((end, checker::check(&steps.entries())))
        })?;
        steps.everything()?;
        let at_end = checker::check(&steps.entries());
        objections.extend(at_end.into_iter().map(|seen| (format!("{name}, at the end"), seen)));
        sweep.acknowledged = steps.acknowledged();
        sweep.redirects = steps.redirects();
        Ok((sweep, objections))
    }

    /// One N after the other, until there is no Nth, or something contradicts the contract. `one` returns what became of the part.
    fn every(
        &self,
        name: &str,
        piece: &Piece,
        plan: &Plan,
        sweep: &mut Sweep,
        stop: &StopFlag,
        one: impl Fn(u64) -> anyhow::Result<(String, Vec<Objection>)>,
    ) -> anyhow::Result<Vec<(String, Objection)>> {
        for at in (piece.from..=piece.to).step_by(self.step as usize) {
            anyhow::ensure!(!stop.is_set(), "stopped before the end");
            let (end, mut objections) = one(at).with_context(|| format!("N = {at}"))?;
            let meant = sweep.mode == Mode::Kill && end == KILLED;
            if end.starts_with("signal") && !meant {
                objections
                    .push(Objection { rule: "crash", seen: format!("{} ended with {end}", sweep.part) });
            }
            *sweep.ends.entry(end).or_default() += 1;
            (sweep.tried, sweep.last) = (sweep.tried + 1, at);
            sweep.failed += plan.failed();
            if sweep.tried.is_multiple_of(PROGRESS_EVERY) {
                say(format!("fault-sweep: {name}: N = {at} of about {}", plan.seen_with_fault()));
            }
            sweep.whole = plan.seen_with_fault() < at;
            if !objections.is_empty() || sweep.whole {
                return Ok(objections.into_iter().map(|seen| (format!("{name}, N = {at}"), seen)).collect());
            }
        }
        Ok(Vec::new())
    }

    fn fleet(&self, dir: &Path, shim: &Shim, plan: &Plan, part: &str) -> anyhow::Result<Fleet> {
        let mut options = self.place.options(dir, 1, &LEASES_OFTEN, &self.settings)?;
        let data = dir.canonicalize()?.join(part).join("data");
        options.environment.extend([
            shim.variable(part),
            variable(part, "FAIL_NTH_PLAN", plan.path()),
            variable(part, "FAIL_NTH_DIR", &data),
        ]);
        // A fleet that ends sets its flag, and there are fleets after this one.
        Fleet::start(options)
    }
}

/// One N; returns what became of the part.
fn one(fleet: &Fleet, steps: &Steps<'_>, plan: &Plan, part: &str, at: u64) -> anyhow::Result<String> {
    steps.away(part);
    let must = |line: String| -> anyhow::Result<()> {
        let answer = fleet.command(&line);
        anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
        Ok(())
    };
    must(format!("kill {part} 9"))?;
    plan.fail(at);
    // It may refuse to start, and it may not get ready: both are seen in what follows.
    let started = fleet.command(&format!("start {part}"));
    steps.work()?;
    let status = fleet.command("status");
    let own = status["parts"].as_array().and_then(|parts| parts.iter().find(|other| other["name"] == part));
    let own = own.context("the part is in no status")?;
    let end = match own["ended"].as_str() {
        Some(how) => how.to_owned(),
        None if started["ok"] == true => "went on".to_owned(),
        None => "ran and was not ready".to_owned(),
    };
    if own["ended"].is_null() {
        // Its end changes files too; a failure there may keep it from ending in order.
        let line = if at.is_multiple_of(2) { format!("stop {part}") } else { format!("kill {part} 9") };
        let _ = fleet.command(&line);
    }
    plan.heal();
    must(format!("start {part}"))?;
    if part == "admin" {
        // A proxy whose writer was away for long comes back after some seconds; a new one comes at once.
        steps.away("proxy-0");
        must("kill proxy-0 9".to_owned())?;
        must("start proxy-0".to_owned())?;
    }
    steps.when_quiet()?;
    Ok(end)
}

impl Sweep {
    fn of(part: &str, mode: Mode) -> Sweep {
        Sweep {
            part: part.to_owned(),
            mode,
            tried: 0,
            failed: 0,
            last: 0,
            whole: false,
            ends: BTreeMap::new(),
            acknowledged: 0,
            redirects: 0,
        }
    }

    /// Adds what another fleet has tried.
    fn add(&mut self, more: Sweep) {
        self.tried += more.tried;
        self.failed += more.failed;
        self.last = match (self.whole, more.whole) {
            (false, false) => self.last.max(more.last),
            (true, true) => self.last.min(more.last),
            (true, false) => self.last,
            (false, true) => more.last,
        };
        self.whole |= more.whole;
        more.ends.into_iter().for_each(|(end, count)| *self.ends.entry(end).or_default() += count);
        self.acknowledged += more.acknowledged;
        self.redirects += more.redirects;
    }

    fn text(&self) -> String {
        let ends: Vec<String> = self.ends.iter().map(|(end, count)| format!("{end} {count}")).collect();
        format!(
            "fault-sweep: {} {:?}: {} N up to {}{}, {} calls failed, {} changes acknowledged, {} redirects; {}\n",
            self.part,
            self.mode,
            figures::count(self.tried),
            self.last,
            if self.whole { ", all there are" } else { "" },
            figures::count(self.failed),
            figures::count(self.acknowledged),
            figures::count(self.redirects),
            ends.join(", ")
        )
    }
}
