//! The calls by which followers get a snapshot.
//!
//! Who is let in is decided as for the feed, by the same rule. A call that is answered slowly holds one chunk in memory.

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use linklog::Seq;
use linklog::entity::{Member, MemberRole};
use linklog::store::Contents;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wire::identity::{FleetId, PeerIdentity, Role, authorize};
use wire::snapshots::open_reply::Reply;
use wire::snapshots::snapshots_server::Snapshots;
use wire::snapshots::{Chunk, Making, OpenReply, OpenRequest, Opened, ReadRequest};

use super::Shelf;
use super::choice;
use super::shelf::{Kept, ShelfError};
use crate::members::{Members, NotAdmitted};

/// Messages that may wait for a connection.
const OUTBOX_MESSAGES: usize = 2;
/// How often a follower hears how far the making is.
const MAKING_EVERY: Duration = Duration::from_secs(1);
/// How long it is waited for sync members to have what a proxy's snapshot holds. A little longer than a change waits for them.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

type Outbox<T> = mpsc::Sender<Result<T, Status>>;

/// Serves the snapshots of a [`Shelf`].
#[derive(Clone)]
pub struct SnapshotService {
    shelf: Shelf,
    /// Those of the counts of clicks.
    counts: Option<Shelf>,
    members: Members,
    fleet: FleetId,
    unfit: Unfit,
    /// Says why proxies are to ask somebody else, if that is so.
    not_for_proxies: Unfit,
    /// The last record that enough sync members have. `None`: all of them are shown.
    confirmed: Option<watch::Receiver<u64>>,
}

/// Says why what is here is nothing to begin with, if that is so.
type Unfit = Arc<dyn Fn() -> Option<String> + Send + Sync>;

impl SnapshotService {
    /// Serves to `members` of `fleet`.
    pub fn new(shelf: Shelf, members: Members, fleet: FleetId) -> SnapshotService {
        let (unfit, not_for_proxies) = (Arc::new(|| None), Arc::new(|| None));
        SnapshotService { shelf, counts: None, members, fleet, unfit, not_for_proxies, confirmed: None }
    }

    /// Offers snapshots of the counts of clicks, too.
    pub(crate) fn with_counts(self, counts: Shelf) -> SnapshotService {
        SnapshotService { counts: Some(counts), ..self }
    }

    /// Offers none while something is the matter with what is here.
    pub(crate) fn unless(self, unfit: Unfit) -> SnapshotService {
        SnapshotService { unfit, ..self }
    }

    /// Offers proxies none while something speaks against it.
    pub(crate) fn not_for_proxies_if(self, not_for_proxies: Unfit) -> SnapshotService {
        SnapshotService { not_for_proxies, ..self }
    }

    /// Offers proxies nothing before enough sync members have it.
    pub(crate) fn once_confirmed(self, confirmed: watch::Receiver<u64>) -> SnapshotService {
        SnapshotService { confirmed: Some(confirmed), ..self }
    }

    fn admit(&self, peer: Option<&PeerIdentity>, fleet_id: &[u8], name: &str) -> Result<Member, Status> {
        self.members.admit(self.fleet, peer, fleet_id, name).map_err(|not| match not {
            NotAdmitted::WrongFleet(detail) | NotAdmitted::Unknown(detail) => {
                Status::permission_denied(detail)
            }
        })
    }

    /// Decides what a member may hold, and where it is.
    fn wanted(
        &self,
        peer: Option<&PeerIdentity>,
        request: &OpenRequest,
    ) -> Result<(&Shelf, Contents), Status> {
        let member = self.admit(peer, &request.fleet_id, &request.member)?;
        let may_have_manage =
            member.role == MemberRole::Sync && peer.is_none_or(|peer| peer.role == Role::Writer);
        let counts =
            || self.counts.as_ref().ok_or_else(|| Status::failed_precondition("no counts are kept here"));
        match (request.counts, request.with_manage) {
            (false, false) => Ok((&self.shelf, Contents::Serve)),
            (false, true) if may_have_manage => Ok((&self.shelf, Contents::Full)),
            (true, _) if may_have_manage => Ok((counts()?, Contents::Journal)),
            _ => Err(Status::permission_denied(format!(
                "member {:?} has role read and may have the served parts only",
                request.member
            ))),
        }
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotService {
    type OpenStream = ReceiverStream<Result<OpenReply, Status>>;
    type ReadStream = ReceiverStream<Result<Chunk, Status>>;

    async fn open(&self, request: Request<OpenRequest>) -> Result<Response<Self::OpenStream>, Status> {
        let peer = authorize(&request, &[Role::Proxy, Role::Writer])?;
        let request = request.into_inner();
        let (shelf, contents) = self.wanted(peer.as_ref(), &request)?;
        let shelf = shelf.clone();
        let not_for_proxies = || (self.not_for_proxies)().filter(|_| contents == Contents::Serve);
        if let Some(problem) = (self.unfit)().or_else(not_for_proxies) {
            return Err(Status::failed_precondition(format!("none is made here: {problem}")));
        }
        tracing::info!(member = request.member, version = request.version, "a follower asks for a snapshot");
        let (outbox, replies) = mpsc::channel(OUTBOX_MESSAGES);
        let confirmed = self.confirmed.clone();
        tokio::spawn(async move {
            if let Err(status) = open(&shelf, contents, confirmed, &request, &outbox).await {
                let _ = outbox.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let peer = authorize(&request, &[Role::Proxy, Role::Writer])?;
        let request = request.into_inner();
        let member = self.admit(peer.as_ref(), &request.fleet_id, &request.member)?;
        let gone = || Status::not_found("this snapshot is not kept any more: open another one");
        let mut shelves = [Some(&self.shelf), self.counts.as_ref()].into_iter().flatten();
        let found = shelves.find_map(|shelf| Some((shelf.clone(), shelf.get(&request.snapshot_id)?)));
        let (shelf, kept) = found.ok_or_else(gone)?;
        if kept.manifest.contents != Contents::Serve && member.role != MemberRole::Sync {
            return Err(Status::permission_denied("members of role read may not have the managed parts"));
        }
        let (outbox, chunks) = mpsc::channel(OUTBOX_MESSAGES);
        tokio::spawn(async move {
            if let Err(status) = read(&shelf, &kept, &request, &outbox).await {
                let _ = outbox.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(chunks)))
    }
}

async fn open(
    shelf: &Shelf,
    contents: Contents,
    confirmed: Option<watch::Receiver<u64>>,
    request: &OpenRequest,
    outbox: &Outbox<OpenReply>,
) -> Result<(), Status> {
    let at_least = Seq(request.at_least_seq);
    let kept = {
        let opening = async {
            let opened = shelf.open_snapshot(contents, at_least, &request.resume).await;
            let kept = opened.map_err(status_of)?;
            await_confirmed(&kept, confirmed).await.map(|()| kept)
        };
        tokio::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => break opened?,
                () = tokio::time::sleep(MAKING_EVERY) => {
                    let making = Reply::Making(Making { bytes: shelf.made_bytes() });
                    // Whoever has gone may come back for it, and others may wait for it too.
                    let _ = outbox.try_send(Ok(OpenReply { reply: Some(making) }));
                }
            }
        }
    };
    let level = kept.manifest.format_level;
    if request.format_level < u32::from(level) {
        let detail = format!("the log is written at format level {level}; upgrade this follower");
        return Err(Status::failed_precondition(detail));
    }
    if kept.manifest.head.position.seq < at_least {
        let detail = format!("this server is at record {}, before {at_least}", kept.manifest.head.position);
        return Err(Status::failed_precondition(detail));
    }
    let opened = Opened { snapshot_id: kept.id.to_vec(), manifest_bytes: kept.encoded.len() as u64 };
    send(outbox, OpenReply { reply: Some(Reply::Opened(opened)) }).await?;
    for chunk in kept.encoded.chunks(shelf.chunk_bytes()) {
        shelf.may_send(chunk.len()).await;
        send(outbox, OpenReply { reply: Some(Reply::Manifest(chunk.to_vec())) }).await?;
    }
    Ok(())
}

/// Waits until what a snapshot holds may be shown to whom it is for.
async fn await_confirmed(kept: &Kept, confirmed: Option<watch::Receiver<u64>>) -> Result<(), Status> {
    let Some(mut confirmed) = confirmed else { return Ok(()) };
    let (contents, head) = (kept.manifest.contents, kept.manifest.head.position.seq);
    let shown = confirmed.wait_for(|confirmed| choice::may_show(contents, head, *confirmed));
    let late = || {
        Status::unavailable(format!("too few sync members have record {head} so far: come back in a moment"))
    };
    match timeout(CONFIRMED_WITHIN, shown).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(late()),
    }
}

async fn read(
    shelf: &Shelf,
    kept: &Arc<Kept>,
    request: &ReadRequest,
    outbox: &Outbox<Chunk>,
) -> Result<(), Status> {
    let index = request.part as usize;
    let Some(part) = kept.manifest.parts.get(index) else {
        return Err(Status::out_of_range(format!("the snapshot has {} parts", kept.manifest.parts.len())));
    };
    if request.offset > part.bytes {
        return Err(Status::out_of_range(format!("part {index} has {} bytes", part.bytes)));
    }
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "cannot read a snapshot's part");
        Status::internal("the snapshot cannot be read")
    };
    let place = tokio::select! {
        place = shelf.place() => place,
        () = shelf.stopping().cancelled() => return Err(Status::unavailable("this server is stopping")),
    };
    let busy = || Status::unavailable("many followers fetch a snapshot: come back in a moment");
    let _place = place.ok_or_else(busy)?;
    let mut file = File::open(kept.part(index)).await.map_err(failed)?;
    file.seek(SeekFrom::Start(request.offset)).await.map_err(failed)?;
    let mut left = part.bytes - request.offset;
    while left > 0 {
        let wanted = left.min(shelf.chunk_bytes() as u64) as usize;
        let mut data = BytesMut::zeroed(wanted);
        file.read_exact(&mut data).await.map_err(failed)?;
        tokio::select! {
            () = shelf.may_send(wanted) => {}
            () = shelf.stopping().cancelled() => return Err(Status::unavailable("this server is stopping")),
        }
        kept.used();
        send(outbox, Chunk { data: data.freeze() }).await?;
        left -= wanted as u64;
    }
    Ok(())
}

async fn send<T>(outbox: &Outbox<T>, message: T) -> Result<(), Status> {
    outbox.send(Ok(message)).await.map_err(|_| Status::cancelled("the follower has gone"))
}

fn status_of(error: ShelfError) -> Status {
    match error {
        ShelfError::NoRoom { .. } => Status::failed_precondition(error.to_string()),
        ShelfError::Stopping => Status::unavailable(error.to_string()),
        ShelfError::Snapshot(_) | ShelfError::Disk(_) => Status::internal(error.to_string()),
    }
}
