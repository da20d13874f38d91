//! What a server used while it was measured: the processor time of its processes, from the scheduler.
//!
//! The figure that steal does not spoil: the kernel leaves stolen time out of a process's time (`CONFIG_PARAVIRT_TIME_ACCOUNTING`).
//! It holds what the kernel did for the process, the network among it as far as it ran on the process's behalf. Where the server
//! has a processor to itself, the busy time of that processor is given beside it: it also has what ran there for nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

use crate::pace::StopFlag;
use crate::processors::Times;

/// The largest there can be; the kernel's `PID_MAX_LIMIT`.
const PID_MAX: i64 = 1 << 22;

/// Whose time is taken.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServerArgs {
    /// A process of the server, whose CPU time a request is told; may be repeated.
    #[arg(long = "server-pid", value_name = "PID", value_parser = clap::value_parser!(i32).range(1..=PID_MAX))]
    pids: Vec<i32>,
    /// The processor the server has to itself, 0-based: how busy it was is told too.
    #[arg(long = "server-core", value_name = "N", requires = "pids")]
    core: Option<u16>,
}

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    answers: u64,
    cpu_ns: u64,
    core: Times,
}

/// What the server used for each answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerCpu {
    /// Answers between the two looks, whatever they said.
    pub answers: u64,
    /// CPU time of the processes for each, in µs.
    pub cpu_us_per_answer: f64,
    /// Busy time of the server's processor for each, in µs.
    pub core_us_per_answer: Option<f64>,
    /// How much of the time it was given that processor was busy.
    pub core_busy_percent: Option<f64>,
    /// How much of its time was stolen.
    pub core_steal_percent: Option<f64>,
}

/// The clocks of the processes.
#[derive(Clone, Debug)]
pub struct Watched {
    clocks: Vec<ClockId>,
    core: Option<u16>,
}

impl ServerArgs {
    /// Finds the processes; `None` when none was named.
    ///
    /// # Errors
    /// A process that does not exist.
    pub fn watch(&self) -> anyhow::Result<Option<Watched>> {
        let clock = |&pid: &i32| {
            clock_getcpuclockid(Pid::from_raw(pid)).with_context(|| format!("there is no process {pid}"))
        };
        let clocks: Vec<_> = self.pids.iter().map(clock).collect::<Result<_, _>>()?;
        Ok(if clocks.is_empty() { None } else { Some(Watched { clocks, core: self.core }) })
    }
}

impl Watched {
    /// Looks at the clocks, when `answers` have been read.
    ///
    /// # Errors
    /// A process that has ended.
    pub fn look(&self, answers: u64) -> anyhow::Result<Look> {
        let mut cpu_ns = 0;
        for &clock in &self.clocks {
            let time = clock_gettime(clock).context("a process of the server has ended")?;
            let [seconds, ns] = [time.tv_sec(), time.tv_nsec()].map(|part| u64::try_from(part).unwrap_or(0));
            cpu_ns += seconds * 1_000_000_000 + ns;
        }
        let core = self.core.and_then(Times::of_one).unwrap_or_default();
        Ok(Look { answers, cpu_ns, core })
    }

    /// Looks at the beginning and at the end of the measured part, or when it is `over` before; `answers` counts up meanwhile.
    ///
    /// # Errors
    /// As [`Watched::look`].
    pub fn look_twice(
        &self,
        answers: &AtomicU64,
        over: &StopFlag,
        from: Instant,
        to: Instant,
    ) -> anyhow::Result<Option<ServerCpu>> {
        if !over.sleep_until(from) {
            return Ok(None);
        }
        let first = self.look(answers.load(Ordering::Relaxed))?;
        let _whole = over.sleep_until(to);
        Ok(self.between(first, self.look(answers.load(Ordering::Relaxed))?))
    }

    /// What was used between two looks; `None` when nothing was answered.
    #[must_use]
    pub fn between(&self, earlier: Look, later: Look) -> Option<ServerCpu> {
        /// Of one tick of `/proc/stat`.
        const TICK_US: f64 = 10_000.0;
        let answers = later.answers.saturating_sub(earlier.answers);
        if answers == 0 {
            return None;
        }
        let each = |us: f64| (us / answers as f64 * 10_000.0).round() / 10_000.0;
        let times = self.core.map(|_| later.core.since(earlier.core));
        Some(ServerCpu {
            answers,
            cpu_us_per_answer: each(later.cpu_ns.saturating_sub(earlier.cpu_ns) as f64 / 1e3),
            core_us_per_answer: times.map(|times| each(times.busy as f64 * TICK_US)),
            core_busy_percent: times.map(Times::busy_percent),
            core_steal_percent: times.map(Times::steal_percent),
        })
    }
}

impl ServerCpu {
    /// The figures, for people.
    #[must_use]
    pub fn line(&self) -> String {
        let core = match (self.core_busy_percent, self.core_us_per_answer, self.core_steal_percent) {
            (Some(busy), Some(us), Some(steal)) => {
                format!("; its processor {busy:.1} % busy, {us:.2} µs an answer, {steal:.1} % steal")
            }
            _ => String::new(),
        };
        format!("{:.2} µs CPU an answer{core}", self.cpu_us_per_answer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_time_of_a_process_is_told_for_each_answer() {
        let pids = vec![i32::try_from(std::process::id()).unwrap()];
        let watched = ServerArgs { pids, core: None }.watch().unwrap().unwrap();
        let look = watched.look(5).unwrap();
        assert!(look.cpu_ns > 0);
        let later = Look { answers: 105, cpu_ns: look.cpu_ns + 750_000, core: Times::default() };
        let used = watched.between(look, later).unwrap();
        assert_eq!((used.answers, used.cpu_us_per_answer, used.core_busy_percent), (100, 7.5, None));
        assert_eq!(watched.between(later, later), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = ServerArgs { pids: vec![1 << 22], core: None }.watch().unwrap_err();
        assert!(error.to_string().contains("no process 4194304"), "{error}");
        assert!(ServerArgs::default().watch().unwrap().is_none());
    }
}
