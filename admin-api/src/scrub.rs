//! Looking once in a while whether the log on the disk is still what was written.
//!
//! A pass ([`linklog::scrub`]) reads the whole state at a stated rate. Damage of the writer is for people to mend: it goes to the log and
//! into metrics, and the writer goes on. Followers whose state is right notice by their sums when a change is built on what is damaged.
//! Damage of a standby makes it unready, keeps it from being promoted, and has it fetch another log from the writer ([`crate::standby`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use daemon::metrics::Counter;
use linklog::scrub::{Verdict, pass};
use linklog::snapshot::Source;
use linklog::store::Reader;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::blocking;

/// How often a slowed-down pass looks whether the service stops.
const NAP_MAX: Duration = Duration::from_millis(100);

/// How the disk is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubOptions {
    /// From the end of one pass to the beginning of the next; zero: never.
    pub every: Duration,
    /// Bytes of rows a second.
    pub bytes_per_s: u64,
}

/// What passes have found.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    passes: Counter,
    damages: Counter,
    sound_at_s: Gauge,
    /// What the last pass that was ended has found.
    damage: Arc<Mutex<Option<String>>>,
}

impl Counts {
    /// Returns what is wrong, if the last pass that was ended found damage.
    pub fn damage(&self) -> Option<String> {
        self.damage.lock().clone()
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("scrub_passes", "Looks at everything on the disk, ended", self.passes.clone());
        registry.register("scrub_damages", "Looks that found damage", self.damages.clone());
        registry.register(
            "scrub_sound_timestamp_seconds",
            "When the disk was last found sound, seconds since the Unix epoch; 0: not since start",
            self.sound_at_s.clone(),
        );
    }
}

/// Makes passes until `stop`; `dir` is a folder on the log's file system.
pub async fn run(
    state: Reader,
    dir: PathBuf,
    options: ScrubOptions,
    counts: Counts,
    stop: CancellationToken,
) {
    if options.every.is_zero() {
        return;
    }
    while stop.run_until_cancelled(tokio::time::sleep(options.every)).await.is_some() {
        let (source, dir, stopped) = (Source::from(&state), dir.clone(), stop.clone());
        let begun = Instant::now();
        let go_on = move |bytes| nap(bytes, options.bytes_per_s, &stopped);
        let result = blocking::run(move || pass(&source, &dir, &go_on)).await;
        match result {
            Ok(Ok(Verdict::Sound { rows, .. })) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                counts.sound_at_s.set(i64::try_from(now).unwrap_or(i64::MAX));
                *counts.damage.lock() = None;
                tracing::info!(rows, took = ?begun.elapsed(), "the log on the disk is sound");
            }
            Ok(Ok(Verdict::Damaged(problem))) => {
                counts.damages.inc();
                tracing::error!(
                    problem,
                    "the log on the disk is damaged: look at the disk, and have a sound copy take over from a writer; a standby fetches another log by itself"
                );
                *counts.damage.lock() = Some(problem);
            }
            Ok(Ok(Verdict::Stopped)) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot look whether the log on the disk is sound"),
            Err(error) => tracing::error!(%error, "the look at the disk has ended early"),
        }
        counts.passes.inc();
    }
}

/// Waits as long as the bytes may take; false: the service stops.
fn nap(bytes: u64, bytes_per_s: u64, stop: &CancellationToken) -> bool {
    let until = Instant::now() + Duration::from_secs_f64(bytes as f64 / bytes_per_s.max(1) as f64);
    while !stop.is_cancelled() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(NAP_MAX));
    }
    false
}
