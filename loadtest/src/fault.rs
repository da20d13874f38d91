//! `fault`: a fleet, a workload, and everything that can go wrong between processes, with a checker that knows what must still be true.
//!
//! A run is a sequence of rounds: faults begin and end while clients work, then all rest, all faults are over, every proxy has to have
//! everything again, and every link is looked at everywhere. Plan and choices follow from the seed; the instants at which threads meet do
//! not, so a seed repeats the same faults and the same requests, and mostly the same failure.

mod absences;
pub mod checker;
mod client;
pub mod filter;
mod hands;
mod health;
pub mod history;
mod look;
pub mod plan;
pub mod points;
pub mod reins;
pub mod steps;
mod workload;
mod writes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::figures;
use crate::fleet::Fleet;
use crate::pace::StopFlag;
use crate::progress::{print, say};
use crate::trial::{self, Findings, PlaceArgs, Seed, Settings};
use absences::Absences;
use checker::Objection;
use filter::Network;
use hands::{Cables, Hands, lock};
use history::{Answer, Call, Entry, Recorder};
use look::Look;
use plan::{Kind, Size};
use points::{POINTS, PROMOTION};
use reins::Reins;
use workload::Workload;

/// Visitors of each proxy.
const VISITORS: u16 = 2;
/// A proxy that is started while the writer is away is to serve at once; and codes are to be leased often.
const OWN_SETTINGS: [&str; 3] =
    ["proxy.ready.without_writer_after_ms=0", "admin.codes.block=200", "admin.codes.low_watermark=100"];
/// Objections that are printed.
const SHOWN_MAX: usize = 20;

/// What `fault` takes.
#[derive(Debug, clap::Args)]
#[command(mut_arg("dir", |dir| dir.required(false).required_unless_present_any(["check", "list_points"])))]
pub struct Args {
    /// Number of proxies.
    #[arg(long, value_name = "P", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    proxies: u16,
    /// Number of key pools.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    keypools: u16,
    /// Number of standbys; with one or more the writer waits for one of them.
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=4))]
    standbys: u16,
    /// Seconds of faults; the round that is on then is finished.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Clients of the API.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// Kinds of faults: kill, stop, cut, delay, throttle, half-open, double, clock, points, filter [default: all but filter]
    ///
    /// `filter`: packets between parts vanish (all, those one way, a share), or are answered with RST or ICMP. The fleet then runs in a
    /// network namespace of its own; needs root, and Debian's packages nftables and iproute2.
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    faults: Vec<Kind>,
    #[command(flatten)]
    seed: Seed,
    /// The first of the named points; the others follow in their order.
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_point: usize,
    /// Only prints the named points: one a line.
    #[arg(long, conflicts_with_all = ["dir", "check"])]
    list_points: bool,
    /// File for everything that was asked, answered and done [default: history.ndjson in DIR]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Only checks a history that an earlier run left.
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    check: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `fault` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// Rounds, each with a quiet point after it.
    pub rounds: u64,
    /// Faults by kind and victim.
    pub faults: BTreeMap<String, u64>,
    /// How often each named point was reached that had its turn, killed or stopped there.
    pub points: BTreeMap<String, u64>,
    /// Packets that packet filters met, by what became of them.
    pub packets: BTreeMap<String, u64>,
    /// Requests by what came of them.
    pub requests: BTreeMap<String, u64>,
    /// What contradicts the contract.
    pub objections: Vec<Objection>,
}

/// Runs the command.
///
/// # Errors
/// The fleet did not start or did not recover, or the contract was broken.
pub fn run(args: Args) -> anyhow::Result<()> {
    if args.list_points {
        POINTS.iter().enumerate().for_each(|(number, point)| print(format!("{number:>3}  {point}\n")));
        PROMOTION.iter().for_each(|(_, point, _)| print(format!("     {point} (promotions --points)\n")));
        return Ok(());
    }
    if let Some(path) = &args.check {
        return trial::run(&args.place, &path.display().to_string(), || {
            Ok(Checked { objections: checker::check(&history::read(path)?) })
        });
    }
    // Before any other thread is started: those stay where they are.
    let network = args.kinds().contains(&Kind::Filter).then(Network::own).transpose()?;
    trial::run_seeded("fault", &args.place, args.seed, |seed, stop| {
        args.measure(seed, network.as_ref(), stop)
    })
}

/// A history that was checked again.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Checked {
    objections: Vec<Objection>,
}

impl Findings for Checked {
    fn broken(&self) -> u64 {
        self.objections.len() as u64
    }

    fn text(&self) -> String {
        broken(&self.objections)
    }
}

/// The first objections, a line each.
fn broken(objections: &[Objection]) -> String {
    let line = |objection: &Objection| format!("BROKEN {}: {}\n", objection.rule, objection.seen);
    objections.iter().take(SHOWN_MAX).map(line).collect()
}

impl Args {
    fn measure(&self, seed: u64, network: Option<&Network>, stop: &StopFlag) -> anyhow::Result<Results> {
        let dir = self.place.new_dir()?;
        let path = self.history.clone().unwrap_or_else(|| dir.join("history.ndjson"));
        say(format!("fault: the history is in {}", path.display()));
        let size = self.size();
        let cables = Cables::start(dir, size)?;
        let mut own = cables.settings();
        let kinds = self.kinds();
        own.extend(OWN_SETTINGS.map(str::to_owned));
        if kinds.contains(&Kind::Points) {
            // A lease every second or so: nobody waits long for the points about leases. A proxy without a replica fetches a snapshot, however
            // few records there are.
            let often = [
                "admin.codes.block=20",
                "admin.codes.low_watermark=10",
                "proxy.bootstrap.fresh_from_records=1",
            ];
            own.extend(often.map(str::to_owned));
        }
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let mut options = self.place.options(dir, self.proxies, &own, &self.settings)?;
        (options.keypools, options.standbys) = (self.keypools, self.standbys);
        let parts = std::iter::once("admin".to_owned())
            .chain((0..self.keypools).map(|index| format!("keypool-{index}")))
            .chain((0..self.standbys).map(|index| format!("standby-{index}")))
            .chain((0..self.proxies).map(|index| format!("proxy-{index}")));
        let reins = match kinds.iter().any(|kind| kind.needs_reins()) {
            true => Some(Reins::put_on(dir, parts, &mut options)?),
            false => None,
        };
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        let recorder = Recorder::begin(&path)?;
        let absences = Absences::default();
        let hands = Hands {
            fleet: &fleet,
            cables: &cables,
            recorder: &recorder,
            absences: &absences,
            reins: reins.as_ref(),
            network,
            packets: Mutex::default(),
            points: Mutex::default(),
            stop,
        };
        let rounds = self.rounds(&hands, &kinds, seed);
        // The history is of use also, and most of all, when something failed.
        recorder.flush()?;
        let rounds = rounds?;
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        let entries = recorder.entries();
        let points = std::mem::take(&mut *lock(&hands.points));
        let packets = std::mem::take(&mut *lock(&hands.packets));
        Ok(Results {
            seed,
            rounds,
            points,
            packets,
            faults: count(&entries, |entry| match entry {
                Entry::Fault { what, .. } if !what.starts_with("end of ") => Some(what.clone()),
                _ => None,
            }),
            requests: count(&entries, |entry| match entry {
                Entry::Call(call) => Some(name_of(call)),
                _ => None,
            }),
            objections: checker::check(&entries),
        })
    }

    fn size(&self) -> Size {
        Size { proxies: self.proxies, keypools: self.keypools, standbys: self.standbys }
    }

    fn kinds(&self) -> Vec<Kind> {
        if self.faults.is_empty() { Kind::by_default() } else { self.faults.clone() }
    }

    fn rounds(&self, hands: &Hands<'_>, kinds: &[Kind], seed: u64) -> anyhow::Result<u64> {
        let (fleet, recorder, absences) = (hands.fleet, hands.recorder, hands.absences);
        let workload = Workload::new(fleet.ready(), recorder, seed);
        let watched = StopFlag::default();
        let look = Look::at(fleet, recorder)?;
        let size = self.size();
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for number in 0..u64::from(self.clients) {
                let workload = &workload;
                threads.push(scope.spawn(move || workload.change(number)));
            }
            for number in 0..self.proxies * VISITORS {
                let (workload, proxy) = (&workload, number % self.proxies);
                threads.push(scope.spawn(move || workload.visit(u64::from(number), proxy)));
            }
            let watcher = scope.spawn(|| absences.watch(&look.health, recorder, &watched));
            let outcome = self.each_round(&workload, hands, &look, kinds, size, seed);
            workload.end();
            watched.set();
            for thread in threads {
                thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            }
            watcher.join().map_err(|_| anyhow::anyhow!("the thread that watches proxies panicked"))?;
            absences.look(&look.health, recorder);
            absences.give_up(recorder);
            let rounds = outcome?;
            look.at_the_end(&workload.deleted())?;
            Ok(rounds)
        })
    }

    fn each_round(
        &self,
        workload: &Workload<'_>,
        hands: &Hands<'_>,
        look: &Look<'_>,
        kinds: &[Kind],
        size: Size,
        seed: u64,
    ) -> anyhow::Result<u64> {
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let (mut number, mut turn) = (0, self.first_point);
        while Instant::now() < until && !hands.stop.is_set() {
            let length_ms = plan::length_ms(number, kinds);
            hands.run(&plan::round(seed, number, length_ms, size, kinds, &mut turn))?;
            workload.pause();
            look.when_quiet(&workload.every_code())?;
            workload.go_on();
            number += 1;
        }
        Ok(number)
    }
}

fn count(entries: &[Entry], name: impl Fn(&Entry) -> Option<String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for name in entries.iter().filter_map(name) {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn name_of(call: &Call) -> String {
    use history::Request;
    let asked = match &call.request {
        Request::Create { alias: Some(_), .. } => "create with an alias",
        Request::Create { max_clicks: Some(_), .. } => "create with a limit",
        Request::Create { .. } => "create",
        Request::Update { .. } => "update",
        Request::Delete { .. } => "delete",
        Request::Get { .. } => "get",
        Request::Follow { .. } => "follow",
    };
    let came = match &call.answer {
        Answer::Done { .. } | Answer::Deleted | Answer::Target { .. } => "done".to_owned(),
        Answer::Refused { status, problem } => format!("{status} {problem}").trim_end().to_owned(),
        Answer::Unknown { why } => format!("unknown ({why})"),
        Answer::Unsent => "no connection".to_owned(),
    };
    format!("{asked}: {came}")
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        self.objections.len() as u64
    }

    fn text(&self) -> String {
        let mut text = format!("fault: seed {}, {} rounds\n", self.seed, self.rounds);
        let counts = [
            ("faults", &self.faults),
            ("points reached", &self.points),
            ("packets met by filters", &self.packets),
            ("requests", &self.requests),
        ];
        for (title, counts) in counts {
            let sum: u64 = counts.values().sum();
            text.push_str(&format!("  {title}: {}\n", figures::count(sum)));
            for (name, count) in counts {
                text.push_str(&format!("  {:>10}  {name}\n", figures::count(*count)));
            }
        }
        text.push_str(&format!("  objections: {}\n", self.objections.len()));
        text.push_str(&broken(&self.objections));
        text
    }
}
