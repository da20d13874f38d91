//! Copying the counts of clicks from the writer: its entries are counted here as it counted them, by the same accounts.
//!
//! An entry that comes again has no effect, so where the copy goes on need not be known exactly: it is noted in a file now and then, after what
//! it stands for is durable. Without that file, the own journal's head is offered (a copy of the writer's folder goes on from there), and if
//! the writer does not know it, everything is taken from the first entry on, or out of a snapshot where that is gone. What is durable here is said back, ledger by ledger: then the
//! writer lets proxies forget it. After a promotion these accounts are the writer's.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clicklog::account::Account;
use clicklog::accounts::{AccountsError, AccountsHandle, Outcome};
use clicklog::entry::{self, Entry};
use clicklog::{BatchNumber, LedgerId};
use daemon::disk::{DiskReserve, Room};
use linklog::journal::{JournalRead, JournalReader};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use wire::channel::{self, reason};
use wire::clicks::copier_message::Message as ToWriter;
use wire::clicks::{Copied, CopierHello, CopierMessage, Entries, LedgerMark};
use wire::identity::{Identity, Role};
use wire::limits::COPIED_MARKS_MAX;

use super::engine::Engine;
use super::renew::Renewal;
use crate::blocking;

/// How long a writer may take from the connection to its first word.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// Entries that are decided together, in one fsync.
const TOGETHER: usize = 256;
/// Messages that may wait for the connection.
const MESSAGES_MAX: usize = 16;
/// How often, at most, it is noted where the copy is.
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// The longest pause after a stream that ended.
const PAUSE: Duration = Duration::from_secs(2);

/// What is copied from whom to where.
pub(crate) struct CopyOptions {
    /// Feeds of all writers, at least one.
    pub urls: Vec<String>,
    pub identity: Option<Identity>,
    /// Knows our name and fleet.
    pub engine: Arc<Engine>,
    /// Where entries are counted.
    pub accounts: AccountsHandle,
    /// The journal of those.
    pub journal: JournalReader,
    /// With less room than is reserved nothing is copied: others keep it.
    pub disk: DiskReserve,
    /// The file with the last entry of the writer's that is counted here.
    pub place: PathBuf,
    /// Other counts, when the writer's journal no longer has what is missing here.
    pub renewal: Arc<Renewal>,
}

/// Where in a data folder it is noted where the copy is.
pub(crate) fn place(data_dir: &Path) -> PathBuf {
    data_dir.join("clicks-copied.json")
}

/// Why a stream ended.
enum End {
    Lost(String),
    /// The writer's journal no longer has what is missing here.
    Behind(String),
}

impl From<String> for End {
    fn from(problem: String) -> End {
        End::Lost(problem)
    }
}

impl From<Status> for End {
    fn from(status: Status) -> End {
        match status.code() {
            Code::FailedPrecondition => End::Behind(reason(&status)),
            _ => End::Lost(reason(&status)),
        }
    }
}

/// The last entry of the writer's journal that is counted here.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Place {
    epoch: u32,
    seq: u64,
    digest: Vec<u8>,
}

/// Copies until `stop`.
pub(crate) async fn run(options: CopyOptions, stop: CancellationToken) {
    let mut logged: HashMap<&str, String> = HashMap::new();
    for url in options.urls.iter().cycle() {
        if stop.run_until_cancelled(options.disk.enough()).await.is_none() {
            return;
        }
        let Some(ended) = stop.run_until_cancelled(options.stream(url)).await else { return };
        let ended = match ended {
            Err(End::Behind(why)) => {
                match stop.run_until_cancelled(options.renewal.counts(url, &why)).await {
                    None | Some(Ok(())) => return,
                    Some(Err(error)) => Err(format!("{why}, and there is no snapshot yet: {error}")),
                }
            }
            Err(End::Lost(problem)) => Err(problem),
            Ok(()) => Ok(()),
        };
        if let Err(problem) = ended
            && logged.get(&**url).is_none_or(|last| *last != problem)
        {
            tracing::warn!(writer = url, problem, "not copying the counts of clicks");
            logged.insert(url, problem);
        }
        let random = RandomState::new().hash_one(()) % 1_024;
        let pause = PAUSE.mul_f64(random as f64 / 1_024.0);
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

impl CopyOptions {
    /// One stream, to its end. Nothing is wrong with a server that is no writer.
    async fn stream(&self, url: &str) -> Result<(), End> {
        let endpoint = channel::endpoint(url, self.identity.as_ref(), Role::Writer);
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        let channel = endpoint.connect().await.map_err(|error| reason(&error))?;
        let (to_writer, messages) = mpsc::channel(MESSAGES_MAX);
        let hello = CopierMessage { message: Some(ToWriter::Hello(self.hello())) };
        // The channel is new and has room.
        let _ = to_writer.try_send(hello);
        let mut client = channel::copies_client(channel);
        let silent = |_| "the writer does not answer".to_owned();
        let copied = timeout(WELCOME_WITHIN, client.copy(ReceiverStream::new(messages))).await;
        let mut entries = match copied.map_err(silent)? {
            Ok(entries) => entries.into_inner(),
            // A standby, or a writer of before there were copies.
            Err(status) if status.code() == Code::Unimplemented => return Ok(()),
            Err(status) => return Err(status.into()),
        };
        let begin = timeout(WELCOME_WITHIN, entries.message()).await.map_err(silent)??;
        let begin = begin.ok_or_else(|| "the writer ended the stream".to_owned())?;
        tracing::info!(writer = url, after = begin.seq, "copying the counts of clicks");
        let mut all = Vec::new();
        self.accounts.for_each_account(|ledger, account| all.push((ledger, account.watermark)));
        tell(&to_writer, all).await?;
        let mut noted_at = Instant::now();
        while let Some(more) = entries.message().await? {
            if self.disk.room() != Room::Enough {
                return Err("the disk is nearly full".to_owned().into());
            }
            let place = Place { epoch: more.epoch, seq: more.seq, digest: more.digest.clone() };
            let counted = self.count(more).await?;
            tell(&to_writer, counted).await?;
            if noted_at.elapsed() >= NOTED_EVERY {
                self.note(place).await?;
                noted_at = Instant::now();
            }
        }
        Err("the writer ended the stream".to_owned().into())
    }

    fn hello(&self) -> CopierHello {
        let noted =
            std::fs::read(&self.place).ok().and_then(|text| serde_json::from_slice::<Place>(&text).ok());
        let place = noted.unwrap_or_else(|| {
            let head = self.journal.head();
            let at = head.position;
            Place { epoch: at.epoch.0, seq: at.seq.0, digest: head.digest.to_bytes().to_vec() }
        });
        CopierHello {
            fleet_id: self.engine.fleet_id().map_or_else(Vec::new, |fleet| fleet.as_bytes().to_vec()),
            member: self.engine.member().to_owned(),
            epoch: place.epoch,
            seq: place.seq,
            digest: place.digest,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Counts entries, durably; returns how far their ledgers are.
    async fn count(&self, entries: Entries) -> Result<Vec<(LedgerId, BatchNumber)>, String> {
        let mut ledgers = HashSet::new();
        for together in entries.entries.chunks(TOGETHER) {
            let mut waiting = Vec::with_capacity(together.len());
            for entry in together {
                let entry = entry::decode(entry).map_err(|error| format!("a damaged entry: {error}"))?;
                let (sender, counted) = oneshot::channel::<Result<Option<BatchNumber>, AccountsError>>();
                waiting.push(counted);
                match entry {
                    Entry::Introduction(introduction) => {
                        ledgers.insert(introduction.ledger);
                        let reply = move |account: Result<Account, AccountsError>| {
                            // Held below.
                            let _ = sender.send(account.map(|_| None));
                        };
                        self.accounts.introduce(introduction, Box::new(reply));
                    }
                    Entry::Batch(batch) => {
                        ledgers.insert(batch.ledger);
                        let reply = move |outcome: Result<Outcome, AccountsError>| {
                            let missing = outcome.map(|outcome| match outcome {
                                Outcome::Gap(missing) => Some(missing),
                                Outcome::Counted(_) | Outcome::Duplicate(_) => None,
                            });
                            // As above.
                            let _ = sender.send(missing);
                        };
                        self.accounts.count(batch, Box::new(reply));
                    }
                }
            }
            for counted in waiting {
                let missing = counted.await.unwrap_or(Err(AccountsError::Closed));
                if let Some(missing) = missing.map_err(|error| error.to_string())? {
                    return Err(format!("batch {missing} of a proxy is missing here"));
                }
            }
        }
        let watermark = |ledger| self.accounts.account(ledger).map(|account| (ledger, account.watermark));
        Ok(ledgers.into_iter().filter_map(watermark).collect())
    }

    /// Notes where the copy is; after a power cut an older note, or none, costs time and nothing else.
    async fn note(&self, place: Place) -> Result<(), String> {
        let (path, unfinished) = (self.place.clone(), self.place.with_extension("new"));
        let write = move || {
            let text = serde_json::to_vec(&place)?;
            std::fs::write(&unfinished, text)?;
            std::fs::rename(&unfinished, &path)
        };
        let written = blocking::run(write).await.map_err(|error| error.to_string())?;
        written.map_err(|error| format!("cannot note where the copy of the counts is: {error}"))
    }
}

/// Tells the writer what is durable here.
async fn tell(
    to_writer: &mpsc::Sender<CopierMessage>,
    counted: Vec<(LedgerId, BatchNumber)>,
) -> Result<(), String> {
    for some in counted.chunks(COPIED_MARKS_MAX) {
        let mark = |(ledger, number): &(LedgerId, BatchNumber)| LedgerMark {
            ledger_id: ledger.0.to_vec(),
            number: number.0,
        };
        let copied = Copied { marks: some.iter().map(mark).collect() };
        let sent = to_writer.send(CopierMessage { message: Some(ToWriter::Copied(copied)) }).await;
        sent.map_err(|_| "the writer ended the stream".to_owned())?;
    }
    Ok(())
}
