//! Lists by words and in the order of clicks: the search index says which links and in which order, the state says what they are.
//!
//! Owned here: a link is shown only if it is, now and in the log, what was asked for and the caller's to see; whatever the index says. A
//! page may therefore have fewer links than were found.

use clicklog::Subject;
use daemon::turn::Pauses;
use linklog::store::{Count, Place, Reader, StoreError, Within};

use super::list::{Cursor, Page, Searched, Wanted};
use super::{ChangeError, Links};
use crate::blocking::Turn;
use crate::search::document::Facet;
use crate::search::find::{Counted, Question};
use crate::search::rank::{Rank, Sort};
use crate::search::terms::Asked;
use crate::search::{SearchError, Snapshot};

impl Wanted {
    fn question(&self) -> Question {
        // There is always one: a list of everything says whether it has what is put aside, or is one of all domains.
        let mut facets: Vec<Vec<u8>> = self.tags.iter().map(|tag| Facet::Tag(tag).term()).collect();
        let mut add = |facet: Option<Facet<'_>>| facets.extend(facet.map(|facet| facet.term()));
        add(self.host.as_deref().map(Facet::Host));
        add(self.state.map(Facet::State));
        add(self.sees_only.map(Facet::Owner));
        add(self.owner.map(|owner| Facet::Owner(Some(owner))));
        add(self.archived.map(Facet::Archived));
        let domains = &self.within.domains;
        add(self.domain.or(if let [domain] = **domains { Some(domain) } else { None }).map(Facet::Domain));
        let is_open = self.domain.is_none() && domains.len() > 1;
        let one_of = domains.iter().filter(|_| is_open).map(|domain| Facet::Domain(*domain).term()).collect();
        Question {
            asked: Asked { words: self.words.clone(), facets, one_of },
            created_from_ms: self.created_from_ms,
            created_before_ms: self.created_before_ms,
            sort: self.sort,
            behind: self.cursor.map(|cursor| rank_of(&cursor)),
            limit: self.limit,
        }
    }
}

/// Places of cursors fall as times rise, those of the search index rise.
fn rank_of(cursor: &Cursor) -> Rank {
    cursor.sort.rank(cursor.clicks, !u128::from_be_bytes(cursor.place.to_bytes()))
}

fn cursor_of(sort: Sort, rank: Rank) -> Cursor {
    // An order's rank of a rank is what it was made of.
    let Rank { clicks, place } = sort.rank(rank.clicks, rank.place);
    Cursor { sort, clicks, place: Place::from_bytes((!place).to_be_bytes()) }
}

/// Most links that are looked at to count those under a prefix, which the index does not know: each is a read of it.
const COUNTED_BY_KEY_MAX: usize = 2_000;

/// Counts what a question finds in some place, as far as it goes.
fn count_within(snapshot: &Snapshot, question: &Question, within: &Within) -> Result<Counted, SearchError> {
    let question = Question { behind: None, limit: COUNTED_BY_KEY_MAX, ..question.clone() };
    let hits = snapshot.find(&question)?;
    let mut links = 0;
    let mut pauses = Pauses::begin();
    for hit in &hits.hits {
        pauses.step();
        links += u64::from(snapshot.key(hit)?.is_some_and(|key| within.has(&key)));
    }
    Ok(Counted { links, is_exact: hits.next.is_none() && hits.is_complete })
}

/// Why a page could not be read.
enum Failure {
    Search(SearchError),
    Store(StoreError),
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Failure {
        Failure::Search(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

impl Links {
    /// Reads a page of what has some words, or in an order by clicks.
    ///
    /// # Errors
    /// There is no index, or not yet; the state cannot be read.
    pub(super) async fn search(&self, wanted: Wanted) -> Result<Page, ChangeError> {
        let (search, clicks) = (self.search.clone(), self.clicks.clone());
        let read = move |reader: &Reader| {
            let snapshot = search.snapshot()?;
            let as_of_ms = search.as_of_ms(&snapshot, wanted.sort.is_by_clicks());
            let question = wanted.question();
            let hits = snapshot.find(&question)?;
            let total = match wanted.total {
                true if wanted.within.prefix.is_empty() => Some(snapshot.count(&question)?),
                true => Some(count_within(&snapshot, &question, &wanted.within)?),
                false => None,
            };
            let mut links = Vec::with_capacity(hits.hits.len());
            let mut pauses = Pauses::begin();
            for hit in &hits.hits {
                pauses.step();
                let Some(key) = snapshot.key(hit)? else { continue };
                // One that was made anew under the same name is another link, at another place.
                let is_it = |place: u128| wanted.sort.rank(0, place).place == hit.rank.place;
                let link = reader.link(&key)?.filter(|link| {
                    let place = !u128::from_be_bytes(Cursor::behind(link).place.to_bytes());
                    is_it(place) && wanted.takes(&key, link)
                });
                links.extend(link.map(|link| (key, link)));
            }
            let subjects: Vec<_> =
                links.iter().map(|(key, link)| Subject { key: *key, created: link.stamp.created }).collect();
            let totals = clicks.totals(&subjects)?;
            Ok::<_, Failure>(Page {
                links,
                totals,
                next: hits.next.map(|rank| cursor_of(wanted.sort, rank)),
                total: total.map(|total| Count { links: total.links, is_exact: total.is_exact }),
                searched: Some(Searched { as_of_ms, is_complete: hits.is_complete }),
            })
        };
        self.log.read_in(Turn::Behind, read).await?.map_err(|failure| match failure {
            Failure::Search(error) => error.into(),
            Failure::Store(error) => error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_rank_comes_back_from_its_cursor(clicks: u64, place: u128, order in 0usize..4) {
            let sort = Sort::ALL[order];
            let rank = sort.rank(clicks, place);
            prop_assert_eq!(rank_of(&cursor_of(sort, rank)), rank);
        }
    }
}
