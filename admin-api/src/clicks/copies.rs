//! Copies of the counts: standbys take the entries of the click journal, in order, and say what they have.
//!
//! Owned here: a proxy is told that it may forget a batch only when that is counted, durably, on as many sync members as changes of links wait
//! for. So after a promotion the proxies still have whatever the new writer lacks, and send it again; it knows by its own watermarks what it
//! has. With none to wait for, a batch that is durable here may be forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clicklog::{BatchNumber, LedgerId};
use linklog::codec::record::Kind;
use linklog::entity::MemberRole;
use linklog::journal::{JournalRead, JournalReader, ReadError};
use linklog::store::StoreError;
use linklog::{Digest, Position, Seq};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use wire::clicks::copier_message::Message as FromCopier;
use wire::clicks::copies_server::Copies as CopiesRpc;
use wire::clicks::{Copied, CopierHello, CopierMessage, Entries};
use wire::identity::{PeerIdentity, Role, authorize};
use wire::limits::ENTRIES_BYTES;

use super::ClickSource;
use crate::blocking;
use crate::members::{Members, NotAdmitted, joining};

/// How long a copier may take to say Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether something was counted.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Messages that may wait between a copier's task and its connection.
const OUTBOX_MESSAGES: usize = 2;

type Outbox = mpsc::Sender<Result<Entries, Status>>;
/// What one member has, by ledger.
type Marks = HashMap<LedgerId, BatchNumber>;

/// Who has a copy of what; cheap to clone.
#[derive(Clone)]
pub struct Copies {
    /// On how many sync members a batch must be before it may be forgotten.
    needed: usize,
    marks: Arc<Mutex<HashMap<String, Marks>>>,
    moved: Arc<watch::Sender<u64>>,
}

impl Copies {
    /// Nobody has anything yet. `needed`: on how many sync members a batch must be.
    pub fn new(needed: usize) -> Copies {
        Copies { needed, marks: Arc::default(), moved: Arc::new(watch::Sender::new(0)) }
    }

    /// Is told whenever a member has more.
    pub(super) fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Returns the last batch of a ledger, of those up to `counted`, that no promotion loses.
    pub(super) fn released(&self, members: &Members, ledger: LedgerId, counted: BatchNumber) -> BatchNumber {
        if self.needed == 0 {
            return counted;
        }
        let is_sync = |name: &String| members.get(name).is_some_and(|member| joining::counts(&member));
        let marks = self.marks.lock();
        let copied = marks.iter().filter(|(name, _)| is_sync(name));
        let copied = copied.map(|(_, marks)| marks.get(&ledger).copied().unwrap_or_default()).collect();
        on_enough(copied, self.needed).min(counted)
    }

    /// A member begins to copy: what it has is what it says from here on, since its disk may be another.
    fn begin(&self, member: &str) {
        self.marks.lock().insert(member.to_owned(), Marks::new());
    }

    fn copied(&self, member: &str, copied: &Copied) -> Result<(), Status> {
        let mut marks = self.marks.lock();
        let of_member = marks.entry(member.to_owned()).or_default();
        for mark in &copied.marks {
            let ledger = <[u8; 16]>::try_from(&*mark.ledger_id).map(LedgerId);
            let ledger = ledger.map_err(|_| Status::invalid_argument("a ledger id has 16 bytes"))?;
            of_member.insert(ledger, BatchNumber(mark.number));
        }
        drop(marks);
        self.moved.send_modify(|moved| *moved += 1);
        Ok(())
    }
}

/// Returns what `needed` of them have reached. Pure.
fn on_enough(mut copied: Vec<BatchNumber>, needed: usize) -> BatchNumber {
    copied.sort_unstable_by(|one, other| other.cmp(one));
    needed.checked_sub(1).and_then(|place| copied.get(place)).copied().unwrap_or_default()
}

/// Serves `signpost.clicks.v1.Copies`.
pub(crate) struct CopyService {
    source: Arc<ClickSource>,
    stop: CancellationToken,
}

impl CopyService {
    pub(crate) fn new(source: ClickSource, stop: CancellationToken) -> CopyService {
        CopyService { source: Arc::new(source), stop }
    }
}

#[tonic::async_trait]
impl CopiesRpc for CopyService {
    type CopyStream = ReceiverStream<Result<Entries, Status>>;

    async fn copy(
        &self,
        request: Request<Streaming<CopierMessage>>,
    ) -> Result<Response<Self::CopyStream>, Status> {
        let peer = authorize(&request, &[Role::Writer])?;
        let inbound = request.into_inner();
        let (outbox, entries) = mpsc::channel(OUTBOX_MESSAGES);
        let (source, stop) = (self.source.clone(), self.stop.clone());
        tokio::spawn(async move {
            if let Err(status) = copy(&source, peer, inbound, &outbox, &stop).await {
                tracing::warn!(%status, "a copy of the counts has ended");
                let _ = outbox.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(entries)))
    }
}

/// Serves one standby until either side ends it.
async fn copy(
    source: &ClickSource,
    peer: Option<PeerIdentity>,
    mut inbound: Streaming<CopierMessage>,
    outbox: &Outbox,
    stop: &CancellationToken,
) -> Result<(), Status> {
    let hello = match timeout(HELLO_WITHIN, inbound.message()).await {
        Ok(Ok(Some(CopierMessage { message: Some(FromCopier::Hello(hello)) }))) => hello,
        Ok(Ok(Some(_))) => return Err(Status::invalid_argument("the first message must be Hello")),
        _ => return Ok(()),
    };
    let admitted = source.members.admit(source.fleet, peer.as_ref(), &hello.fleet_id, &hello.member);
    let member = admitted.map_err(|not| match not {
        NotAdmitted::WrongFleet(detail) | NotAdmitted::Unknown(detail) => Status::permission_denied(detail),
    })?;
    if member.role != MemberRole::Sync {
        return Err(Status::permission_denied("members of role read may not have the counts"));
    }
    let name = hello.member.clone();
    let journal = source.journal.clone();
    let begin = blocking(move || begin_at(&journal, &hello)).await?;
    source.copies.begin(&name);
    let mut next = Seq(begin.seq).next();
    tracing::info!(member = name, from = %next, "a standby copies the counts");
    send(outbox, begin).await?;
    loop {
        let sending = async {
            while source.journal.head().position.seq < next {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let journal = source.journal.clone();
            let entries = blocking(move || read(&journal, next)).await?;
            // Held until the connection has room, so that a slow one holds one message in memory.
            let place = outbox.reserve().await.map_err(|_| Status::cancelled("the standby has left"))?;
            Ok::<_, Status>((entries, place))
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Status::unavailable("the writer is stopping")),
            received = inbound.message() => match received? {
                Some(CopierMessage { message: Some(FromCopier::Copied(copied)) }) => {
                    source.copies.copied(&name, &copied)?;
                }
                Some(_) => return Err(Status::invalid_argument("Hello comes once")),
                None => return Ok(()),
            },
            sent = sending => {
                let (entries, place) = sent?;
                next = Seq(entries.seq).next();
                place.send(Ok(entries));
            }
        }
    }
}

async fn send(outbox: &Outbox, entries: Entries) -> Result<(), Status> {
    outbox.send(Ok(entries)).await.map_err(|_| Status::cancelled("the standby has left"))
}

/// Decides after which entry a copier goes on: after the one it names, if that is ours, else after none, if all are still there.
fn begin_at(journal: &JournalReader, hello: &CopierHello) -> Result<Entries, Status> {
    let named = Position::new(hello.epoch, hello.seq);
    let digest = <[u8; 16]>::try_from(&*hello.digest).ok().map(Digest::from_bytes);
    let is_ours = named.seq.0 > 0 && digest.is_some() && journal.digest_at(named).map_err(damaged)? == digest;
    let (seq, first) = (if is_ours { named.seq } else { Seq(0) }, journal.first_retained());
    if seq.next() < first {
        return Err(Status::failed_precondition(format!(
            "the journal of clicks begins with entry {first}: begin with a snapshot"
        )));
    }
    let (epoch, digest) = if is_ours { (hello.epoch, hello.digest.clone()) } else { (0, Vec::new()) };
    Ok(Entries { epoch, seq: seq.0, digest, entries: Vec::new() })
}

/// Reads entries from `next` on, at least one.
fn read(journal: &JournalReader, next: Seq) -> Result<Entries, Status> {
    let records = journal.read(next, ENTRIES_BYTES).map_err(damaged)?;
    let mut entries = Vec::with_capacity(records.len());
    let mut last = None;
    for record in &records {
        let view = record.view().map_err(|source| {
            damaged(ReadError::Store(StoreError::Damaged { what: "entry of clicks", source }))
        })?;
        last = Some(view.position);
        if view.header.kind == Kind::Entry {
            entries.push(view.manage.to_vec());
        }
    }
    let last = last.ok_or_else(|| Status::internal("the journal of clicks has ended before its head"))?;
    let digest = journal.digest_at(last).map_err(damaged)?.ok_or_else(|| Status::internal("no digest"))?;
    Ok(Entries { epoch: last.epoch.0, seq: last.seq.0, digest: digest.to_bytes().to_vec(), entries })
}

fn damaged(error: ReadError) -> Status {
    tracing::error!(%error, "cannot read the journal of clicks");
    Status::internal("the journal of clicks cannot be read")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = blocking::run(work).await;
    done.unwrap_or_else(|_| Err(Status::unavailable("the writer is stopping")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_may_be_forgotten_when_as_many_as_needed_have_it() {
        let copied = || [5, 9, 7].map(BatchNumber).to_vec();
        for (needed, number) in [(1, 9), (2, 7), (3, 5), (4, 0)] {
            assert_eq!(on_enough(copied(), needed), BatchNumber(number), "{needed} needed");
        }
        assert_eq!(on_enough(Vec::new(), 1), BatchNumber(0));
    }
}
