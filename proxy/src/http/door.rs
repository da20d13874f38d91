//! Who may follow a link that is not for everybody: decided here, from what the request shows and what the replica says, without waiting. Only a
//! password has to be compared elsewhere first ([`Door::Ask`]).
//!
//! A private link is asked about before its password: who may not follow it learns nothing of a password, and no guess is wasted on it.

use access::password::PASSWORD_BYTES_MAX;
use access::signature::{Link, Purpose, Signature};
use linklog::link::access::{AccessView, Allowed, PasswordHash};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::asked::Asked;
use super::wanted::Wanted;
use crate::answer::composed::Composed;
use crate::answer::{Answer, Facts, Page, door};
use crate::passwords::Outcome;
use crate::worker::Worker;

/// What has no place in a `Location`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\');

/// What is behind a link that is not for everybody.
pub(super) enum Door {
    /// The link: the visitor may follow it.
    Open,
    /// An answer.
    Closed(Composed<'static>),
    /// A ready answer.
    Page(Answer<'static>),
    /// A password has to be compared with this.
    Ask(PasswordHash),
}

/// What a request shows, beside its query.
#[derive(Clone, Copy)]
pub(super) struct Visit<'a> {
    pub(super) worker: &'a Worker,
    pub(super) asked: &'a Asked<'a>,
    pub(super) wanted: &'a Wanted,
    /// What follows the code in the path.
    pub(super) rest: Option<&'a [u8]>,
    pub(super) now_ms: u64,
}

/// Decides whether a visitor may follow a link.
#[cold]
pub(super) fn of(visit: Visit<'_>, facts: &Facts<'_>, access: &AccessView<'_>) -> Door {
    let link = Link { key: visit.wanted.key.bytes(), created: facts.created };
    if access.allowed.is_some_and(|allowed| !visit.is_allowed(link, allowed)) {
        return Door::Closed(door::private());
    }
    match &access.password {
        Some(password) => visit.password(link, password),
        None => Door::Open,
    }
}

impl Visit<'_> {
    fn is_allowed(&self, link: Link<'_>, allowed: Allowed<'_>) -> bool {
        let visitors = &self.worker.shared.visitors;
        let is_allowed = |user| visitors.is_allowed(user, allowed);
        let by_token = visitors.user_of_token(self.asked.who.says.authorization, self.now_ms);
        if by_token.is_some_and(is_allowed) {
            return true;
        }
        let signature = door::signature_in(self.asked.query()).and_then(Signature::of_text);
        // In whose name it is signed has to be allowed still.
        signature.is_some_and(|signature| {
            visitors.holds(&signature, link, Purpose::Follow, self.now_ms)
                && signature.user.is_none_or(is_allowed)
        })
    }

    fn password(&self, link: Link<'_>, kept: &PasswordHash) -> Door {
        let form = |was_wrong| Door::Closed(door::form(&self.address(), was_wrong));
        let guess = door::password_in(self.asked.who.form)
            .filter(|_| self.asked.who.post && !self.wanted.is_preview());
        if let Some(guess) = guess {
            return match &self.wanted.guessed {
                Some((salt, outcome)) if *salt == kept.salt => self.guessed(link, kept, *outcome),
                _ if (1..=PASSWORD_BYTES_MAX).contains(&guess.len()) => Door::Ask(*kept),
                _ => form(true),
            };
        }
        let visitors = &self.worker.shared.visitors;
        let holds = |cookie| {
            let signature = Signature::of_text(cookie);
            signature
                .is_some_and(|cookie| visitors.holds(&cookie, link, Purpose::Password(kept), self.now_ms))
        };
        if door::cookies(self.asked.who.says.cookie).any(holds) { Door::Open } else { form(false) }
    }

    fn guessed(&self, link: Link<'_>, kept: &PasswordHash, outcome: Outcome) -> Door {
        match outcome {
            Outcome::Wrong => Door::Closed(door::form(&self.address(), true)),
            Outcome::TooMany(retry_after_s) => Door::Page(Answer::Limited { retry_after_s }),
            Outcome::Busy => Door::Page(Answer::Page(Page::Unsure)),
            Outcome::Right => {
                let until_ms = self.now_ms + door::REMEMBERED_MS;
                let signed = self.worker.shared.visitors.sign(link, Purpose::Password(kept), until_ms);
                // There is a key as soon as the writer has made one, which it does by itself.
                let Some(signed) = signed else { return Door::Page(Answer::Page(Page::Unsure)) };
                let path = format!("/{}", self.wanted.key.code());
                let is_secure = self.asked.who.client.is_secure;
                Door::Closed(door::go_on(self.address(), &path, &signed.to_text(), is_secure))
            }
        }
    }

    /// Where the link is asked for as it is kept, with what came behind its code: never anything that leads elsewhere.
    fn address(&self) -> Vec<u8> {
        let mut address = format!("/{}", self.wanted.key.code()).into_bytes();
        let query = self.asked.query();
        let mut append = |bytes| {
            percent_encode(bytes, ESCAPED).for_each(|piece| address.extend_from_slice(piece.as_bytes()));
        };
        append(self.rest.unwrap_or_default());
        if !query.is_empty() {
            append(b"?");
            append(query);
        }
        address
    }
}
