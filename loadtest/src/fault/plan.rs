//! What is done to the fleet, and when: a pure function of the seed.
//!
//! A run is a sequence of rounds. In each, faults begin and end; then all is well again, and everything is looked at. A new kind of fault
//! (a promotion, a restore) is a variant of [`Kind`], a name in [`Kind::ALL`], what it can be done to, and an arm in `hands`.

use std::str::FromStr;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Faults in one round.
const FAULTS: std::ops::RangeInclusive<usize> = 3..=8;
/// How long one lasts, in milliseconds.
const LASTS_MS: std::ops::Range<u64> = 50..2_500;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SIGKILL, and a start later.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Stop,
    /// A cable is cut.
    Cut,
    /// Data on a cable comes late.
    Delay,
    /// Few bytes a second pass a cable.
    Throttle,
    /// One way of a cable passes nothing.
    HalfOpen,
    /// The dialling side of a cable connects again while the other one still has the old connection.
    Double,
}

impl Kind {
    /// Each, with its name on the command line.
    pub const ALL: [(Kind, &'static str); 7] = [
        (Kind::Kill, "kill"),
        (Kind::Stop, "stop"),
        (Kind::Cut, "cut"),
        (Kind::Delay, "delay"),
        (Kind::Throttle, "throttle"),
        (Kind::HalfOpen, "half-open"),
        (Kind::Double, "double"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn is_of_processes(self) -> bool {
        matches!(self, Kind::Kill | Kind::Stop)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let names = Kind::ALL.map(|(_, name)| name).join(", ");
        let found = Kind::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or_else(|| format!("{text:?} is no fault: {names}"))
    }
}

/// What a fault is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The writer.
    Admin,
    /// A key pool.
    Keypool(u16),
    /// A proxy.
    Proxy(u16),
    /// The cable from a proxy to the writer.
    Feed(u16),
    /// The cable from the writer to a key pool.
    Codes(u16),
}

impl std::fmt::Display for Victim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Victim::Admin => write!(f, "admin"),
            Victim::Keypool(index) => write!(f, "keypool-{index}"),
            Victim::Proxy(index) => write!(f, "proxy-{index}"),
            Victim::Feed(index) => write!(f, "the cable of proxy-{index}"),
            Victim::Codes(index) => write!(f, "the cable to keypool-{index}"),
        }
    }
}

/// A fault begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// In milliseconds from the start of the round.
    pub at_ms: u64,
    /// Which fault.
    pub kind: Kind,
    /// Of what.
    pub victim: Victim,
    /// Whether it begins.
    pub begins: bool,
}

/// How many of what there are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Proxies.
    pub proxies: u16,
    /// Key pools.
    pub keypools: u16,
}

/// The steps of one round, in order. No two faults are done to one thing at a time.
pub fn round(seed: u64, number: u64, length_ms: u64, size: Size, kinds: &[Kind]) -> Vec<Step> {
    let mut random = SmallRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let mut steps = Vec::new();
    if kinds.is_empty() {
        return steps;
    }
    let mut busy: Vec<(Victim, u64, u64)> = Vec::new();
    for _ in 0..random.random_range(FAULTS) {
        let kind = kinds[random.random_range(0..kinds.len())];
        let victim = victim(kind, size, &mut random);
        let begin = random.random_range(0..length_ms.max(1));
        let end = (begin + random.random_range(LASTS_MS)).min(length_ms);
        // The same draws are made whether the fault fits or not: what follows does not depend on it.
        let overlaps =
            |(other, from, to): &(Victim, u64, u64)| *other == victim && begin <= *to && *from <= end;
        if busy.iter().any(overlaps) {
            continue;
        }
        busy.push((victim, begin, end));
        steps.push(Step { at_ms: begin, kind, victim, begins: true });
        steps.push(Step { at_ms: end, kind, victim, begins: false });
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

fn victim(kind: Kind, size: Size, random: &mut SmallRng) -> Victim {
    let proxies: Vec<u16> = (0..size.proxies).collect();
    let keypools = 0..size.keypools;
    let all: Vec<Victim> = match kind.is_of_processes() {
        // The writer as often as all proxies together: it has the most to lose.
        true => std::iter::repeat_n(Victim::Admin, proxies.len())
            .chain(keypools.map(Victim::Keypool))
            .chain(proxies.into_iter().map(Victim::Proxy))
            .collect(),
        false => proxies.into_iter().map(Victim::Feed).chain(keypools.map(Victim::Codes)).collect(),
    };
    all[random.random_range(0..all.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { proxies: 3, keypools: 2 };

    fn all() -> Vec<Kind> {
        Kind::ALL.iter().map(|(kind, _)| *kind).collect()
    }

    #[test]
    fn a_round_follows_from_its_seed_and_its_number() {
        let steps = |seed, number| round(seed, number, 5_000, SIZE, &all());
        assert_eq!(steps(7, 1), steps(7, 1));
        assert_ne!(steps(7, 1), steps(7, 2));
        assert_ne!(steps(7, 1), steps(8, 1));
    }

    #[test]
    fn every_fault_ends_within_its_round_and_nothing_has_two_at_a_time() {
        for seed in 0..500 {
            let mut bad: Vec<Victim> = Vec::new();
            for step in round(seed, 0, 5_000, SIZE, &all()) {
                assert!(step.at_ms <= 5_000);
                if step.begins {
                    assert!(!bad.contains(&step.victim), "seed {seed}: {step:?}");
                    bad.push(step.victim);
                } else {
                    bad.retain(|victim| *victim != step.victim);
                }
            }
            assert_eq!(bad, [], "seed {seed}");
        }
    }

    #[test]
    fn faults_are_read_by_their_names() {
        for (kind, name) in Kind::ALL {
            assert_eq!((name.parse(), kind.name()), (Ok(kind), name));
        }
        assert!("flood".parse::<Kind>().is_err_and(|error| error.contains("half-open")));
    }
}
