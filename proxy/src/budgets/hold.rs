//! Telling the writer what is spent, asking it for more, and giving back: a thread with one stream.
//!
//! It talks to the writer that let the feed in last. While there is none, what is at hand is spent, and visitors beyond that are told to
//! come back. Nothing that is said here moves a click by itself: it does when the writer has written it into the log.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use linklog::Position;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use wire::budgets::holder_message::Message as ToWriter;
use wire::budgets::refusal::Reason;
use wire::budgets::writer_message::Message as FromWriter;
use wire::budgets::{Hello, HolderMessage, Link, Report, WriterMessage};
use wire::channel::{self, reason};
use wire::identity::Role;

use super::{Budgets, Step, Told};
use crate::follow::FollowOptions;
use crate::follow::backoff::{self, Backoff};
use crate::follow::status::{Status, Welcomer};

/// How often what is active is looked at, and visitors' wishes are repeated.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Messages that may wait for the connection.
const MESSAGES_MAX: usize = 256;
/// How long a writer may take from the connection to its first word.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether the feed has found a writer.
const LOOK_FOR_WRITER_EVERY: Duration = Duration::from_millis(100);
/// How long the end waits for the writer to settle what is given back.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// The thread.
#[derive(Debug)]
pub struct Holding {
    budgets: Arc<Budgets>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

/// Starts to speak with the writer that `followed` tells of.
///
/// # Errors
/// A thread or a runtime cannot be had.
pub fn start(options: FollowOptions, followed: Arc<Status>, budgets: Arc<Budgets>) -> io::Result<Holding> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let ending = CancellationToken::new();
    let (stopped, holder) = (stop.clone(), Arc::clone(&budgets));
    let thread = std::thread::Builder::new().name("budgets".into()).spawn(move || {
        let mut speaker =
            Speaker { options, followed, budgets: holder, ending: ending.clone(), last: String::new() };
        runtime.block_on(async {
            tokio::select! {
                () = speaker.run() => {}
                () = async { stopped.cancelled().await; ending.cancel(); sleep(SETTLED_WITHIN).await } => {}
            }
        });
    })?;
    Ok(Holding { budgets, stop, thread })
}

impl Holding {
    /// To be called when no worker spends any more: gives everything back, and gives the writer a moment to settle it.
    pub fn stop(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the thread that holds budgets panicked");
        }
        let left = self.budgets.held.len();
        if left > 0 {
            tracing::info!(
                links = left,
                "budgets of limited links are kept for the next start: the writer has not settled them"
            );
        }
    }
}

struct Speaker {
    options: FollowOptions,
    followed: Arc<Status>,
    budgets: Arc<Budgets>,
    /// Everything is to go back.
    ending: CancellationToken,
    /// What was logged last, so that a lasting trouble is logged once.
    last: String,
}

/// Why a stream ended.
enum End {
    Lost(String),
    Refused(Reason, String),
    /// There is another writer.
    Elsewhere,
    /// Nothing is left to say.
    Done,
}

impl Speaker {
    async fn run(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            let writer = self.writer().await;
            let begun = Instant::now();
            let end = self.hold(&writer).await;
            if begun.elapsed() >= backoff::LONGEST {
                backoff.reset();
                self.last.clear();
            }
            let pause = match end {
                End::Done => return,
                End::Elsewhere | End::Refused(Reason::ShuttingDown, _) => backoff.next(rand::random()),
                End::Lost(problem) => {
                    self.log_once(&writer.url, &problem);
                    backoff.next(rand::random())
                }
                End::Refused(reason, detail) => {
                    self.log_once(&writer.url, &format!("{}: {detail}", reason.as_str_name()));
                    Backoff::slow(rand::random())
                }
            };
            if self.ending.is_cancelled() {
                return;
            }
            sleep(pause).await;
        }
    }

    fn log_once(&mut self, writer: &str, problem: &str) {
        if self.last != problem {
            tracing::warn!(
                writer,
                problem,
                "cannot get clicks of limited links: what is at hand is spent, then visitors get 503"
            );
            problem.clone_into(&mut self.last);
        }
    }

    async fn writer(&self) -> Welcomer {
        loop {
            match self.followed.snapshot().welcomed_by {
                Some(writer) => return writer,
                None => sleep(LOOK_FOR_WRITER_EVERY).await,
            }
        }
    }

    async fn hold(&self, writer: &Welcomer) -> End {
        match self.open(writer).await {
            Ok((inbound, outbound)) => match self.go_on(writer, inbound, &outbound).await {
                Ok(()) => End::Done,
                Err(end) => end,
            },
            Err(end) => end,
        }
    }

    async fn open(
        &self,
        writer: &Welcomer,
    ) -> Result<(Streaming<WriterMessage>, mpsc::Sender<HolderMessage>), End> {
        let endpoint = channel::endpoint(&writer.url, self.options.identity.as_ref(), Role::Writer)
            .map_err(|error| End::Lost(error.to_string()))?;
        let channel = endpoint.connect().await.map_err(|error| End::Lost(reason(&error)))?;
        let (outbound, messages) = mpsc::channel(MESSAGES_MAX);
        let certified =
            self.options.identity.as_ref().map(|identity| identity.own().fleet.as_bytes().to_vec());
        let hello = Hello {
            fleet_id: certified.unwrap_or_else(|| writer.fleet.clone()),
            member: self.options.name.clone(),
            holder: self.budgets.holder().to_vec(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // The channel is new and has room.
        let _ = outbound.try_send(HolderMessage { message: Some(ToWriter::Hello(hello)) });
        let silent = |_| End::Lost("the writer does not answer".into());
        let mut client = channel::budgets_client(channel);
        let response = timeout(WELCOME_WITHIN, client.hold(ReceiverStream::new(messages))).await;
        let mut inbound =
            response.map_err(silent)?.map_err(|status| End::Lost(reason(&status)))?.into_inner();
        match timeout(WELCOME_WITHIN, next(&mut inbound)).await.map_err(silent)?? {
            FromWriter::Welcome(welcome) if welcome.fleet_id == writer.fleet => Ok((inbound, outbound)),
            FromWriter::Welcome(_) => Err(End::Lost("it is of another fleet than the feed".into())),
            FromWriter::Refusal(refusal) => Err(End::Refused(refusal.reason(), refusal.detail)),
            FromWriter::Recall(_) => Err(End::Lost("the writer recalled before its welcome".into())),
        }
    }

    async fn go_on(
        &self,
        writer: &Welcomer,
        mut inbound: Streaming<WriterMessage>,
        outbound: &mpsc::Sender<HolderMessage>,
    ) -> Result<(), End> {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.budgets.repeat_wishes();
        loop {
            let is_ending = self.ending.is_cancelled();
            tokio::select! {
                received = next(&mut inbound) => match received? {
                    FromWriter::Recall(link) => {
                        self.budgets.adopt(&link.key);
                        if let Step::Tell(told) = self.budgets.step(&link.key, Instant::now(), true) {
                            send(outbound, report(told)).await?;
                        }
                    }
                    FromWriter::Refusal(refusal) => return Err(End::Refused(refusal.reason(), refusal.detail)),
                    FromWriter::Welcome(_) => return Err(End::Lost("the writer welcomed us twice".into())),
                },
                () = self.budgets.wake.notified() => self.look(outbound, is_ending).await?,
                _ = ticks.tick() => {
                    self.budgets.repeat_wishes();
                    self.look(outbound, is_ending).await?;
                    if self.followed.snapshot().welcomed_by.is_some_and(|now| now.url != writer.url) {
                        return Err(End::Elsewhere);
                    }
                    if is_ending && self.budgets.held.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Tells what is to be told. What is spent comes before what is wanted: the writer grants by what it knows.
    async fn look(&self, outbound: &mpsc::Sender<HolderMessage>, must: bool) -> Result<(), End> {
        let (active, wanted) = {
            let mut work = self.budgets.work.lock();
            (work.active.iter().cloned().collect::<Vec<_>>(), std::mem::take(&mut work.wanted))
        };
        let now = Instant::now();
        let mut done = Vec::new();
        for key in active {
            match self.budgets.step(&key, now, must) {
                Step::Tell(told) => send(outbound, report(told)).await?,
                Step::Later => {}
                Step::Done => done.push(key),
            }
        }
        for (key, created) in wanted {
            self.budgets.adopt(&key);
            if must {
                continue;
            }
            self.budgets.tell_waiting_if_at_hand(&key);
            send(outbound, ToWriter::Want(link(&key, created))).await?;
        }
        let mut work = self.budgets.work.lock();
        done.iter().filter(|key| !self.budgets.held.contains_key(*key)).for_each(|key| {
            work.active.remove(key);
        });
        Ok(())
    }
}

impl Budgets {
    /// Asks again for what visitors wait for.
    fn repeat_wishes(&self) {
        let waiting: Vec<Box<[u8]>> = self.waiting.iter().map(|entry| entry.key().clone()).collect();
        for key in waiting {
            let created = self.created_of(&key);
            if let Some(created) = created {
                self.work.lock().wanted.insert(key, created);
            }
        }
    }

    fn created_of(&self, link: &[u8]) -> Option<Position> {
        let stamp = self.reader.serve_value(link, |value| {
            let (stamp, _) = linklog::codec::value::split(value?).ok()?;
            stamp.live.then_some(stamp.created)
        });
        stamp.ok().flatten()
    }

    fn tell_waiting_if_at_hand(&self, link: &[u8]) {
        if self.held.get(link).is_some_and(|held| held.at_hand() > 0) {
            self.tell_waiting(link, false);
        }
    }
}

fn link(key: &[u8], created: Position) -> Link {
    Link { key: key.to_vec(), created_epoch: created.epoch.0, created_seq: created.seq.0 }
}

fn report(told: Told) -> ToWriter {
    let link = link(&told.key, told.created);
    ToWriter::Report(Report { link: Some(link), spent: told.spent, returned: told.returned })
}

async fn send(outbound: &mpsc::Sender<HolderMessage>, message: ToWriter) -> Result<(), End> {
    let sent = outbound.send(HolderMessage { message: Some(message) }).await;
    sent.map_err(|_| End::Lost("the connection is gone".into()))
}

async fn next(inbound: &mut Streaming<WriterMessage>) -> Result<FromWriter, End> {
    match inbound.message().await {
        Ok(Some(WriterMessage { message: Some(message) })) => Ok(message),
        Ok(Some(_)) => Err(End::Lost("a message of no kind this version knows".into())),
        Ok(None) => Err(End::Lost("the writer ended the stream".into())),
        Err(status) => Err(End::Lost(reason(&status))),
    }
}
