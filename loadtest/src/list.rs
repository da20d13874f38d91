//! `list`: lists of every kind that `GET /v1/links` gives, in an open loop, over links that `import` made.
//!
//! Kinds take turns, so that each is asked equally often; latency is measured from the intended start, for each kind by itself. Every
//! answer has to be a 200 with links in it: an empty page that is quick proves nothing.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::admin::{AdminApi, token_in};
use crate::figures;
use crate::http1::{Connection, Endpoint};
use crate::latency::{Latency, Record};
use crate::pace::{StopFlag, precise_sleeps};
use crate::progress::{print, say};
use crate::report::ReportArgs;
use crate::schedule::{Rate, constant_offset_ns};
use crate::synthetic::{alias, tag, title};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How often a search index that is not there yet is asked.
const READY_POLL: Duration = Duration::from_secs(1);
/// After so many pages a reader begins anew.
const PAGES: u64 = 200;

/// What `list` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many links `import` made, from number 0 on.
    #[arg(long, value_name = "N")]
    links: u64,
    /// The domain that `import` gave every tenth link.
    #[arg(long, value_name = "HOST")]
    domain: String,
    /// Lists per second, all kinds together.
    #[arg(long, value_name = "R")]
    rate: Rate,
    /// Seconds to measure.
    #[arg(long, value_name = "S")]
    duration: u64,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// The admin API, as http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    admin: Endpoint,
    /// File with a token.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Seconds to wait for the search index to be there and up to date.
    #[arg(long, value_name = "S", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    report: ReportArgs,
}

/// What is asked, with the number of the request for variety.
type Query = fn(&Args, u64) -> String;

/// The mix.
const KINDS: [(&str, Query); 16] = [
    ("newest", |_, _| String::new()),
    ("oldest", |_, _| "&sort=created_at".to_owned()),
    ("later page", |_, _| String::new()),
    ("tag", |args, n| format!("&tag={}", tag(args.some(n)))),
    ("host", |_, _| "&host=shop.example.com".to_owned()),
    ("domain", |args, _| format!("&domain={}", args.domain)),
    ("tag and host", |args, n| format!("&host=www.example.com&tag={}", tag(args.some(n)))),
    ("created in a month", |_, _| {
        "&created_from=2020-01-01T00:00:00Z&created_before=2020-02-01T00:00:00Z".to_owned()
    }),
    ("total", |args, n| format!("&total=true&tag={}", tag(args.some(n)))),
    ("word", |args, n| format!("&q={}", args.word(n))),
    ("rare word", |args, n| format!("&q={}", args.some(n))),
    ("two words", |args, n| format!("&q={}+{}", args.word(n), args.word(n + 1))),
    ("unfinished word", |_, n| format!("&q={}", ["spr", "gall", "intervi", "catal"][(n % 4) as usize])),
    ("code", |args, n| format!("&q={}", alias(args.some(n)))),
    ("most clicked", |_, _| "&sort=-clicks".to_owned()),
    ("most clicked, word and tag", |args, n| {
        let link = args.some(n);
        format!("&sort=-clicks&q={}&tag={}", title(link).split(' ').next().unwrap_or_default(), tag(link))
    }),
];
const LATER_PAGE: usize = 2;

impl Args {
    /// Some link.
    fn some(&self, n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.links.max(1)
    }

    /// Some word that many links have.
    fn word(&self, n: u64) -> String {
        title(self.some(n)).split(' ').next().unwrap_or_default().to_owned()
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<serde::de::IgnoredAny>,
    next_cursor: Option<String>,
    as_of: Option<String>,
}

#[derive(Default)]
struct Tally {
    latency: Vec<Latency>,
    empty: u64,
    failed: u64,
    behind_ms_max: i64,
}

#[derive(Serialize)]
struct Kind {
    kind: &'static str,
    latency: Record,
}

#[derive(Serialize)]
struct Results {
    links: u64,
    rate: f64,
    seconds: u64,
    all: Record,
    kinds: Vec<Kind>,
    /// Answers without links.
    empty: u64,
    /// Requests without an answer, or with another than 200.
    failed: u64,
    /// The oldest `as_of` of an answer, when the answer came.
    behind_ms_max: i64,
}

/// Runs the command.
///
/// # Errors
/// Answers that are missing, or other than they should be.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let api = AdminApi::new(args.admin.clone(), &token_in(&args.token_file)?, false);
    wait_for_index(&args, &api, &stop)?;
    let begun = args.report.begin();
    let requests = args.rate.count_within(args.duration * 1_000_000_000);
    say(format!(
        "list: {} lists, {} kinds, {}/s",
        figures::count(requests),
        KINDS.len(),
        args.rate.per_second()
    ));
    let (start, next) = (Instant::now() + Duration::from_millis(50), AtomicU64::new(0));
    let tallies = thread::scope(|scope| {
        let work = || ask(&args, &api, &stop, start, requests, &next);
        let threads: Vec<_> = (0..args.connections).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("an asking thread does not panic"))
            .collect::<Vec<_>>()
    });
    let mut all = Latency::default();
    let mut kinds = vec![Latency::default(); KINDS.len()];
    for tally in &tallies {
        for (sum, latency) in kinds.iter_mut().zip(&tally.latency) {
            sum.merge(latency);
            all.merge(latency);
        }
    }
    let named = KINDS.iter().zip(&kinds);
    let results = Results {
        links: args.links,
        rate: args.rate.per_second(),
        seconds: args.duration,
        all: all.record_of(),
        kinds: named
            .clone()
            .map(|((kind, _), latency)| Kind { kind, latency: latency.record_of() })
            .collect(),
        empty: tallies.iter().map(|tally| tally.empty).sum(),
        failed: tallies.iter().map(|tally| tally.failed).sum(),
        behind_ms_max: tallies.iter().map(|tally| tally.behind_ms_max).max().unwrap_or(0),
    };
    let mut text =
        format!("list: {} links, {}/s for {} s\n", figures::count(args.links), results.rate, args.duration);
    for (kind, latency) in named.map(|((kind, _), latency)| (*kind, latency)).chain([("all", &all)]) {
        text += &format!("  {kind:<28} {:>6}  {}\n", latency.count(), latency.summary().line());
    }
    text += &format!(
        "  empty {}, failed {}, index at most {} ms behind\n",
        results.empty, results.failed, results.behind_ms_max
    );
    print(text);
    let path = begun.write(&results)?;
    say(format!("report in {}", path.display()));
    anyhow::ensure!(results.failed == 0, "{} requests failed", results.failed);
    anyhow::ensure!(results.empty == 0, "{} answers were empty", results.empty);
    Ok(())
}

/// Waits until a search is answered and the last link is in the answer.
fn wait_for_index(args: &Args, api: &AdminApi, stop: &StopFlag) -> anyhow::Result<()> {
    let mut connection = Connection::new(args.admin.clone(), ANSWER_LIMIT);
    let end = Instant::now() + Duration::from_secs(args.wait);
    let request = api.get(&format!("/v1/links?limit=1&q={}", alias(args.links.saturating_sub(1))));
    let start = Instant::now();
    loop {
        let answer = connection.exchange(&request).context("cannot ask for a search")?;
        let text = String::from_utf8_lossy(answer.body).into_owned();
        let found = answer.status == 200
            && serde_json::from_slice::<Page>(answer.body).is_ok_and(|page| page.data.len() == 1);
        if found {
            say(format!("list: the search index is up to date after {:.1} s", start.elapsed().as_secs_f64()));
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "the search index does not have the last link: {text}");
        anyhow::ensure!(stop.sleep_until(Instant::now() + READY_POLL), "stopped");
    }
}

fn ask(
    args: &Args,
    api: &AdminApi,
    stop: &StopFlag,
    start: Instant,
    requests: u64,
    next: &AtomicU64,
) -> Tally {
    precise_sleeps();
    let mut connection = Connection::new(args.admin.clone(), ANSWER_LIMIT);
    let mut tally = Tally { latency: vec![Latency::default(); KINDS.len()], ..Tally::default() };
    let (mut cursor, mut pages) = (None::<String>, 0);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let intended = start + Duration::from_nanos(constant_offset_ns(number, args.rate));
        if number >= requests || !stop.sleep_until(intended) {
            return tally;
        }
        let kind = (number % KINDS.len() as u64) as usize;
        let mut path = format!("/v1/links?limit=100{}", KINDS[kind].1(args, number / KINDS.len() as u64));
        if let Some(cursor) = cursor.as_ref().filter(|_| kind == LATER_PAGE) {
            path += &format!("&cursor={cursor}");
        }
        let Ok(answer) = connection.exchange(&api.get(&path)) else {
            tally.failed += 1;
            continue;
        };
        let is_page = answer.status == 200;
        let page = serde_json::from_slice::<Page>(answer.body).ok().filter(|_| is_page);
        let elapsed = Instant::now().saturating_duration_since(intended);
        let Some(page) = page else {
            say(format!("list: {path}: {} {}", answer.status, String::from_utf8_lossy(answer.body)));
            tally.failed += 1;
            continue;
        };
        tally.latency[kind].record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        if page.data.is_empty() {
            say(format!("list: {path}: no links"));
            tally.empty += 1;
        }
        if let Some(as_of) = page.as_of.and_then(|as_of| as_of.parse::<jiff::Timestamp>().ok()) {
            let behind_ms = jiff::Timestamp::now().as_millisecond() - as_of.as_millisecond();
            tally.behind_ms_max = tally.behind_ms_max.max(behind_ms);
        }
        if kind == LATER_PAGE {
            pages = (pages + 1) % PAGES;
            cursor = page.next_cursor.filter(|_| pages > 0);
        }
    }
}
