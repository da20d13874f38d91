//! Whether the generator itself was the limit: then the figures are about it, not about the server.
//!
//! Two signs, each with its bound below: requests that left late although a connection was free, and no time left over: a sending thread
//! that was never idle or, where threads wait one by one and nobody knows how long, a process that used all processors. (A sending thread
//! asks again and again while it waits, so it uses its processor whole whatever there is to do.) Waiting for a free connection is not
//! among the signs: that is the server being slow (or too few connections), and it is inside the latency.

use serde::Serialize;

use crate::figures::duration;
use crate::latency::{Latency, Summary};

/// Lateness of 99 % of the requests that is harmless whatever is measured, in ns.
const SEND_DELAY_NS_HARMLESS: u64 = 100_000;
/// Lateness that is harmless as a part of the p99 it falls into: a tenth.
const SEND_DELAY_SHARE_HARMLESS: u64 = 10;
/// The share of time a sending thread has to be idle.
const IDLE_SHARE_MIN: f64 = 0.05;
/// The share of all processors the generator may use where its idle time is not known.
const CPU_SHARE_MAX: f64 = 0.95;

/// What the generator measured of itself.
#[derive(Debug)]
pub struct Measured<'a> {
    /// From the intended start (or the moment the connection came free, if later) to the send.
    pub send_delay: &'a Latency,
    /// The latency the delay is part of.
    pub latency: &'a Latency,
    /// The share of time the busiest sending thread had nothing to do; `None` if threads wait one by one.
    pub idle_share: Option<f64>,
    /// Processors used on average.
    pub cpu_cores: f64,
    /// Processors there are.
    pub cores: usize,
}

/// The verdict, for `run.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    /// Whether the figures are about the generator.
    pub saturated: bool,
    /// Why.
    pub reasons: Vec<String>,
    /// How late requests left although a connection was free.
    pub send_delay: Summary,
    /// The share of time the busiest sending thread had nothing to do.
    pub idle_share: Option<f64>,
    /// Processors used on average.
    pub cpu_cores: f64,
}

/// Judges what the generator measured of itself.
#[must_use]
pub fn judge(measured: &Measured<'_>) -> Generator {
    let mut reasons = Vec::new();
    let late_ns = measured.send_delay.percentile_ns(99.0);
    let harmless_ns =
        SEND_DELAY_NS_HARMLESS.max(measured.latency.percentile_ns(99.0) / SEND_DELAY_SHARE_HARMLESS);
    if late_ns > harmless_ns {
        reasons.push(format!(
            "1 % of the requests left {} or more after their time although a connection was free",
            duration(late_ns)
        ));
    }
    match measured.idle_share {
        Some(idle) if idle < IDLE_SHARE_MIN => {
            reasons.push(format!("a sending thread was idle only {:.1} % of the time", idle * 100.0));
        }
        None if measured.cpu_cores > CPU_SHARE_MAX * measured.cores as f64 => {
            reasons.push(format!("it used {:.2} of {} processors", measured.cpu_cores, measured.cores));
        }
        _ => {}
    }
    Generator {
        saturated: !reasons.is_empty(),
        reasons,
        send_delay: measured.send_delay.summary(),
        idle_share: measured.idle_share,
        cpu_cores: measured.cpu_cores,
    }
}

impl Generator {
    /// The verdict for people.
    #[must_use]
    pub fn line(&self) -> String {
        let idle = self.idle_share.map_or(String::new(), |idle| format!(", idle {:.0} %", idle * 100.0));
        let verdict = if self.saturated {
            format!("SATURATED: {}", self.reasons.join("; "))
        } else {
            "not saturated".into()
        };
        format!("{verdict} (send delay {}{idle}, {:.2} processors)", self.send_delay.line(), self.cpu_cores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(ns: u64) -> Latency {
        let mut latency = Latency::default();
        (0..1000).for_each(|_| latency.record(ns));
        latency
    }

    fn reasons(delay_ns: u64, latency_ns: u64, idle: impl Into<Option<f64>>, cpu_cores: f64) -> usize {
        let (send_delay, latency) = (constant(delay_ns), constant(latency_ns));
        let measured = Measured {
            send_delay: &send_delay,
            latency: &latency,
            idle_share: idle.into(),
            cpu_cores,
            cores: 2,
        };
        judge(&measured).reasons.len()
    }

    #[test]
    fn an_idle_punctual_generator_is_not_saturated() {
        assert_eq!(reasons(20_000, 300_000, 0.4, 1.0), 0);
        assert_eq!(reasons(400_000, 5_000_000, 0.4, 1.0), 0, "a tenth of the latency is harmless");
        assert_eq!(reasons(20_000, 300_000, 0.4, 2.0), 0, "it asks again and again while it waits");
        assert_eq!(reasons(20_000, 300_000, None, 1.0), 0);
    }

    #[test]
    fn each_sign_of_saturation_is_given_as_a_reason() {
        assert_eq!(reasons(200_000, 300_000, 0.4, 1.0), 1);
        assert_eq!(reasons(20_000, 300_000, 0.01, 1.0), 1);
        assert_eq!(reasons(20_000, 300_000, None, 1.95), 1);
        assert_eq!(reasons(200_000, 300_000, 0.0, 2.0), 2);
    }
}
