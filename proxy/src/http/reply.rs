//! From what a request asks to its answer, whoever read it (the fast parser, Pingora's session, HTTP/2) and whoever writes it.
//!
//! Every answer about a link passes [`of_link`], where redirects are recorded before they are written, and every answer passes
//! [`Worker::limited`]. Deliberately not here: methods and forms of targets, which the protocols have of their own, and waiting for the
//! disk, which each does in its way between [`from_memory`] and [`from_disk`].

use super::clock::now_ms;
use super::parse::Says;
use crate::answer::{Answer, Facts, Page};
use crate::clicks::record::{Asker, Click};
use crate::client::Client;
use crate::disk::Unsure;
use crate::hot_map::Block;
use crate::link_key::LinkKey;
use crate::lookup::InMemory;
use crate::quota::Verdict;
use crate::route::{Route, route};
use crate::worker::{Event, Worker};

/// What a GET or HEAD asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Who asks.
    pub(super) who: Who<'a>,
    /// The host, with a port or without; empty if the request could leave it out.
    pub(super) host: &'a [u8],
    /// The path without its query, escapes undone.
    pub(super) path: &'a [u8],
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    /// At the other end of its connection.
    pub(super) client: &'a Client,
    /// With HEAD.
    pub(super) head: bool,
    /// What its headers say.
    pub(super) says: Says<'a>,
}

/// What memory makes of a request.
pub(super) enum Reply<R> {
    /// The answer, written.
    Written(R),
    /// The disk has to be asked.
    OnDisk(Wanted),
}

/// A link that is wanted from the disk.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Its key.
    pub(super) key: LinkKey,
    /// What the client may get.
    verdict: Verdict,
}

/// Answers without waiting, if memory can; `write` is called once for an answer.
#[inline]
pub(super) fn from_memory<R>(
    worker: &Worker,
    asked: Asked<'_>,
    now_ms: u64,
    mut write: impl FnMut(Answer<'_>) -> R,
) -> Reply<R> {
    let (shared, client) = (&worker.shared, asked.who.client);
    let verdict = worker.admit(client, now_ms);
    let mut page = |answer: Answer<'_>| write(worker.limited(client, verdict, answer, now_ms));
    if let Verdict::Nothing(_) = verdict {
        // It is not worth a lookup: whatever stands here is not what the client gets.
        return Reply::Written(page(Answer::Page(Page::Root)));
    }
    let domain = shared.hosts.table().domain(asked.host);
    let key = match route(domain, asked.path) {
        Route::Link(key) => key,
        Route::Root => return Reply::Written(page(shared.root())),
        Route::Favicon => return Reply::Written(page(Answer::Page(Page::Favicon))),
        Route::Robots => return Reply::Written(page(Answer::Page(Page::Robots))),
        Route::Nothing => return Reply::Written(page(Answer::Page(Page::NotFound))),
    };
    let wanted = Wanted { key, verdict };
    let answer = |facts: Option<Facts<'_>>| of_link(worker, &asked.who, &wanted, facts, now_ms, &mut write);
    match shared.lookups.in_memory(&key, answer) {
        InMemory::Known(tier, written) => {
            worker.counters.count(Event::LookedUp(tier));
            return Reply::Written(written);
        }
        InMemory::NeedsDisk => return Reply::OnDisk(wanted),
        InMemory::Failed(error) => worker.failed(&error),
        InMemory::Incomplete => worker.counters.count(Event::Incomplete),
    }
    Reply::Written(write(worker.limited(client, verdict, Answer::Page(Page::Unsure), now_ms)))
}

/// Answers with what [`Worker::look_up_on_disk`] found.
pub(super) fn from_disk<R>(
    worker: &Worker,
    who: &Who<'_>,
    wanted: &Wanted,
    found: &Result<Option<Block>, Unsure>,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> R {
    match found {
        Ok(block) => of_link(worker, who, wanted, block.as_ref().map(Block::facts), now_ms, write),
        Err(_) => write(worker.limited(who.client, wanted.verdict, Answer::Page(Page::Unsure), now_ms)),
    }
}

/// Answers from memory or from the disk.
pub(super) async fn wherever<R>(
    worker: &Worker,
    asked: Asked<'_>,
    mut write: impl FnMut(Answer<'_>) -> R,
) -> R {
    match from_memory(worker, asked, now_ms(), &mut write) {
        Reply::Written(written) => written,
        Reply::OnDisk(wanted) => {
            let found = worker.look_up_on_disk(wanted.key).await;
            from_disk(worker, &asked.who, &wanted, &found, now_ms(), write)
        }
    }
}

/// Answers about a link, or that there is none. A redirect is recorded before it is written: what a visitor has received is counted.
#[inline]
fn of_link<R>(
    worker: &Worker,
    who: &Who<'_>,
    wanted: &Wanted,
    facts: Option<Facts<'_>>,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> R {
    let answer = worker.limited(who.client, wanted.verdict, Answer::of_link(facts, now_ms), now_ms);
    if let (Answer::Redirect { status, .. }, Some(facts)) = (&answer, &facts) {
        worker.record(&Click {
            at_ms: now_ms,
            key: wanted.key.bytes(),
            created: facts.created,
            status: status.code(),
            asker: Asker { address: who.client.address, head: who.head, says: who.says },
        });
    }
    write(answer)
}
