//! How far counts are behind while nothing is wrong: bursts of redirects through every proxy, and after each the time from its last answer
//! until the API counts all of it.
//!
//! At most `BEHIND_MAX`, and as much more as this machine kept somebody waiting meanwhile: what the hypervisor took (`crate::stalls`, where
//! the watch can be had: it needs root), and what processes waited for a processor or a disk (`crate::pressure`). Both are next to nothing
//! on a machine that does nothing else.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::accounts::Accounts;
use crate::http1::{Connection, Endpoint};
use crate::pace::{StopFlag, ns_between};
use crate::pressure::Pressure;
use crate::stalls::{Stalls, Watch};

/// How old counts may be.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// Bursts: enough of them to begin at any moment between two reports of a proxy.
const BURSTS: u32 = 10;
/// Redirects of a burst from each proxy.
const EACH: u64 = 50;
/// Shifts a burst against the last one by a part of the time between two reports.
const SHIFT: Duration = Duration::from_millis(70);
/// How often the API is asked: the error of a figure.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Counts that are not there after this will not come.
const GIVE_UP: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a burst showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Burst {
    /// Redirects that were received.
    pub redirects: u64,
    /// From the last of them until all were counted, in milliseconds; none if they were not, or more were.
    pub counted_after_ms: Option<u64>,
    /// What they might take on this machine at that time, in milliseconds.
    pub allowed_ms: u64,
}

/// A burst before it is known what the machine did meanwhile.
struct Seen {
    redirects: u64,
    /// When the last answer was there and when the counts were, from the begin of the watch.
    from: Instant,
    to: Instant,
    counted: bool,
    waited: Duration,
}

/// Sends bursts through a fleet that is whole, has reported everything, and is left alone.
pub(super) fn measure(
    accounts: &mut Accounts,
    proxies: &[Endpoint],
    stop: &StopFlag,
) -> anyhow::Result<Vec<Burst>> {
    let mut visitors: Vec<Connection> =
        proxies.iter().map(|proxy| Connection::new(proxy.clone(), TIMEOUT)).collect();
    let begun = Instant::now();
    let watch = Watch::begin(begun).ok();
    let mut seen = Vec::new();
    for burst in 0..BURSTS {
        anyhow::ensure!(stop.sleep_until(Instant::now() + SHIFT * burst), "stopped");
        seen.push(one(accounts, &mut visitors, stop)?);
    }
    let stalls = watch.map(Watch::end).unwrap_or_default();
    Ok(seen.iter().map(|seen| seen.judge(begun, &stalls)).collect())
}

fn one(accounts: &mut Accounts, visitors: &mut [Connection], stop: &StopFlag) -> anyhow::Result<Seen> {
    let code = accounts.codes[0].clone();
    let before = accounts.total()?;
    let mut redirects = 0;
    for _ in 0..EACH {
        for visitor in &mut *visitors {
            let request = crate::http1::get(visitor.endpoint(), &format!("/{code}"), "");
            let status = visitor.exchange(&request)?.status;
            anyhow::ensure!((300..400).contains(&status), "{code} was answered with {status}");
            redirects += 1;
        }
    }
    let (from, pressure) = (Instant::now(), Pressure::now());
    let mut to = from;
    let mut counted = 0;
    while counted < redirects && from.elapsed() < GIVE_UP {
        anyhow::ensure!(stop.sleep_until(Instant::now() + LOOK_EVERY), "stopped");
        counted = accounts.total()?.saturating_sub(before);
        to = Instant::now();
    }
    Ok(Seen { redirects, from, to, counted: counted == redirects, waited: Pressure::now().since(pressure) })
}

impl Seen {
    fn judge(&self, begun: Instant, stalls: &Stalls) -> Burst {
        let stood_still = stalls.within(ns_between(begun, self.from), ns_between(begun, self.to));
        Burst {
            redirects: self.redirects,
            counted_after_ms: self.counted.then(|| ms(self.to - self.from)),
            allowed_ms: ms(BEHIND_MAX + self.waited + stood_still),
        }
    }
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

impl Burst {
    fn is_late(&self) -> bool {
        self.counted_after_ms.is_none_or(|after_ms| after_ms > self.allowed_ms)
    }

    fn told(&self) -> String {
        let Burst { redirects, counted_after_ms, allowed_ms } = self;
        match counted_after_ms {
            Some(after_ms) => format!(
                "{redirects} redirects were counted {after_ms} ms after the last of them, where {allowed_ms} ms are allowed"
            ),
            None => format!("{redirects} redirects in quiet times are not what the API counted"),
        }
    }
}

/// What contradicts the promise.
pub(super) fn wrong(bursts: &[Burst]) -> impl Iterator<Item = String> + '_ {
    bursts.iter().filter(|burst| burst.is_late()).map(Burst::told)
}

/// For people: the oldest that counts were.
pub(super) fn line(bursts: &[Burst]) -> String {
    let oldest = bursts.iter().max_by_key(|burst| burst.counted_after_ms.unwrap_or(u64::MAX));
    oldest.map(|burst| format!("  in quiet times: at the worst {}\n", burst.told())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_may_be_late_by_what_the_machine_kept_everybody_waiting_and_by_nothing_else() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let stalls = Stalls::of(vec![(900_000_000, 950_000_000), (4_000_000_000, 4_100_000_000)]);
        let seen = |to: u64, counted, waited| {
            let waited = Duration::from_millis(waited);
            Seen { redirects: 100, from: at(1_000), to: at(to), counted, waited }.judge(begun, &stalls)
        };
        let burst = |counted_after_ms, allowed_ms| Burst { redirects: 100, counted_after_ms, allowed_ms };
        assert_eq!(seen(3_000, true, 0), burst(Some(2_000), 2_000));
        assert_eq!(seen(3_001, true, 0), burst(Some(2_001), 2_000));
        assert_eq!(seen(5_000, true, 1_500), burst(Some(4_000), 3_600));
        assert_eq!(seen(3_000, false, 0), burst(None, 2_000));
        let late = |bursts: &[Burst]| wrong(bursts).count();
        assert_eq!(late(&[burst(Some(2_000), 2_000), burst(Some(2_300), 2_350)]), 0);
        assert_eq!(late(&[burst(Some(2_001), 2_000), burst(None, 9_000)]), 2);
        let said = line(&[burst(Some(30), 2_000), burst(Some(700), 2_000)]);
        assert!(said.contains("counted 700 ms after"), "{said}");
    }
}
