//! One stream of the feed, from dialling to its end.

use std::time::Duration;

use linklog::codec::FORMAT_LEVEL;
use linklog::{Epoch, Position};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::channel::{self, reason};
use wire::feed::follower_message::Message as ToWriter;
use wire::feed::refusal::Reason;
use wire::feed::writer_message::Message as FromWriter;
use wire::feed::{FollowerMessage, Hello, Refusal, Welcome, WriterMessage};
use wire::identity::{Identity, Role};

use super::applier::{Fault, Standing, WORK_MAX, Work};
use super::recover::Need;
use super::status::Status;
use crate::wall_clock::now_us;

/// Most bytes of frames the writer may have on the way to us. Several of the largest frames.
const WINDOW_BYTES: u64 = 16 << 20;
/// How long a writer may take from the connection to its first word.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// Longest silence on a stream: there is a heartbeat once a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Acknowledgements that may wait for the connection.
const ACKS_MAX: usize = 256;

/// Who we are and whom we know.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub(super) identity: Option<Identity>,
    pub(super) name: String,
    /// Without any record, a snapshot is fetched instead of so many.
    pub(super) fresh_from_records: u64,
}

/// Why a stream ended.
#[derive(Debug)]
pub(super) enum End {
    /// The writer cannot be reached, or the connection is gone.
    Lost(String),
    /// The writer sent us away.
    Refused { reason: Reason, detail: String },
    /// We do not follow this writer.
    Unfit { problem: String },
    /// What it sent cannot be applied.
    Fault(Fault),
    /// The replica will not do: another one has to be fetched.
    Needs(Need),
    /// There is less room on the disk than is reserved.
    NoRoom,
    /// The applier is gone: the process ends.
    Over,
}

impl Follower {
    /// Follows `url` until something ends it. `stream` numbers the streams of this process.
    pub(super) async fn follow(
        &self,
        url: &str,
        stream: u64,
        applier: &mpsc::Sender<Work>,
        status: &Status,
    ) -> End {
        let lost = End::Lost;
        let endpoint = match channel::endpoint(url, self.identity.as_ref(), Role::Writer) {
            Ok(endpoint) => endpoint,
            Err(error) => return End::Unfit { problem: error.to_string() },
        };
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return lost(reason(&error)),
        };
        let (on_fault, mut fault) = oneshot::channel();
        let (on_standing, standing) = oneshot::channel();
        let begin = Work::Begin { stream, fault: on_fault, standing: on_standing };
        if applier.send(begin).await.is_err() {
            return End::Over;
        }
        let Ok(standing) = standing.await else { return End::Over };
        let (to_writer, messages) = mpsc::channel(ACKS_MAX);
        let hello = FollowerMessage { message: Some(ToWriter::Hello(self.hello(&standing))) };
        // The channel is new and has room.
        let _ = to_writer.try_send(hello);
        let mut client = channel::feed_client(channel);
        let mut inbound = match timeout(WELCOME_WITHIN, client.follow(ReceiverStream::new(messages))).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(error)) => return lost(reason(&error)),
            Err(_) => return lost("the writer does not answer".into()),
        };
        let welcome = match timeout(WELCOME_WITHIN, next(&mut inbound)).await {
            Ok(Ok(FromWriter::Welcome(welcome))) => welcome,
            Ok(Ok(FromWriter::Refusal(refusal))) => return refused(&refusal),
            Ok(Ok(_)) => return lost("the writer sent records before its welcome".into()),
            Ok(Err(problem)) => return lost(problem),
            Err(_) => return lost("the writer does not answer".into()),
        };
        let head = match self.check_welcome(&welcome, &standing) {
            Ok(head) => head,
            Err(end) => return end,
        };
        if standing.head.position.seq.0 == 0 && head.seq.0 >= self.fresh_from_records {
            return End::Needs(Need::far_behind(head));
        }
        tracing::info!(
            writer = url,
            applied = %standing.head.position,
            writer_head = %head,
            version = welcome.version,
            "following"
        );
        status.welcomed(&welcome.fleet_id, head);
        loop {
            let message = tokio::select! {
                biased;
                fault = &mut fault => return fault.map_or(End::Over, End::Fault),
                message = timeout(SILENCE_MAX, next(&mut inbound)) => message,
            };
            let acks = to_writer.clone();
            let work = match message {
                Ok(Ok(FromWriter::Records(records))) => {
                    Work::Frame { stream, frame: records.frame, synced_at_us: records.synced_at_us, acks }
                }
                Ok(Ok(FromWriter::Heartbeat(heartbeat))) => {
                    // Here and not where it is compared: it may wait behind frames that are applied first.
                    let skew_ms = ((now_us() / 1_000) as i64).saturating_sub_unsigned(heartbeat.clock_ms);
                    Work::Heartbeat { stream, heartbeat, skew_ms, acks }
                }
                Ok(Ok(FromWriter::Refusal(refusal))) => return refused(&refusal),
                Ok(Ok(FromWriter::Welcome(_))) => return lost("the writer welcomed us twice".into()),
                Ok(Err(problem)) => return lost(problem),
                Err(_) => return lost("the writer fell silent".into()),
            };
            if applier.send(work).await.is_err() {
                return End::Over;
            }
        }
    }

    fn hello(&self, standing: &Standing) -> Hello {
        let at = standing.head.position;
        let digest = if at.seq.0 == 0 { Vec::new() } else { standing.head.digest.to_bytes().to_vec() };
        Hello {
            fleet_id: self.fleet(standing).map_or(Vec::new(), |fleet| fleet.to_vec()),
            member: self.name.clone(),
            format_level: u32::from(FORMAT_LEVEL),
            highest_epoch: standing.highest_epoch.0,
            applied: Some(wire::feed::Position { epoch: at.epoch.0, seq: at.seq.0 }),
            digest,
            with_manage: false,
            window_bytes: WINDOW_BYTES,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The fleet we belong to: by our certificate, else by what the replica says; a new proxy on loopback may not know.
    pub(super) fn fleet(&self, standing: &Standing) -> Option<[u8; 16]> {
        let certified = self.identity.as_ref().map(|identity| *identity.own().fleet.as_bytes());
        certified.or(standing.fleet)
    }

    fn check_welcome(&self, welcome: &Welcome, standing: &Standing) -> Result<Position, End> {
        if let Some(ours) = self.fleet(standing)
            && welcome.fleet_id != ours
        {
            let problem = format!("the writer belongs to another fleet, {}", hex(&welcome.fleet_id));
            return Err(End::Unfit { problem });
        }
        let head = welcome.head.as_ref().map_or(Position::ZERO, |head| Position::new(head.epoch, head.seq));
        if head.epoch < standing.highest_epoch && head.epoch != Epoch(0) {
            let problem = format!(
                "the writer is of epoch {}, and epoch {} has been accepted: it was replaced",
                head.epoch, standing.highest_epoch
            );
            return Err(End::Unfit { problem });
        }
        Ok(head)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(refusal: &Refusal) -> End {
    End::Refused { reason: refusal.reason(), detail: refusal.detail.clone() }
}

async fn next(inbound: &mut Streaming<WriterMessage>) -> Result<FromWriter, String> {
    match inbound.message().await {
        Ok(Some(WriterMessage { message: Some(message) })) => Ok(message),
        Ok(Some(WriterMessage { message: None })) => Err("the writer sent a message without content".into()),
        Ok(None) => Err("the writer ended the stream".into()),
        Err(status) => Err(reason(&status)),
    }
}

const _: () = assert!(WORK_MAX <= ACKS_MAX, "every piece of work that waits may be acknowledged");
