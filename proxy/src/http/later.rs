//! Answers that memory alone cannot give: waiting for the disk, for what a redirect takes, for a password to be compared.

use linklog::ExtrasView;
use linklog::link::access::PasswordHash;

use super::asked::{Asked, Kept};
use super::clock::now_ms;
use super::door::{self as http_door, Door, Visit};
use super::reply::{Reply, from_memory, look_up, of_link};
use super::wanted::{Lack, Wanted};
use crate::answer::rich;
use crate::answer::{Answer, Facts, Page, door};
use crate::budgets::Patience;
use crate::client::Client;
use crate::disk::Unsure;
use crate::hot_map::Block;
use crate::passwords::attempts::Guesser;
use crate::worker::Worker;

/// What has been waited for.
pub(super) enum Found {
    /// The disk's answer.
    OnDisk(Result<Option<Block>, Unsure>),
    /// News of a limited link or of a quota, which memory should have by now.
    News,
    /// Nothing: what it takes does not come.
    Nothing,
}

/// Waits for what memory does not have: the disk, what the redirect takes, as long as the request's `patience` lasts, or what comes of the
/// visitor's password. Afterwards `wanted` has the key it goes by.
pub(super) async fn find_on_disk(
    worker: &Worker,
    (client, kept): (&Client, &Kept),
    wanted: &mut Wanted,
    patience: &mut Option<Patience>,
) -> Found {
    if let Some(lack) = wanted.lacks {
        let patience = *patience.get_or_insert_default();
        let Some(budgets) = &worker.shared.budgets else { return Found::Nothing };
        let is_worth_a_try = match lack {
            Lack::Click(created) => budgets.wait(wanted.key.bytes(), created, patience).await,
            Lack::Redirect(quota) => budgets.wait_for_quota(quota, patience).await,
        };
        return if is_worth_a_try { Found::News } else { Found::Nothing };
    }
    let mut found = worker.look_up_on_disk(wanted.key).await;
    let folded = if matches!(found, Ok(None)) { wanted.folded(worker) } else { None };
    if let Some(folded) = folded {
        wanted.key = folded;
        found = worker.look_up_on_disk(wanted.key).await;
    }
    let password = match &found {
        Ok(Some(block)) if kept.post => password_of(worker, &kept.asked(client), wanted, &block.facts()),
        _ => None,
    };
    let Some(password) = password else { return Found::OnDisk(found) };
    let guesser = Guesser::of(client, wanted.key.bytes());
    let guess = door::password_in(&kept.form).unwrap_or_default();
    let compared = worker.shared.passwords.compare(guesser, guess, password, now_ms());
    wanted.guessed = Some((password.salt, Box::pin(compared).await));
    // It took a while, in which the link may have changed.
    Found::OnDisk(worker.look_up_on_disk(wanted.key).await)
}

/// What a visitor's password has to be compared with, if there is one that matters.
fn password_of(
    worker: &Worker,
    asked: &Asked<'_>,
    wanted: &Wanted,
    facts: &Facts<'_>,
) -> Option<PasswordHash> {
    let now_ms = now_ms();
    let extras = ExtrasView::decode(facts.extras).ok()?;
    if rich::nowhere(facts, &extras, now_ms).is_some() {
        return None;
    }
    let visit = Visit { worker, asked, wanted, rest: None, now_ms };
    match http_door::of(visit, facts, &extras.access) {
        Door::Ask(password) => Some(password),
        Door::Open | Door::Closed(_) | Door::Page(_) => None,
    }
}

/// Answers with what [`find_on_disk`] found. `None` if that has to be asked again, for what `wanted` lacks now: somebody else got the click,
/// or the link is not in memory any more.
pub(super) fn from_disk<R>(
    worker: &Worker,
    (client, kept): (&Client, &Kept),
    wanted: &mut Wanted,
    found: &Found,
    now_ms: u64,
    mut write: impl FnMut(Answer<'_>) -> R,
) -> Option<R> {
    let asked = kept.asked(client);
    match found {
        Found::OnDisk(Ok(block)) => {
            let facts = block.as_ref().map(Block::facts);
            return match of_link(worker, &asked, wanted, facts, now_ms, write) {
                Ok(written) => Some(written),
                Err(wait) => {
                    *wanted = wanted.until(wait);
                    None
                }
            };
        }
        Found::News => {
            return match look_up(worker, &asked, Wanted { lacks: None, ..*wanted }, now_ms, write) {
                Reply::Written(written) => Some(written),
                Reply::OnDisk(next) => {
                    *wanted = next;
                    None
                }
            };
        }
        // The disk does not say, or what it takes is elsewhere for now.
        Found::OnDisk(Err(_)) | Found::Nothing => {}
    }
    Some(write(worker.limited(client, wanted.verdict, Answer::Page(Page::Unsure), now_ms)))
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
        let found = find_on_disk(worker, (client, kept), &mut wanted, &mut patience).await;
        let written = from_disk(worker, (client, kept), &mut wanted, &found, now_ms(), &mut write);
        if let Some(written) = written {
            return written;
        }
    }
}
