//! What is done to the fleet, and when: a pure function of the seed.
//!
//! A run is a sequence of rounds. In each, faults begin and end; then all is well again, and everything is looked at. A new kind of fault
//! (a promotion, a restore) is a variant of [`Kind`], a name in [`Kind::ALL`], what it can be done to, and an arm in `hands`.

use std::str::FromStr;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::filter::Fate;
use super::points::{self, Form, POINTS, When};

/// Faults in one round.
const FAULTS: std::ops::RangeInclusive<usize> = 3..=8;
/// How long a round is, and a long one, in milliseconds.
const ROUND_MS: u64 = 5_000;
const LONG_ROUND_MS: u64 = 30_000;
/// How long a fault lasts, in milliseconds. Packet filters last up to half a round.
const LASTS_MS: std::ops::Range<u64> = 50..2_500;
/// How often a point that comes often is let pass.
const PASSED: std::ops::Range<u64> = 0..12;

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
    /// Packets of a link vanish or are refused.
    Filter,
    /// The wall clock of a part is set forward or back, and right again later.
    Clock,
    /// A part is killed or stopped at a named point, each of [`points::POINTS`] in its turn. It has a beginning only: it is over when the
    /// next step comes.
    Points,
}

impl Kind {
    /// Each, with its name on the command line.
    pub const ALL: [(Kind, &'static str); 10] = [
        (Kind::Kill, "kill"),
        (Kind::Stop, "stop"),
        (Kind::Cut, "cut"),
        (Kind::Delay, "delay"),
        (Kind::Throttle, "throttle"),
        (Kind::HalfOpen, "half-open"),
        (Kind::Double, "double"),
        (Kind::Clock, "clock"),
        (Kind::Points, "points"),
        (Kind::Filter, "filter"),
    ];

    /// Those of a run that names none. Packet filters need root, and a plan of before they were there is still the same.
    pub fn by_default() -> Vec<Kind> {
        Kind::ALL.into_iter().map(|(kind, _)| kind).filter(|kind| *kind != Kind::Filter).collect()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn is_of_processes(self) -> bool {
        matches!(self, Kind::Kill | Kind::Stop | Kind::Clock)
    }

    /// Whether parts have to be held from inside for it.
    pub fn needs_reins(self) -> bool {
        matches!(self, Kind::Clock | Kind::Points)
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
    /// A standby.
    Standby(u16),
    /// The cable from a proxy to the writer.
    Feed(u16),
    /// The cable from a standby to the writer.
    Copies(u16),
    /// The cable from the writer to a key pool.
    Codes(u16),
}

impl std::fmt::Display for Victim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Victim::Admin => write!(f, "admin"),
            Victim::Keypool(index) => write!(f, "keypool-{index}"),
            Victim::Proxy(index) => write!(f, "proxy-{index}"),
            Victim::Standby(index) => write!(f, "standby-{index}"),
            Victim::Copies(index) => write!(f, "the cable of standby-{index}"),
            Victim::Feed(index) => write!(f, "the cable of proxy-{index}"),
            Victim::Codes(index) => write!(f, "the cable to keypool-{index}"),
        }
    }
}

/// What more there is to say of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    None,
    /// By how much a clock is ahead, in milliseconds.
    Ahead(i64),
    /// What becomes of the packets.
    Fate(Fate),
    /// What happens at which point, when it is reached for the `pass + 1`st time.
    At {
        /// A place in [`points::POINTS`].
        point: usize,
        /// What happens there.
        form: Form,
        /// How often it is let pass before.
        pass: u64,
    },
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
    /// And how.
    pub detail: Detail,
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
    /// Standbys.
    pub standbys: u16,
}

/// How long a round has faults, in milliseconds. With packet filters every fourth is a long one: only then do parts find by themselves that
/// a connection is dead, which they take 10 s for.
pub fn length_ms(number: u64, kinds: &[Kind]) -> u64 {
    if kinds.contains(&Kind::Filter) && number % 4 == 1 { LONG_ROUND_MS } else { ROUND_MS }
}

/// The steps of one round, in order. No two faults are done to one thing at a time. `turn`: how many named points have had their turn,
/// counted on by those of this round.
pub fn round(
    seed: u64,
    number: u64,
    length_ms: u64,
    size: Size,
    kinds: &[Kind],
    turn: &mut usize,
) -> Vec<Step> {
    let mut random = SmallRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let mut steps = Vec::new();
    if kinds.is_empty() {
        return steps;
    }
    let mut busy: Vec<(Victim, u64, u64)> = Vec::new();
    for _ in 0..random.random_range(FAULTS) {
        let kind = kinds[random.random_range(0..kinds.len())];
        let (victim, detail) = match kind {
            Kind::Points => at_point(*turn, size, &mut random),
            Kind::Clock => (victim(kind, size, &mut random), Detail::Ahead(ahead(&mut random))),
            Kind::Filter => (victim(kind, size, &mut random), Detail::Fate(Fate::drawn(&mut random))),
            _ => (victim(kind, size, &mut random), Detail::None),
        };
        let begin = random.random_range(0..length_ms.max(1));
        let lasts_ms = if kind == Kind::Filter { LASTS_MS.start..length_ms / 2 } else { LASTS_MS };
        let end = (begin + random.random_range(lasts_ms)).min(length_ms);
        // The same draws are made whether the fault fits or not: what follows does not depend on it.
        let overlaps =
            |(other, from, to): &(Victim, u64, u64)| *other == victim && begin <= *to && *from <= end;
        let step = |at_ms, begins| Step { at_ms, kind, victim, detail, begins };
        if kind == Kind::Points && kinds.len() == 1 {
            // One after the other: each is over before the next begins.
            steps.push(step(0, true));
        } else if busy.iter().any(overlaps) {
            continue;
        } else {
            busy.push((victim, begin, end));
            steps.push(step(begin, true));
            if kind != Kind::Points {
                steps.push(step(end, false));
            }
        }
        *turn += usize::from(kind == Kind::Points);
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

/// The point whose turn it is: all of them in order, killed; then all of them, stopped; and so on.
fn at_point(turn: usize, size: Size, random: &mut SmallRng) -> (Victim, Detail) {
    let number = turn % POINTS.len();
    let point = &POINTS[number];
    let form = if (turn / POINTS.len()).is_multiple_of(2) { Form::Kill } else { Form::Stop };
    let (keypool, proxy) = (random.random_range(0..size.keypools), random.random_range(0..size.proxies));
    let victim = match point.kind {
        points::Kind::Admin | points::Kind::Standby => Victim::Admin,
        points::Kind::Keypool => Victim::Keypool(keypool),
        points::Kind::Proxy => Victim::Proxy(proxy),
    };
    let drawn = random.random_range(PASSED);
    let pass = if point.when == When::Often { drawn } else { 0 };
    (victim, Detail::At { point: number, form, pass })
}

/// A second to a day, forward or back; every size as likely as its tenfold.
fn ahead(random: &mut SmallRng) -> i64 {
    let ms = 1_000.0 * 86_400f64.powf(random.random_range(0.0..=1.0));
    if random.random_range(0..2) == 0 { ms as i64 } else { -(ms as i64) }
}

fn victim(kind: Kind, size: Size, random: &mut SmallRng) -> Victim {
    let proxies: Vec<u16> = (0..size.proxies).collect();
    let (keypools, standbys) = (0..size.keypools, 0..size.standbys);
    let all: Vec<Victim> = match kind.is_of_processes() {
        // The writer as often as all proxies together: it has the most to lose.
        true => std::iter::repeat_n(Victim::Admin, proxies.len())
            .chain(keypools.map(Victim::Keypool))
            .chain(proxies.into_iter().map(Victim::Proxy))
            .chain(standbys.map(Victim::Standby))
            .collect(),
        false => proxies
            .into_iter()
            .map(Victim::Feed)
            .chain(keypools.map(Victim::Codes))
            .chain(standbys.map(Victim::Copies))
            .collect(),
    };
    all[random.random_range(0..all.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { proxies: 3, keypools: 2, standbys: 1 };

    fn all() -> Vec<Kind> {
        Kind::ALL.iter().map(|(kind, _)| *kind).collect()
    }

    #[test]
    fn a_round_follows_from_its_seed_and_its_number() {
        let steps = |seed, number| round(seed, number, 5_000, SIZE, &all(), &mut 0);
        assert_eq!(steps(7, 1), steps(7, 1));
        assert_ne!(steps(7, 1), steps(7, 2));
        assert_ne!(steps(7, 1), steps(8, 1));
    }

    #[test]
    fn every_fault_ends_within_its_round_and_nothing_has_two_at_a_time() {
        for seed in 0..500 {
            let mut bad: Vec<Victim> = Vec::new();
            for step in round(seed, 0, 5_000, SIZE, &all(), &mut 0) {
                assert!(step.at_ms <= 5_000);
                if step.kind == Kind::Points {
                    assert!(!bad.contains(&step.victim), "seed {seed}: {step:?}");
                } else if step.begins {
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
    fn every_point_has_its_turn_killed_and_then_stopped() {
        let (mut turn, mut seen) = (0, Vec::new());
        for number in 0.. {
            let steps = round(7, number, 5_000, SIZE, &[Kind::Points], &mut turn);
            seen.extend(steps.iter().filter(|step| step.begins).map(|step| step.detail));
            if turn >= 2 * POINTS.len() {
                break;
            }
        }
        for form in [Form::Kill, Form::Stop] {
            for (point, named) in POINTS.iter().enumerate() {
                let is = |detail: &&Detail| matches!(detail, Detail::At { point: other, form: how, .. } if (*other, *how) == (point, form));
                assert!(seen.iter().any(|detail| is(&detail)), "{form:?} {named}");
            }
        }
    }

    #[test]
    fn clocks_are_set_by_a_second_to_a_day_both_ways() {
        let mut random = SmallRng::seed_from_u64(7);
        let steps: Vec<i64> = (0..1_000).map(|_| ahead(&mut random)).collect();
        assert!(steps.iter().all(|ms| (1_000..=86_400_000).contains(&ms.abs())));
        assert!(steps.iter().any(|ms| *ms < -36_000_000) && steps.iter().any(|ms| *ms > 36_000_000));
        assert!(steps.iter().any(|ms| ms.abs() < 10_000));
    }

    #[test]
    fn packet_filters_outlast_the_patience_of_parts_in_a_long_round_and_are_in_none_that_does_not_name_them()
    {
        let filter = [Kind::Filter];
        let length_ms = length_ms(1, &filter);
        let mut longest_ms = 0;
        for seed in 0..100 {
            let steps = round(seed, 1, length_ms, SIZE, &filter, &mut 0);
            for begin in steps.iter().filter(|step| step.begins) {
                let ends =
                    |step: &&Step| !step.begins && step.victim == begin.victim && step.at_ms >= begin.at_ms;
                let end = steps.iter().find(ends).map_or(0, |step| step.at_ms);
                longest_ms = longest_ms.max(end - begin.at_ms);
            }
        }
        assert!((12_000..=15_000).contains(&longest_ms), "{longest_ms} ms");
        assert!(!Kind::by_default().contains(&Kind::Filter));
        assert_eq!(Kind::by_default().len() + 1, Kind::ALL.len());
        assert_eq!(super::length_ms(1, &Kind::by_default()), ROUND_MS);
    }

    #[test]
    fn faults_are_read_by_their_names() {
        for (kind, name) in Kind::ALL {
            assert_eq!((name.parse(), kind.name()), (Ok(kind), name));
        }
        assert!("flood".parse::<Kind>().is_err_and(|error| error.contains("half-open")));
    }
}
