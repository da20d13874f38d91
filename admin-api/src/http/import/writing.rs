//! Makes the links of batches, and says what became of their lines.
//!
//! Owned here: what comes first in an import comes first in the log. [`AT_ONCE`] batches are with the writer at a time, so that it never waits for
//! the next one, but each is proposed only once the one before is accepted ([`Turn`]), and none after one that failed before that. A batch
//! with lines that leave the code to us is alone: to make such a line again would make a second link, so nothing may be made beyond what
//! was reported. So are all where what a batch takes depends on what became of the one before: where links are replaced, where they are only
//! foreseen, and where the token has a quota of them.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use linklog::entity::Scopes;
use linklog::writer::ProposeError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::Api;
use super::super::transfer::Sender;
use super::report::Report;
use super::{Batch, Step};
use crate::auth::Caller;
use crate::links::ChangeError;
use crate::links::import::turn::{Row, Turn};
use crate::links::import::{Imported, OnCollision, Options};
use crate::problem::Problem;

/// How many batches are being written at a time.
pub(super) const AT_ONCE: usize = 2;
/// How long a busy writer is asked again.
const BUSY_MAX: Duration = Duration::from_secs(30);
/// The pause before it is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// What writes the batches of an import.
pub(super) struct Writing {
    pub api: Arc<Api>,
    pub caller: Caller,
    pub options: Options,
    pub report: Report,
    pub sender: Sender,
}

/// A batch, and what became of its orders.
struct Written {
    batch: Batch,
    /// `None`: a batch before it failed, which says why.
    results: Option<Result<Vec<Imported>, Problem>>,
}

impl Writing {
    /// Writes what the reader hands over, until it ends, the client is gone, or the import cannot go on.
    pub(super) async fn run(mut self, mut steps: mpsc::Receiver<Step>) {
        let (mut row, mut being_written) = (Row::default(), FuturesOrdered::new());
        let (mut broken, mut is_alone, mut has_ended) = (None, false, false);
        loop {
            let has_room = being_written.len() < AT_ONCE && !is_alone && !has_ended;
            tokio::select! {
                biased;
                Some(written) = being_written.next() => {
                    let said = match self.report(written) {
                        Ok(()) => self.report.progress(),
                        Err(problem) => return self.give_up(&problem).await,
                    };
                    if self.sender.send(said).await.is_err() {
                        return;
                    }
                    is_alone = false;
                }
                step = steps.recv(), if has_room => match step {
                    Some(Step::Batch(batch)) => {
                        is_alone = self.stands_alone(&batch);
                        if is_alone {
                            // Its turn comes when all before it are reported.
                            while let Some(written) = being_written.next().await {
                                if let Err(problem) = self.report(written) {
                                    return self.give_up(&problem).await;
                                }
                            }
                        }
                        being_written.push_back(self.write(*batch, row.turn()));
                    }
                    Some(Step::Broken(problem)) => (broken, has_ended) = (Some(problem), true),
                    None => has_ended = true,
                },
                else => break,
            }
        }
        if let Some(problem) = broken {
            return self.give_up(&problem).await;
        }
        let replication = match self.options.dry_run {
            true => None,
            false => match self.api.links.import_replicated().await {
                Ok(replication) => Some(replication),
                Err(error) => return self.give_up(&error.into()).await,
            },
        };
        let said = self.report.done(self.options.dry_run, replication.as_ref());
        let _ = self.sender.send(said).await;
    }

    /// Says whether a batch is neither to be begun before the ones before it are reported nor followed before it is.
    fn stands_alone(&self, batch: &Batch) -> bool {
        let is_plain = !self.options.dry_run && self.options.on_collision == OnCollision::Skip;
        let is_counted = self.api.tokens.are_creates_limited(self.caller);
        !is_plain || is_counted || batch.orders.iter().any(|order| order.alias.is_none())
    }

    async fn give_up(&mut self, problem: &Problem) {
        let said = self.report.gave_up(problem);
        let _ = self.sender.send(said).await;
    }

    /// Writes a batch when its turn has come, if the token is still one that may.
    fn write(&self, mut batch: Batch, turn: Turn) -> impl Future<Output = Written> + use<> {
        let (api, caller, options) = (self.api.clone(), self.caller, self.options);
        let made_before = self.report.counts.created;
        async move {
            if !turn.comes().await {
                return Written { batch, results: None };
            }
            let deadline = Instant::now() + BUSY_MAX;
            let mut looked = batch.looked.take();
            let results = loop {
                let caller = match api.tokens.still(caller, Scopes::LINKS_WRITE) {
                    Ok(caller) => caller,
                    Err(error) => break Err(error.into()),
                };
                let orders = &batch.orders;
                match api.links.import(caller, orders, options, made_before, looked.take(), &turn).await {
                    Err(ChangeError::Propose(ProposeError::Busy)) if Instant::now() < deadline => {
                        sleep(BUSY_PAUSE).await;
                    }
                    imported => break imported.map_err(Problem::from),
                }
            };
            if results.is_ok() {
                turn.pass();
            }
            Written { batch, results: Some(results) }
        }
    }

    /// Reports the lines of a batch.
    fn report(&mut self, written: Written) -> Result<(), Problem> {
        let Batch { orders, lines, refused, last, .. } = written.batch;
        let Some(results) = written.results else { return Ok(()) };
        for (number, code, problem) in &refused {
            self.report.refused(*number, code.as_deref(), problem);
        }
        let domains = self.api.links.domains.table();
        for (((number, code), order), result) in lines.iter().zip(&orders).zip(results?) {
            match result {
                Imported::NoCode => return Err(Problem::no_codes()),
                Imported::MayNot => {
                    let detail =
                        "only a token with the scope admin may import or replace links that were taken down";
                    self.report.refused(*number, code.as_deref(), &Problem::operators_only(detail));
                }
                Imported::Denied(denied) => {
                    self.report.refused(*number, code.as_deref(), &Problem::denied(&denied));
                }
                Imported::Refused(refused) => {
                    self.report.refused(*number, code.as_deref(), &refused.into());
                }
                Imported::Collision => {
                    self.report.collision(*number, code.as_deref(), domains.get(order.domain));
                }
                Imported::Created(Some(code)) => {
                    self.report.created(*number, &code, domains.get(order.domain));
                }
                Imported::Created(None) => self.report.counts.created += 1,
                Imported::Unchanged => self.report.counts.unchanged += 1,
                Imported::Replaced => self.report.counts.replaced += 1,
            }
        }
        self.report.reached(last);
        Ok(())
    }
}
