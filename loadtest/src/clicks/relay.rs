//! A relay that stands between the proxies and the writer with the fleet's own keys, and makes of batches what a network never should:
//! it delivers one twice, delivers one late (when its proxy has given the stream up and sent it again), loses the answer to one that was
//! delivered, and plays a whole stream of the past once more.
//!
//! Unlike the forwarder, which passes bytes on, it sees messages: it ends TLS on both sides and reads HTTP/2 frames. What it adds to a
//! stream it keeps within the writer's windows, so that nothing but the batches themselves is out of order.

mod frames;
mod identity;
mod session;
mod side;
mod windows;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context;
use serde::Serialize;

use identity::Identities;
use session::Session;
use side::Side;

/// What can be asked of the relay. Each is done to the next batch that it can be done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trick {
    /// A batch is delivered twice.
    Repeat,
    /// A batch is held back, its connections are cut, and it is delivered behind the same batch on the next stream.
    Late,
    /// A batch is delivered, and the connection is cut in place of the answer.
    LoseAnswer,
    /// The connection is cut, and everything that was sent on it is sent once more, on a connection of its own.
    Replay,
}

impl Trick {
    /// Each, with its name in a plan.
    pub(super) const ALL: [(Trick, &'static str); 4] = [
        (Trick::Repeat, "repeat a batch"),
        (Trick::Late, "deliver a batch late"),
        (Trick::LoseAnswer, "lose an answer"),
        (Trick::Replay, "replay a stream"),
    ];
}

/// What was done to batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Batches that were delivered twice in a row.
    pub repeated: u64,
    /// Batches that were delivered again when a later stream had delivered them.
    pub late: u64,
    /// Answers that were lost.
    pub answers_lost: u64,
    /// Streams that were played once more.
    pub streams_replayed: u64,
    /// The batches on them.
    pub batches_replayed: u64,
}

impl Done {
    /// Batches that reached the writer more often than once.
    pub fn batches_again(&self) -> u64 {
        self.repeated + self.late + self.batches_replayed
    }

    /// Tricks that were done.
    pub(super) fn tricks(&self) -> u64 {
        self.repeated + self.late + self.answers_lost + self.streams_replayed
    }
}

/// A running relay; dropping it ends it, and connections as they notice.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What the connections share.
#[derive(Debug)]
struct Shared {
    identities: Identities,
    upstream: SocketAddr,
    wanted: [AtomicU64; Trick::ALL.len()],
    done: Mutex<Done>,
    /// By the name of a proxy.
    proxies: Mutex<HashMap<String, Arc<Proxy>>>,
    ended: AtomicBool,
}

/// What outlives a connection of a proxy.
#[derive(Debug, Default)]
struct Proxy {
    /// Held while a stream of the past is played: what the proxy sends has to wait.
    gate: Mutex<()>,
    late: Mutex<Option<Held>>,
}

/// A batch that was held back: its number, and the DATA frame with it.
#[derive(Debug)]
struct Held {
    number: u64,
    frame: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Starts to accept on a port of its own, with the keys of the fleet in `fleet_dir`, which need not be there yet. What is accepted
    /// goes on to `upstream`.
    pub(super) fn start(fleet_dir: PathBuf, upstream: SocketAddr) -> anyhow::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen for the proxies")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            identities: Identities::of(fleet_dir),
            upstream,
            wanted: Default::default(),
            done: Mutex::default(),
            proxies: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let on_thread = shared.clone();
        let accept = move || {
            for stream in listener.incoming() {
                if on_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = on_thread.clone();
                // A proxy whose connection fails here sees it closed, and comes again.
                if let Ok(stream) = stream {
                    let _ = thread::Builder::new().name("relay".into()).spawn(move || shared.serve(stream));
                }
            }
        };
        thread::Builder::new().name("relay".into()).spawn(accept).context("cannot start a thread")?;
        Ok(Relay { address, shared })
    }

    /// What the proxies are told to connect to.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Asks for a trick.
    pub(super) fn want(&self, trick: Trick) {
        self.shared.wanted[trick as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What was done so far.
    pub(super) fn done(&self) -> Done {
        *lock(&self.shared.done)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Serves one connection to its end, whatever ends it: both sides come again.
    fn serve(&self, stream: TcpStream) {
        let Ok((name, proxy_side)) = self.identities.accept(stream) else { return };
        let proxy = lock(&self.proxies).entry(name.clone()).or_default().clone();
        drop(lock(&proxy.gate));
        let Ok(writer_side) = self.connect(&name) else { return };
        let _ = Session::new(self, &name, &proxy, proxy_side, writer_side).run();
    }

    fn connect(&self, name: &str) -> anyhow::Result<Side> {
        self.identities.connect(name, self.upstream)
    }

    /// Says whether a trick is wanted.
    fn wants(&self, trick: Trick) -> bool {
        self.wanted[trick as usize].load(Ordering::Relaxed) > 0
    }

    /// Takes one of the wishes for a trick, if there is one.
    fn take(&self, trick: Trick) -> bool {
        let wanted = &self.wanted[trick as usize];
        wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |wanted| wanted.checked_sub(1)).is_ok()
    }
}
