//! Comparing passwords, which costs tens of milliseconds and megabytes each on purpose: on threads of their own, never on a worker.
//!
//! Bounded in every direction: threads, and with them memory; comparisons that wait; the time a visitor waits; and guesses, by network and
//! link ([`attempts`]). What does not fit is answered 503. Passwords are in no log and no metric, only how many guesses ended how.

pub mod attempts;
mod counts;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use linklog::link::access::PasswordHash;
use tokio::sync::oneshot;

use attempts::{Attempts, Guesser};
pub use counts::Counts;

/// How long a visitor waits for a comparison.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How much is spent on passwords.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PasswordOptions {
    /// Threads, at least 1, each with up to 64 MiB while it compares.
    pub threads: usize,
    /// Comparisons that may wait for one of them.
    pub queue_max: usize,
    /// Guesses of one network on one link in a window, over the fleet; at least 1.
    pub attempts_max: u32,
    /// How long a window is.
    pub attempts_window: Duration,
}

impl Default for PasswordOptions {
    fn default() -> Self {
        let attempts_window = Duration::from_secs(600);
        PasswordOptions { threads: 1, queue_max: 64, attempts_max: 20, attempts_window }
    }
}

/// What came of a guess.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is the password.
    Right,
    /// It is not.
    Wrong,
    /// This network has guessed enough; again in so many seconds.
    TooMany(u32),
    /// There is no thread for it, or it took too long.
    Busy,
}

struct Guess {
    password: Vec<u8>,
    kept: PasswordHash,
    reply: oneshot::Sender<bool>,
}

/// The pool. Dropping it ends the threads, after what they are doing.
pub struct Passwords {
    /// Taken by the drop.
    queue: Option<Sender<Guess>>,
    threads: Vec<JoinHandle<()>>,
    attempts: Arc<Attempts>,
    counts: Arc<Counts>,
}

impl Passwords {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread cannot be had.
    pub fn start(
        options: PasswordOptions,
        attempts: Arc<Attempts>,
        counts: Arc<Counts>,
    ) -> std::io::Result<Passwords> {
        let (queue, guesses) = bounded(options.queue_max);
        let mut pool = Passwords { queue: Some(queue), threads: Vec::new(), attempts, counts };
        for n in 0..options.threads.max(1) {
            let guesses = guesses.clone();
            let thread = std::thread::Builder::new().name(format!("password-{n}"));
            pool.threads.push(thread.spawn(move || work(&guesses))?);
        }
        Ok(pool)
    }

    /// Compares a password with what is kept of it.
    ///
    /// # Cancel safety
    /// The guess counts all the same.
    pub async fn compare(
        &self,
        guesser: Guesser,
        password: Vec<u8>,
        kept: PasswordHash,
        now_ms: u64,
    ) -> Outcome {
        if let Err(retry_after_s) = self.attempts.begin(guesser, now_ms) {
            self.counts.too_many.inc();
            return Outcome::TooMany(retry_after_s);
        }
        let (reply, result) = oneshot::channel();
        let queue = self.queue.as_ref().expect("taken by the drop only");
        match queue.try_send(Guess { password, kept, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.attempts.take_back(guesser, now_ms);
                self.counts.pool_full.inc();
                return Outcome::Busy;
            }
        }
        match tokio::time::timeout(WAIT_MAX, result).await {
            Ok(Ok(true)) => {
                self.attempts.take_back(guesser, now_ms);
                self.counts.right.inc();
                Outcome::Right
            }
            Ok(Ok(false)) => {
                self.counts.wrong.inc();
                Outcome::Wrong
            }
            Ok(Err(_)) | Err(_) => {
                self.counts.late.inc();
                Outcome::Busy
            }
        }
    }
}

fn work(guesses: &Receiver<Guess>) {
    for Guess { password, kept, reply } in guesses {
        // Nobody waits any more: the time is better spent on others.
        if reply.is_closed() {
            continue;
        }
        let matches = access::password::matches(&password, &kept).unwrap_or_else(|error| {
            tracing::error!(%error, "a password cannot be compared");
            false
        });
        let _ = reply.send(matches);
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that compares passwords panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(attempts_max: u32, queue_max: usize) -> Passwords {
        let options = PasswordOptions { attempts_max, queue_max, ..PasswordOptions::default() };
        let attempts = Arc::new(Attempts::new(attempts_max, options.attempts_window));
        Passwords::start(options, attempts, Arc::default()).unwrap()
    }

    #[test]
    fn a_guess_is_right_or_wrong_and_only_wrong_ones_count() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (pool, kept) = (pool(2, 8), access::password::hash(b"secret", [1; 16]).unwrap());
        let guesser = Guesser::new(None, b"link");
        let guess = |password: &[u8]| runtime.block_on(pool.compare(guesser, password.to_vec(), kept, 1_000));
        let outcomes =
            [b"secret", b"public", b"secret", b"Secret", b"secret"].map(|password| guess(password));
        use Outcome::{Right, TooMany, Wrong};
        assert_eq!(outcomes, [Right, Wrong, Right, Wrong, TooMany(600)]);
        let counted = [("right", 2), ("wrong", 2), ("too_many", 1), ("pool_full", 0), ("late", 0)];
        assert_eq!(pool.counts.all(), counted);
    }

    #[test]
    fn a_full_queue_is_said_at_once_and_is_no_guess() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        // Nobody takes anything out of a queue without room before the thread asks for the next one.
        let (pool, kept) = (pool(8, 0), access::password::hash(b"secret", [1; 16]).unwrap());
        let guesser = Guesser::new(None, b"link");
        let guess = || pool.compare(guesser, b"secret".to_vec(), kept, 1_000);
        let outcomes = runtime.block_on(async {
            let many: Vec<_> = (0..4).map(|_| guess()).collect();
            futures::future::join_all(many).await
        });
        assert!(outcomes.contains(&Outcome::Busy), "{outcomes:?}");
        assert!(!outcomes.contains(&Outcome::Wrong), "{outcomes:?}");
        let busy = outcomes.iter().filter(|outcome| **outcome == Outcome::Busy).count() as u64;
        assert_eq!(pool.counts.all()[3], ("pool_full", busy));
    }
}
