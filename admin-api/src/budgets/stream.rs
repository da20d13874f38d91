//! One member's stream of budgets, from Hello to the end.
//!
//! What a member says is worked off in its order, one after the other: what it has spent is written down before it is granted more. A newer
//! stream of the same member takes over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use linklog::entity::{Member, MemberState};
use linklog::{Allowance, Position};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use wire::budgets::budgets_server::Budgets as BudgetsRpc;
use wire::budgets::holder_message::Message as FromHolder;
use wire::budgets::refusal::Reason;
use wire::budgets::writer_message::Message as FromWriter;
use wire::budgets::{Hello, HolderMessage, Link, Refusal, Report, Welcome, WriterMessage};
use wire::channel::reason;
use wire::identity::{PeerIdentity, Role, authorize};

use super::{Budgets, Holder, Of, Outbox};
use crate::links::ChangeError;
use crate::members::NotAdmitted;

/// How long a member may take to say Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long the last word to a member may take.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(1);
/// Messages that may wait between a member's task and its connection.
const OUTBOX_MESSAGES: usize = 64;

static STREAMS: AtomicU64 = AtomicU64::new(0);

/// Serves `signpost.budgets.v1.Budgets`.
pub(crate) struct HoldService {
    budgets: Budgets,
    stop: CancellationToken,
}

impl HoldService {
    pub(crate) fn new(budgets: Budgets, stop: CancellationToken) -> HoldService {
        HoldService { budgets, stop }
    }
}

#[tonic::async_trait]
impl BudgetsRpc for HoldService {
    type HoldStream = ReceiverStream<Result<WriterMessage, Status>>;

    async fn hold(
        &self,
        request: Request<Streaming<HolderMessage>>,
    ) -> Result<Response<Self::HoldStream>, Status> {
        let peer = authorize(&request, &[Role::Proxy])?;
        let inbound = request.into_inner();
        let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
        let (budgets, stop) = (self.budgets.clone(), self.stop.clone());
        tokio::spawn(async move { hold(&budgets, peer, inbound, outbox, stop).await });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// How a stream ends.
enum End {
    Gone(Option<Status>),
    Refused(Refusal),
    Failed(ChangeError),
}

fn refuse(reason: Reason, detail: impl Into<String>) -> End {
    End::Refused(Refusal { reason: reason as i32, detail: detail.into() })
}

/// A link or a quota as the wire has it.
pub(super) fn link_of(of: &Allowance, created: Position) -> Link {
    Link { key: of.encode(), created_epoch: created.epoch.0, created_seq: created.seq.0 }
}

async fn hold(
    budgets: &Budgets,
    peer: Option<PeerIdentity>,
    mut inbound: Streaming<HolderMessage>,
    outbox: Outbox,
    stop: CancellationToken,
) {
    let hello = match timeout(HELLO_WITHIN, inbound.message()).await {
        Ok(Ok(Some(HolderMessage { message: Some(FromHolder::Hello(hello)) }))) => hello,
        _ => return,
    };
    let name = hello.member.clone();
    let stream = STREAMS.fetch_add(1, Ordering::Relaxed);
    let end = match begin(budgets, peer.as_ref(), &hello, stream, &outbox).await {
        Ok((member, holder)) => {
            let stream = Stream { budgets, name: &name, holder, member };
            stream.run(&mut inbound, &stop).await
        }
        Err(end) => end,
    };
    {
        let mut state = budgets.0.state.lock();
        if state.holders.get(&name).is_some_and(|holder| holder.stream == stream) {
            state.holders.remove(&name);
        }
    }
    let word = match end {
        End::Gone(None) => return,
        End::Gone(Some(status)) => return tracing::info!(member = name, %status, "stream of budgets lost"),
        End::Refused(refusal) => {
            if refusal.reason() != Reason::ShuttingDown {
                tracing::warn!(member = name, reason = ?refusal.reason(), detail = refusal.detail, "stream of budgets refused");
            }
            Ok(WriterMessage { message: Some(FromWriter::Refusal(refusal)) })
        }
        End::Failed(error) => {
            tracing::error!(
                member = name,
                error = reason(&error),
                "clicks of limited links cannot be granted or settled"
            );
            Err(Status::unavailable(error.to_string()))
        }
    };
    let _ = timeout(LAST_WORD_WITHIN, outbox.send(word)).await;
}

/// Decides about a Hello, burns what is lost, and welcomes the member.
async fn begin(
    budgets: &Budgets,
    peer: Option<&PeerIdentity>,
    hello: &Hello,
    stream: u64,
    outbox: &Outbox,
) -> Result<(Member, [u8; 16]), End> {
    let inner = &budgets.0;
    let member = match inner.members.admit(inner.fleet, peer, &hello.fleet_id, &hello.member) {
        Ok(member) => member,
        Err(NotAdmitted::WrongFleet(detail)) => return Err(refuse(Reason::WrongFleet, detail)),
        Err(NotAdmitted::Unknown(detail)) => return Err(refuse(Reason::UnknownMember, detail)),
    };
    let Ok(holder) = <[u8; 16]>::try_from(&*hello.holder) else {
        return Err(refuse(Reason::BadRequest, "the holder must have 16 bytes"));
    };
    let burned = budgets.burn(&hello.member, Some(holder)).await.map_err(End::Failed)?;
    if burned > 0 {
        tracing::warn!(
            member = hello.member,
            clicks = burned,
            "clicks of limited links are burned: the proxy has lost the memory they were in"
        );
    }
    let entry = Holder { holder, stream, outbox: outbox.clone() };
    inner.state.lock().holders.insert(hello.member.clone(), entry);
    let welcome =
        Welcome { fleet_id: inner.fleet.as_bytes().to_vec(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let word = Ok(WriterMessage { message: Some(FromWriter::Welcome(welcome)) });
    outbox.send(word).await.map_err(|_| End::Gone(None))?;
    Ok((member, holder))
}

struct Stream<'a> {
    budgets: &'a Budgets,
    name: &'a str,
    holder: [u8; 16],
    member: Member,
}

impl Stream<'_> {
    async fn run(&self, inbound: &mut Streaming<HolderMessage>, stop: &CancellationToken) -> End {
        let mut members = self.budgets.0.members.changes();
        // The table may have changed since the member was let in.
        members.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return refuse(Reason::ShuttingDown, "the writer is stopping"),
                _ = members.changed() => if !self.is_still_allowed() {
                    return refuse(Reason::UnknownMember, "this member was forgotten or replaced");
                },
                received = inbound.message() => match received {
                    Ok(Some(HolderMessage { message: Some(received) })) => {
                        if let Err(end) = self.receive(received).await {
                            return end;
                        }
                    }
                    Ok(Some(_)) => return refuse(Reason::BadRequest, "a message of no kind this version knows"),
                    Ok(None) => return End::Gone(None),
                    Err(status) => return End::Gone(Some(status)),
                },
            }
        }
    }

    fn is_still_allowed(&self) -> bool {
        let member = self.budgets.0.members.get(self.name);
        member.is_some_and(|member| {
            member.state != MemberState::Forgotten && member.credential == self.member.credential
        })
    }

    async fn receive(&self, received: FromHolder) -> Result<(), End> {
        match received {
            FromHolder::Hello(_) => Err(refuse(Reason::BadRequest, "Hello comes once")),
            FromHolder::Want(link) => {
                let of = self.of(&link)?;
                let _turn = self.budgets.turn(&of.what).await;
                settled(self.budgets.grant(&of).await)
            }
            FromHolder::Report(Report { link, spent, returned }) => {
                let of = self.of(&link.unwrap_or_default())?;
                match self.budgets.report(&of, self.holder, spent, returned).await {
                    Ok(true) => Ok(()),
                    Ok(false) => {
                        let detail = format!(
                            "{} clicks spent and {} given back are more than were granted",
                            spent, returned
                        );
                        Err(refuse(Reason::BadRequest, detail))
                    }
                    Err(error) => settled(Err(error)),
                }
            }
        }
    }

    fn of(&self, link: &Link) -> Result<Of, End> {
        let Some(what) = Allowance::decode(&link.key) else {
            return Err(refuse(Reason::BadRequest, "this is no key of a link or of a quota"));
        };
        let created = Position::new(link.created_epoch, link.created_seq);
        Ok(Of { what, created, member: self.name.to_owned() })
    }
}

/// Many at once want the same link changed: it is asked for again.
fn settled(done: Result<(), ChangeError>) -> Result<(), End> {
    match done {
        Ok(()) | Err(ChangeError::Contended) => Ok(()),
        Err(error) => Err(End::Failed(error)),
    }
}
