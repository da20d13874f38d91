//! Work on threads that may wait for the disk, or take their time.

use std::io;
use std::sync::OnceLock;

use daemon::turn;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Whom a piece of work lets go first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// Requests that are answered in short turns.
    Usual,
    /// Whatever else wants the core: lists and searches read for milliseconds, and whoever makes a link meanwhile is not to notice.
    Behind,
}

/// Runs `work` on a thread of the runtime's that may block. Requests that are answered in short turns do not wait for its core.
pub(crate) fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(|| turn::takes_its_time(work))
}

/// As [`run`], and says whom it lets go first.
pub(crate) fn run_in<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    static THREADS: OnceLock<io::Result<Runtime>> = OnceLock::new();
    match turn {
        Turn::Usual => run(work),
        Turn::Behind => match THREADS.get_or_init(threads_behind) {
            Ok(threads) => threads.spawn_blocking(work),
            // The system has no more: everything works as before.
            Err(_) => run(work),
        },
    }
}

/// Threads of their own: whoever has given way is not allowed to come first again.
fn threads_behind() -> io::Result<Runtime> {
    // Where that is not allowed it is done without.
    let at_start = || drop(turn::gives_way());
    Builder::new_current_thread().thread_name("lists").on_thread_start(at_start).build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Of the calling thread (proc_pid_stat(5), field 19; the name in field 2 may have spaces).
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        after_name.split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn only_what_lets_others_go_first_is_nice_and_so_it_stays() {
        let own = niceness();
        for _ in 0..2 {
            assert_eq!(run_in(Turn::Behind, niceness).await.unwrap(), own.max(10));
            assert_eq!(run_in(Turn::Usual, niceness).await.unwrap(), own);
        }
    }
}
