//! From what a request asks to its answer, whoever read it (the fast parser, Pingora's session, HTTP/2) and whoever writes it.
//!
//! Every answer about a link passes [`of_link`], where redirects are recorded before they are written, and every answer passes
//! [`Worker::limited`]. Deliberately not here: methods and forms of targets, which the protocols have of their own, and waiting for the
//! disk, which `later` does.

use clicklog::Kind;
use linklog::store::StoreError;
use linklog::{DomainId, ExtrasView};

use super::asked::{Asked, Who};
use super::door::{self as http_door, Door, Visit};
use super::place::{Place, on_unknown_host, page_of, page_of_end, page_on_domain};
use super::wanted::{Lack, Wait, Wanted, What};
use crate::answer::rich::{self, Ask, Decision};
use crate::answer::where_to::{Visitor, asks_for_country};
use crate::answer::{Answer, Facts, Page, door, limited, preview};
use crate::budgets::Quoted;
use crate::clicks::kind::kind_of;
use crate::clicks::record::{Asker, Click};
use crate::limits::Limit;
use crate::link_key::LinkKey;
use crate::lookup::InMemory;
use crate::quota::Verdict;
use crate::route::{Route, deeper, route};
use crate::worker::{Event, Worker};

/// What memory makes of a request.
pub(super) enum Reply<R> {
    /// The answer, written.
    Written(R),
    /// The disk has to be asked.
    OnDisk(Wanted),
}

/// Why memory is not enough.
enum Later {
    /// It is another key.
    Folded(LinkKey),
    /// Something has to be had first.
    First(Wait),
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
    let wanted = Wanted { key, domain, verdict, what, lacks: None, guessed: None };
    look_up(worker, &asked, wanted, now_ms, write)
}

#[cold]
fn beyond(domain: DomainId, page: &Route, asked: &Asked<'_>) -> Option<LinkKey> {
    matches!(page, Route::Nothing).then(|| deeper(domain, asked.raw_path())).flatten().map(|(key, _)| key)
}

/// Answers about the link that is `wanted`, as [`from_memory`] does.
#[inline]
pub(super) fn look_up<R>(
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
        let written = of_link(worker, asked, &wanted, facts, now_ms, &mut write);
        written.map_err(Later::First)
    };
    match worker.shared.lookups.in_memory(&wanted.key, answer) {
        InMemory::Known(tier, Ok(written)) => {
            worker.counters.count(Event::LookedUp(tier));
            return Reply::Written(written);
        }
        InMemory::Known(_, Err(Later::Folded(folded))) => {
            return look_up(worker, asked, Wanted { key: folded, ..wanted }, now_ms, write);
        }
        InMemory::Known(_, Err(Later::First(wait))) => return Reply::OnDisk(wanted.until(wait)),
        InMemory::NeedsDisk => return Reply::OnDisk(wanted),
        InMemory::Failed(error) => worker.failed(&error),
        InMemory::Incomplete => worker.counters.count(Event::Incomplete),
    }
    let unsure = Answer::Page(Page::Unsure);
    Reply::Written(write(worker.limited(asked.who.client, wanted.verdict, unsure, now_ms)))
}

/// Answers about a link, or that there is none. A redirect is recorded before it is written: what a visitor has received is counted.
#[inline]
pub(super) fn of_link<R>(
    worker: &Worker,
    asked: &Asked<'_>,
    wanted: &Wanted,
    facts: Option<Facts<'_>>,
    now_ms: u64,
    write: impl FnOnce(Answer<'_>) -> R,
) -> Result<R, Wait> {
    let who = &asked.who;
    if let Some(facts) = &facts
        && (!facts.extras.is_empty() || wanted.what != What::Target || who.post)
    {
        return of_rich_link(worker, asked, wanted, facts, now_ms, write);
    }
    if who.post {
        // Only a link that ends with a number of clicks, or has a password, takes a POST.
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
) -> Result<R, Wait> {
    let place = Place { client: asked.who.client, verdict: wanted.verdict, domain: wanted.domain };
    let limit = |answer| worker.limited(place.client, place.verdict, answer, now_ms);
    let extras = match ExtrasView::decode(facts.extras) {
        Ok(extras) => extras,
        Err(source) => {
            worker.failed(&StoreError::Damaged { what: "link", source });
            return Ok(write(limit(Answer::Page(Page::Unsure))));
        }
    };
    let is_limited = extras.limit.is_some();
    // Whatever it is: with every click, and with the last one, it is something else.
    let write = |answer: Answer<'_>| match answer.unkept().filter(|_| is_limited) {
        Some(unkept) => write(Answer::Composed(&unkept)),
        None => write(answer),
    };
    let rest = match wanted.what {
        What::Beyond => deeper(wanted.domain, asked.raw_path()).map(|(_, rest)| rest),
        What::Target | What::Preview => None,
    };
    let says = asked.who.says;
    let takes_post = extras.limit.is_some() || extras.access.password.is_some() && !wanted.is_preview();
    if asked.who.post && !takes_post {
        return Ok(write(limit(Answer::Page(Page::MethodNotAllowed))));
    }
    if !extras.access.is_public() && rich::nowhere(facts, &extras, now_ms).is_none() {
        let visit = Visit { worker, asked, wanted, rest, now_ms };
        match http_door::of(visit, facts, &extras.access) {
            Door::Open => {}
            Door::Closed(composed) => return Ok(write(limit(Answer::Composed(&composed)))),
            Door::Page(answer) => return Ok(write(limit(answer))),
            Door::Ask(_) => return Err(Wait::Password),
        }
    }
    // A preview shows what the link on it leads to, which has no query.
    let query = if wanted.is_preview() { Default::default() } else { door::without_signature(asked.query()) };
    let address = asked.who.client.address;
    let country = match (&worker.shared.geo, address) {
        (Some(geo), Some(address)) if asks_for_country(&extras.rules) => geo.country(address),
        _ => None,
    };
    let visitor = Visitor { address, country, agent: says.agent, language: says.language, query: &query };
    let ask = Ask { visitor, rest, post: asked.who.post };
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
                let (budgets, key) = (worker.shared.budgets.as_ref(), wanted.key.bytes());
                let lacking = Err(Lack::Click(facts.created).into());
                // Looked at first: what is taken out of a quota is not put back.
                if !budgets.is_some_and(|budgets| budgets.has(key, facts.created)) {
                    return lacking;
                }
                if let Some(over) = over_quota(worker, &extras, now_ms)? {
                    return Ok(write(over));
                }
                if !budgets.is_some_and(|budgets| budgets.spend(key, facts.created)) {
                    return lacking;
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
                if let Some(over) = over_quota(worker, &extras, now_ms)? {
                    return Ok(write(over));
                }
                record(worker, &asked.who, wanted, facts, composed.status, now_ms);
            }
            write(answer)
        }
        Decision::Ended(Some(ended)) => page_of_end(worker, &place, ended, now_ms, write),
        Decision::Ended(None) => page_on_domain(worker, &place, Answer::Page(Page::Gone), now_ms, write),
        Decision::Page(page) => page_on_domain(worker, &place, Answer::Page(page), now_ms, write),
    })
}

/// Takes a redirect out of the quota that the link counts in, if it has one; returns what is answered in its place if nothing is left.
fn over_quota(
    worker: &Worker,
    extras: &ExtrasView<'_>,
    now_ms: u64,
) -> Result<Option<Answer<'static>>, Lack> {
    let Some(quota) = extras.quota else { return Ok(None) };
    // Where nothing is recorded, nothing can be counted out.
    let Some(budgets) = &worker.shared.budgets else { return Err(Lack::Redirect(quota)) };
    match budgets.spend_of_quota(quota, now_ms) {
        Quoted::Free => Ok(None),
        Quoted::NotAtHand => Err(Lack::Redirect(quota)),
        Quoted::UsedUp { retry_after_s } => {
            worker.counters.reached(Limit::Redirects);
            Ok(Some(Answer::Limited { retry_after_s }))
        }
    }
}
