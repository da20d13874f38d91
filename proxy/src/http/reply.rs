//! From what a request asks to its answer, whoever read it (the fast parser, Pingora's session, HTTP/2) and whoever writes it.
//!
//! Every answer about a link passes [`of_link`], where redirects are recorded before they are written, and every answer passes
//! [`Worker::limited`]. Deliberately not here: methods and forms of targets, which the protocols have of their own, and waiting for the
//! disk, which each does in its way between [`from_memory`] and [`from_disk`].

use clicklog::Kind;
use linklog::store::StoreError;
use linklog::{Code, DomainId, Ended, ExtrasView, Position};

use super::clock::now_ms;
use super::parse::Says;
use crate::answer::rich::{self, Ask, Decision};
use crate::answer::where_to::{Visitor, asks_for_country};
use crate::answer::{Answer, Facts, Page, limited, on_domain, preview};
use crate::budgets::Patience;
use crate::clicks::kind::kind_of;
use crate::clicks::record::{Asker, Click, KeptSays};
use crate::client::Client;
use crate::disk::Unsure;
use crate::hosts::UnknownHost;
use crate::hot_map::Block;
use crate::link_key::LinkKey;
use crate::lookup::InMemory;
use crate::quota::Verdict;
use crate::route::{Route, deeper, route};
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
    /// The path and its query, as they came.
    pub(super) target: &'a [u8],
}

impl<'a> Asked<'a> {
    fn raw_path(&self) -> &'a [u8] {
        let end = memchr::memchr(b'?', self.target).unwrap_or(self.target.len());
        &self.target[..end]
    }

    fn query(&self) -> &'a [u8] {
        memchr::memchr(b'?', self.target).map_or(&[], |mark| &self.target[mark + 1..])
    }
}

/// A request, kept while the disk is asked.
pub(super) struct Kept {
    head: bool,
    post: bool,
    says: KeptSays,
    target: Box<[u8]>,
}

impl Kept {
    /// Copies what an answer may need.
    pub(super) fn new(asked: &Asked<'_>) -> Kept {
        let Who { head, post, says, .. } = &asked.who;
        Kept { head: *head, post: *post, says: KeptSays::new(says), target: asked.target.into() }
    }

    /// The request again, as far as it is needed once it is known which link is wanted.
    fn asked<'a>(&'a self, client: &'a Client) -> Asked<'a> {
        let who = Who { client, head: self.head, post: self.post, says: self.says.says() };
        Asked { who, host: &[], path: &[], target: &self.target }
    }
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    /// At the other end of its connection.
    pub(super) client: &'a Client,
    /// With HEAD.
    pub(super) head: bool,
    /// With POST, which only links with a limit know: the button of [`limited::page`].
    pub(super) post: bool,
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
    /// Its domain.
    domain: DomainId,
    /// What the client may get.
    verdict: Verdict,
    /// What of the link.
    what: What,
    /// A click of the link that was made there has to be had first.
    click_of: Option<Position>,
}

impl Wanted {
    /// The same with the code in lower case, where a domain's aliases are found whatever their case and this is not how they are kept.
    #[cold]
    fn folded(&self, worker: &Worker) -> Option<Wanted> {
        let table = worker.shared.hosts.table();
        table.answers(self.domain).filter(|answers| answers.folded)?;
        let code = self.key.code();
        let folded = code.to_ascii_lowercase();
        let code = Code::from_bytes(folded.as_bytes()).ok().filter(|_| folded != code)?;
        Some(Wanted { key: LinkKey::of_code(self.domain, code), ..*self })
    }
}

/// What of a link is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// To be led where it leads.
    Target,
    /// The same, and on from there: something is behind its code.
    Beyond,
    /// To see where it leads.
    Preview,
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
    if let Verdict::Nothing(_) = verdict {
        // It is not worth a lookup: whatever stands here is not what the client gets.
        return Reply::Written(write(worker.limited(client, verdict, Answer::Page(Page::Root), now_ms)));
    }
    let Some(domain) = shared.hosts.table().domain(asked.host) else {
        return Reply::Written(on_unknown_host(worker, client, verdict, now_ms, write));
    };
    let (key, what) = match route(domain, asked.path) {
        Route::Link(key) => (key, What::Target),
        Route::Preview(key) => (key, What::Preview),
        page => match beyond(domain, &page, &asked) {
            Some(key) => (key, What::Beyond),
            None if asked.who.post => {
                let answer = Answer::Page(Page::MethodNotAllowed);
                return Reply::Written(write(worker.limited(client, verdict, answer, now_ms)));
            }
            None => {
                let place = Place { client, verdict, domain };
                return Reply::Written(page_of(worker, &place, &page, asked.path, now_ms, write));
            }
        },
    };
    let wanted = Wanted { key, domain, verdict, what, click_of: None };
    look_up(worker, &asked, wanted, now_ms, write)
}

#[cold]
fn beyond(domain: DomainId, page: &Route, asked: &Asked<'_>) -> Option<LinkKey> {
    matches!(page, Route::Nothing).then(|| deeper(domain, asked.raw_path())).flatten().map(|(key, _)| key)
}

#[inline]
fn look_up<R>(
    worker: &Worker,
    asked: &Asked<'_>,
    wanted: Wanted,
    now_ms: u64,
    mut write: impl FnMut(Answer<'_>) -> R,
) -> Reply<R> {
    let answer = |facts: Option<Facts<'_>>| {
        if facts.is_none()
            && let Some(folded) = wanted.folded(worker)
        {
            return Err(Later::Folded(folded));
        }
        let created = facts.as_ref().map(|facts| facts.created);
        let written = of_link(worker, asked, &wanted, facts, now_ms, &mut write);
        written.map_err(|NoClick| Later::Click(Wanted { click_of: created, ..wanted }))
    };
    match worker.shared.lookups.in_memory(&wanted.key, answer) {
        InMemory::Known(tier, Ok(written)) => {
            worker.counters.count(Event::LookedUp(tier));
            return Reply::Written(written);
        }
        InMemory::Known(_, Err(Later::Folded(folded))) => {
            return look_up(worker, asked, folded, now_ms, write);
        }
        InMemory::Known(_, Err(Later::Click(wanted))) => return Reply::OnDisk(wanted),
        InMemory::NeedsDisk => return Reply::OnDisk(wanted),
        InMemory::Failed(error) => worker.failed(&error),
        InMemory::Incomplete => worker.counters.count(Event::Incomplete),
    }
    let unsure = Answer::Page(Page::Unsure);
    Reply::Written(write(worker.limited(asked.who.client, wanted.verdict, unsure, now_ms)))
}

/// Why memory is not enough.
enum Later {
    /// It is another key.
    Folded(Wanted),
    /// A click has to be had first.
    Click(Wanted),
}

/// The link ends with a number of clicks, and none of them is at hand.
struct NoClick;

/// What has been waited for.
pub(super) enum Found {
    /// The disk's answer.
    OnDisk(Result<Option<Block>, Unsure>),
    /// News of a limited link, which memory should have by now.
    News,
    /// Nothing: a click does not come.
    NoClick,
}

/// Waits for what memory does not have: the disk, or a click of a limited link, as long as the request's `patience` lasts. Afterwards
/// `wanted` has the key it goes by.
pub(super) async fn find_on_disk(
    worker: &Worker,
    wanted: &mut Wanted,
    patience: &mut Option<Patience>,
) -> Found {
    if let Some(created) = wanted.click_of {
        let patience = *patience.get_or_insert_default();
        let Some(budgets) = &worker.shared.budgets else { return Found::NoClick };
        return match budgets.wait(wanted.key.bytes(), created, patience).await {
            true => Found::News,
            false => Found::NoClick,
        };
    }
    let found = worker.look_up_on_disk(wanted.key).await;
    let folded = if matches!(found, Ok(None)) { wanted.folded(worker) } else { None };
    let Some(folded) = folded else { return Found::OnDisk(found) };
    *wanted = folded;
    Found::OnDisk(worker.look_up_on_disk(wanted.key).await)
}

/// Answers with what [`find_on_disk`] found, unless that has to be asked again.
///
/// # Errors
/// What has to be waited for next: somebody else got the click, or the link is not in memory any more.
pub(super) fn from_disk<R>(
    worker: &Worker,
    (client, kept): (&Client, &Kept),
    wanted: &Wanted,
    found: &Found,
    now_ms: u64,
    mut write: impl FnMut(Answer<'_>) -> R,
) -> Result<R, Wanted> {
    let asked = kept.asked(client);
    match found {
        Found::OnDisk(Ok(block)) => {
            let facts = block.as_ref().map(Block::facts);
            let created = facts.as_ref().map(|facts| facts.created);
            let written = of_link(worker, &asked, wanted, facts, now_ms, write);
            return written.map_err(|NoClick| Wanted { click_of: created, ..*wanted });
        }
        Found::News => {
            let wanted = Wanted { click_of: None, ..*wanted };
            return match look_up(worker, &asked, wanted, now_ms, write) {
                Reply::Written(written) => Ok(written),
                Reply::OnDisk(next) => Err(next),
            };
        }
        // The disk does not say, or all clicks are elsewhere for now.
        Found::OnDisk(Err(_)) | Found::NoClick => {}
    }
    Ok(write(worker.limited(client, wanted.verdict, Answer::Page(Page::Unsure), now_ms)))
}

/// Answers from memory or from the disk.
pub(super) async fn wherever<R>(
    worker: &Worker,
    asked: Asked<'_>,
    mut write: impl FnMut(Answer<'_>) -> R,
) -> R {
    match from_memory(worker, asked, now_ms(), &mut write) {
        Reply::Written(written) => written,
        Reply::OnDisk(wanted) => later(worker, (asked.who.client, &Kept::new(&asked)), wanted, write).await,
    }
}

/// Answers what memory could not, when that is possible or it is clear that it will not be.
pub(super) async fn later<R>(
    worker: &Worker,
    (client, kept): (&Client, &Kept),
    mut wanted: Wanted,
    mut write: impl FnMut(Answer<'_>) -> R,
) -> R {
    let mut patience = None;
    loop {
        let found = find_on_disk(worker, &mut wanted, &mut patience).await;
        match from_disk(worker, (client, kept), &wanted, &found, now_ms(), &mut write) {
            Ok(written) => return written,
            Err(next) => wanted = next,
        }
    }
}

/// Answers about a link, or that there is none. A redirect is recorded before it is written: what a visitor has received is counted.
#[inline]
fn of_link<R>(
    worker: &Worker,
    asked: &Asked<'_>,
    wanted: &Wanted,
    facts: Option<Facts<'_>>,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> Result<R, NoClick> {
    let who = &asked.who;
    if let Some(facts) = &facts
        && (!facts.extras.is_empty() || wanted.what != What::Target || who.post)
    {
        return of_rich_link(worker, asked, wanted, facts, now_ms, write);
    }
    if who.post {
        // Only a link that ends with a number of clicks takes a POST.
        let answer = worker.limited(who.client, wanted.verdict, Answer::Page(Page::MethodNotAllowed), now_ms);
        return Ok(write(answer));
    }
    let answer = Answer::of_link(facts, now_ms);
    if let (Answer::Redirect { status, .. }, Some(facts)) = (&answer, &facts) {
        let status = status.code();
        let answer = worker.limited(who.client, wanted.verdict, answer, now_ms);
        if let Answer::Redirect { .. } = answer {
            record(worker, who, wanted, facts, status, now_ms);
        }
        return Ok(write(answer));
    }
    let place = Place { client: who.client, verdict: wanted.verdict, domain: wanted.domain };
    Ok(page_on_domain(worker, &place, answer, now_ms, write))
}

#[inline]
fn record(worker: &Worker, who: &Who<'_>, wanted: &Wanted, facts: &Facts<'_>, status: u16, now_ms: u64) {
    worker.record(&Click {
        at_ms: now_ms,
        key: wanted.key.bytes(),
        created: facts.created,
        status,
        asker: Asker { address: who.client.address, head: who.head, says: who.says },
    });
}

/// The same about a link that has extras, or of which something else is wanted than its target.
#[cold]
#[inline(never)]
fn of_rich_link<R>(
    worker: &Worker,
    asked: &Asked<'_>,
    wanted: &Wanted,
    facts: &Facts<'_>,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> Result<R, NoClick> {
    let place = Place { client: asked.who.client, verdict: wanted.verdict, domain: wanted.domain };
    let limit = |answer| worker.limited(place.client, place.verdict, answer, now_ms);
    let extras = match ExtrasView::decode(facts.extras) {
        Ok(extras) => extras,
        Err(source) => {
            worker.failed(&StoreError::Damaged { what: "link", source });
            return Ok(write(limit(Answer::Page(Page::Unsure))));
        }
    };
    let rest = match wanted.what {
        What::Beyond => deeper(wanted.domain, asked.raw_path()).map(|(_, rest)| rest),
        What::Target | What::Preview => None,
    };
    let says = asked.who.says;
    // A preview shows what the link on it leads to, which has no query.
    let query = if wanted.what == What::Preview { &[][..] } else { asked.query() };
    let address = asked.who.client.address;
    let country = match (&worker.shared.geo, address) {
        (Some(geo), Some(address)) if asks_for_country(&extras.rules) => geo.country(address),
        _ => None,
    };
    let visitor = Visitor { address, country, agent: says.agent, language: says.language, query };
    let ask = Ask { visitor, rest, post: asked.who.post };
    if ask.post && extras.limit.is_none() {
        return Ok(write(limit(Answer::Page(Page::MethodNotAllowed))));
    }
    Ok(match rich::decide(facts, &extras, &ask, now_ms) {
        Decision::Limited(composed) => {
            let who = &asked.who;
            let asker = Asker { address: who.client.address, head: who.head, says: who.says };
            let follows = ask.post || wanted.what != What::Preview && kind_of(&asker) == Kind::Person;
            if !follows {
                return Ok(write(limit(Answer::Composed(&limited::page()))));
            }
            let answer = limit(Answer::Composed(&composed));
            if let Answer::Composed(_) = answer {
                let budgets = worker.shared.budgets.as_ref();
                if !budgets.is_some_and(|budgets| budgets.spend(wanted.key.bytes(), facts.created)) {
                    return Err(NoClick);
                }
                record(worker, who, wanted, facts, composed.status, now_ms);
            }
            write(answer)
        }
        Decision::Follow(composed) if wanted.what == What::Preview => {
            let decided = composed.location.as_deref().unwrap_or(facts.target);
            let others = preview::targets(facts.target, &extras);
            write(limit(Answer::Composed(&preview::page(&wanted.key.code(), decided, others))))
        }
        Decision::Follow(composed) => {
            let answer = limit(Answer::Composed(&composed));
            if let Answer::Composed(_) = answer {
                record(worker, &asked.who, wanted, facts, composed.status, now_ms);
            }
            write(answer)
        }
        Decision::Ended(Some(ended)) => page_of_end(worker, &place, ended, now_ms, write),
        Decision::Ended(None) => page_on_domain(worker, &place, Answer::Page(Page::Gone), now_ms, write),
        Decision::Page(page) => page_on_domain(worker, &place, Answer::Page(page), now_ms, write),
    })
}

/// Where a page is asked for, and by whom.
struct Place<'a> {
    client: &'a Client,
    verdict: Verdict,
    domain: DomainId,
}

/// A host that nobody declared, where that is no host of the default domain.
#[cold]
fn on_unknown_host<R>(
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
fn page_of<R>(
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
fn page_on_domain<R>(
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

fn page_of_end<R>(
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
