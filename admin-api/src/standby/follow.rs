//! The stream from the writer: dial, say where we are, add what comes, acknowledge what is on disk. Writers are tried in turn, for ever; one
//! that is silent keeps nobody from the next.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bootstrap::BootstrapError;
use daemon::disk::{DiskReserve, Room};
use linklog::codec::FORMAT_LEVEL;
use linklog::standby::FollowError;
use linklog::{Digest, Epoch, Position, SlotSum};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;
use wire::channel::{self, reason};
use wire::dial::{self, DialError, HeadStart};
use wire::feed::follower_message::Message as ToWriter;
use wire::feed::refusal::Reason;
use wire::feed::writer_message::Message as FromWriter;
use wire::feed::{Ack, FollowerMessage, Heartbeat, Hello, Records, WriterMessage};
use wire::identity::Identity;

use super::engine::{Engine, NotFollowed};
use super::renew::Renewal;
use super::status::{State, Status};
use crate::blocking;
use crate::clock;

/// Most bytes of frames the writer may have on the way to us. Several of the largest frames.
const WINDOW_BYTES: u64 = 16 << 20;
/// How long a writer may take from the connection to its first word.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// Longest silence on a stream: there is a heartbeat once a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Acknowledgements that may wait for the connection.
const ACKS_MAX: usize = 256;
/// The pause after a stream that ended, and the longest one, which it doubles to.
const PAUSE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(2);
/// How often files are fsynced and trimmed that nobody waits for.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

/// Whom to follow, and what to do with it.
pub(crate) struct FollowOptions {
    /// Feeds of all writers, at least one.
    pub urls: Vec<String>,
    pub identity: Option<Identity>,
    pub engine: Arc<Engine>,
    pub status: Arc<Status>,
    /// With less room than is reserved nothing is received.
    pub disk: DiskReserve,
    /// Another log, when the writer keeps no longer what is missing here.
    pub renewal: Arc<Renewal>,
    /// Called when something else than links may have changed. May block.
    pub on_tables: Arc<dyn Fn() + Send + Sync>,
}

/// Why a stream ended.
enum End {
    /// The connection, or the try to make one.
    Lost(String),
    /// The writer said no.
    Refused(Reason, String),
    /// What came does not fit the log.
    Unfit(String),
    /// The log is not the beginning of this writer's.
    Diverged(String),
    /// The disk is nearly full.
    NoRoom,
    /// Nothing is followed any more.
    Over,
}

/// Follows until `stop`, or until the log is promoted.
pub(crate) async fn run(options: FollowOptions, stop: CancellationToken) {
    let (mut pause, mut head_start, mut next) = (*PAUSE.start(), HeadStart::default(), 0);
    let mut logged: HashMap<String, String> = HashMap::new();
    // Whoever accepts an epoch for a promotion finds its writer soon, and most likely silence where the old one was.
    let mut accepted = options.engine.accepted();
    loop {
        if stop.run_until_cancelled(options.await_room()).await.is_none() {
            return;
        }
        // An old writer yields to whoever tells it of a higher epoch, and a promotion has to hear from itself that it did.
        if stop.run_until_cancelled(options.engine.not_being_promoted()).await.is_none() {
            return;
        }
        options.status.connecting(&options.urls[next]);
        let (place, dialled) = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Ok(()) = accepted.changed() => {
                (pause, head_start) = (*PAUSE.start(), HeadStart::default());
                // Long enough for the promotion to ask the old writer before we tell it.
                stop.run_until_cancelled(tokio::time::sleep(jittered(pause))).await;
                continue;
            }
            dialled = dial::writer(&options.urls, next, options.identity.as_ref(), head_start) => dialled,
        };
        let url = &options.urls[place];
        next = (place + 1) % options.urls.len();
        options.status.connecting(url);
        let begun = Instant::now();
        let end = match dialled {
            Ok(channel) => stop.run_until_cancelled(options.stream(url, channel)).await,
            Err(error @ DialError::Address(_)) => Some(End::Unfit(error.to_string())),
            Err(DialError::Lost(problem)) => Some(End::Lost(problem)),
        };
        let Some(end) = end else { return };
        head_start.lengthen();
        if begun.elapsed() > *PAUSE.end() {
            (pause, head_start) = (*PAUSE.start(), HeadStart::default());
            logged.remove(url);
        }
        let (state, problem) = match end {
            End::Over => return,
            End::NoRoom => continue,
            End::Lost(problem) => (State::Connecting, problem),
            End::Refused(Reason::ShuttingDown | Reason::Standby, detail) => (State::Connecting, detail),
            // The writer has lost what is here; another one may not have.
            End::Refused(Reason::Diverged, detail) | End::Diverged(detail) => (State::Diverged, detail),
            End::Refused(Reason::SnapshotRequired, detail) => {
                options.status.lost(State::Bootstrapping, detail.clone());
                match stop.run_until_cancelled(options.renewal.log(url, &detail)).await {
                    None | Some(Ok(())) => return,
                    Some(Err(error)) => (State::Refused, behind(&detail, &error)),
                }
            }
            End::Refused(_, detail) | End::Unfit(detail) => (State::Refused, detail),
        };
        if logged.get(url).is_none_or(|last| *last != problem) {
            tracing::warn!(writer = url, state = state.name(), problem, "not following");
            logged.insert(url.clone(), problem.clone());
        }
        options.status.lost(state, problem);
        tokio::select! {
            () = stop.cancelled() => return,
            // Seen to in the next turn.
            Ok(()) = accepted.changed() => accepted.mark_changed(),
            () = tokio::time::sleep(jittered(pause)) => pause = (pause * 2).min(*PAUSE.end()),
        }
    }
}

fn behind(detail: &str, error: &BootstrapError) -> String {
    format!(
        "this standby has fallen behind what the writer's journal keeps ({detail}) and has no snapshot yet: {error}"
    )
}

/// Between half and the whole of a time.
fn jittered(whole: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 512;
    whole.mul_f64(0.5 + random as f64 / 1024.0)
}

impl FollowOptions {
    /// Waits until there is as much room on the disk as is reserved.
    async fn await_room(&self) {
        if self.disk.room() == Room::Enough {
            return;
        }
        let (free, reserve) = (self.disk.free(), self.disk.reserve());
        tracing::error!(
            free_bytes = free,
            reserve_bytes = reserve,
            "not following for want of room, still answering"
        );
        let problem = format!("the disk has {free} bytes left and {reserve} are reserved: make room");
        self.status.lost(State::Paused, problem);
        self.disk.enough().await;
        tracing::info!("there is room again, following");
    }

    async fn stream(&self, url: &str, channel: Channel) -> End {
        let mut accepted = self.engine.accepted();
        accepted.mark_unchanged();
        let Ok(hello) = self.hello() else { return End::Over };
        if self.engine.is_being_promoted() {
            return End::Lost("this standby is being promoted".to_owned());
        }
        let highest_epoch = hello.highest_epoch;
        let (acks, messages) = mpsc::channel(ACKS_MAX);
        // The channel is new and has room.
        let _ = acks.try_send(FollowerMessage { message: Some(ToWriter::Hello(hello)) });
        let mut client = channel::feed_client(channel);
        let mut inbound = match timeout(WELCOME_WITHIN, client.follow(ReceiverStream::new(messages))).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return End::Lost(reason(&status)),
            Err(_) => return End::Lost("the writer does not answer".to_owned()),
        };
        let welcome = match timeout(WELCOME_WITHIN, next(&mut inbound)).await {
            Ok(Ok(FromWriter::Welcome(welcome))) => welcome,
            Ok(Ok(FromWriter::Refusal(refusal))) => return End::Refused(refusal.reason(), refusal.detail),
            Ok(Ok(_)) => return End::Lost("the writer sent records before its welcome".to_owned()),
            Ok(Err(problem)) => return End::Lost(problem),
            Err(_) => return End::Lost("the writer does not answer".to_owned()),
        };
        if self.engine.fleet_id().is_some_and(|own| welcome.fleet_id != own.as_bytes()) {
            return End::Unfit("the writer belongs to another fleet".to_owned());
        }
        let head = welcome.head.map_or(Position::ZERO, |at| Position::new(at.epoch, at.seq));
        if head.epoch.0 < highest_epoch {
            let epoch = head.epoch;
            return End::Unfit(format!(
                "the writer is of epoch {epoch} and was replaced: {highest_epoch} is accepted here"
            ));
        }
        tracing::info!(writer = url, writer_head = %head, "following");
        self.status.heard(head);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING_EVERY);
        loop {
            let message = tokio::select! {
                biased;
                _ = accepted.changed() => return End::Unfit("a higher epoch was accepted".to_owned()),
                _ = housekeeping.tick() => {
                    if self.disk.room() != Room::Enough {
                        return End::NoRoom;
                    }
                    let engine = self.engine.clone();
                    match blocking(move || engine.housekeeping()).await {
                        Ok(()) => continue,
                        Err(NotFollowed) => return End::Over,
                    }
                }
                message = timeout(SILENCE_MAX, next(&mut inbound)) => message,
            };
            let done = match message {
                Ok(Ok(FromWriter::Records(records))) => self.add(records, head.epoch, &acks).await,
                Ok(Ok(FromWriter::Heartbeat(heartbeat))) => self.compare(&heartbeat, &acks).await,
                Ok(Ok(FromWriter::Refusal(refusal))) => Err(End::Refused(refusal.reason(), refusal.detail)),
                Ok(Ok(FromWriter::Welcome(_))) => Err(End::Lost("the writer welcomed us twice".to_owned())),
                Ok(Err(problem)) => Err(End::Lost(problem)),
                Err(_) => Err(End::Lost("the writer fell silent".to_owned())),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn hello(&self) -> Result<Hello, NotFollowed> {
        let place = self.engine.place()?;
        let at = place.head.position;
        Ok(Hello {
            fleet_id: self.engine.fleet_id().map_or_else(Vec::new, |fleet| fleet.as_bytes().to_vec()),
            member: self.engine.member().to_owned(),
            format_level: u32::from(FORMAT_LEVEL),
            highest_epoch: place.highest_epoch.0,
            applied: Some(on_wire(at)),
            digest: if at.seq.0 == 0 { Vec::new() } else { place.head.digest.to_bytes().to_vec() },
            with_manage: true,
            window_bytes: WINDOW_BYTES,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    async fn add(
        &self,
        records: Records,
        writer: Epoch,
        acks: &mpsc::Sender<FollowerMessage>,
    ) -> Result<(), End> {
        let (engine, on_tables) = (self.engine.clone(), self.on_tables.clone());
        let followed = blocking(move || {
            let followed = engine.follow(&records.frame, writer)?;
            if followed.as_ref().is_ok_and(|followed| followed.beyond_links) {
                on_tables();
            }
            Ok((followed, records.synced_at_us))
        });
        let (followed, synced_at_us) = followed.await.map_err(|NotFollowed| End::Over)?;
        let followed = followed.map_err(|error: FollowError| match error.is_divergence() {
            true => End::Diverged(error.to_string()),
            false => End::Unfit(error.to_string()),
        })?;
        let at = followed.head.position;
        let head = self.status.snapshot().writer_head.unwrap_or(at).max(at);
        self.status.heard(head);
        let lag_us = if synced_at_us == 0 { 0 } else { clock::now_us().saturating_sub(synced_at_us).max(1) };
        acknowledge(acks, at, lag_us).await
    }

    async fn compare(&self, heartbeat: &Heartbeat, acks: &mpsc::Sender<FollowerMessage>) -> Result<(), End> {
        let position = heartbeat.position.as_ref().map(|at| Position::new(at.epoch, at.seq));
        let digest = <[u8; 16]>::try_from(&*heartbeat.digest);
        let (Some(position), Ok(digest)) = (position, digest) else {
            return Err(End::Unfit("a heartbeat without position or digest".to_owned()));
        };
        let serve_sum = <[u8; 16]>::try_from(&*heartbeat.serve_sum).ok().map(SlotSum::from_bytes);
        let engine = self.engine.clone();
        let compared = blocking(move || {
            let same = engine.check(position, Digest::from_bytes(digest), serve_sum)?;
            Ok((same, engine.place()?.head.position))
        });
        let (same, at) = compared.await.map_err(|NotFollowed| End::Over)?;
        same.map_err(|mismatch| End::Diverged(mismatch.to_string()))?;
        let head = heartbeat.head.as_ref().map_or(position, |at| Position::new(at.epoch, at.seq));
        self.status.heard(head);
        acknowledge(acks, at, 0).await
    }
}

/// Everything applied here is fsynced.
async fn acknowledge(
    acks: &mpsc::Sender<FollowerMessage>,
    at: Position,
    apply_lag_us: u64,
) -> Result<(), End> {
    let ack = Ack { applied: Some(on_wire(at)), follower_synced_seq: at.seq.0, apply_lag_us };
    let sent = acks.send(FollowerMessage { message: Some(ToWriter::Ack(ack)) }).await;
    sent.map_err(|_| End::Lost("the writer ended the stream".to_owned()))
}

/// Runs what waits for the disk on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotFollowed> + Send + 'static,
) -> Result<T, NotFollowed> {
    blocking::run(work).await.unwrap_or(Err(NotFollowed))
}

fn on_wire(position: Position) -> wire::feed::Position {
    wire::feed::Position { epoch: position.epoch.0, seq: position.seq.0 }
}

async fn next(inbound: &mut Streaming<WriterMessage>) -> Result<FromWriter, String> {
    match inbound.message().await {
        Ok(Some(WriterMessage { message: Some(message) })) => Ok(message),
        Ok(Some(WriterMessage { message: None })) => Err("the writer sent a message without content".into()),
        Ok(None) => Err("the writer ended the stream".into()),
        Err(status) => Err(reason(&status)),
    }
}
