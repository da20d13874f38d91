//! One ledger's stream, from Hello to the end.
//!
//! Batches go to the accounts as they come, at most [`IN_FLIGHT_MAX`] unanswered; then nothing more is read, and HTTP/2's flow control
//! holds the reporter. A reporter that vanishes is noticed by the pings of the connection ([`wire::listen`]).

use std::sync::Arc;
use std::time::Duration;

use clicklog::accounts::{AccountsError, Outcome};
use clicklog::entry::Introduction;
use clicklog::{Batch, BatchNumber, LedgerId};
use linklog::entity::{Member, MemberState};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use wire::clicks::accountant_message::Message as FromAccountant;
use wire::clicks::refusal::Reason;
use wire::clicks::reporter_message::Message as FromReporter;
use wire::clicks::{AccountantMessage, Hello, Refusal, ReporterMessage, Watermark, Welcome};
use wire::identity::PeerIdentity;

use super::ClickSource;
use super::reporters::{Claim, NotClaimed};
use crate::members::NotAdmitted;

/// How long a reporter may take to say Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long the last word to a reporter may take: one that reads nothing must not hold its task for ever.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(1);
/// Batches of one stream that may be unanswered: one is written while the next ones arrive.
const IN_FLIGHT_MAX: usize = 4;

type Inbound = Streaming<ReporterMessage>;
type Outbox = mpsc::Sender<Result<AccountantMessage, Status>>;

/// How a stream ends.
enum End {
    Gone(Option<Status>),
    Refused(Refusal),
    Failed(AccountsError),
}

fn refuse(reason: Reason, detail: impl Into<String>) -> End {
    End::Refused(Refusal { reason: reason as i32, detail: detail.into() })
}

fn message(content: FromAccountant) -> Result<AccountantMessage, Status> {
    Ok(AccountantMessage { message: Some(content) })
}

/// Serves one reporter until either side ends it.
pub(super) async fn report(
    source: &ClickSource,
    batches: &Arc<Semaphore>,
    peer: Option<PeerIdentity>,
    mut inbound: Inbound,
    outbox: Outbox,
    stop: CancellationToken,
) {
    let hello = match timeout(HELLO_WITHIN, inbound.message()).await {
        Ok(Ok(Some(ReporterMessage { message: Some(FromReporter::Hello(hello)) }))) => hello,
        Ok(Ok(Some(_))) => {
            let end = refuse(Reason::BadRequest, "the first message must be Hello");
            return end_with(&outbox, "unknown", end).await;
        }
        _ => return,
    };
    let mut stream = match Stream::begin(source, batches, peer.as_ref(), &hello, outbox.clone()).await {
        Ok(stream) => stream,
        Err(end) => return end_with(&outbox, &hello.member, end).await,
    };
    let end = stream.run(&mut inbound, &stop).await;
    // The ledger is free again before its reporter hears that it may come back.
    drop(stream);
    end_with(&outbox, &hello.member, end).await;
}

async fn end_with(outbox: &Outbox, member: &str, end: End) {
    let word = match end {
        End::Gone(None) => return tracing::info!(member, "reporter of clicks left"),
        End::Gone(Some(status)) => return tracing::warn!(member, %status, "reporter of clicks lost"),
        End::Refused(refusal) => {
            let (reason, detail) = (refusal.reason(), &refusal.detail);
            if reason == Reason::ShuttingDown {
                tracing::info!(member, ?reason, "reporter of clicks sent away");
            } else {
                tracing::warn!(member, ?reason, detail, "reporter of clicks refused");
            }
            message(FromAccountant::Refusal(refusal))
        }
        End::Failed(error) => {
            tracing::error!(member, %error, "clicks were not counted; they will be sent again");
            Err(Status::unavailable(error.to_string()))
        }
    };
    let _ = timeout(LAST_WORD_WITHIN, outbox.send(word)).await;
}

/// A reporter that was let in.
struct Stream<'a> {
    source: &'a ClickSource,
    batches: &'a Arc<Semaphore>,
    member: Member,
    name: String,
    ledger: LedgerId,
    claim: Claim,
    outbox: Outbox,
    watermark: BatchNumber,
    /// What the reporter was told it may forget.
    released: BatchNumber,
    /// Whether the reporter has to be told of the watermark.
    moved: bool,
    unanswered: usize,
}

impl<'a> Stream<'a> {
    /// Decides about a Hello, and welcomes the reporter.
    async fn begin(
        source: &'a ClickSource,
        batches: &'a Arc<Semaphore>,
        peer: Option<&PeerIdentity>,
        hello: &Hello,
        outbox: Outbox,
    ) -> Result<Stream<'a>, End> {
        let member = match source.members.admit(source.fleet, peer, &hello.fleet_id, &hello.member) {
            Ok(member) => member,
            Err(NotAdmitted::WrongFleet(detail)) => return Err(refuse(Reason::WrongFleet, detail)),
            Err(NotAdmitted::Unknown(detail)) => return Err(refuse(Reason::UnknownMember, detail)),
        };
        let Ok(ledger) = <[u8; 16]>::try_from(&*hello.ledger_id).map(LedgerId) else {
            return Err(refuse(Reason::BadRequest, "the ledger id must have 16 bytes"));
        };
        if hello.first_kept == 0 || hello.first_kept > hello.last.saturating_add(1) {
            let detail =
                format!("a ledger cannot begin with batch {} and end with {}", hello.first_kept, hello.last);
            return Err(refuse(Reason::BadRequest, detail));
        }
        let claim = source.reporters.claim(ledger, &hello.member).map_err(|why| match why {
            NotClaimed::InUse => {
                let detail = format!(
                    "ledger {ledger} is reporting already: is its directory a copy of another proxy's?"
                );
                refuse(Reason::LedgerInUse, detail)
            }
            NotClaimed::TooMany => refuse(Reason::BadRequest, "this member has too many streams"),
        })?;
        let counted = source.accounts.account(ledger).map_or(BatchNumber(0), |account| account.watermark);
        let watermark = introduce(source, hello, ledger).await?;
        if watermark.0 > counted.0 && counted.0.saturating_add(1) < hello.first_kept {
            tracing::warn!(
                member = hello.member,
                from = counted.0 + 1,
                to = watermark.0,
                "batches of clicks are lost: the proxy had to drop them, or this writer's counts are older than what proxies keep"
            );
        }
        let stream = Stream {
            source,
            batches,
            member,
            name: hello.member.clone(),
            ledger,
            claim,
            outbox,
            watermark,
            released: BatchNumber(0),
            moved: false,
            unanswered: 0,
        };
        stream.claim.heard();
        tracing::info!(member = hello.member, %ledger, %watermark, last = hello.last, version = hello.version, "reporter of clicks connected");
        let welcome = Welcome {
            fleet_id: source.fleet.as_bytes().to_vec(),
            watermark: watermark.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let sent = stream.outbox.send(message(FromAccountant::Welcome(welcome))).await;
        sent.map_err(|_| End::Gone(None))?;
        Ok(stream)
    }

    async fn run(&mut self, inbound: &mut Inbound, stop: &CancellationToken) -> End {
        let mut members = self.source.members.changes();
        // The table may have changed since the reporter was let in.
        members.mark_changed();
        let mut copied = self.source.copies.moved();
        let (answers, mut answered) = mpsc::channel(IN_FLIGHT_MAX);
        let outbox = self.outbox.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return refuse(Reason::ShuttingDown, "the writer is stopping"),
                _ = members.changed() => if !self.is_still_allowed() {
                    return refuse(Reason::UnknownMember, "this member was forgotten or replaced");
                },
                Ok(()) = copied.changed() => self.moved |= self.releasable() > self.released,
                Some(answer) = answered.recv(), if self.unanswered > 0 => {
                    self.unanswered -= 1;
                    if let Err(end) = self.take(answer) {
                        return end;
                    }
                }
                place = outbox.reserve(), if self.moved => match place {
                    Ok(place) => place.send(self.tell_watermark()),
                    Err(_) => return End::Gone(None),
                },
                received = inbound.message(), if self.unanswered < IN_FLIGHT_MAX => match received {
                    Ok(Some(ReporterMessage { message: Some(received) })) => {
                        if let Err(end) = self.receive(received, &answers).await {
                            return end;
                        }
                    }
                    Ok(Some(ReporterMessage { message: None })) => {
                        return refuse(Reason::BadRequest, "a message of no kind this version knows");
                    }
                    Ok(None) => return End::Gone(None),
                    Err(status) => return End::Gone(Some(status)),
                },
            }
        }
    }

    fn is_still_allowed(&self) -> bool {
        let member = self.source.members.get(&self.name);
        member.is_some_and(|member| {
            member.state != MemberState::Forgotten && member.credential == self.member.credential
        })
    }

    async fn receive(
        &mut self,
        received: FromReporter,
        answers: &mpsc::Sender<Result<Outcome, AccountsError>>,
    ) -> Result<(), End> {
        self.claim.heard();
        match received {
            FromReporter::Hello(_) => Err(refuse(Reason::BadRequest, "Hello comes once")),
            FromReporter::UpTo(up_to) => {
                self.source.accounts.up_to(self.ledger, up_to.complete_until_ms);
                Ok(())
            }
            FromReporter::Batch(received) => {
                let place = self.batches.clone().acquire_owned().await;
                let place = place.map_err(|_| End::Gone(None))?;
                let batch = Batch::decode(&received.batch).map_err(|error| {
                    refuse(Reason::BadBatch, format!("batch {}: {error}", received.number))
                })?;
                if batch.ledger != self.ledger || batch.number.0 != received.number {
                    let detail = format!(
                        "batch {} says that it is batch {} of ledger {}",
                        received.number, batch.number, batch.ledger
                    );
                    return Err(refuse(Reason::BadBatch, detail));
                }
                self.unanswered += 1;
                let answers = answers.clone();
                let reply = move |outcome| {
                    // There is room for every unanswered batch; the stream may be gone.
                    let _ = answers.try_send(outcome);
                    drop(place);
                };
                self.source.accounts.count(batch, Box::new(reply));
                Ok(())
            }
        }
    }

    fn take(&mut self, answer: Result<Outcome, AccountsError>) -> Result<(), End> {
        match answer {
            Ok(Outcome::Counted(watermark) | Outcome::Duplicate(watermark)) => {
                self.watermark = watermark;
                self.moved = true;
                Ok(())
            }
            Ok(Outcome::Gap(expected)) => {
                Err(refuse(Reason::Gap, format!("batch {expected} has to come first")))
            }
            Err(error) => Err(End::Failed(error)),
        }
    }

    fn tell_watermark(&mut self) -> Result<AccountantMessage, Status> {
        self.moved = false;
        self.released = self.releasable();
        let watermark = Watermark { counted: self.watermark.0, released: self.released.0 };
        message(FromAccountant::Watermark(watermark))
    }

    /// The last batch that no promotion loses.
    fn releasable(&self) -> BatchNumber {
        self.source.copies.released(&self.source.members, self.ledger, self.watermark)
    }
}

async fn introduce(source: &ClickSource, hello: &Hello, ledger: LedgerId) -> Result<BatchNumber, End> {
    let introduction = Introduction {
        ledger,
        member: hello.member.clone(),
        given_up: BatchNumber(hello.first_kept.saturating_sub(1)),
        thrown_away: hello.dropped_clicks,
    };
    let (sender, introduced) = oneshot::channel();
    // Whoever waited may be gone.
    source.accounts.introduce(introduction, Box::new(move |account| drop(sender.send(account))));
    match introduced.await.unwrap_or(Err(AccountsError::Closed)) {
        Ok(account) => Ok(account.watermark),
        Err(error @ AccountsError::TooManyLedgers) => Err(refuse(Reason::BadRequest, error.to_string())),
        Err(error) => Err(End::Failed(error)),
    }
}
