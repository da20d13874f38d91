//! `leases`: key pools lease codes through everything that may happen to them, and no code comes twice.
//!
//! What counts as issued is what a client was answered with. A request that got no answer is repeated with its id, as an admin repeats it, and
//! some of those that got one are too: the answer must be the same. A pool that went back to an old copy is told what was leased
//! since, as an admin tells a pool whose id it does not know.
//!
//! - `pool`: a key pool and what is done to it · `clients`: who leases · this file: the schedule and the comparison

mod clients;
mod pool;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::figures;
use crate::fleet::ports::Ports;
use crate::pace::StopFlag;
use crate::progress::{Ticker, say};
use crate::trial::{self, Findings, PlaceArgs, Seed};
use clients::{Clients, Shared};
use pool::{Place, Pool};

/// Most pools at a time: a split makes one more.
const POOLS_MAX: usize = 4;
/// Slots of the code space, which the pools share out.
const SLOTS: u16 = 4_096;
/// Time between two faults, in milliseconds.
const BETWEEN_MS: std::ops::Range<u64> = 300..1_500;
/// How long a pool is paused, in milliseconds.
const PAUSED_MS: std::ops::Range<u64> = 50..800;

/// What `leases` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Codes to lease in all.
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    codes: u64,
    /// Clients, each with one request under way.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    clients: u16,
    /// Codes a request asks for.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    block: u32,
    /// Goes on until there were so many faults, however soon the codes are leased.
    #[arg(long, value_name = "N", default_value_t = 0)]
    faults: u32,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What was done to the pools.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Faults {
    /// Killed (SIGKILL) and started again.
    pub kills: u32,
    /// Stopped for a moment (SIGSTOP).
    pub pauses: u32,
    /// Put back to a copy from before and restored.
    pub restores: u32,
    /// Codes that restored pools were told of.
    pub told: u64,
    /// Split: half of the slots went to a new pool with a copy of the used codes.
    pub splits: u32,
}

impl Faults {
    fn all(&self) -> u32 {
        self.kills + self.pauses + self.restores + self.splits
    }
}

/// What `leases` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// Codes that clients were answered with.
    pub codes: u64,
    /// Leases they came in.
    pub leases: u64,
    /// Requests that were repeated after an answer, and answered the same.
    pub repeated: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// What was done meanwhile.
    pub faults: Faults,
    /// Codes that came twice.
    pub twice: u64,
    /// What else contradicts the contract.
    pub broken: Vec<String>,
    /// From the first lease to the last, in seconds.
    pub seconds: f64,
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        self.twice + self.broken.len() as u64
    }

    fn text(&self) -> String {
        let Faults { kills, pauses, restores, told, splits } = self.faults;
        let mut text = format!(
            "codes leased {} in {} leases and {:.0} s; {kills} kills, {pauses} pauses, {restores} restores ({} codes told), {splits} splits\n\
             repeated and answered the same: {}; unanswered: {}\ncodes that came twice: {}\n",
            figures::count(self.codes),
            figures::count(self.leases),
            self.seconds,
            figures::count(told),
            self.repeated,
            self.unanswered,
            self.twice,
        );
        self.broken.iter().for_each(|line| text.push_str(&format!("broken: {line}\n")));
        text
    }
}

/// Runs the command.
///
/// # Errors
/// A pool did not start, or the contract was broken.
pub fn run(args: Args) -> anyhow::Result<()> {
    trial::run_seeded("leases", &args.place, args.seed, |seed, stop| args.measure(seed, stop))
}

impl Args {
    fn measure(&self, seed: u64, stop: &StopFlag) -> anyhow::Result<Results> {
        let mut random = SmallRng::seed_from_u64(seed);
        let bin_dir = self.place.bin_dir()?;
        let binary = bin_dir.join("signpost-keypool").canonicalize();
        let binary = binary.with_context(|| format!("no signpost-keypool in {}", bin_dir.display()))?;
        let dir = self.place.dir()?;
        trial::make(dir)?;
        let is_empty = std::fs::read_dir(dir)?.next().is_none();
        anyhow::ensure!(is_empty, "{} is not empty: a run needs pools of its own", dir.display());
        let dir = dir.canonicalize()?;
        let mut ports = Ports::default();
        let half = SLOTS / 2;
        let mut pools = vec![
            Pool::start(
                Place { binary: binary.clone(), dir: dir.join("pool-0") },
                0..half,
                &mut ports,
                stop,
            )?,
            Pool::start(Place { binary, dir: dir.join("pool-1") }, half..SLOTS, &mut ports, stop)?,
        ];
        let shared = Arc::new(Shared::new(self.codes, self.block));
        pools.iter().for_each(|pool| shared.add(pool.supply()));
        let (begun, mut faults, mut deck) = (Instant::now(), Faults::default(), Deck(Vec::new()));
        let clients = Clients::start(&shared, self.clients, seed, stop)?;
        let ticker = {
            let (shared, goal) = (shared.clone(), self.codes);
            Ticker::start(move |_| {
                let codes = shared.codes.load(Ordering::Relaxed);
                Some(format!("{} of {} codes", figures::count(codes), figures::count(goal)))
            })
        };
        while (!shared.has_enough() || faults.all() < self.faults) && !stop.is_set() {
            thread::sleep(Duration::from_millis(random.random_range(BETWEEN_MS)));
            let fault = deck.draw(&mut random);
            happen(fault, &mut pools, &mut faults, &shared, &mut ports, &mut random, stop)?;
        }
        shared.end();
        clients.join()?;
        drop(ticker);
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        let seconds = begun.elapsed().as_secs_f64();
        let mut broken = shared.broken();
        pools.iter().for_each(|pool| broken.extend(pool.supply().foreign()));
        say("comparing");
        let mut codes = shared.all_codes();
        codes.sort_unstable();
        let twice = codes.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        Ok(Results {
            seed,
            codes: codes.len() as u64,
            leases: shared.leases.load(Ordering::Relaxed),
            repeated: shared.repeated.load(Ordering::Relaxed),
            unanswered: shared.unanswered.load(Ordering::Relaxed),
            faults,
            twice,
            broken,
            seconds,
        })
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Pause,
    Restore,
    Split,
}

/// Draws faults like cards from a shuffled deck, so that ten in a row have all kinds.
struct Deck(Vec<Fault>);

impl Deck {
    fn draw(&mut self, random: &mut SmallRng) -> Fault {
        use Fault::{Kill, Pause, Restore, Split};
        if self.0.is_empty() {
            self.0.extend([Kill, Kill, Kill, Kill, Kill, Pause, Pause, Restore, Restore, Split]);
        }
        self.0.swap_remove(random.random_range(0..self.0.len()))
    }
}

/// Does something to one of the pools.
fn happen(
    fault: Fault,
    pools: &mut Vec<Pool>,
    faults: &mut Faults,
    shared: &Arc<Shared>,
    ports: &mut Ports,
    random: &mut SmallRng,
    stop: &StopFlag,
) -> anyhow::Result<()> {
    let chosen = random.random_range(0..pools.len());
    let pool = &mut pools[chosen];
    match fault {
        Fault::Kill => {
            // Sometimes what lies on the disk now becomes the copy that a later restore goes back to.
            pool.kill(random.random_range(0..3) == 0)?;
            pool.restart(stop)?;
            faults.kills += 1;
        }
        Fault::Pause => {
            pool.pause(Duration::from_millis(random.random_range(PAUSED_MS)))?;
            faults.pauses += 1;
        }
        Fault::Restore => {
            if !pool.has_copy() {
                pool.kill(true)?;
                pool.restart(stop)?;
                faults.kills += 1;
                thread::sleep(Duration::from_millis(random.random_range(BETWEEN_MS)));
            }
            faults.told += pool.restore(stop)?;
            faults.restores += 1;
        }
        Fault::Split if pools.len() < POOLS_MAX => {
            let name = format!("pool-{}", pools.len());
            let new = pools[chosen].split(&name, ports, stop)?;
            shared.add(new.supply());
            pools.push(new);
            faults.splits += 1;
        }
        Fault::Split => {}
    }
    Ok(())
}
