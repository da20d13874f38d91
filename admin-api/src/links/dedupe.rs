//! `dedupe: true`: a link that is there already is given back in place of a new one.
//!
//! It will do if it has the same owner and domain, and serves visitors the same way: the same target in canonical form
//! ([`linklog::store::canonical_target`]), the same status, the same life (where that is
//! counted from now on: some end to come) and the same of everything else proxies know; it is active and has
//! not ended. Title, tags and notes are neither compared nor changed. Of several the oldest is given.
//!
//! Owned here: of two such requests at the same time, one makes the link and the other gets it. There is one writer, so it is enough that
//! requests for one target wait for each other in this process.

use std::collections::HashSet;
use std::sync::Arc;

use linklog::entity::PersonId;
use linklog::store::{Find, Order, Reader, StoreError, StoredLink, Term, Within, canonical_target};
use linklog::{DomainId, Key, Link, LinkState};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many links with the same target are looked at.
const CANDIDATES_MAX: usize = 100;
const STEPS_MAX: usize = 1_000;

/// Which link will do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    owner: Option<PersonId>,
    domain: DomainId,
    target: String,
    link: Link,
    any_end: bool,
}

impl Wanted {
    /// Returns what is looked for in place of `link`; `None` if it has no target that could be compared. With `any_end` a link will do that
    /// ends at any time to come, else only one that ends when `link` does.
    pub fn of(domain: DomainId, owner: Option<PersonId>, link: &Link, any_end: bool) -> Option<Wanted> {
        let target = canonical_target(link.target.as_bytes())?;
        let link = Link { target: String::new(), ..link.clone() };
        Some(Wanted { owner, domain, target, link, any_end })
    }

    /// Finds the oldest link that will do.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn find(&self, reader: &Reader, now_ms: u64) -> Result<Option<(Key, StoredLink)>, StoreError> {
        let found = reader.find(&Find {
            all_of: vec![Term::Target(self.owner, self.domain, self.target.clone())],
            none_of: vec![Term::Archived],
            within: Within::default(),
            created_from_ms: None,
            created_before_ms: None,
            order: Order::OldestFirst,
            after: None,
            limit: CANDIDATES_MAX,
            steps_max: STEPS_MAX,
        })?;
        let endless = |link: &Link| Link { target: String::new(), expires_at_ms: None, ..link.clone() };
        let wanted = endless(&self.link);
        let ends_alike = |end: Option<u64>| match self.any_end {
            true => end.is_some(),
            false => end == self.link.expires_at_ms,
        };
        let serves_alike = |link: &Link| {
            link.state == LinkState::Active
                && link.expires_at_ms.is_none_or(|end| now_ms < end)
                && ends_alike(link.expires_at_ms)
                && endless(link) == wanted
        };
        Ok(found.links.into_iter().find(|(_, stored)| serves_alike(&stored.link)))
    }

    fn place(&self) -> Place {
        (self.owner, self.domain, self.target.clone())
    }
}

type Place = (Option<PersonId>, DomainId, String);

/// The targets for which somebody looks and makes right now: no more than there are requests. Cheap to clone.
#[derive(Clone, Default)]
pub struct Duplicates {
    busy: Arc<Mutex<HashSet<Place>>>,
    freed: Arc<Notify>,
}

/// The right to look for some targets and to make links to them, until this is dropped.
pub struct Alone {
    all: Duplicates,
    places: Vec<Place>,
}

impl Duplicates {
    /// Waits until nobody else looks for any of these targets: all of them at once, so nobody waits in a circle.
    pub async fn alone<'a>(&self, wanted: impl Iterator<Item = &'a Wanted>) -> Option<Alone> {
        let places: Vec<_> = wanted.map(Wanted::place).collect();
        if places.is_empty() {
            return None;
        }
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut busy = self.busy.lock();
                if !places.iter().any(|place| busy.contains(place)) {
                    busy.extend(places.iter().cloned());
                    return Some(Alone { all: self.clone(), places });
                }
            }
            freed.await;
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let mut busy = self.all.busy.lock();
        for place in &self.places {
            busy.remove(place);
        }
        drop(busy);
        self.all.freed.notify_waiters();
    }
}
