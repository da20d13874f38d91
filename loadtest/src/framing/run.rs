//! Every case, in one piece and in many, to Signpost and to the others.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::cases::{Case, Then};
use super::exchange::{Outcome, ask_peer, exchange};
use super::http2;
use super::judge::{Seen, Verdict};
use super::peers::Peer;
use crate::fleet::Fleet;
use crate::http1::{Connection, Endpoint, post_json};

/// Cases under way at once.
const THREADS: usize = 16;
/// Between two pieces, so that the first is read before the second comes.
const PAUSE: Duration = Duration::from_micros(300);
/// Places at which a case is cut in two: all of them, or as many as this, evenly spread.
const CUTS_MAX: usize = 160;
/// As many for HTTP/2, where every exchange ends with a wait.
const HTTP2_CUTS_MAX: usize = 6;
/// Cases up to this length are also sent byte by byte.
const DRIBBLED_BYTES_MAX: usize = 2_000;

/// Makes the links that the cases ask for.
pub(super) fn create_links(fleet: &Fleet) -> anyhow::Result<()> {
    let ready = fleet.ready();
    let endpoint: Endpoint = ready.admin.parse()?;
    let mut connection = Connection::new(endpoint.clone(), Duration::from_secs(10));
    for name in ["one", "two", "evil", "probe"] {
        let link = json!({ "long_url": format!("https://{name}.example/"), "alias": name }).to_string();
        let authorization = format!("Authorization: Bearer {}\r\n", ready.token);
        let answer =
            connection.exchange(&post_json(&endpoint, "/v1/links", &authorization, link.as_bytes()))?;
        let body = String::from_utf8_lossy(answer.body).into_owned();
        anyhow::ensure!(answer.status == 201, "link {name} was not created: {} {body}", answer.status);
    }
    Ok(())
}

/// What is spoken with whom.
pub(super) struct Speakers<'a> {
    /// Signpost.
    pub(super) signpost: SocketAddr,
    /// The others.
    pub(super) peers: &'a [Peer],
    /// HTTP/2 in the clear, or HTTP/1.
    pub(super) is_http2: bool,
}

/// Runs the cases.
pub(super) fn run(cases: &[Case], speakers: &Speakers<'_>) -> anyhow::Result<Vec<Verdict>> {
    let verdicts = Mutex::new(Vec::with_capacity(cases.len()));
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return Ok(()) };
            let verdict = speakers.run_case(case).with_context(|| case.name.clone())?;
            verdicts.lock().map_err(|_| anyhow::anyhow!("a thread panicked"))?.push((index, verdict));
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })?;
    let mut verdicts = verdicts.into_inner().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    verdicts.sort_by_key(|(index, _)| *index);
    Ok(verdicts.into_iter().map(|(_, verdict)| verdict).collect())
}

impl Speakers<'_> {
    fn run_case(&self, case: &Case) -> anyhow::Result<Verdict> {
        let whole = self.ask(case, &[&case.bytes], Duration::ZERO)?;
        let seen = self.ask_peers(case, &whole)?;
        let mut verdict = Verdict::new(case, whole, seen);
        let length = case.bytes.len();
        for cut in cuts(length, if self.is_http2 { HTTP2_CUTS_MAX } else { CUTS_MAX }) {
            if verdict.is_hopeless() {
                return Ok(verdict);
            }
            let (first, second) = case.bytes.split_at(cut);
            verdict.compare(&format!("cut at {cut}"), self.ask(case, &[first, second], PAUSE)?);
        }
        if length <= DRIBBLED_BYTES_MAX && case.then != Then::Waits || length <= 200 {
            let bytes: Vec<&[u8]> = case.bytes.chunks(1).collect();
            verdict.compare("byte by byte", self.ask(case, &bytes, Duration::ZERO)?);
            let pairs: Vec<&[u8]> = case.bytes.chunks(2).collect();
            verdict.compare("two bytes at a time", self.ask(case, &pairs, Duration::from_micros(20))?);
        }
        Ok(verdict)
    }

    fn ask(&self, case: &Case, pieces: &[&[u8]], pause: Duration) -> anyhow::Result<Outcome> {
        let outcome = if self.is_http2 {
            http2::exchange(self.signpost, pieces, pause)
        } else {
            exchange(self.signpost, pieces, pause, (case.answers.len(), case.then))
        };
        outcome.context("Signpost")
    }

    fn ask_peers(&self, case: &Case, whole: &Outcome) -> anyhow::Result<Vec<Seen>> {
        let ours = whole.answers.iter().filter(|answer| answer.is_seen()).count();
        let mut seen = Vec::new();
        for peer in self.peers {
            let answers = match (self.is_http2, peer.http2) {
                (false, _) => ask_peer(peer.http1, &case.bytes, ours),
                (true, Some(address)) => http2::ask_peer(address, &case.bytes),
                (true, None) => continue,
            };
            seen.push(Seen { peer: peer.name, answers: answers.context(peer.name)? });
        }
        Ok(seen)
    }
}

/// Where to cut.
fn cuts(length: usize, at_most: usize) -> impl Iterator<Item = usize> {
    let step = length.div_ceil(at_most).max(1);
    (1..length).step_by(step)
}
