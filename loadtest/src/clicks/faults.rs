//! What is done to the fleet, and when: planned from a seed, then carried out.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::relay::{Relay, Trick};
use crate::cable::Cable;
use crate::fleet::Fleet;
use crate::pace::StopFlag;
use crate::progress::say;

/// How long a killed proxy stays away, in milliseconds.
const AWAY_MS: std::ops::Range<u64> = 0..1_500;
/// How often a part that does not become ready in time is waited for again.
const STARTS_MAX: usize = 3;

/// One thing done to the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// When, in milliseconds from the start of the load.
    pub at_ms: u64,
    /// What, as commands of `fleet`, `cut`, or a trick of the relay.
    pub what: String,
}

/// Decides what is done when. Proxies are killed one at a time; the last tenth of the load is left in peace.
pub(super) fn plan(
    seed: u64,
    duration: Duration,
    proxies: u16,
    kills: u32,
    cuts: u32,
    tricks: [u32; Trick::ALL.len()],
    admin_outage_s: Option<u64>,
) -> Vec<Fault> {
    let mut random = SmallRng::seed_from_u64(seed);
    let end_ms = (duration.as_millis() as u64 * 9 / 10).max(1);
    let mut faults = Vec::new();
    let fault = |at_ms, what: String| Fault { at_ms, what };
    for _ in 0..kills {
        let at_ms = random.random_range(0..end_ms);
        let proxy = random.random_range(0..proxies);
        faults.push(fault(at_ms, format!("kill proxy-{proxy} 9")));
        faults.push(fault(at_ms + random.random_range(AWAY_MS), format!("start proxy-{proxy}")));
    }
    for _ in 0..cuts {
        faults.push(fault(random.random_range(0..end_ms), "cut".to_owned()));
    }
    for ((_, name), count) in Trick::ALL.iter().zip(tricks) {
        for _ in 0..count {
            faults.push(fault(random.random_range(0..end_ms), (*name).to_owned()));
        }
    }
    if let Some(seconds) = admin_outage_s {
        let outage_ms = seconds * 1_000;
        let at_ms = end_ms.saturating_sub(outage_ms) / 2;
        faults.push(fault(at_ms, "kill admin 9".to_owned()));
        faults.push(fault(at_ms + outage_ms, "start admin".to_owned()));
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// What faults are made with.
pub(super) struct Faults<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) cable: &'a Cable,
    pub(super) relay: Option<&'a Relay>,
    pub(super) stop: &'a StopFlag,
}

impl Faults<'_> {
    /// Carries the plan out and returns what was really done when. At the end every part runs.
    pub(super) fn run(&self, start: Instant, plan: &[Fault]) -> anyhow::Result<Vec<Fault>> {
        let mut done = Vec::new();
        let mut down: Vec<String> = Vec::new();
        for fault in plan {
            if !self.stop.sleep_until(start + Duration::from_millis(fault.at_ms)) {
                return Ok(done);
            }
            let words: Vec<&str> = fault.what.split(' ').collect();
            let trick = Trick::ALL.iter().find(|(_, name)| *name == fault.what);
            match words[..] {
                _ if trick.is_some() => {
                    if let (Some(relay), Some((trick, _))) = (self.relay, trick) {
                        relay.want(*trick);
                    }
                }
                ["cut"] => self.cable.cut(),
                // Two kills of one proxy may overlap: it dies once, and is started once.
                ["kill", part, _] if down.iter().any(|name| name == part) => continue,
                ["start", part] if !down.iter().any(|name| name == part) => continue,
                ["kill", part, _] => {
                    self.command(&fault.what)?;
                    down.push(part.to_owned());
                }
                ["start", part] => {
                    self.start(part)?;
                    down.retain(|name| name != part);
                }
                _ => unreachable!("the plan is made above"),
            }
            let at_ms = start.elapsed().as_millis() as u64;
            say(format!("clicks: {at_ms} ms: {}", fault.what));
            done.push(Fault { at_ms, what: fault.what.clone() });
        }
        for part in down {
            self.start(&part)?;
        }
        Ok(done)
    }

    fn command(&self, line: &str) -> anyhow::Result<()> {
        let answer = self.fleet.command(line);
        anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
        Ok(())
    }

    /// Starts a part. It counts as started also while it is not ready: a proxy whose writer is away may not be.
    fn start(&self, part: &str) -> anyhow::Result<()> {
        let answer = self.fleet.command(&format!("start {part}"));
        if answer["ok"] == true || answer["pid"].is_number() {
            return Ok(());
        }
        for _ in 1..STARTS_MAX {
            if self.fleet.command(&format!("start {part}"))["ok"] == true {
                return Ok(());
            }
        }
        anyhow::bail!("{part} does not start: {answer}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed() {
        let plan = |seed| plan(seed, Duration::from_secs(60), 3, 4, 5, [6, 0, 7, 0], Some(20));
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let count = |what: &str| plan(7).iter().filter(|fault| fault.what.contains(what)).count();
        assert_eq!((count("kill proxy-"), count("start proxy-"), count("cut")), (4, 4, 5));
        assert_eq!((count("repeat a batch"), count("late"), count("lose an answer")), (6, 0, 7));
        let at = |what: &str| plan(7).iter().find(|fault| fault.what == what).map(|fault| fault.at_ms);
        assert_eq!((at("kill admin 9"), at("start admin")), (Some(17_000), Some(37_000)));
    }
}
