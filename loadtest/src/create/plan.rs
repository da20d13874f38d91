//! What is sent when: pure, so that the arithmetic of batches, rates and ends is tested without a server.

use std::ops::Range;

use crate::schedule::{Rate, constant_offset_ns};

/// The plan of a `create` run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Lines of the input.
    pub(super) lines: u64,
    /// Links a request carries; 1 is the single-link endpoint.
    pub(super) batch: u64,
    /// Requests per second in an open loop; `None` sends when the answer before is there.
    pub(super) rate: Option<Rate>,
    /// What is sent in the first part of the run is not measured, in ns.
    pub(super) warm_up_ns: u64,
    /// How long to measure after that, in ns; `None` ends with the input.
    pub(super) duration_ns: Option<u64>,
}

impl Plan {
    /// How many requests there are; `None` when only the clock ends the run.
    #[must_use]
    pub(super) fn requests(&self) -> Option<u64> {
        match (self.duration_ns, self.rate) {
            (None, _) => Some(self.lines.div_ceil(self.batch)),
            (Some(_), Some(rate)) => Some(rate.count_within(self.end_ns()?)),
            (Some(_), None) => None,
        }
    }

    /// When sending ends, in ns from the start; `None` when the input ends it.
    #[must_use]
    pub(super) fn end_ns(&self) -> Option<u64> {
        self.duration_ns.map(|duration| duration.saturating_add(self.warm_up_ns))
    }

    /// When request `number` is meant to start; `None` in a closed loop.
    #[must_use]
    pub(super) fn intended_ns(&self, number: u64) -> Option<u64> {
        self.rate.map(|rate| constant_offset_ns(number, rate))
    }

    /// Whether what starts at `offset_ns` is measured.
    #[must_use]
    pub(super) fn is_measured(&self, offset_ns: u64) -> bool {
        offset_ns >= self.warm_up_ns
    }

    /// The lines request `number` carries. A run that the clock ends goes round the input.
    pub(super) fn lines_of(&self, number: u64) -> impl Iterator<Item = usize> + use<> {
        let first = number * self.batch;
        let last = first + self.batch;
        let range: Range<u64> =
            if self.duration_ns.is_some() { first..last } else { first..last.min(self.lines) };
        let lines = self.lines;
        #[allow(clippy::cast_possible_truncation)]
        range.map(move |line| (line % lines) as usize)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLAN: Plan = Plan { lines: 10, batch: 4, rate: None, warm_up_ns: 0, duration_ns: None };

    fn lines(plan: &Plan, number: u64) -> Vec<usize> {
        plan.lines_of(number).collect()
    }

    #[test]
    fn without_a_duration_every_line_is_sent_once() {
        assert_eq!(PLAN.requests(), Some(3));
        let sent: Vec<usize> = (0..3).flat_map(|number| lines(&PLAN, number)).collect();
        assert_eq!(sent, (0..10).collect::<Vec<_>>());
        assert_eq!((PLAN.end_ns(), PLAN.intended_ns(1)), (None, None));
    }

    #[test]
    fn with_a_duration_the_input_goes_round_and_the_warm_up_comes_on_top() {
        let rate = Rate::new(10.0);
        let plan = Plan { rate, warm_up_ns: 1_000_000_000, duration_ns: Some(2_000_000_000), ..PLAN };
        assert_eq!(plan.requests(), Some(30));
        assert_eq!(lines(&plan, 2), [8, 9, 0, 1]);
        assert_eq!(plan.intended_ns(10), Some(1_000_000_000));
        assert!(!plan.is_measured(plan.intended_ns(9).unwrap()) && plan.is_measured(1_000_000_000));
        assert_eq!(Plan { rate: None, ..plan }.requests(), None);
    }
}
