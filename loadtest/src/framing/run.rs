//! Every case, in one piece and in many, to Signpost and to the others.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::cases::{Case, Then};
use super::exchange::{ask_peer, exchange};
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

/// Runs the cases.
pub(super) fn run(cases: &[Case], fleet: &Fleet, peers: &[Peer]) -> anyhow::Result<Vec<Verdict>> {
    let signpost = fleet.ready().proxies[0].parse::<Endpoint>()?.address();
    let verdicts = Mutex::new(Vec::with_capacity(cases.len()));
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return Ok(()) };
            let verdict = run_case(case, signpost, peers).with_context(|| case.name.clone())?;
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

fn run_case(case: &Case, signpost: SocketAddr, peers: &[Peer]) -> anyhow::Result<Verdict> {
    let expected = (case.answers.len(), case.then);
    let ask = |pieces: &[&[u8]], pause| exchange(signpost, pieces, pause, expected);
    let whole = ask(&[&case.bytes], Duration::ZERO)?;
    let ours = whole.answers.iter().filter(|answer| answer.is_seen()).count();
    let mut seen = Vec::new();
    for peer in peers {
        let answers = ask_peer(peer.http1, &case.bytes, ours).context(peer.name)?;
        seen.push(Seen { peer: peer.name, answers });
    }
    let mut verdict = Verdict::new(case, whole, seen);
    let length = case.bytes.len();
    for cut in cuts(length) {
        if verdict.is_hopeless() {
            return Ok(verdict);
        }
        let (first, second) = case.bytes.split_at(cut);
        verdict.compare(&format!("cut at {cut}"), ask(&[first, second], PAUSE)?);
    }
    if length <= DRIBBLED_BYTES_MAX && case.then != Then::Waits || length <= 200 {
        let bytes: Vec<&[u8]> = case.bytes.chunks(1).collect();
        verdict.compare("byte by byte", ask(&bytes, Duration::ZERO)?);
        let pairs: Vec<&[u8]> = case.bytes.chunks(2).collect();
        verdict.compare("two bytes at a time", ask(&pairs, Duration::from_micros(20))?);
    }
    Ok(verdict)
}

/// Where to cut.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let step = length.div_ceil(CUTS_MAX).max(1);
    (1..length).step_by(step)
}
