//! Followers without a disk: each a stream of the feed that takes everything and acknowledges what a heartbeat confirms.
//!
//! A follower that left goes on from where it was. One that is sent away or loses its connection tries again, as a proxy does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use wire::channel::{self, reason};
use wire::feed::follower_message::Message as ToWriter;
use wire::feed::writer_message::Message as FromWriter;
use wire::feed::{Ack, FollowerMessage, Heartbeat, Hello, Position, WriterMessage};
use wire::identity::{Identity, Role};

use crate::pace::StopFlag;

/// Any level of the byte format: nothing is read.
const FORMAT_LEVEL: u32 = u8::MAX as u32;
const WINDOW_BYTES: u64 = 16 << 20;
/// Longest silence: there is a heartbeat once a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Messages that may wait for the connection.
const ACKS_MAX: usize = 16;
/// The longest pause before another try.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether everybody has everything.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One follower, between its streams.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    feed: String,
    name: String,
    identity: Identity,
    /// The last position that a heartbeat confirmed, with its digest.
    place: Arc<Mutex<(Position, Vec<u8>)>>,
}

impl Follower {
    /// A follower that has nothing yet, with the credential in `tls`.
    pub(super) fn new(feed: String, name: String, tls: &Path) -> anyhow::Result<Follower> {
        let identity = Identity::load(tls).with_context(|| format!("cannot use {}", tls.display()))?;
        Ok(Follower { feed, name, identity, place: Arc::default() })
    }
}

/// What followers count together.
#[derive(Debug, Default)]
struct Counts {
    streams: AtomicU64,
    frames: AtomicU64,
    caught_up: AtomicU64,
}

/// Followers that follow.
#[derive(Debug)]
pub(super) struct Crowd {
    counts: Arc<Counts>,
    size: u64,
    begun: Instant,
    caught_up_ms: AtomicU64,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Crowd {
    /// Has all of them dial in the same instant.
    pub(super) fn start(followers: &[Follower]) -> anyhow::Result<Crowd> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (counts, stop) = (Arc::<Counts>::default(), CancellationToken::new());
        let (shared, stopped) = (Arc::clone(&counts), stop.clone());
        let (size, followers) = (followers.len() as u64, followers.to_vec());
        let thread = std::thread::Builder::new().name("crowd".into()).spawn(move || {
            runtime.block_on(async {
                let mut all = JoinSet::new();
                for follower in followers {
                    all.spawn(follow(follower, Arc::clone(&shared)));
                }
                stopped.cancelled().await;
            });
        })?;
        let caught_up_ms = AtomicU64::new(0);
        Ok(Crowd { counts, size, begun: Instant::now(), caught_up_ms, stop, thread })
    }

    /// Waits until every follower has had everything once.
    pub(super) fn await_caught_up(&self, within: Duration, stop: &StopFlag) -> anyhow::Result<()> {
        loop {
            let caught_up = self.counts.caught_up.load(Ordering::Relaxed);
            if caught_up == self.size {
                let ms = self.begun.elapsed().as_millis() as u64;
                self.caught_up_ms.store(ms, Ordering::Relaxed);
                return Ok(());
            }
            let took = self.begun.elapsed();
            anyhow::ensure!(took < within, "after {took:?} {caught_up} of {} followers have all", self.size);
            anyhow::ensure!(stop.sleep_until(Instant::now() + LOOK_EVERY), "stopped before the end");
        }
    }

    /// How long that took, in milliseconds.
    pub(super) fn caught_up_ms(&self) -> u64 {
        self.caught_up_ms.load(Ordering::Relaxed)
    }

    /// Streams begun so far.
    pub(super) fn streams(&self) -> u64 {
        self.counts.streams.load(Ordering::Relaxed)
    }

    /// Frames received so far.
    pub(super) fn frames(&self) -> u64 {
        self.counts.frames.load(Ordering::Relaxed)
    }

    /// Ends all streams.
    pub(super) fn leave(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.thread.join().map_err(|_| anyhow::anyhow!("the followers' thread panicked"))
    }
}

/// Follows until it is dropped.
async fn follow(follower: Follower, counts: Arc<Counts>) {
    let mut has_had_all = false;
    loop {
        counts.streams.fetch_add(1, Ordering::Relaxed);
        if let Err(problem) = stream(&follower, &counts, &mut has_had_all).await {
            crate::progress::say(format!("followers: {}: {problem}", follower.name));
        }
        sleep(PAUSE_MAX.mul_f64(rand::random())).await;
    }
}

/// One stream, to its end.
async fn stream(follower: &Follower, counts: &Counts, has_had_all: &mut bool) -> Result<(), String> {
    let Follower { feed, name, identity, place } = follower;
    let endpoint =
        channel::endpoint(feed, Some(identity), Role::Writer).map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| reason(&error))?;
    let (to_writer, messages) = mpsc::channel(ACKS_MAX);
    let (applied, digest) = place.lock().clone();
    let hello = Hello {
        fleet_id: identity.own().fleet.as_bytes().to_vec(),
        member: name.clone(),
        format_level: FORMAT_LEVEL,
        highest_epoch: applied.epoch,
        applied: Some(applied),
        digest,
        with_manage: false,
        window_bytes: WINDOW_BYTES,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    // The channel is new and has room.
    let _ = to_writer.try_send(FollowerMessage { message: Some(ToWriter::Hello(hello)) });
    let mut client = channel::feed_client(channel);
    let inbound = timeout(SILENCE_MAX, client.follow(ReceiverStream::new(messages))).await;
    let inbound = inbound.map_err(|_| "the writer does not answer".to_owned())?;
    let mut inbound = inbound.map_err(|status| reason(&status))?.into_inner();
    loop {
        let message = timeout(SILENCE_MAX, inbound.message()).await;
        let message = message.map_err(|_| "the writer fell silent".to_owned())?;
        let message = message.map_err(|status| reason(&status))?.ok_or("the writer ended the stream")?;
        match message {
            WriterMessage { message: Some(FromWriter::Records(_)) } => {
                counts.frames.fetch_add(1, Ordering::Relaxed);
            }
            WriterMessage { message: Some(FromWriter::Heartbeat(heartbeat)) } => {
                let Heartbeat { position: Some(position), digest, head, .. } = heartbeat else {
                    return Err("a heartbeat without a position".to_owned());
                };
                *place.lock() = (position, digest);
                if head == Some(position) && !std::mem::replace(has_had_all, true) {
                    counts.caught_up.fetch_add(1, Ordering::Relaxed);
                }
                let ack = Ack { applied: Some(position), follower_synced_seq: 0, apply_lag_us: 0 };
                let ack = FollowerMessage { message: Some(ToWriter::Ack(ack)) };
                to_writer.send(ack).await.map_err(|_| "the writer ended the stream".to_owned())?;
            }
            WriterMessage { message: Some(FromWriter::Refusal(refusal)) } => {
                return Err(format!("{}: {}", refusal.reason().as_str_name(), refusal.detail));
            }
            _ => {}
        }
    }
}
