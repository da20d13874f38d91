//! What the machine's processors did, from `/proc/stat`: worked, idled, or wanted to work while the hypervisor ran somebody else.
//!
//! That last part, steal, is nobody's doing on this machine, and it ruins tails: a request that waits for a stolen processor waits
//! for milliseconds. So every run says how much there was, and gives its latencies a second time over the seconds with next to
//! none. The counters are in ticks of 10 ms: a second of two processors tells steal in steps of half a percent.

use std::fs;

/// Steal below which a second counts as calm, in percent of the time of all processors.
pub const CALM_STEAL_PERCENT_BELOW: f64 = 1.0;

/// How many processors the machine has, whichever of them this process may use; 1 when the system does not tell.
#[must_use]
pub fn count() -> u16 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let is_one = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    u16::try_from(stat.lines().filter(is_one).count()).unwrap_or(u16::MAX).max(1)
}

/// Time up to one moment, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Running something, the kernel and its interrupts among it.
    pub busy: u64,
    /// With nothing to run.
    pub idle: u64,
    /// With something to run, but not given to this machine.
    pub stolen: u64,
}

impl Times {
    /// Of all processors together.
    #[must_use]
    pub fn of_all() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?, "cpu")
    }

    /// Of processor `index`, 0-based.
    #[must_use]
    pub fn of_one(index: u16) -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?, &format!("cpu{index}"))
    }

    /// The line that begins with `name`; its fields are explained in proc_stat(5).
    fn parse(stat: &str, name: &str) -> Option<Self> {
        let mut words = stat
            .lines()
            .map(str::split_ascii_whitespace)
            .find_map(|mut words| if words.next() == Some(name) { Some(words) } else { None })?;
        let mut next = || words.next()?.parse::<u64>().ok();
        let [user, nice, system, idle, iowait, irq, softirq, stolen] =
            [next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?];
        Some(Self { busy: user + nice + system + irq + softirq, idle: idle + iowait, stolen })
    }

    /// What has passed since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            idle: self.idle.saturating_sub(earlier.idle),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }

    /// The stolen part, in percent; 0 when no time has passed.
    #[must_use]
    pub fn steal_percent(self) -> f64 {
        percent(self.stolen, self.busy + self.idle + self.stolen)
    }

    /// The busy part of what was not stolen, in percent; 0 when no time has passed.
    #[must_use]
    pub fn busy_percent(self) -> f64 {
        percent(self.busy, self.busy + self.idle)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 100.0 }
}

/// Tells the steal between two looks.
#[derive(Clone, Copy, Debug)]
pub struct StealMeter {
    last: Option<Times>,
}

impl StealMeter {
    /// Looks for the first time.
    #[must_use]
    pub fn start() -> Self {
        Self { last: Times::of_all() }
    }

    /// The steal since the last look, in percent of the time of all processors; `None` when the system does not tell.
    pub fn look(&mut self) -> Option<f64> {
        let now = Times::of_all();
        let before = std::mem::replace(&mut self.last, now);
        Some(now?.since(before?).steal_percent())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STAT: &str =
        "cpu  10 1 5 60 4 0 0 20 0 0\ncpu0 1 0 0 9 0 0 0 0 0 0\ncpu1 9 1 5 51 4 1 2 20 0 0\nintr 1\n";

    #[test]
    fn the_line_of_a_processor_is_found_and_its_time_told_apart() {
        assert_eq!(Times::parse(STAT, "cpu"), Some(Times { busy: 16, idle: 64, stolen: 20 }));
        assert_eq!(Times::parse(STAT, "cpu1"), Some(Times { busy: 18, idle: 55, stolen: 20 }));
        assert_eq!((Times::parse(STAT, "cpu2"), Times::parse("cpu 1 2", "cpu")), (None, None));
    }

    #[test]
    fn steal_is_a_part_of_all_time_and_work_a_part_of_what_was_left() {
        let times = Times::parse(STAT, "cpu").unwrap().since(Times { busy: 6, idle: 54, stolen: 20 });
        assert_eq!(times, Times { busy: 10, idle: 10, stolen: 0 });
        assert_eq!((times.steal_percent(), times.busy_percent()), (0.0, 50.0));
        assert_eq!(Times { busy: 16, idle: 64, stolen: 20 }.steal_percent(), 20.0);
        assert_eq!((Times::default().steal_percent(), Times::default().busy_percent()), (0.0, 0.0));
    }
}
