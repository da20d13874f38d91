//! From what a request asks to its answer, whoever read it (the fast parser, Pingora's session, HTTP/2) and whoever writes it.
//!
//! Every answer about a link passes [`of_link`], and every answer passes [`Worker::limited`]. Deliberately not here: methods and forms
//! of targets, which the protocols have of their own, and waiting for the disk, which each does in its way between [`from_memory`] and
//! [`from_disk`].

use super::clock::now_ms;
use crate::answer::{Answer, Facts, Page};
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
    pub(super) client: &'a Client,
    /// The host, with a port or without; empty if the request could leave it out.
    pub(super) host: &'a [u8],
    /// The path without its query, escapes undone.
    pub(super) path: &'a [u8],
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
    let (shared, client) = (&worker.shared, asked.client);
    let verdict = worker.admit(client, now_ms);
    let mut write = |answer: Answer<'_>| write(worker.limited(client, verdict, answer, now_ms));
    if let Verdict::Nothing(_) = verdict {
        // It is not worth a lookup: whatever stands here is not what the client gets.
        return Reply::Written(write(Answer::Page(Page::Root)));
    }
    let domain = shared.hosts.table().domain(asked.host);
    let key = match route(domain, asked.path) {
        Route::Link(key) => key,
        Route::Root => return Reply::Written(write(shared.root())),
        Route::Favicon => return Reply::Written(write(Answer::Page(Page::Favicon))),
        Route::Robots => return Reply::Written(write(Answer::Page(Page::Robots))),
        Route::Nothing => return Reply::Written(write(Answer::Page(Page::NotFound))),
    };
    match shared.lookups.in_memory(&key, |facts| of_link(facts, now_ms, &mut write)) {
        InMemory::Known(tier, written) => {
            worker.counters.count(Event::LookedUp(tier));
            return Reply::Written(written);
        }
        InMemory::NeedsDisk => return Reply::OnDisk(Wanted { key, verdict }),
        InMemory::Failed(error) => worker.failed(&error),
        InMemory::Incomplete => worker.counters.count(Event::Incomplete),
    }
    Reply::Written(write(Answer::Page(Page::Unsure)))
}

/// Answers with what [`Worker::look_up_on_disk`] found.
pub(super) fn from_disk<R>(
    worker: &Worker,
    client: &Client,
    wanted: Wanted,
    found: &Result<Option<Block>, Unsure>,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> R {
    let write = |answer: Answer<'_>| write(worker.limited(client, wanted.verdict, answer, now_ms));
    match found {
        Ok(block) => of_link(block.as_ref().map(Block::facts), now_ms, write),
        Err(_) => write(Answer::Page(Page::Unsure)),
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
            from_disk(worker, asked.client, wanted, &found, now_ms(), write)
        }
    }
}

/// Answers about a link, or that there is none.
#[inline]
fn of_link<R>(facts: Option<Facts<'_>>, now_ms: u64, write: impl FnOnce(Answer<'_>) -> R) -> R {
    write(Answer::of_link(facts, now_ms))
}
