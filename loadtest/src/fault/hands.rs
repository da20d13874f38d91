//! Carries a round out: signals to processes, qualities of cables, packet filters, clocks and points of parts that are held from inside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::absences::Absences;
use super::filter::Network;
use super::history::{Entry, Recorder};
use super::plan::{Detail, Kind, Size, Step, Victim};
use super::points::{Form, POINTS, When};
use super::reins::Reins;
use crate::cable::{Cable, Quality, Upstream};
use crate::fleet::Fleet;
use crate::pace::StopFlag;

/// How often a part that does not become ready in time is waited for again.
const STARTS_MAX: usize = 2;

/// How long a part may take to get to a point, and how often is looked whether it has. Some come every few seconds only, and after a
/// restart of the writer proxies take a while to dial again.
const REACHED_WITHIN: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Within the first record of a manifest.
const DAMAGED_BYTE: usize = 12;
/// How long a part stays stopped at a point.
const STOPPED_FOR: Duration = Duration::from_secs(3);

/// The cables of a fleet.
#[derive(Debug)]
pub(super) struct Cables {
    feeds: Vec<Cable>,
    codes: Vec<Cable>,
    copies: Vec<Cable>,
}

impl Cables {
    /// Puts a cable before the writer for every proxy and every standby, and before every key pool. The fleet's folder need not be there yet.
    pub(super) fn start(dir: &Path, size: Size) -> anyhow::Result<Cables> {
        let to = |part: String, table| Upstream { config: dir.join(part).join("config.toml"), table };
        let feeds = (0..size.proxies).map(|_| Cable::start(to("admin".to_owned(), "feed"), 0));
        let copies = (0..size.standbys).map(|_| Cable::start(to("admin".to_owned(), "feed"), 0));
        let codes = (0..size.keypools).map(|index| Cable::start(to(format!("keypool-{index}"), "grpc"), 0));
        Ok(Cables {
            feeds: feeds.collect::<anyhow::Result<_>>()?,
            codes: codes.collect::<anyhow::Result<_>>()?,
            copies: copies.collect::<anyhow::Result<_>>()?,
        })
    }

    /// What the parts are told, so that they use the cables.
    pub(super) fn settings(&self) -> Vec<String> {
        let feed =
            |(index, cable): (usize, &Cable)| format!("proxy-{index}.writers.urls=[\"{}\"]", cable.url());
        let pools: Vec<String> =
            self.codes.iter().map(|cable| format!("{{ url = \"{}\" }}", cable.url())).collect();
        let copy =
            |(index, cable): (usize, &Cable)| format!("standby-{index}.standby.of=[\"{}\"]", cable.url());
        let texts = self.feeds.iter().enumerate().map(feed);
        texts
            .chain(self.copies.iter().enumerate().map(copy))
            .chain([format!("admin.keypool=[{}]", pools.join(", "))])
            .collect()
    }

    fn of(&self, victim: Victim) -> Option<&Cable> {
        match victim {
            Victim::Feed(index) => self.feeds.get(usize::from(index)),
            Victim::Codes(index) => self.codes.get(usize::from(index)),
            Victim::Copies(index) => self.copies.get(usize::from(index)),
            _ => None,
        }
    }
}

/// What faults are made with.
pub(super) struct Hands<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) cables: &'a Cables,
    pub(super) recorder: &'a Recorder,
    pub(super) absences: &'a Absences,
    /// Of a run in which parts are held from inside.
    pub(super) reins: Option<&'a Reins>,
    /// Of a run with packet filters.
    pub(super) network: Option<&'a Network>,
    /// Packets that packet filters met, by what became of them.
    pub(super) packets: Mutex<BTreeMap<String, u64>>,
    /// How often each named point was reached.
    pub(super) points: Mutex<BTreeMap<String, u64>>,
    pub(super) stop: &'a StopFlag,
}

impl Hands<'_> {
    /// Carries the steps out. When it returns, every fault is over and every part runs.
    ///
    /// # Errors
    /// A part cannot be signalled or does not start any more.
    pub(super) fn run(&self, steps: &[Step]) -> anyhow::Result<()> {
        let start = Instant::now();
        for step in steps {
            // A fault that has begun is ended also by a run that is stopped.
            let _ = self.stop.sleep_until(start + Duration::from_millis(step.at_ms));
            let what = name_of(step);
            self.recorder.fault(&format!("{}{what}", if step.begins { "" } else { "end of " }));
            self.take(step).context(what)?;
        }
        Ok(())
    }

    fn take(&self, step: &Step) -> anyhow::Result<()> {
        let part = step.victim.to_string();
        let quality = match (step.kind, step.begins) {
            (Kind::Kill, true) => {
                self.absent(step.victim);
                return self.signal(&format!("kill {part} KILL"));
            }
            (Kind::Kill, false) => return self.back(step.victim),
            (Kind::Stop, true) => return self.signal(&format!("kill {part} STOP")),
            (Kind::Stop, false) => return self.signal(&format!("kill {part} CONT")),
            (Kind::Clock, begins) => return self.step_clock(step, begins),
            (Kind::Points, _) => return self.at_point(step),
            (Kind::Filter, begins) => return self.filter(step, begins),
            (Kind::Cut, _) => Quality::Cut,
            (Kind::Delay, _) => Quality::Delayed,
            (Kind::Throttle, _) => Quality::Throttled,
            (Kind::HalfOpen, _) => Quality::HalfOpen,
            (Kind::Double, _) => Quality::Doubled,
        };
        let cable = self.cable(step.victim)?;
        cable.set(if step.begins { quality } else { Quality::Good });
        Ok(())
    }

    fn cable(&self, victim: Victim) -> anyhow::Result<&Cable> {
        self.cables.of(victim).context("there is no such cable")
    }

    fn filter(&self, step: &Step, begins: bool) -> anyhow::Result<()> {
        let Detail::Fate(fate) = step.detail else { return Ok(()) };
        let network = self.network.context("the fleet is not in a network of its own")?;
        let link = self.cable(step.victim)?.sides();
        if begins {
            return network.begin(&[link], fate);
        }
        *lock(&self.packets).entry(fate.to_string()).or_default() += network.end(link)?;
        Ok(())
    }

    /// A part is about to be killed.
    fn absent(&self, victim: Victim) {
        if let Victim::Proxy(index) = victim {
            self.absences.begin(index, self.recorder.now_us());
        }
    }

    /// Starts a part that was killed.
    fn back(&self, victim: Victim) -> anyhow::Result<()> {
        self.start(&victim.to_string())?;
        self.runs_again(victim);
        Ok(())
    }

    fn runs_again(&self, victim: Victim) {
        if let Victim::Proxy(index) = victim {
            self.absences.started(index);
        }
    }

    fn reins(&self) -> anyhow::Result<&Reins> {
        self.reins.context("the fleet was started without reins")
    }

    fn step_clock(&self, step: &Step, begins: bool) -> anyhow::Result<()> {
        let ahead_ms = match step.detail {
            Detail::Ahead(ms) if begins => ms,
            _ => 0,
        };
        self.reins()?.step_clock(&step.victim.to_string(), ahead_ms)
    }

    /// Has a part end or halt when it gets to a point, and go on after that.
    fn at_point(&self, step: &Step) -> anyhow::Result<()> {
        let Detail::At { point, form, pass } = step.detail else { return Ok(()) };
        let (part, point, reins) = (step.victim.to_string(), &POINTS[point], self.reins()?);
        let port = point.port(&self.fleet.dir().join(&part).join("config.toml"))?;
        let starting = point.is_of_a_start();
        let may_be_killed = form == Form::Kill || starting;
        if may_be_killed {
            self.absent(step.victim);
        }
        if starting {
            self.signal(&format!("kill {part} KILL"))?;
        }
        if let (Victim::Proxy(proxy), When::Replacing) = (step.victim, point.when) {
            self.recorder.add(Entry::Damaged { at_us: self.recorder.now_us(), proxy });
            damage(&self.fleet.dir().join(&part).join("data"))?;
        }
        reins.arm(&part, point, port, form, pass)?;
        if starting {
            self.signal(&format!("spawn {part}"))?;
        }
        let until = Instant::now() + REACHED_WITHIN;
        while !reins.reached(&part)?
            && Instant::now() < until
            && self.stop.sleep_until(Instant::now() + LOOK_EVERY)
        {}
        let reached = reins.disarm(&part)?;
        *lock(&self.points).entry(format!("{form:?} at {point}").to_lowercase()).or_default() +=
            u64::from(reached);
        match form {
            Form::Kill if reached => {
                // The signal is on its way at least; this one waits until the part is gone, and is refused if it is.
                let _ = self.fleet.command(&format!("kill {part} KILL"));
                self.start(&part)?;
            }
            Form::Stop if reached => {
                let _ = self.stop.sleep_until(Instant::now() + STOPPED_FOR);
                self.signal(&format!("kill {part} CONT"))?;
            }
            _ => {}
        }
        if may_be_killed {
            self.runs_again(step.victim);
        }
        Ok(())
    }

    fn signal(&self, line: &str) -> anyhow::Result<()> {
        let answer = self.fleet.command(line);
        anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
        Ok(())
    }

    /// Starts a part. That it runs is enough while other faults go on; that all is well is asked for at the end of the round.
    fn start(&self, part: &str) -> anyhow::Result<()> {
        let mut answer = self.fleet.command(&format!("start {part}"));
        for _ in 1..STARTS_MAX {
            if answer["ok"] == true || answer["pid"].is_number() {
                return Ok(());
            }
            answer = self.fleet.command(&format!("start {part}"));
        }
        anyhow::ensure!(answer["ok"] == true || answer["pid"].is_number(), "{part} does not start: {answer}");
        Ok(())
    }
}

/// Turns a bit of the manifest of every replica in a proxy's folder over: none will do any more, and it begins with an empty one.
fn damage(data: &Path) -> anyhow::Result<()> {
    let list = |dir: &Path| -> anyhow::Result<Vec<PathBuf>> {
        let read = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        read.map(|entry| Ok(entry?.path())).collect()
    };
    let named = |path: &Path, name: &str| {
        path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(name))
    };
    for replica in list(data)?.iter().filter(|path| path.is_dir() && named(path, "replica")) {
        for manifest in list(replica)?.iter().filter(|path| named(path, "MANIFEST-")) {
            let mut bytes = std::fs::read(manifest)?;
            if let Some(byte) = bytes.get_mut(DAMAGED_BYTE) {
                *byte ^= 1;
            }
            std::fs::write(manifest, bytes)
                .with_context(|| format!("cannot write {}", manifest.display()))?;
        }
    }
    Ok(())
}

/// What a step does, for people.
fn name_of(step: &Step) -> String {
    let (kind, victim) = (step.kind.name(), step.victim);
    match step.detail {
        Detail::None => format!("{kind} {victim}"),
        Detail::Ahead(ms) => format!("{kind} {victim} {}", if ms > 0 { "forward" } else { "back" }),
        Detail::Fate(fate) => format!("{kind} {victim}: {fate}"),
        Detail::At { point, form, .. } => {
            format!("{form:?} {victim} at {}", POINTS[point].name).to_lowercase()
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
