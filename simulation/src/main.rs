//! `signpost-simulation`: runs seeds, and says which one shows a bug and how to see it again.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use simulation::plan::{Plan, Plant};
use simulation::world::{self, Outcome};
use simulation::{clicks, escrow};

/// Runs Signpost on virtual time, under faults drawn from a seed.
#[derive(Parser)]
#[command(name = "signpost-simulation", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs seeds of the log, its followers, promotions and snapshots until one shows what must not happen.
    Run(Run),
    /// The same with the clicks of one limited link.
    Escrow(Small),
    /// The same with batches of clicks.
    Clicks(Small),
}

/// A smaller run.
#[derive(Args)]
struct Small {
    /// Which: FROM..TO without TO, or one number.
    #[arg(long, value_parser = seeds)]
    seeds: Range<u64>,
    /// Events of each run before everybody is left in peace.
    #[arg(long, default_value_t = 1_000)]
    steps: u64,
    /// Writes down what happened in the last run, a line an event.
    #[arg(long)]
    trace: Option<PathBuf>,
}

impl Small {
    /// Runs them one after the other; `run` gives a seed's trace and what must not have happened.
    fn run(&self, name: &str, run: impl Fn(u64, u64) -> (String, Option<String>)) -> Result<ExitCode> {
        let mut last = None;
        for seed in self.seeds.clone() {
            let (trace, violation) = run(seed, self.steps);
            let is_over = violation.is_some();
            last = Some((seed, trace, violation));
            if is_over {
                break;
            }
        }
        let Some((seed, trace, violation)) = last else { return Ok(ExitCode::SUCCESS) };
        if let Some(path) = &self.trace {
            std::fs::write(path, trace).with_context(|| format!("cannot write {}", path.display()))?;
        }
        println!("{} seeds", seed - self.seeds.start + 1);
        let Some(violation) = violation else { return Ok(ExitCode::SUCCESS) };
        println!("seed {seed}: {violation}");
        println!("again: signpost-simulation {name} --seeds {seed} --steps {} --trace trace.txt", self.steps);
        Ok(ExitCode::FAILURE)
    }
}

#[derive(Args)]
struct Run {
    /// Which: FROM..TO without TO, or one number.
    #[arg(long, value_parser = seeds)]
    seeds: Range<u64>,
    /// Events of each run before everybody is left in peace.
    #[arg(long, default_value_t = 2_500)]
    steps: u64,
    /// Writes down what happened in the last run, a line an event.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// How many seeds run at the same time.
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// The operator promotes several standbys at once and does not look what the others know; sync members come and go.
    #[arg(long)]
    contests: bool,
    /// Journals keep everything, so that nobody needs a snapshot.
    #[arg(long)]
    whole_journals: bool,
    /// Plants a bug, to see it found.
    #[arg(long)]
    plant: Option<Plant>,
}

impl Run {
    fn plan(&self, seed: u64) -> Plan {
        let plan = if self.contests { Plan::contested } else { Plan::of_seed };
        let plan = plan(seed, self.steps, self.plant);
        if self.whole_journals { plan.with_whole_journals() } else { plan }
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?.saturating_add(1)),
    };
    if from < to { Ok(from..to) } else { Err("there is no seed in it".to_owned()) }
}

/// What runs came to, all together.
#[derive(Default)]
struct Sums {
    events: AtomicU64,
    acknowledged: AtomicU64,
    promotions: AtomicU64,
    kills: AtomicU64,
    snapshots: AtomicU64,
}

impl Sums {
    fn add(&self, outcome: &Outcome) {
        self.events.fetch_add(outcome.events, Ordering::Relaxed);
        self.acknowledged.fetch_add(outcome.acknowledged as u64, Ordering::Relaxed);
        self.promotions.fetch_add(outcome.promotions, Ordering::Relaxed);
        self.kills.fetch_add(outcome.kills, Ordering::Relaxed);
        self.snapshots.fetch_add(outcome.snapshots, Ordering::Relaxed);
    }
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(run) => run_all(&run),
        Command::Escrow(small) => small.run("escrow", |seed, steps| {
            let outcome = escrow::run(seed, steps, None);
            (outcome.trace, outcome.violation)
        }),
        Command::Clicks(small) => small.run("clicks", |seed, steps| {
            let outcome = clicks::run(seed, steps, None);
            (outcome.trace, outcome.violation)
        }),
    }
}

fn run_all(run: &Run) -> Result<ExitCode> {
    let begun = Instant::now();
    let sums = Sums::default();
    let (next, failed) = (AtomicU64::new(run.seeds.start), AtomicU64::new(u64::MAX));
    let count = run.seeds.end - run.seeds.start;
    std::thread::scope(|scope| {
        for _ in 0..run.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= run.seeds.end || failed.load(Ordering::Relaxed) < seed {
                        return;
                    }
                    let outcome = world::run(&run.plan(seed), false);
                    sums.add(&outcome);
                    if outcome.violation.is_some() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                    let done = seed - run.seeds.start + 1;
                    if done.is_multiple_of(1_000) {
                        eprintln!("{done} of {count} seeds, {:.0} s", begun.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    let sum = |of: &AtomicU64| of.load(Ordering::Relaxed);
    println!(
        "{} seeds, {} events, {} acknowledged, {} promotions, {} kills, {} snapshots, {:.1} s",
        count.min(failed.saturating_sub(run.seeds.start).saturating_add(1)),
        sum(&sums.events),
        sum(&sums.acknowledged),
        sum(&sums.promotions),
        sum(&sums.kills),
        sum(&sums.snapshots),
        begun.elapsed().as_secs_f64()
    );
    let shown = if failed == u64::MAX { run.seeds.end - 1 } else { failed };
    if let Some(path) = &run.trace {
        let outcome = world::run(&run.plan(shown), true);
        std::fs::write(path, &outcome.trace).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if failed == u64::MAX {
        return Ok(ExitCode::SUCCESS);
    }
    let plan = run.plan(failed);
    let outcome = world::run(&plan, false);
    println!("seed {failed}: {}", outcome.violation.unwrap_or_else(|| "not the same twice".to_owned()));
    println!("{plan:?}");
    let plant = run.plant.map_or(String::new(), |plant| {
        use clap::ValueEnum;
        plant.to_possible_value().map_or(String::new(), |value| format!(" --plant {}", value.get_name()))
    });
    let contests = if run.contests { " --contests" } else { "" };
    let whole = if run.whole_journals { " --whole-journals" } else { "" };
    println!(
        "again: signpost-simulation run --seeds {failed} --steps {}{plant}{contests}{whole} --trace trace.txt",
        run.steps
    );
    Ok(ExitCode::FAILURE)
}
