//! One stream of batches, from dialling to its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use clicklog::ledger::LedgerError;
use clicklog::{BatchNumber, Ledger};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::channel::{self, reason};
use wire::clicks::accountant_message::Message as FromWriter;
use wire::clicks::refusal::Reason;
use wire::clicks::reporter_message::Message as ToWriter;
use wire::clicks::{AccountantMessage, Batch, Hello, Refusal, ReporterMessage, UpTo, Watermark, Welcome};
use wire::identity::Role;

use super::Counted;
use crate::clicks::status::{ClickStatus, ReportState};
use crate::follow::FollowOptions;
use crate::follow::status::{Status, Welcomer};

/// Batches on the way at once.
const WINDOW_BATCHES: usize = 64;
/// Bytes of batches on the way at once; one may go beyond.
const WINDOW_BYTES: usize = 4 << 20;
/// Messages that may wait for the connection: they are in memory twice then.
const MESSAGES_MAX: usize = 4;
/// How long a writer may take from the connection to its first word.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// How long a batch may wait to be counted.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);
/// How often the writer hears from us, clicks or not.
const WORD_EVERY: Duration = Duration::from_secs(1);

/// What a stream works with.
pub(super) struct Stream<'a> {
    pub(super) options: &'a FollowOptions,
    pub(super) followed: &'a Status,
    pub(super) ledger: &'a Arc<Ledger>,
    pub(super) status: &'a ClickStatus,
    pub(super) counted: &'a watch::Sender<Counted>,
}

/// Why a stream ended.
#[derive(Debug)]
pub(super) enum End {
    /// The writer cannot be reached, or the connection is gone.
    Lost(String),
    /// The writer sent us away.
    Refused { reason: Reason, detail: String },
    /// We do not report to this writer.
    Unfit { problem: String },
    /// The ledger is an old copy.
    OldCopy { counted: BatchNumber },
    /// Nothing is wrong: there is another writer, or another first batch.
    Again,
}

impl From<LedgerError> for End {
    fn from(error: LedgerError) -> End {
        End::Unfit { problem: error.to_string() }
    }
}

/// Batches on the way, and the next one.
struct Window {
    next: BatchNumber,
    sent: VecDeque<(BatchNumber, usize)>,
    sent_bytes: usize,
    moved: Instant,
    /// Every click answered before this is in what was sent, milliseconds since the Unix epoch.
    until_ms: u64,
}

impl Window {
    fn has_room(&self) -> bool {
        self.sent.len() < WINDOW_BATCHES && self.sent_bytes < WINDOW_BYTES
    }

    fn send(&mut self, bytes: usize) {
        if self.sent.is_empty() {
            self.moved = Instant::now();
        }
        self.sent.push_back((self.next, bytes));
        self.sent_bytes += bytes;
        self.next = self.next.next();
    }

    fn counted(&mut self, upto: BatchNumber) {
        while let Some((_, bytes)) = self.sent.pop_front_if(|(number, _)| *number <= upto) {
            self.sent_bytes -= bytes;
            self.moved = Instant::now();
        }
    }

    fn is_stuck(&self) -> bool {
        !self.sent.is_empty() && self.moved.elapsed() > COUNTED_WITHIN
    }
}

impl Stream<'_> {
    /// Reports to `writer` until something ends it.
    pub(super) async fn report(&self, writer: &Welcomer, complete_until: watch::Receiver<u64>) -> End {
        match self.open(writer).await {
            Ok((inbound, outbound, next)) => {
                self.go_on(writer, complete_until, inbound, outbound, next).await
            }
            Err(end) => end,
        }
    }

    /// Dials, says who we are and hears where the writer is; returns the first batch it lacks.
    async fn open(
        &self,
        writer: &Welcomer,
    ) -> Result<(Streaming<AccountantMessage>, mpsc::Sender<ReporterMessage>, BatchNumber), End> {
        let endpoint = channel::endpoint(&writer.url, self.options.identity.as_ref(), Role::Writer)
            .map_err(|error| End::Unfit { problem: error.to_string() })?;
        let channel = endpoint.connect().await.map_err(|error| End::Lost(reason(&error)))?;
        let (to_writer, messages) = mpsc::channel(MESSAGES_MAX);
        let hello = ReporterMessage { message: Some(ToWriter::Hello(self.hello(writer))) };
        // The channel is new and has room.
        let _ = to_writer.try_send(hello);
        let mut client = channel::clicks_client(channel);
        let silent = || End::Lost("the writer does not answer".into());
        let response = timeout(WELCOME_WITHIN, client.report(ReceiverStream::new(messages))).await;
        let response = response.map_err(|_| silent())?;
        let mut inbound = response.map_err(|status| End::Lost(reason(&status)))?.into_inner();
        let first = timeout(WELCOME_WITHIN, next(&mut inbound)).await.map_err(|_| silent())??;
        let welcome = match first {
            FromWriter::Welcome(welcome) => welcome,
            FromWriter::Refusal(refusal) => return Err(refused(&refusal)),
            FromWriter::Watermark(_) => {
                return Err(End::Lost("the writer sent a watermark before its welcome".into()));
            }
        };
        let next = self.welcomed(writer, &welcome)?;
        Ok((inbound, to_writer, next))
    }

    fn hello(&self, writer: &Welcomer) -> Hello {
        let standing = self.ledger.standing();
        let certified =
            self.options.identity.as_ref().map(|identity| identity.own().fleet.as_bytes().to_vec());
        Hello {
            fleet_id: certified.unwrap_or_else(|| writer.fleet.clone()),
            member: self.options.name.clone(),
            ledger_id: standing.id.0.to_vec(),
            first_kept: standing.first_kept.0,
            last: standing.last.0,
            dropped_clicks: standing.dropped_clicks,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn welcomed(&self, writer: &Welcomer, welcome: &Welcome) -> Result<BatchNumber, End> {
        if welcome.fleet_id != writer.fleet {
            return Err(End::Unfit {
                problem: "the click accounts are another fleet's than the feed".into(),
            });
        }
        let (counted, standing) = (BatchNumber(welcome.watermark), self.ledger.standing());
        if self.ledger.is_old_copy(counted) {
            return Err(End::OldCopy { counted });
        }
        if counted < standing.released {
            tracing::warn!(
                writer = writer.url,
                %counted,
                released = %standing.released,
                first_kept = %standing.first_kept,
                "the writer has counted less than it had: it was restored from a backup; what is still kept is sent again"
            );
        }
        let next = self.ledger.take_back(counted)?;
        self.status.set_standing(self.ledger.standing());
        self.status.set_report(ReportState::Reporting);
        self.status.set_counted(counted);
        self.counted.send_replace(Counted { upto: counted, is_reporting: true });
        tracing::info!(
            writer = writer.url,
            ledger = %standing.id,
            %counted,
            last = %standing.last,
            version = welcome.version,
            "reporting clicks"
        );
        Ok(next)
    }

    async fn go_on(
        &self,
        writer: &Welcomer,
        mut complete_until: watch::Receiver<u64>,
        mut inbound: Streaming<AccountantMessage>,
        outbound: mpsc::Sender<ReporterMessage>,
        next_batch: BatchNumber,
    ) -> End {
        let mut window = Window {
            next: next_batch,
            sent: VecDeque::new(),
            sent_bytes: 0,
            moved: Instant::now(),
            until_ms: 0,
        };
        let mut tick = interval(WORD_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_over = false;
        loop {
            // The time before the batches: what it stands for is in them.
            let until_ms = *complete_until.borrow_and_update();
            let last = self.ledger.standing().last;
            let waits = window.next <= last && window.has_room();
            tokio::select! {
                message = next(&mut inbound) => match message {
                    Ok(FromWriter::Watermark(watermark)) => {
                        if let Err(error) = self.moved(watermark, &mut window) {
                            return error.into();
                        }
                    }
                    Ok(FromWriter::Refusal(refusal)) => return refused(&refusal),
                    Ok(FromWriter::Welcome(_)) => {
                        return End::Lost("the writer welcomed us twice".into());
                    }
                    Err(end) => return end,
                },
                permit = outbound.reserve(), if waits => {
                    let Ok(permit) = permit else { return End::Lost("the stream is over".into()) };
                    let batch = match self.ledger.read(window.next) {
                        Ok(Some(batch)) => batch,
                        // It had to make room for newer ones: the next stream says where the rest begins.
                        Ok(None) => return End::Again,
                        Err(error) => return error.into(),
                    };
                    let number = window.next.0;
                    window.send(batch.len());
                    if window.next > last {
                        window.until_ms = until_ms;
                    }
                    permit.send(ReporterMessage { message: Some(ToWriter::Batch(Batch { number, batch })) });
                }
                // In the end no more clicks come; what there is goes on being sent until we are stopped.
                changed = complete_until.changed(), if !is_over => is_over = changed.is_err(),
                _ = tick.tick() => {
                    if self.followed.snapshot().welcomed_by.as_ref() != Some(writer) {
                        return End::Again;
                    }
                    if window.is_stuck() {
                        return End::Lost("the writer does not count what it gets".into());
                    }
                    if window.next > last {
                        let up_to = UpTo { complete_until_ms: until_ms };
                        let message = ReporterMessage { message: Some(ToWriter::UpTo(up_to)) };
                        if let Err(TrySendError::Closed(_)) = outbound.try_send(message) {
                            return End::Lost("the stream is over".into());
                        }
                    }
                    if window.next > last && window.sent.is_empty() {
                        self.status.set_counted_until(until_ms);
                    }
                }
            }
        }
    }

    fn moved(&self, watermark: Watermark, window: &mut Window) -> Result<(), LedgerError> {
        let counted = BatchNumber(watermark.counted).min(self.ledger.standing().last);
        window.counted(counted);
        // What is released is counted; a writer that says otherwise is not believed.
        self.ledger.release(BatchNumber(watermark.released).min(counted))?;
        self.status.set_standing(self.ledger.standing());
        self.status.set_counted(counted);
        self.counted.send_modify(|known| known.upto = counted);
        if window.sent.is_empty() {
            self.status.set_counted_until(window.until_ms);
        }
        Ok(())
    }
}

fn refused(refusal: &Refusal) -> End {
    End::Refused { reason: refusal.reason(), detail: refusal.detail.clone() }
}

async fn next(inbound: &mut Streaming<AccountantMessage>) -> Result<FromWriter, End> {
    match inbound.message().await {
        Ok(Some(AccountantMessage { message: Some(message) })) => Ok(message),
        Ok(Some(AccountantMessage { message: None })) => {
            Err(End::Lost("the writer sent a message without content".into()))
        }
        Ok(None) => Err(End::Lost("the writer ended the stream".into())),
        Err(status) => Err(End::Lost(reason(&status))),
    }
}
