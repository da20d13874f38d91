//! Answers that are about no link: what a domain has at its root, in place of what is not there, and where its links have ended.

use linklog::{DomainId, Ended};

use crate::answer::{Answer, Page, on_domain};
use crate::client::Client;
use crate::hosts::UnknownHost;
use crate::quota::Verdict;
use crate::route::Route;
use crate::worker::Worker;

/// Where a page is asked for, and by whom.
pub(super) struct Place<'a> {
    pub(super) client: &'a Client,
    pub(super) verdict: Verdict,
    pub(super) domain: DomainId,
}

/// A host that nobody declared, where that is no host of the default domain.
#[cold]
pub(super) fn on_unknown_host<R>(
    worker: &Worker,
    client: &Client,
    verdict: Verdict,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> R {
    let limit = |answer| worker.limited(client, verdict, answer, now_ms);
    match worker.shared.hosts.unknown() {
        UnknownHost::Redirect(target) => write(limit(Answer::Composed(&on_domain::elsewhere(target, false)))),
        UnknownHost::NotFound | UnknownHost::DefaultDomain => write(limit(Answer::Page(Page::NotFound))),
    }
}

/// A path that is no link.
#[cold]
pub(super) fn page_of<R>(
    worker: &Worker,
    place: &Place<'_>,
    page: &Route,
    path: &[u8],
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> R {
    let limit = |answer| worker.limited(place.client, place.verdict, answer, now_ms);
    let table = worker.shared.hosts.table();
    let answers = table.answers(place.domain);
    match page {
        Route::Root => match answers.and_then(|answers| answers.root.as_ref()) {
            Some(target) => write(limit(Answer::Composed(&on_domain::elsewhere(target.as_bytes(), false)))),
            None => write(limit(worker.shared.root())),
        },
        Route::Favicon => write(limit(Answer::Page(Page::Favicon))),
        Route::Robots => match answers.and_then(on_domain::robots) {
            Some(file) => write(limit(Answer::Composed(&file))),
            None => write(limit(Answer::Page(Page::Robots))),
        },
        Route::Nothing | Route::Link(_) | Route::Preview(_) => {
            match answers.and_then(|answers| on_domain::well_known(answers, path)) {
                Some(file) => write(limit(Answer::Composed(&file))),
                None => page_on_domain(worker, place, Answer::Page(Page::NotFound), now_ms, write),
            }
        }
    }
}

/// A page, unless the domain has something else in its place.
#[cold]
pub(super) fn page_on_domain<R>(
    worker: &Worker,
    place: &Place<'_>,
    answer: Answer<'_>,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> R {
    if let Answer::Page(Page::Gone) = answer {
        let table = worker.shared.hosts.table();
        let ended = table.answers(place.domain).map_or(Ended::Gone, on_domain::ended);
        return page_of_end(worker, place, ended, now_ms, write);
    }
    let answer = worker.limited(place.client, place.verdict, answer, now_ms);
    if let Answer::Page(Page::NotFound | Page::NotYet) = answer {
        let table = worker.shared.hosts.table();
        if let Some(elsewhere) = table.answers(place.domain).and_then(on_domain::not_found) {
            return write(Answer::Composed(&elsewhere));
        }
    }
    write(answer)
}

/// What a link that has ended is answered with.
pub(super) fn page_of_end<R>(
    worker: &Worker,
    place: &Place<'_>,
    ended: Ended<&[u8]>,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> R {
    let limit = |answer| worker.limited(place.client, place.verdict, answer, now_ms);
    match ended {
        Ended::Gone => write(limit(Answer::Page(Page::Gone))),
        Ended::NotFound => page_on_domain(worker, place, Answer::Page(Page::NotFound), now_ms, write),
        Ended::Redirect(target) => write(limit(Answer::Composed(&on_domain::elsewhere(target, true)))),
    }
}
