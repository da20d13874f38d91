//! Clients that know one server only and go on asking it, whatever it says: those on a cut-off writer's side of the cut.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::api::Api;
use crate::http1::Endpoint;

/// The rest after each answer. A writer that is alone says no at once.
const REST: Duration = Duration::from_millis(20);

/// The running clients. Dropped, they end by themselves.
pub(super) struct Loyal {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Answers by status and problem.
    answers: Mutex<BTreeMap<String, u64>>,
    count: AtomicUsize,
    over: AtomicBool,
}

impl Loyal {
    pub(super) fn start(server: &Endpoint, token: &str, clients: u16) -> Loyal {
        let shared = Arc::new(Shared::default());
        let start = |_| {
            let (shared, mut api) = (shared.clone(), Api::of(server, token));
            std::thread::spawn(move || work(&shared, &mut api))
        };
        Loyal { threads: (0..clients).map(start).collect(), shared }
    }

    /// How many requests were answered so far.
    pub(super) fn answers(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Ends the clients; returns what every request came to: "201", or the status with the problem's code, or "no answer".
    pub(super) fn end(mut self) -> BTreeMap<String, u64> {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic has been told on stderr, and what the thread noted is there.
            let _ = thread.join();
        }
        std::mem::take(&mut *self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Loyal {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn work(shared: &Shared, api: &mut Api) {
    while !shared.over.load(Ordering::Relaxed) {
        let came = match api.create() {
            Some((status, problem)) => {
                shared.count.fetch_add(1, Ordering::Relaxed);
                format!("{status} {problem}").trim_end().to_owned()
            }
            None => "no answer".to_owned(),
        };
        *shared.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(came).or_default() += 1;
        std::thread::sleep(REST);
    }
}
