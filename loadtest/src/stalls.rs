//! When the machine itself stood still: on each processor a thread of the highest priority sleeps half a millisecond again and again,
//! and notes when it was woken late. Nothing on this machine comes before it, so what kept it waiting was not a server: the
//! hypervisor ran somebody else.
//!
//! A processor that is gone for 3 ms makes every request of that time and of the queue behind it late. Steal in percent ([`crate::processors`])
//! tells how much was lost, not when; with 1 % of it the 99th percentile is about the hypervisor already. This tells when, so that
//! latencies can be given a second time without the answers that a stall touched: those of its busy period. A busy period is a time
//! with a request under way at every instant, from one moment without any to the next; what a stall has piled up is gone at its end.
//!
//! Needs the right to run threads before all others (root, or `CAP_SYS_NICE`); chrt(1) and taskset(1) give it to them.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::latency::{Latency, Record};
use crate::pace::ns_between;
use crate::processors;

/// How long the watch sleeps. A stall that is shorter may fall between two looks.
const EVERY: Duration = Duration::from_micros(500);
/// Later than this, it was a stall: timers and the way back to a thread take some tens of microseconds.
const STALL_NS: u64 = 200_000;
/// A watch over all processors.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<(u64, u64)>>>,
}

impl Watch {
    /// Begins to watch. Times are counted from `start`, which may lie ahead.
    ///
    /// # Errors
    /// The threads cannot be had, or not with the priority they need.
    pub fn begin(start: Instant) -> anyhow::Result<Self> {
        let processors = processors::count();
        let stop = Arc::new(AtomicBool::new(false));
        let mut watch = Self { stop: Arc::clone(&stop), threads: Vec::with_capacity(processors.into()) };
        for processor in 0..processors {
            let stop = Arc::clone(&stop);
            let (tell, told) = std::sync::mpsc::channel();
            let thread = thread::Builder::new().name("stalls".into()).spawn(move || {
                // The other end waits for it.
                let _ = tell.send(nix::unistd::gettid());
                look(start, &stop)
            });
            watch.threads.push(thread.context("cannot start a thread")?);
            let id = told.recv().context("a thread that watches for stalls is gone")?.to_string();
            run("taskset", &["-c", "-p", &processor.to_string(), &id])?;
            run("chrt", &["--fifo", "-p", "1", &id])?;
        }
        Ok(watch)
    }

    /// Ends it.
    ///
    /// # Panics
    /// If a thread has panicked.
    #[must_use]
    pub fn end(mut self) -> Stalls {
        self.stop.store(true, Ordering::Relaxed);
        let each = self.threads.drain(..);
        Stalls::of(each.flat_map(|thread| thread.join().expect("watching does not panic")).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let done = Command::new(program).args(args).stdout(Stdio::null()).output();
    let done = done.with_context(|| format!("cannot run {program} (Debian package util-linux)"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(
        done.status.success(),
        "{program} failed: {} (watching for stalls needs root)",
        said.trim()
    );
    Ok(())
}

fn look(start: Instant, stop: &AtomicBool) -> Vec<(u64, u64)> {
    let mut stalls = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let due = Instant::now() + EVERY;
        thread::sleep(EVERY);
        let woken = Instant::now();
        // Before the start nothing is measured, and times cannot be told.
        if woken > start && ns_between(due, woken) >= STALL_NS {
            stalls.push((ns_between(start, due), ns_between(start, woken)));
        }
    }
    stalls
}

/// When the machine stood still, in ns from the start of the run.
#[derive(Debug, Default)]
pub struct Stalls {
    /// Apart from each other, in order.
    stalls: Vec<(u64, u64)>,
}

/// Latencies without the answers that a stall touched.
#[derive(Debug, Serialize)]
pub struct Untouched {
    /// A wake-up this late counts as a stall, in µs.
    pub stall_us: u64,
    /// Stalls of the measured time.
    pub stalls: usize,
    /// The longest of them, in µs.
    pub longest_us: u64,
    /// Answers that none touched, in percent of all.
    pub answers_percent: f64,
    /// From the intended start to the answer read, of those.
    pub latency: Record,
}

impl Stalls {
    /// From when a watch should have been woken, and when it was, in any order.
    pub(crate) fn of(mut late: Vec<(u64, u64)>) -> Self {
        late.sort_unstable();
        let mut stalls: Vec<(u64, u64)> = Vec::new();
        for (due, woken) in late {
            // It may have begun while the watch slept.
            let from = due.saturating_sub(EVERY.as_nanos() as u64);
            match stalls.last_mut() {
                Some(last) if last.1 >= from => last.1 = last.1.max(woken),
                _ => stalls.push((from, woken)),
            }
        }
        Self { stalls }
    }

    /// How long it stood still between two moments, in whole or in part.
    #[must_use]
    pub fn within(&self, from_ns: u64, to_ns: u64) -> Duration {
        let ns = |(from, to): &(u64, u64)| (*to).min(to_ns).saturating_sub((*from).max(from_ns));
        Duration::from_nanos(self.stalls.iter().map(ns).sum())
    }

    fn touch(&self, from_ns: u64, to_ns: u64) -> bool {
        let next = self.stalls.partition_point(|(_, end)| *end < from_ns);
        self.stalls.get(next).is_some_and(|(begin, _)| *begin <= to_ns)
    }

    /// The latencies of the busy periods it does not touch. Of each answer, in any order, the intended start and the latency, in ns.
    #[must_use]
    pub fn leave_out(&self, mut answers: Vec<(u64, u64)>, measured_from_ns: u64) -> Untouched {
        answers.sort_unstable();
        let mut latency = Latency::default();
        let mut rest = answers.as_slice();
        while let Some((first, _)) = rest.first() {
            let mut end = *first;
            let is_within = |(intended_ns, latency_ns): &&(u64, u64)| {
                let within = *intended_ns <= end;
                end = end.max(intended_ns + latency_ns);
                within
            };
            let (period, after) = rest.split_at(rest.iter().take_while(is_within).count());
            let end = period.iter().map(|(intended_ns, latency_ns)| intended_ns + latency_ns).max();
            if !self.touch(*first, end.unwrap_or(*first)) {
                period.iter().for_each(|(_, latency_ns)| latency.record(*latency_ns));
            }
            rest = after;
        }
        let measured = || self.stalls.iter().filter(|(_, to)| *to >= measured_from_ns);
        Untouched {
            stall_us: STALL_NS / 1_000,
            stalls: measured().count(),
            longest_us: measured().map(|(from, to)| (to - from) / 1_000).max().unwrap_or(0),
            answers_percent: (latency.count() as f64 / answers.len().max(1) as f64 * 1_000.0).round() / 10.0,
            latency: latency.record_of(),
        }
    }
}

impl Untouched {
    /// For people.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{}  ({} % of the answers; the machine stood still {} times, at most {:.1} ms)",
            self.latency.summary.line(),
            self.answers_percent,
            self.stalls,
            self.longest_us as f64 / 1_000.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_answers_of_a_busy_period_with_a_stall_are_left_out() {
        // The watch should have been woken at 10 and 20 ms.
        let stalls = Stalls::of(vec![(20 * MS, 24 * MS), (10 * MS, 12 * MS)]);
        let answers = vec![
            (24 * MS, MS),    // begins when the second ends
            (7 * MS, MS),     // over before the first can have begun
            (9 * MS, MS / 4), // with the next two the busy period of the first
            (9 * MS + MS / 8, MS),
            (10 * MS, 6 * MS),
            (17 * MS, MS), // between the two
            (30 * MS, MS), // after
        ];
        let left = stalls.leave_out(answers, 0);
        assert_eq!((left.stalls, left.longest_us, left.latency.summary.count), (2, 4_500, 3));
        assert_eq!(left.answers_percent, 42.9);
        assert_eq!(stalls.leave_out(Vec::new(), 13 * MS).stalls, 1);
        assert_eq!(stalls.within(11 * MS, 22 * MS), Duration::from_micros(1_000 + 2_500));
    }

    #[test]
    fn without_stalls_every_answer_stays() {
        let answers: Vec<(u64, u64)> = (0..100).map(|n| (n * 1_000, n * 37 % 5_000)).collect();
        let left = Stalls::default().leave_out(answers, 0);
        assert_eq!((left.latency.summary.count, left.answers_percent), (100, 100.0));
    }
}
