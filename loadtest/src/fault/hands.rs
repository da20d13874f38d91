//! Carries a round out: signals to processes, qualities of cables.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::absences::Absences;
use super::cable::{Cable, Quality, Upstream};
use super::history::Recorder;
use super::plan::{Kind, Size, Step, Victim};
use crate::fleet::{Fleet, Setting};
use crate::pace::StopFlag;

/// How often a part that does not become ready in time is waited for again.
const STARTS_MAX: usize = 2;

/// The cables of a fleet.
#[derive(Debug)]
pub(super) struct Cables {
    feeds: Vec<Cable>,
    codes: Vec<Cable>,
}

impl Cables {
    /// Puts a cable before the writer for every proxy and before every key pool. The fleet's folder need not be there yet.
    pub(super) fn start(dir: &std::path::Path, size: Size) -> anyhow::Result<Cables> {
        let to = |part: String, table| Upstream { config: dir.join(part).join("config.toml"), table };
        let feeds = (0..size.proxies).map(|_| Cable::start(to("admin".to_owned(), "feed")));
        let codes = (0..size.keypools).map(|index| Cable::start(to(format!("keypool-{index}"), "grpc")));
        Ok(Cables {
            feeds: feeds.collect::<anyhow::Result<_>>()?,
            codes: codes.collect::<anyhow::Result<_>>()?,
        })
    }

    /// What the parts are told, so that they use the cables.
    pub(super) fn settings(&self) -> anyhow::Result<Vec<Setting>> {
        let feed =
            |(index, cable): (usize, &Cable)| format!("proxy-{index}.writers.urls=[\"{}\"]", cable.url());
        let pools: Vec<String> =
            self.codes.iter().map(|cable| format!("{{ url = \"{}\" }}", cable.url())).collect();
        let texts = self.feeds.iter().enumerate().map(feed);
        let texts = texts.chain([format!("admin.keypool=[{}]", pools.join(", "))]);
        texts.map(|text| text.parse().map_err(anyhow::Error::msg)).collect()
    }

    fn of(&self, victim: Victim) -> Option<&Cable> {
        match victim {
            Victim::Feed(index) => self.feeds.get(usize::from(index)),
            Victim::Codes(index) => self.codes.get(usize::from(index)),
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
            let (kind, victim) = (step.kind, step.victim);
            self.recorder.fault(&format!(
                "{}{} {victim}",
                if step.begins { "" } else { "end of " },
                kind.name()
            ));
            let killed = match victim {
                Victim::Proxy(index) if kind == Kind::Kill => Some(index),
                _ => None,
            };
            if let (Some(index), true) = (killed, step.begins) {
                self.absences.begin(index, self.recorder.now_us());
            }
            self.take(step).with_context(|| format!("{} {victim}", kind.name()))?;
            if let (Some(index), false) = (killed, step.begins) {
                self.absences.started(index);
            }
        }
        Ok(())
    }

    fn take(&self, step: &Step) -> anyhow::Result<()> {
        let (victim, quality) = (
            step.victim,
            match step.kind {
                Kind::Kill if step.begins => return self.signal(&format!("kill {} KILL", step.victim)),
                Kind::Kill => return self.start(&step.victim.to_string()),
                Kind::Stop if step.begins => return self.signal(&format!("kill {} STOP", step.victim)),
                Kind::Stop => return self.signal(&format!("kill {} CONT", step.victim)),
                Kind::Cut => Quality::Cut,
                Kind::Delay => Quality::Delayed,
                Kind::Throttle => Quality::Throttled,
                Kind::HalfOpen => Quality::HalfOpen,
                Kind::Double => Quality::Doubled,
            },
        );
        let cable = self.cables.of(victim).context("there is no such cable")?;
        cable.set(if step.begins { quality } else { Quality::Good });
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
