//! How the refilling thread is woken.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Rung by whoever takes codes, heard by one thread. Rings while it does not listen are kept, as one.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    asked: bool,
    stopping: bool,
}

/// Why waiting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// The thread is to end.
    Stop,
    /// An operator wants the stock to be filled now.
    Asked,
    /// The stock is below its low watermark.
    Rung,
    /// Nothing happened.
    TimePassed,
}

impl Bell {
    /// Says that the stock is low.
    pub fn ring(&self) {
        self.change(|state| state.rung = true);
    }

    /// Says that the stock is to be filled, low or not.
    pub fn ask(&self) {
        self.change(|state| state.asked = true);
    }

    /// Says that the thread is to end.
    pub fn stop(&self) {
        self.change(|state| state.stopping = true);
    }

    /// Says whether the thread is to end.
    pub fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Waits until something is said, at most `time`.
    pub fn wait(&self, time: Duration) -> Woken {
        let mut state = self.state.lock();
        let quiet = |state: &mut State| !(state.rung || state.asked || state.stopping);
        self.changed.wait_while_for(&mut state, quiet, time);
        let quiet = State { stopping: state.stopping, ..State::default() };
        let heard = std::mem::replace(&mut *state, quiet);
        match heard {
            State { stopping: true, .. } => Woken::Stop,
            State { asked: true, .. } => Woken::Asked,
            State { rung: true, .. } => Woken::Rung,
            State { .. } => Woken::TimePassed,
        }
    }

    /// Waits for `time` whatever is said, unless the thread is to end.
    pub fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.stopping && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_said_before_listening_is_heard_once() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        assert_eq!(bell.wait(LONG), Woken::Rung);
        assert_eq!(bell.wait(Duration::ZERO), Woken::TimePassed);
        bell.ring();
        bell.ask();
        assert_eq!(bell.wait(LONG), Woken::Asked);
    }

    #[test]
    fn a_stop_ends_every_wait_from_then_on() {
        let bell = Arc::new(Bell::default());
        let waiting = thread::spawn({
            let bell = Arc::clone(&bell);
            move || bell.wait(LONG)
        });
        bell.stop();
        assert_eq!(waiting.join().ok(), Some(Woken::Stop));
        assert_eq!(bell.wait(LONG), Woken::Stop);
        bell.pause(LONG);
    }
}
