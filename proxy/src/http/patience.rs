//! How long a connection is waited for: one timer and one stop signal for its whole life.
//!
//! Arming a timer for every request would cost more than parsing it. So the timer runs on while requests come and go, and only when
//! it fires does it look whether anything happened since: then it is set anew for the rest of the time. The same for the signal: it
//! is registered once and looked at through a flag.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::time::{Instant, Sleep};

use super::clock::now_ms;
use crate::worker::Worker;

/// Why waiting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// Nothing came for too long between requests.
    Idle,
    /// The head of a request did not arrive in time.
    HeadLate,
    /// The worker stops.
    Stopping,
}

/// What the connection is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Awaited {
    /// The next request; since when, by [`now_ms`].
    Request { since_ms: u64 },
    /// The rest of a head; until when.
    Head { until: Instant },
}

/// The state of waiting for one connection.
pub(super) struct Patience<'a, 'w> {
    worker: &'w Worker,
    sleep: Pin<&'a mut Sleep>,
    stopped: Pin<&'a mut Notified<'w>>,
    awaited: Awaited,
    /// Both wakers are registered.
    armed: bool,
}

impl<'a, 'w> Patience<'a, 'w> {
    /// `sleep` is due after the idle time; `stopped` comes from the worker's signal.
    pub(super) fn new(
        worker: &'w Worker,
        sleep: Pin<&'a mut Sleep>,
        stopped: Pin<&'a mut Notified<'w>>,
    ) -> Patience<'a, 'w> {
        Patience { worker, sleep, stopped, awaited: Awaited::Request { since_ms: now_ms() }, armed: false }
    }

    /// Everything that came has been answered, as of `now_ms`.
    #[inline]
    pub(super) fn expect_request(&mut self, now_ms: u64) {
        self.awaited = Awaited::Request { since_ms: now_ms };
    }

    /// A head has begun and is not complete. The time runs from the first call on, whatever comes.
    pub(super) fn expect_head(&mut self) {
        if let Awaited::Request { .. } = self.awaited {
            let until = Instant::now() + self.worker.limits.head;
            self.awaited = Awaited::Head { until };
            self.sleep.as_mut().reset(until);
            self.armed = false;
        }
    }

    /// To be polled when reading pends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if !self.armed {
            // The signal never fires twice; after it has, the flag says so.
            if !self.worker.is_stopping() {
                let _ = self.stopped.as_mut().poll(cx);
            }
            self.armed = self.sleep.as_mut().poll(cx).is_pending();
        }
        if self.worker.is_stopping() && matches!(self.awaited, Awaited::Request { .. }) {
            return Poll::Ready(Ended::Stopping);
        }
        while self.sleep.is_elapsed() {
            let left = match self.awaited {
                Awaited::Head { until } if until <= Instant::now() => return Poll::Ready(Ended::HeadLate),
                Awaited::Head { until } => until - Instant::now(),
                Awaited::Request { since_ms } => {
                    let quiet = Duration::from_millis(now_ms().saturating_sub(since_ms));
                    match self.worker.limits.idle.checked_sub(quiet).filter(|left| !left.is_zero()) {
                        Some(left) => left,
                        None => return Poll::Ready(Ended::Idle),
                    }
                }
            };
            self.sleep.as_mut().reset(Instant::now() + left);
            self.armed = self.sleep.as_mut().poll(cx).is_pending();
        }
        Poll::Pending
    }
}
