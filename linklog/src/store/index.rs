//! The index that links are found by: in which domain, in which state, with which target host, tag or other mark, by time of creation.
//!
//! ```text
//! u8 kind of term · u64 term · u64 !created_at ms · u64 !seq of creation · encoded link key → nothing      (all integers big-endian)
//! ```
//! Newest first in every term, but for kind 20, links that have an end: `u8 20 · u64 archived (0 or 1) · u64 end ms · u64 !seq of creation ·
//! encoded link key`, whose time has come longest ago first. Texts are represented by their xxh3: whoever reads a row checks the link itself. Kind 9 is different: per
//! link the records that changed or deleted it, `u8 9 · u64 xxh3 of the key · u64 0 · u64 !seq · encoded link key`; rows of records that
//! were trimmed off the journal since lead nowhere.
//!
//! Invariant: rows are written in the batch of the state they follow from, so they are never behind it. They are never the truth: no sum
//! covers them, no follower gets them, and [`ensure`] makes them anew from the state where they are missing or of another version.
//! Deliberately not here: finding links (`find`), and words in texts.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;
use xxhash_rust::xxh3::xxh3_64;

use super::{INDEX, JOURNAL, MANAGE, META, SERVE, Store, StoreError};
use crate::codec::record::{self, Kind};
use crate::entity::PersonId;
use crate::key::{DomainId, Key, StateKey};
use crate::link::extras::Limit;
use crate::link::{Link, LinkManage, LinkState, LinkView, ManageView};
use crate::position::{Position, Seq};

/// Raised whenever rows change their meaning: stores of another version are indexed anew.
const VERSION: u8 = 3;
/// The row of the `meta` table with the version.
pub(crate) const VERSION_ROW: &[u8] = b"index";
/// How many links are indexed between two lines in the log.
const TOLD_EVERY: u64 = 1_000_000;
/// How many links are indexed in one write while an index is made anew.
const REBUILT_AT_ONCE: usize = 10_000;

/// Bytes of a row before the place: kind and term.
pub(super) const TERM_BYTES: usize = 9;
/// Bytes of a row that say where in a term it is.
pub(super) const PLACE_BYTES: usize = 16;

/// Something that links have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Term {
    /// Being a link.
    All,
    /// The domain.
    Domain(DomainId),
    /// The state; being active has no rows, look for links that are in none of the others.
    State(LinkState),
    /// The host of the target, as [`target_host`] gives it.
    Host(String),
    /// A tag, exactly.
    Tag(String),
    /// The owner.
    Owner(PersonId),
    /// Being put aside.
    Archived,
    /// Owner, domain and target, the latter as [`canonical_target`] gives it: links of which one would do.
    Target(Option<PersonId>, DomainId, String),
}

impl Term {
    pub(super) fn prefix(&self) -> [u8; TERM_BYTES] {
        match self {
            Term::All => ALL,
            Term::Domain(domain) => of_domain(*domain),
            Term::State(state) => of_state(*state),
            Term::Host(host) => of_host(host),
            Term::Tag(tag) => of_tag(tag),
            Term::Owner(owner) => of_owner(*owner),
            Term::Archived => ARCHIVED,
            Term::Target(owner, domain, target) => of_target(*owner, *domain, target),
        }
    }

    /// Says whether a link has it.
    pub fn is_of(&self, key: &Key, link: &LinkView<'_>, manage: &LinkManage) -> bool {
        match self {
            Term::All => true,
            Term::Domain(domain) => key.domain == *domain,
            Term::State(state) => link.state == *state,
            Term::Host(host) => target_host(link.target).as_deref() == Some(host),
            Term::Tag(tag) => manage.tags.contains(tag),
            Term::Owner(owner) => manage.owner == Some(*owner),
            Term::Archived => manage.archived_at_ms.is_some(),
            Term::Target(owner, domain, target) => {
                manage.owner == *owner
                    && key.domain == *domain
                    && canonical_target(link.target).as_deref() == Some(target)
            }
        }
    }
}

const fn prefix(kind: u8, term: u64) -> [u8; TERM_BYTES] {
    let [a, b, c, d, e, f, g, h] = term.to_be_bytes();
    [kind, a, b, c, d, e, f, g, h]
}

const ALL: [u8; TERM_BYTES] = prefix(1, 0);
const ARCHIVED: [u8; TERM_BYTES] = prefix(7, 0);

const fn of_domain(domain: DomainId) -> [u8; TERM_BYTES] {
    prefix(2, domain.0 as u64)
}

const fn of_state(state: LinkState) -> [u8; TERM_BYTES] {
    prefix(3, state as u64)
}

fn of_host(host: &str) -> [u8; TERM_BYTES] {
    prefix(4, xxh3_64(host.as_bytes()))
}

fn of_tag(tag: &str) -> [u8; TERM_BYTES] {
    prefix(5, xxh3_64(tag.as_bytes()))
}

const fn of_owner(owner: PersonId) -> [u8; TERM_BYTES] {
    prefix(6, u64::from_be_bytes(owner.0))
}

fn of_target(owner: Option<PersonId>, domain: DomainId, target: &str) -> [u8; TERM_BYTES] {
    let owner = owner.map_or([0; 8], |owner| owner.0);
    prefix(8, xxh3_64(&[&owner[..], &domain.0.to_be_bytes(), target.as_bytes()].concat()))
}

/// Returns the host of a target: lower case, without port and final dot. Targets are checked elsewhere; what has no host has none here.
pub fn target_host(target: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(target).ok()?;
    let authority = text.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let end = match host.strip_prefix('[') {
        Some(literal) => literal.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let host = host[..end].trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

/// Returns a target in the form that is the same for all spellings of one address: scheme and host in lower case, no port that is the
/// scheme's own, no final dot of the host, `/` for an empty path. Nothing else is touched: servers may tell other spellings apart.
pub fn canonical_target(target: &[u8]) -> Option<String> {
    canonical_of(target, &target_host(target)?)
}

/// As [`canonical_target`] where the host is known.
fn canonical_of(target: &[u8], host: &str) -> Option<String> {
    let (scheme, rest) = std::str::from_utf8(target).ok()?.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    let port = after_host.rsplit_once(':').map_or("", |(_, port)| port);
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    let is_own = port.is_empty() || is("http") && port == "80" || is("https") && port == "443";
    let mut canonical = String::with_capacity(target.len() + 1);
    canonical.push_str(scheme);
    canonical.make_ascii_lowercase();
    canonical.push_str("://");
    canonical.push_str(host);
    if !is_own {
        canonical.push(':');
        canonical.push_str(port);
    }
    if !rest.starts_with('/') {
        canonical.push('/');
    }
    canonical.push_str(rest);
    Some(canonical)
}

/// A link's place in the order of a term: the later it was created, the lower.
pub(super) fn place(created_at_ms: u64, created: Position) -> u128 {
    u128::from(!created_at_ms) << 64 | u128::from(!created.seq.0)
}

fn rows(key: &Key, encoded: &[u8], link: &LinkView<'_>, manage: &ManageView<'_>) -> Vec<Vec<u8>> {
    let place = place(manage.created_at_ms, link.stamp.created).to_be_bytes();
    let row = |prefix: [u8; TERM_BYTES]| {
        let mut row = Vec::with_capacity(TERM_BYTES + PLACE_BYTES + encoded.len());
        row.extend_from_slice(&prefix);
        row.extend_from_slice(&place);
        row.extend_from_slice(encoded);
        row
    };
    let mut rows = Vec::with_capacity(8);
    rows.extend([row(ALL), row(of_domain(key.domain))]);
    if link.state != LinkState::Active {
        rows.push(row(of_state(link.state)));
    }
    let host = target_host(link.target);
    rows.extend(host.as_deref().map(|host| row(of_host(host))));
    rows.extend(manage.tags().map(|tag| row(of_tag(tag))));
    rows.extend(manage.owner.map(|owner| row(of_owner(owner))));
    rows.extend(manage.archived_at_ms.map(|_| row(ARCHIVED)));
    let target = host.and_then(|host| canonical_of(link.target, &host));
    rows.extend(target.map(|target| row(of_target(manage.owner, key.domain, &target))));
    rows.extend(end_row(encoded, link, manage));
    rows
}

const END: u8 = 20;

/// The beginning of the rows of links that have an end.
pub(super) fn ends_prefix(archived: bool) -> [u8; TERM_BYTES] {
    let mut prefix = [0; TERM_BYTES];
    prefix[0] = END;
    prefix[TERM_BYTES - 1] = u8::from(archived);
    prefix
}

/// When a link ends, or has ended, milliseconds since the Unix epoch: by time, or used up. What the operator took down stays, so it has none.
pub fn end_of(link: &Link, manage: &LinkManage) -> Option<u64> {
    end_at(link, manage.updated_at_ms)
}

fn end_at(link: &Link, updated_at_ms: u64) -> Option<u64> {
    if link.state == LinkState::Banned {
        return None;
    }
    // Noticed by a version that did not say when: not after its last change.
    let used_up = link.extras.limit.filter(Limit::is_used_up);
    let used_up = used_up.map(|limit| limit.ended_at_ms.unwrap_or(updated_at_ms));
    [link.expires_at_ms, used_up].into_iter().flatten().min()
}

fn end_row(encoded: &[u8], link: &LinkView<'_>, manage: &ManageView<'_>) -> Option<Vec<u8>> {
    if link.expires_at_ms.is_none() && link.extras.is_empty() {
        return None;
    }
    // Extras that do not decode are refused where the link is looked at.
    let end = end_at(&link.to_link().ok()?, manage.updated_at_ms)?;
    let place = u128::from(end) << 64 | u128::from(!link.stamp.created.seq.0);
    Some([&ends_prefix(manage.archived_at_ms.is_some())[..], &place.to_be_bytes(), encoded].concat())
}

const CHANGE: u8 = 9;

/// The beginning of the rows that name the records which changed a link.
pub(super) fn changes_prefix(encoded: &[u8]) -> [u8; TERM_BYTES] {
    let mut prefix = [CHANGE; TERM_BYTES];
    prefix[1..].copy_from_slice(&xxh3_64(encoded).to_be_bytes());
    prefix
}

fn change_row(encoded: &[u8], seq: Seq) -> Vec<u8> {
    let place = u128::from(!seq.0).to_be_bytes();
    [&changes_prefix(encoded)[..], &place, encoded].concat()
}

/// Adds that the record `at` changed a link to `changes`.
pub(super) fn note_change(changes: &mut BTreeMap<Vec<u8>, bool>, encoded: &[u8], at: Position) {
    changes.insert(change_row(encoded, at.seq), true);
}

/// Returns the rows of a link as it is stored; none of a tombstone.
fn rows_of(
    key: &Key,
    encoded: &[u8],
    serve: Option<&[u8]>,
    manage: Option<&[u8]>,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let damaged = |source| StoreError::Damaged { what: "link", source };
    let (Some(serve), Some(manage)) = (serve, manage) else { return Ok(Vec::new()) };
    let Some(link) = LinkView::of_value(serve).map_err(damaged)? else { return Ok(Vec::new()) };
    let manage = ManageView::of_value(manage).map_err(damaged)?;
    Ok(rows(key, encoded, &link, &manage))
}

/// A link's two values.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub serve: Option<&'a [u8]>,
    pub manage: Option<&'a [u8]>,
}

/// Adds what changes about a link's rows to `changes`; false takes a row out.
pub(super) fn note(
    changes: &mut BTreeMap<Vec<u8>, bool>,
    key: &Key,
    encoded: &[u8],
    old: Pair<'_>,
    new: Pair<'_>,
) -> Result<(), StoreError> {
    let old = rows_of(key, encoded, old.serve, old.manage)?;
    let new = rows_of(key, encoded, new.serve, new.manage)?;
    for row in old.iter().filter(|row| !new.contains(row)) {
        changes.insert(row.clone(), false);
    }
    changes.extend(new.into_iter().filter(|row| !old.contains(row)).map(|row| (row, true)));
    Ok(())
}

/// Reads the row of the version; 0 if there is none.
pub(crate) fn version_of(row: Option<&[u8]>) -> u8 {
    row.and_then(|row| row.first().copied()).unwrap_or(0)
}

/// Makes the index anew where it is missing, as in a store of an earlier version of this program. Says how far it is every
/// [`TOLD_EVERY`] links.
pub(super) fn ensure(store: &Store) -> Result<(), StoreError> {
    if store.get(META, VERSION_ROW)?.as_deref() == Some(&[VERSION]) {
        return Ok(());
    }
    let mut batch = WriteBatch::default();
    store.delete_range(&mut batch, INDEX, &[0], &[u8::MAX])?;
    let mut links = 0u64;
    let scan = |table| store.rows(table, &[], None, true);
    let mut managed = scan(MANAGE);
    for row in scan(SERVE) {
        let (encoded, serve) = row?;
        let Ok(StateKey::Link(key)) = StateKey::decode(&encoded) else { break };
        // Both tables hold the same links in the same order, and links come first.
        let (other, manage) = managed.next().transpose()?.unwrap_or_default();
        if other != encoded {
            let source = crate::DecodeError::invalid(0, "pair of serve and manage values");
            return Err(StoreError::Damaged { what: "link", source });
        }
        for row in rows_of(&key, &encoded, Some(&serve), Some(&manage))? {
            batch.put_cf(store.table(INDEX), row, []);
        }
        links += 1;
        if links.is_multiple_of(TOLD_EVERY) {
            tracing::info!(links, "making the index of links anew, as the first start of this version does");
        }
        if batch.len() >= REBUILT_AT_ONCE * 4 {
            store.write(std::mem::take(&mut batch), false)?;
        }
    }
    for row in scan(JOURNAL) {
        let (_, value) = row?;
        index_record(store, &mut batch, &value)?;
        if batch.len() >= REBUILT_AT_ONCE * 4 {
            store.write(std::mem::take(&mut batch), false)?;
        }
    }
    if links > 0 {
        tracing::info!(links, "made the index of links anew");
    }
    batch.put_cf(store.table(META), VERSION_ROW, [VERSION]);
    store.write(batch, true)
}

/// Notes which links a record of the journal changed; creations too, which readers leave out.
fn index_record(store: &Store, batch: &mut WriteBatch, value: &[u8]) -> Result<(), StoreError> {
    let damaged = |source| StoreError::Damaged { what: "journal entry", source };
    // As `crate::journal::rocks` has it: whether it conflicted, the digest, the record.
    let Some((&[0, ..], bytes)) = value.split_first_chunk::<17>() else { return Ok(()) };
    let view = record::decode(bytes).map_err(damaged)?;
    if view.header.kind != Kind::Change {
        return Ok(());
    }
    let serve = record::read_serve(view.header, view.serve).map_err(damaged)?;
    for part in &serve.parts {
        if let Ok(StateKey::Link(_)) = StateKey::decode(part.key) {
            batch.put_cf(store.table(INDEX), change_row(part.key, view.position.seq), []);
        }
    }
    Ok(())
}

/// Leaves the store as one that was never indexed.
#[cfg(test)]
pub(super) fn forget(store: &Store) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    batch.delete_range_cf(store.table(INDEX), [0u8].as_slice(), [u8::MAX].as_slice());
    batch.delete_cf(store.table(META), VERSION_ROW);
    store.write(batch, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_target_is_found_as_people_write_it() {
        for (target, host) in [
            ("https://example.com", Some("example.com")),
            ("https://Example.COM:8443/path?q#f", Some("example.com")),
            ("http://example.com./", Some("example.com")),
            ("https://example.com?next=https://other.example/", Some("example.com")),
            ("https://example.com#a@b", Some("example.com")),
            ("https://[2001:db8::1]:80/", Some("[2001:db8::1]")),
            ("https://user@example.com/", Some("example.com")),
            ("https:///", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(target_host(target.as_bytes()).as_deref(), host, "{target}");
        }
    }

    #[test]
    fn spellings_of_one_address_have_one_form_and_others_keep_theirs() {
        for (target, canonical) in [
            ("HTTPS://Example.COM", "https://example.com/"),
            ("https://example.com:443/?a", "https://example.com/?a"),
            ("http://example.com.:80?a", "http://example.com/?a"),
            ("http://example.com:443/", "http://example.com:443/"),
            ("https://example.com/A?B#C", "https://example.com/A?B#C"),
            ("https://example.com#c", "https://example.com/#c"),
            ("https://[2001:DB8::1]:443/a:80", "https://[2001:db8::1]/a:80"),
            ("https://[2001:DB8::1]", "https://[2001:db8::1]/"),
        ] {
            assert_eq!(canonical_target(target.as_bytes()).as_deref(), Some(canonical), "{target}");
        }
    }

    #[test]
    fn later_links_have_lower_places() {
        let at = |ms, seq| place(ms, Position::new(1, seq));
        assert!(at(2, 1) < at(1, 9) && at(1, 9) < at(1, 8));
    }
}
