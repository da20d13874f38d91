//! The threads that wait for the disk, so that the workers need not.
//!
//! Bounded in every direction: threads, waiting lookups, and the time a visitor waits. What does not fit or comes too late is
//! answered 503, and the visitor's next try finds it in memory: a lookup that has begun is finished and its result kept.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use daemon::metrics::Latency;
use linklog::store::StoreError;
use tokio::sync::oneshot;

use crate::allocations::{self, Role};
use crate::hot_map::floor::note_then_read;
use crate::hot_map::{Block, HotMap};
use crate::link_key::LinkKey;
use crate::lookup::{Source, facts_of};

/// Why it cannot be told whether there is a link.
#[derive(Debug, thiserror::Error)]
pub enum Unsure {
    /// Too many lookups wait already.
    #[error("too many lookups wait for the disk")]
    Full,
    /// The disk did not answer in time.
    #[error("the disk did not answer in time")]
    Late,
    /// The database failed.
    #[error(transparent)]
    Failed(#[from] StoreError),
    /// It is not here, and the replica has never been whole.
    #[error("the replica is not complete yet")]
    Incomplete,
}

/// How large a pool is.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// Threads, at least 1.
    pub threads: usize,
    /// Lookups that may wait for a thread.
    pub queue_max: usize,
    /// How long a visitor waits, the queue included.
    pub deadline: Duration,
}

/// The pool. Dropping it ends the threads, after what they are doing.
pub struct DiskPool {
    /// Taken by the drop.
    queue: Option<Sender<Lookup>>,
    threads: Vec<JoinHandle<()>>,
    deadline: Duration,
}

struct Lookup {
    key: LinkKey,
    source: Arc<Source>,
    begun: Instant,
    reply: oneshot::Sender<Result<Option<Block>, StoreError>>,
}

impl DiskPool {
    /// Starts the threads. `took` counts the time from a visitor's wish to the result.
    ///
    /// # Errors
    /// A thread cannot be had.
    pub fn start(options: DiskOptions, hot: &Arc<HotMap>, took: &Latency) -> std::io::Result<DiskPool> {
        let (queue, lookups) = bounded(options.queue_max);
        let mut pool = DiskPool { queue: Some(queue), threads: Vec::new(), deadline: options.deadline };
        for n in 0..options.threads.max(1) {
            let (lookups, hot, took) = (lookups.clone(), Arc::clone(hot), took.clone());
            let thread = std::thread::Builder::new().name(format!("disk-{n}"));
            pool.threads.push(thread.spawn(move || work(&lookups, &hot, &took))?);
        }
        Ok(pool)
    }

    /// Looks a link up in `source`, wherever it takes the disk to go.
    pub(crate) async fn look_up(&self, key: LinkKey, source: Arc<Source>) -> Result<Option<Block>, Unsure> {
        let (reply, result) = oneshot::channel();
        let lookup = Lookup { key, source, begun: Instant::now(), reply };
        let queue = self.queue.as_ref().expect("taken by the drop only");
        match queue.try_send(lookup) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return Err(Unsure::Full),
        }
        match tokio::time::timeout(self.deadline, result).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) | Err(_) => Err(Unsure::Late),
        }
    }
}

fn work(lookups: &Receiver<Lookup>, hot: &HotMap, took: &Latency) {
    allocations::count_as(Role::Disk);
    for lookup in lookups {
        let Lookup { key, source, begun, reply } = lookup;
        let result = note_then_read(&*source, |source, mark| {
            source.reader().serve_value(key.bytes(), |value| {
                let facts = facts_of(value)?;
                Ok(facts.map(|facts| {
                    hot.fill(mark, &key, facts);
                    Block::new(facts, key.tie_breaker())
                }))
            })
        });
        took.observe_since(begun);
        // Whoever asked may have run out of time.
        let _ = reply.send(result.and_then(|inner| inner));
    }
}

impl Drop for DiskPool {
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a disk thread panicked");
            }
        }
    }
}
