//! `POST /v1/import`: a stream of links in, a stream of what becomes of them out.
//!
//! Owned here: what an import may use up. Bytes wait in few places (the line at hand, one batch judged, `writing::AT_ONCE` batches being written), a
//! client that neither sends nor reads is cut, and few imports run at once ([`super::transfer`]). What a line of progress counts is durable.
//!
//! - `lines`: bytes to lines to batches · `writing`: batches to links · `report`: what is said meanwhile

mod lines;
mod report;
mod writing;

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use linklog::entity::Scopes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::body::{self, BodyError, READ_TIME_MAX};
use super::openapi::ImportParams;
use super::query::Query;
use super::transfer;
use super::{Api, answer};
use crate::auth::Caller;
use crate::blocking;
use crate::links::import::line::{Line as Read, LineFields};
use crate::links::import::{Looked, OnCollision, Options, Owners};
use crate::links::order::{Order, Refusal};
use crate::links::{Links, Rules};
use crate::problem::Problem;
use lines::{Line, Lines};
use report::Report;
use writing::Writing;

/// Links from elsewhere, or from a backup
///
/// One link a line, as `GET /v1/export` writes them or as for a new link. The answer is a stream too: lines for links that were refused, collide
/// or got a code, progress after every 1,000 lines, and at the end `done`. Read while you send. Run it again to go on after an interruption:
/// links that are there exactly so are left alone.
#[utoipa::path(post, path = "/v1/import", operation_id = "import_links", tag = "transfer", params(ImportParams),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, description = "What becomes of the lines", body = String, content_type = "application/x-ndjson")))]
pub(super) async fn import(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_import(&api, request).await)
}

async fn try_import(api: &Arc<Api>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::LINKS_WRITE)?;
    let query = Query::read(&head.uri, &["dry_run", "collisions", "owners", "first_line"])?;
    let options = Options {
        dry_run: query.word("dry_run", &["false", "true"])? == "true",
        on_collision: match query.word("collisions", &["skip", "replace"])? {
            "replace" => OnCollision::Replace,
            _ => OnCollision::Skip,
        },
    };
    let owners = match query.word("owners", &["keep", "none"])? {
        "none" => Owners::None,
        _ => Owners::Keep,
    };
    let first_line = query.number("first_line", 1, 1..=u64::MAX / 2)?;
    body::check_lines(&head.headers)?;
    let place = api.transfers.import()?;
    let (sender, response) = transfer::lines();
    let (batches, judged) = mpsc::channel(1);
    let writing = Writing { api: api.clone(), caller, options, report: Report::new(first_line), sender };
    let reading = Reading {
        lines: Lines::new(api.limits.body_bytes_max),
        first_line,
        rules: api.links.rules.clone(),
        owners,
        line_bytes_max: api.limits.body_bytes_max,
        caller,
        options,
        batches,
    };
    let links = api.links.clone();
    tokio::spawn(async move {
        // The reader ends when the writer does: its channel is closed then.
        tokio::join!(reading.run(body, links), writing.run(judged));
        drop(place);
    });
    Ok(response)
}

/// A line that was judged: what is to be made, or why not; and its code, for the report.
struct Judged {
    number: u64,
    code: Option<String>,
    order: Result<Order, Problem>,
}

/// Lines that were judged.
#[derive(Default)]
struct Batch {
    /// What is to be made, and the lines that say so.
    orders: Vec<Order>,
    lines: Vec<(u64, Option<String>)>,
    refused: Vec<(u64, Option<String>, Problem)>,
    /// The number of the last of all these lines.
    last: u64,
    /// What is there, if that was looked at before.
    looked: Option<Looked>,
}

impl Batch {
    fn of(judged: impl Iterator<Item = Judged>, last: u64) -> Batch {
        let most = judged.size_hint().1.unwrap_or(0);
        let mut batch = Batch {
            orders: Vec::with_capacity(most),
            lines: Vec::with_capacity(most),
            last,
            ..Batch::default()
        };
        for Judged { number, code, order } in judged {
            match order {
                Ok(order) => {
                    batch.orders.push(order);
                    batch.lines.push((number, code));
                }
                Err(problem) => batch.refused.push((number, code, problem)),
            }
        }
        batch
    }
}

/// What the reader hands to the writer.
enum Step {
    /// Some lines.
    Batch(Box<Batch>),
    /// The body is not readable any more.
    Broken(Problem),
}

struct Reading {
    lines: Lines,
    first_line: u64,
    rules: Rules,
    owners: Owners,
    line_bytes_max: usize,
    caller: Caller,
    options: Options,
    batches: mpsc::Sender<Step>,
}

impl Reading {
    async fn run(mut self, body: Body, links: Links) {
        let mut body = Box::pin(body);
        loop {
            let data = match next(&mut body).await {
                Ok(Some(data)) => data,
                Ok(None) => break,
                Err(error) => {
                    // What came before it counts.
                    let last = std::mem::replace(&mut self.lines, Lines::new(0)).finish_whole();
                    let _ = self.hand_over(last, &links).await;
                    let _ = self.batches.send(Step::Broken(error.into())).await;
                    return;
                }
            };
            let mut data = data;
            while !data.is_empty() {
                let batch = self.lines.push(&mut data);
                if let Some(batch) = batch
                    && self.hand_over(batch, &links).await.is_err()
                {
                    return;
                }
            }
        }
        let last = std::mem::replace(&mut self.lines, Lines::new(0)).finish();
        let _ = self.hand_over(last, &links).await;
    }

    async fn hand_over(&mut self, batch: Vec<Line>, links: &Links) -> Result<(), ()> {
        let Some(last) = batch.last().map(|line| line.number + self.first_line - 1) else { return Ok(()) };
        let (rules, owners) = (self.rules.clone(), self.owners);
        let (max, before) = (self.line_bytes_max, self.first_line - 1);
        let domains = links.domains.table();
        let judge = move |line| judge(line, before, max, |fields| fields.judge(&rules, &domains, owners));
        let judging = move || Batch::of(batch.into_iter().filter_map(judge), last);
        let mut batch = blocking::run(judging).await.map_err(drop)?;
        if let Err(error) = links.hash_passwords(batch.orders.iter_mut()).await {
            let _ = self.batches.send(Step::Broken(error.into())).await;
            return Err(());
        }
        // While the batch before is made. Whether the token is still one that may is asked when this one's turn has come.
        if let Ok(caller) = links.tokens.still(self.caller, Scopes::LINKS_WRITE) {
            batch.looked = links.look_ahead(caller, &batch.orders, self.options).await.ok().flatten();
        }
        self.batches.send(Step::Batch(Box::new(batch))).await.map_err(drop)
    }
}

async fn next(body: &mut Pin<Box<Body>>) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = timeout(READ_TIME_MAX, body.frame()).await.map_err(|_| BodyError::TooSlow)?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(BodyError::Broken),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            },
        }
    }
}

/// Judges a line; `None`: it says nothing about a link.
fn judge(
    line: Line,
    before: u64,
    max: usize,
    judge: impl FnOnce(&mut LineFields<'_>) -> Result<Order, Refusal>,
) -> Option<Judged> {
    let number = line.number + before;
    let refused = |problem| Some(Judged { number, code: None, order: Err(problem) });
    let Some(bytes) = line.bytes else { return refused(Problem::line_too_large(max)) };
    let mut fields = LineFields::default();
    match fields.read(&bytes) {
        Err(error) => refused(Problem::malformed(&error)),
        Ok(Read::Mark) => None,
        Ok(Read::NoObject(found)) => {
            refused(Problem::wrong_shape(format!("expected an object that describes a link, found {found}")))
        }
        Ok(Read::Link) => {
            let code = fields.code().map(|code| code.chars().take(64).collect());
            Some(Judged { number, code, order: judge(&mut fields).map_err(Problem::from) })
        }
    }
}
