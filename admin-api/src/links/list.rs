//! Listing links, a page at a time, by what they have in common. In the order of their creation from the log's own index; by words and by
//! clicks see [`super::search`].
//!
//! A page ends in a cursor: the place of its last link. It holds a place, not a snapshot: links made meanwhile come before
//! it and disturb nothing, links deleted meanwhile are missing. No page costs more for being far from the first, and none looks at more than
//! [`STEPS_MAX`] places of the index: where little is found in much, a page has fewer links than asked for, or none, and a cursor.
//!
//! ```text
//! cursor: base64url, no padding, of: u8 2 · u8 order: 0 newest first, 1 oldest first, 2 most clicked first, 3 least clicked first ·
//!         [u64 clicks, big-endian, in the latter two] · 16 bytes place · u32 check, big-endian (low half of xxh3_64 of what is before it)
//! ```

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clicklog::Subject;
use clicklog::account::Totals;
use daemon::turn::Pauses;
use linklog::codec::value;
use linklog::entity::{ExternalLink, PersonId};
use linklog::store::{
    Count, Find, Found, Order, Place, Reader, StoreError, StoredLink, Term, Within, target_host,
};
use linklog::{DomainId, Key, LinkState};
use xxhash_rust::xxh3::xxh3_64;

use super::keeping::external_key;
use super::{ChangeError, Links};
use crate::auth::Caller;
use crate::auth::allow::Denied;
use crate::blocking::Turn;
use crate::search::rank::Sort;
use crate::search::words::Words;

/// Links of a page unless said otherwise.
pub const LIMIT_DEFAULT: usize = 100;
/// Most links of a page.
pub const LIMIT_MAX: usize = 1000;
/// Most tags of one question.
pub const TAGS_MAX: usize = 8;
/// Most places of the index that are looked at for a page: 10 to 30 ms.
pub const STEPS_MAX: usize = 10_000;
/// Most places of the index that are looked at to count.
pub const COUNT_STEPS_MAX: usize = 50_000;
const VERSION: u8 = 2;

/// A place in a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// In which order it was read.
    pub sort: Sort,
    /// How many clicks the link there had, if the order is by clicks; else 0.
    pub clicks: u64,
    /// Behind which place it goes on.
    pub place: Place,
}

/// The text is no cursor of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the cursor is not one that this API gave out for a list in this order: pass next_cursor on unchanged, or leave it out to start anew"
)]
pub struct CursorInvalid;

impl Cursor {
    /// Returns the place of a link in a list that begins with the oldest.
    pub fn behind(link: &StoredLink) -> Cursor {
        let place = Place::of(link.manage.created_at_ms, link.stamp.created.seq);
        Cursor { sort: Sort::OldestFirst, clicks: 0, place }
    }

    /// Returns the text form.
    pub fn encode(self) -> String {
        let mut bytes = vec![VERSION, self.sort as u8];
        if self.sort.is_by_clicks() {
            bytes.extend_from_slice(&self.clicks.to_be_bytes());
        }
        bytes.extend_from_slice(&self.place.to_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// It is not ours, or was changed.
    pub fn decode(text: &str) -> Result<Cursor, CursorInvalid> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorInvalid)?;
        let (body, found) = bytes.split_last_chunk::<4>().ok_or(CursorInvalid)?;
        let Some(([VERSION, order], rest)) = body.split_first_chunk::<2>() else { return Err(CursorInvalid) };
        let sort = *Sort::ALL.get(usize::from(*order)).ok_or(CursorInvalid)?;
        let (clicks, place) = match sort.is_by_clicks() {
            true => rest.split_first_chunk::<8>().ok_or(CursorInvalid)?,
            false => (&[0; 8], rest),
        };
        let place = place.try_into().map_err(|_| CursorInvalid)?;
        if *found == check(body) {
            Ok(Cursor { sort, clicks: u64::from_be_bytes(*clicks), place: Place::from_bytes(place) })
        } else {
            Err(CursorInvalid)
        }
    }
}

/// Against typing mistakes and made-up cursors; whoever computes it sees only what the list shows anyway.
fn check(body: &[u8]) -> [u8; 4] {
    (xxh3_64(body) as u32).to_be_bytes()
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Of whom, if the caller does not see all links (then `None` inside is nobody's).
    pub sees_only: Option<Option<PersonId>>,
    /// Where the links are that the caller sees.
    pub within: Within,
    /// Of this owner.
    pub owner: Option<PersonId>,
    /// Put aside, or not; `None`: both.
    pub archived: Option<bool>,
    /// The one that an owner calls so elsewhere.
    pub external_id: Option<(Option<PersonId>, String)>,
    /// On this domain.
    pub domain: Option<DomainId>,
    /// In this state.
    pub state: Option<LinkState>,
    /// With this target host, as [`linklog::store::target_host`] gives it.
    pub host: Option<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// Created at this time or later, milliseconds since the Unix epoch.
    pub created_from_ms: Option<u64>,
    /// Created before this time, milliseconds since the Unix epoch.
    pub created_before_ms: Option<u64>,
    /// With all of these words.
    pub words: Option<Words>,
    /// In which order.
    pub sort: Sort,
    /// Where to go on.
    pub cursor: Option<Cursor>,
    /// How many at most; 1 to [`LIMIT_MAX`].
    pub limit: usize,
    /// Whether to count them all besides.
    pub total: bool,
}

impl Wanted {
    /// Judges the one link that has the external id: whether it is on this page, and how many there are on all.
    pub(super) fn named(&self, link: Option<(Key, StoredLink)>) -> (Found, Option<Count>) {
        let link = link.filter(|(key, stored)| self.takes(key, stored));
        let count = Count { links: u64::from(link.is_some()), is_exact: true };
        let links = link.into_iter().filter(|(_, stored)| self.is_behind_cursor(stored)).collect();
        (Found { links, next: None }, self.total.then_some(count))
    }

    /// Says whether a link is what is asked for, wherever in the list it stands.
    pub(super) fn takes(&self, key: &Key, StoredLink { link, manage, .. }: &StoredLink) -> bool {
        let host = || target_host(link.target.as_bytes());
        self.sees_only.is_none_or(|owner| manage.owner == owner)
            && self.within.has(key)
            && self.owner.is_none_or(|owner| manage.owner == Some(owner))
            && self.archived.is_none_or(|archived| archived == manage.archived_at_ms.is_some())
            && self.domain.is_none_or(|domain| key.domain == domain)
            && self.state.is_none_or(|state| link.state == state)
            && self.host.as_ref().is_none_or(|wanted| host().as_ref() == Some(wanted))
            && self.tags.iter().all(|tag| manage.tags.contains(tag))
            && self.created_from_ms.is_none_or(|from| from <= manage.created_at_ms)
            && self.created_before_ms.is_none_or(|before| manage.created_at_ms < before)
            && self.words.as_ref().is_none_or(|words| words.are_of(key, link, manage))
    }

    fn is_behind_cursor(&self, link: &StoredLink) -> bool {
        let place = Cursor::behind(link).place.to_bytes();
        self.cursor.is_none_or(|cursor| match self.sort {
            // Places fall as times rise.
            Sort::NewestFirst => place > cursor.place.to_bytes(),
            Sort::OldestFirst => place < cursor.place.to_bytes(),
            // The only one there is, and it was shown.
            Sort::MostClicked | Sort::LeastClicked => false,
        })
    }

    fn find(self) -> Find {
        // The likely rarest first: it leads.
        let mut all_of: Vec<_> = self.tags.into_iter().map(Term::Tag).collect();
        all_of.extend(self.host.map(Term::Host));
        let mut none_of = Vec::new();
        match self.state {
            Some(LinkState::Active) => {
                none_of.extend([LinkState::Disabled, LinkState::Banned, LinkState::Reserved].map(Term::State))
            }
            Some(state) => all_of.push(Term::State(state)),
            None => {}
        }
        let owners = self.owner.into_iter().chain(self.sees_only.flatten());
        all_of.extend(owners.map(Term::Owner));
        match self.archived {
            Some(true) => all_of.push(Term::Archived),
            Some(false) => none_of.push(Term::Archived),
            None => {}
        }
        // An only domain has rows of its own: whoever reads them passes no others.
        let domain = self.domain.or(match *self.within.domains {
            [domain] => Some(domain),
            _ => None,
        });
        all_of.extend(domain.map(Term::Domain));
        Find {
            all_of,
            none_of,
            within: self.within,
            created_from_ms: self.created_from_ms,
            created_before_ms: self.created_before_ms,
            order: if self.sort == Sort::OldestFirst { Order::OldestFirst } else { Order::NewestFirst },
            after: self.cursor.map(|cursor| cursor.place),
            limit: self.limit,
            steps_max: STEPS_MAX,
        }
    }
}

/// A page of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The links.
    pub links: Vec<(Key, StoredLink)>,
    /// What was counted on each.
    pub totals: Vec<Totals>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<Cursor>,
    /// How many there are on all pages together, if that was asked for.
    pub total: Option<Count>,
    /// Of what was found in the search index: as of when it is.
    pub searched: Option<Searched>,
}

/// How far an answer of the search index can be relied on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Searched {
    /// Every change made before this time is in it, milliseconds since the Unix epoch.
    pub as_of_ms: u64,
    /// False: the last word is the beginning of more words than were looked at.
    pub is_complete: bool,
}

impl Links {
    /// Bounds what is asked for to what the caller sees now.
    ///
    /// # Errors
    /// It names a domain that the caller sees nothing of.
    pub fn bounded(&self, caller: Caller, wanted: Wanted) -> Result<Wanted, Denied> {
        let within = self.tokens.within(caller);
        match wanted.domain {
            Some(domain) if !within.has_domain(domain) => Err(Denied::Domain),
            _ => Ok(Wanted { sees_only: caller.sees_only(), within, ..wanted }),
        }
    }

    /// Reads a page.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn list(&self, wanted: Wanted) -> Result<Page, ChangeError> {
        if wanted.external_id.is_none() && (wanted.words.is_some() || wanted.sort.is_by_clicks()) {
            return self.search(wanted).await;
        }
        let clicks = self.clicks.clone();
        let read = move |reader: &Reader| {
            let (sort, sees_only) = (wanted.sort, wanted.sees_only);
            let (mut found, total) = match &wanted.external_id {
                Some((owner, id)) => wanted.named(by_external_id(reader, *owner, id)?),
                None => {
                    let (count, find) = (wanted.total, wanted.find());
                    let mut pauses = Pauses::begin();
                    let mut between = || pauses.step();
                    let found = reader.find_in_steps(&find, &mut between)?;
                    let all = Find { after: None, steps_max: COUNT_STEPS_MAX, ..find };
                    (found, count.then(|| reader.count(&all, &mut between)).transpose()?)
                }
            };
            found.links.retain(|(_, link)| sees_only.is_none_or(|owner| owner == link.manage.owner));
            let subject =
                |(key, link): &(Key, StoredLink)| Subject { key: *key, created: link.stamp.created };
            let totals = clicks.totals(&found.links.iter().map(subject).collect::<Vec<_>>())?;
            let next = found.next.map(|place| Cursor { sort, clicks: 0, place });
            Ok::<_, StoreError>(Page { links: found.links, totals, next, total, searched: None })
        };
        Ok(self.log.read_in(Turn::Behind, read).await??)
    }
}

/// Finds the link that an owner calls so elsewhere.
///
/// # Errors
/// The state cannot be read.
pub fn by_external_id(
    reader: &Reader,
    owner: Option<PersonId>,
    id: &str,
) -> Result<Option<(Key, StoredLink)>, StoreError> {
    let read = |stored: Option<&[u8]>| -> Result<Option<Key>, linklog::DecodeError> {
        let Some(stored) = stored else { return Ok(None) };
        let (stamp, body) = value::split(stored)?;
        if stamp.live { Ok(Some(ExternalLink::decode(body)?.key)) } else { Ok(None) }
    };
    let key = reader.manage_value(&external_key(owner, id).encode(), read)?;
    let Some(key) = key.map_err(|source| StoreError::Damaged { what: "external id", source })? else {
        return Ok(None);
    };
    // The name is the link's only as long as the link says so too.
    let is_named =
        |link: &StoredLink| link.manage.owner == owner && link.manage.external_id.as_deref() == Some(id);
    Ok(reader.link(&key)?.filter(is_named).map(|link| (key, link)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn cursor(place: [u8; 16], clicks: u64, order: usize) -> Cursor {
        let sort = Sort::ALL[order];
        let clicks = if sort.is_by_clicks() { clicks } else { 0 };
        Cursor { sort, clicks, place: Place::from_bytes(place) }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_what_it_writes(place: [u8; 16], clicks: u64, order in 0usize..4) {
            let cursor = cursor(place, clicks, order);
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn a_changed_cursor_is_refused(place: [u8; 16], order in 0usize..4, at in 0usize..29, to in "[A-Za-z0-9_-]") {
            let text = cursor(place, 7, order).encode();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert!(changed == text || Cursor::decode(&changed).is_err());
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            prop_assert!(Cursor::decode(&text).is_err());
        }
    }
}
