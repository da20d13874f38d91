//! From when to when a proxy that was killed may lack what it had: noted as exactly as can be seen from outside.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::health::Health;
use super::history::{Entry, Recorder};
use crate::pace::StopFlag;

/// How often proxies that were started again are asked whether they have everything.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Proxies that are away.
#[derive(Debug, Default)]
pub(super) struct Absences(Mutex<Vec<Absence>>);

#[derive(Clone, Copy, Debug)]
struct Absence {
    proxy: u16,
    begin_us: u64,
    /// The old process is gone: what answers now is the new one.
    started: bool,
}

impl Absences {
    fn lock(&self) -> MutexGuard<'_, Vec<Absence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A proxy is about to be killed.
    pub(super) fn begin(&self, proxy: u16, begin_us: u64) {
        self.lock().push(Absence { proxy, begin_us, started: false });
    }

    /// It was started again.
    pub(super) fn started(&self, proxy: u16) {
        self.lock()
            .iter_mut()
            .filter(|absence| absence.proxy == proxy)
            .for_each(|absence| absence.started = true);
    }

    /// Watches until told to end.
    pub(super) fn watch(&self, health: &[Health], recorder: &Recorder, ended: &StopFlag) {
        while ended.sleep_until(Instant::now() + ASK_EVERY) {
            self.look(health, recorder);
        }
    }

    /// Notes those that are back.
    pub(super) fn look(&self, health: &[Health], recorder: &Recorder) {
        let waited_for: Vec<Absence> =
            self.lock().iter().filter(|absence| absence.started).copied().collect();
        for absence in waited_for {
            let back = health[usize::from(absence.proxy)].feed().is_ok_and(|feed| feed.is_whole());
            if !back {
                continue;
            }
            let now_us = recorder.now_us();
            self.lock().retain(|other| other.proxy != absence.proxy || other.begin_us != absence.begin_us);
            let Absence { proxy, begin_us, .. } = absence;
            recorder.add(Entry::Away { proxy, begin_us, end_us: now_us });
        }
    }

    /// Notes those that never came back.
    pub(super) fn give_up(&self, recorder: &Recorder) {
        for Absence { proxy, begin_us, .. } in self.lock().drain(..) {
            recorder.add(Entry::Away { proxy, begin_us, end_us: u64::MAX });
        }
    }
}
