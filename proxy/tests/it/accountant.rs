//! The writer's side of the clicks, as simple as it can be: every batch once, everything in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use clicklog::{Batch, Counts, Kind};
use linklog::StateKey;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::clicks::accountant_message::Message as ToReporter;
use wire::clicks::clicks_server::Clicks;
use wire::clicks::refusal::Reason;
use wire::clicks::reporter_message::Message as FromReporter;
use wire::clicks::{AccountantMessage, Hello, Refusal, ReporterMessage, Watermark, Welcome};

use crate::author::FLEET;

/// Shared by the streams and the test; outlives the server it is given to.
#[derive(Clone, Default)]
pub(crate) struct Accountant(Arc<Mutex<Books>>);

#[derive(Default)]
pub(crate) struct Books {
    /// By ledger: the last batch that is counted.
    pub(crate) watermarks: HashMap<Vec<u8>, u64>,
    /// By encoded link key.
    counts: HashMap<Vec<u8>, Counts>,
    /// Told by batches.
    pub(crate) dropped: u64,
    /// Batches that came again.
    pub(crate) repeated: u64,
    /// Streams that were welcomed.
    pub(crate) streams: u64,
    /// Times a proxy said that it has nothing more.
    pub(crate) up_to: u64,
    pub(crate) hellos: Vec<Hello>,
    /// Instead of a welcome.
    pub(crate) refusing: Option<Reason>,
    /// Batches are counted and released; otherwise only counted.
    pub(crate) is_holding_back: bool,
    live: HashSet<Vec<u8>>,
}

impl Accountant {
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    /// Clicks on all links, by kind.
    pub(crate) fn sums(&self) -> [u64; 4] {
        let mut sum = Counts::ZERO;
        self.books().counts.values().for_each(|counts| sum.merge(counts));
        Kind::ALL.map(|kind| sum.of(kind))
    }

    /// Clicks of any kind, and those that were dropped.
    pub(crate) fn total(&self) -> u64 {
        self.sums().iter().sum::<u64>() + self.books().dropped
    }

    /// As another process: the streams of the one before are gone with it.
    pub(crate) fn begin(&self) {
        self.books().live.clear();
    }

    /// As a writer that is restored from a backup taken before everything.
    pub(crate) fn forget(&self) {
        let mut books = self.books();
        books.watermarks.clear();
        books.counts.clear();
    }
}

impl Books {
    fn count(&mut self, bytes: &[u8]) -> Option<Watermark> {
        let batch = Batch::decode(bytes).ok()?;
        let watermark = self.watermarks.entry(batch.ledger.0.to_vec()).or_default();
        if batch.number.0 <= *watermark {
            self.repeated += 1;
        } else {
            assert_eq!(batch.number.0, *watermark + 1, "no gaps");
            *watermark = batch.number.0;
            self.dropped += batch.dropped;
            for cell in batch.cells() {
                let key = StateKey::Link(cell.subject.key).encode();
                self.counts.entry(key).or_default().merge(&cell.counts);
            }
        }
        let counted = self.watermarks[&batch.ledger.0.to_vec()];
        Some(Watermark { counted, released: if self.is_holding_back { 0 } else { counted } })
    }
}

fn said(message: ToReporter) -> Result<AccountantMessage, Status> {
    Ok(AccountantMessage { message: Some(message) })
}

#[tonic::async_trait]
impl Clicks for Accountant {
    type ReportStream = ReceiverStream<Result<AccountantMessage, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<ReporterMessage>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let (to_reporter, messages) = mpsc::channel(64);
        let (accountant, mut from_reporter) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let Ok(Some(ReporterMessage { message: Some(FromReporter::Hello(hello)) })) =
                from_reporter.message().await
            else {
                return;
            };
            let ledger = hello.ledger_id.clone();
            let first = {
                let mut books = accountant.books();
                books.hellos.push(hello);
                let refusing = books.refusing;
                let is_free = refusing.is_none() && books.live.insert(ledger.clone());
                let refused = if is_free { None } else { Some(refusing.unwrap_or(Reason::LedgerInUse)) };
                books.streams += u64::from(refused.is_none());
                let watermark = books.watermarks.get(&ledger).copied().unwrap_or(0);
                match refused {
                    Some(reason) => {
                        let detail = "as the test says".into();
                        Err(ToReporter::Refusal(Refusal { reason: reason.into(), detail }))
                    }
                    None => Ok(ToReporter::Welcome(Welcome {
                        fleet_id: FLEET.to_vec(),
                        watermark,
                        version: "fake".into(),
                    })),
                }
            };
            let is_welcome = first.is_ok();
            let (Ok(first) | Err(first)) = first;
            let _ = to_reporter.send(said(first)).await;
            while is_welcome
                && let Ok(Some(ReporterMessage { message: Some(message) })) = from_reporter.message().await
            {
                let watermark = match message {
                    FromReporter::Batch(batch) => accountant.books().count(&batch.batch),
                    FromReporter::UpTo(_) => {
                        accountant.books().up_to += 1;
                        continue;
                    }
                    FromReporter::Hello(_) => break,
                };
                let Some(watermark) = watermark else { break };
                if to_reporter.send(said(ToReporter::Watermark(watermark))).await.is_err() {
                    break;
                }
            }
            if is_welcome {
                accountant.books().live.remove(&ledger);
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
