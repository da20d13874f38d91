//! Answering: `wire/proto/succession.proto`.

use std::sync::Arc;

use linklog::codec::frame::{FrameRecord, FrameWriter, Section};
use linklog::journal::{JournalRead, JournalReader};
use linklog::limits::FRAME_BYTES_MAX;
use linklog::writer::WriterHandle;
use linklog::{Digest, Epoch, Position, Seq};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wire::identity::{FleetId, PeerIdentity, Role, authorize};
use wire::succession::succession_server::Succession;
use wire::succession::{FenceRequest, Standing as OnWire, TailFrame, TailRequest};

use super::Standing;
use crate::blocking;

/// Frames that may wait for the connection.
const OUTBOX_FRAMES: usize = 2;

/// What the answers are about: a writer or a standby. Both may block.
pub(crate) trait Side: Send + Sync + 'static {
    /// Accepts an epoch, unless it is 0, and says how the log stands.
    ///
    /// # Errors
    /// In words; the process is about to end.
    fn fence(&self, epoch: Epoch, by: &str) -> Result<Standing, String>;

    /// The fleet the log belongs to, if that is known yet.
    fn fleet(&self) -> Option<FleetId>;
}

/// A writer: the epoch it accepts is its end.
pub(crate) struct WriterSide {
    writer: WriterHandle,
    fleet: FleetId,
    /// Who else is told.
    replaced: Arc<dyn Fn(u32) + Send + Sync>,
    /// An epoch is accepted once.
    deciding: Mutex<()>,
}

impl WriterSide {
    pub(crate) fn new(
        writer: WriterHandle,
        fleet: FleetId,
        replaced: Arc<dyn Fn(u32) + Send + Sync>,
    ) -> WriterSide {
        WriterSide { writer, fleet, replaced, deciding: Mutex::default() }
    }
}

impl Side for WriterSide {
    fn fence(&self, epoch: Epoch, by: &str) -> Result<Standing, String> {
        let _alone = self.deciding.lock();
        let before = self.writer.highest_epoch();
        let accepted = epoch > before;
        if accepted {
            tracing::error!(%epoch, by, "another writer takes over: this one writes no more");
            (self.replaced)(epoch.0);
            self.writer.fence_and_wait(epoch.0);
        }
        Ok(Standing {
            accepted,
            member: String::new(),
            writes: true,
            highest_epoch: self.writer.highest_epoch(),
            accepted_before: Some(before),
            head: self.writer.commit().head,
        })
    }

    fn fleet(&self) -> Option<FleetId> {
        Some(self.fleet)
    }
}

pub(crate) struct SuccessionService {
    pub side: Arc<dyn Side>,
    pub journal: JournalReader,
}

#[tonic::async_trait]
impl Succession for SuccessionService {
    type TailStream = ReceiverStream<Result<TailFrame, Status>>;

    async fn fence(&self, request: Request<FenceRequest>) -> Result<Response<OnWire>, Status> {
        let peer = authorize(&request, &[Role::Writer])?;
        let request = request.into_inner();
        self.check_fleet(peer.as_ref(), &request.fleet_id)?;
        let side = self.side.clone();
        let fence = move || side.fence(Epoch(request.epoch), &request.by);
        let standing = blocking::run(fence).await.map_err(|_| Status::unavailable("ending"))?;
        let standing = standing.map_err(Status::internal)?;
        Ok(Response::new(OnWire {
            accepted: standing.accepted,
            member: standing.member,
            writes: standing.writes,
            highest_epoch: standing.highest_epoch.0,
            head_epoch: standing.head.position.epoch.0,
            head_seq: standing.head.position.seq.0,
            digest: standing.head.digest.to_bytes().to_vec(),
            epoch_before: standing.accepted_before.map(|epoch| epoch.0),
        }))
    }

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let peer = authorize(&request, &[Role::Writer])?;
        let request = request.into_inner();
        self.check_fleet(peer.as_ref(), &request.fleet_id)?;
        let after = Position::new(request.after_epoch, request.after_seq);
        let digest = <[u8; 16]>::try_from(&*request.digest)
            .map_err(|_| Status::invalid_argument("the digest must have 16 bytes"))?;
        let journal = self.journal.clone();
        let (outbox, frames) = mpsc::channel(OUTBOX_FRAMES);
        blocking::run(move || {
            if let Err(status) = send_tail(&journal, after, Digest::from_bytes(digest), &outbox) {
                // Whoever asked may be gone.
                let _ = outbox.blocking_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}

impl SuccessionService {
    fn check_fleet(&self, peer: Option<&PeerIdentity>, fleet_id: &[u8]) -> Result<(), Status> {
        let unknown = peer.is_none() && fleet_id.is_empty();
        match self.side.fleet() {
            Some(own) if !unknown && fleet_id != own.as_bytes() => {
                Err(Status::permission_denied(format!("this is fleet {own}")))
            }
            _ => Ok(()),
        }
    }
}

fn send_tail(
    journal: &JournalReader,
    after: Position,
    digest: Digest,
    outbox: &mpsc::Sender<Result<TailFrame, Status>>,
) -> Result<(), Status> {
    let failed = |error: &dyn std::error::Error| Status::internal(error.to_string());
    let head = journal.head().position;
    let ours = journal.digest_at(after).map_err(|error| failed(&error))?;
    if after.seq > Seq::ZERO && ours != Some(digest) {
        let why = if after.seq.next() < journal.first_retained() {
            "is no longer kept here: it takes a snapshot"
        } else {
            "is not in the log here: the histories differ"
        };
        return Err(Status::failed_precondition(format!("record {after} {why}")));
    }
    let mut next = after.seq.next();
    while next <= head.seq {
        let entries = journal.read(next, FRAME_BYTES_MAX).map_err(|error| failed(&error))?;
        let Some(last) = entries.last() else { break };
        let mut frame = FrameWriter::new();
        for entry in &entries {
            let record = entry.view().map_err(|error| failed(&error))?;
            frame.push(&FrameRecord {
                header: record.header,
                position: record.position,
                conflict: entry.conflict,
                serve: Section::Full(record.serve),
                manage: Section::Full(record.manage),
            });
            next = record.position.seq.next();
        }
        let frame = TailFrame { frame: frame.finish(last.digest) };
        if outbox.blocking_send(Ok(frame)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
