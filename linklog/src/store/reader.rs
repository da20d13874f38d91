//! Reading the state while it is written: any number of readers, none of which waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{DB, Direction, ErrorKind, IteratorMode, ReadOptions, ReadTier, SnapshotWithThreadMode};

use super::ends::{self, End, Ends};
use super::find::{self, Count, Find, Found};
use super::outcome::{self, Outcome};
use super::{CREATED, HEAD, INDEX, MANAGE, SERVE, Store, StoreError, index, read_head};
use crate::change::CommandId;
use crate::codec::value;
use crate::key::{Key, StateKey};
use crate::link::{Link, LinkManage, LinkView};
use crate::position::{Head, Seq};
use crate::stamp::Stamp;

/// Reads a member's state. Cheap to clone; the database stays open as long as one exists.
#[derive(Clone)]
pub struct Reader {
    store: Arc<Store>,
    applied_seq: Arc<AtomicU64>,
}

/// What memory alone could say about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cached<T> {
    /// It was answered from memtables, filters and cached blocks.
    Known(T),
    /// The disk has to be asked.
    NeedsDisk,
}

/// A link with both its parts, as a full member has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredLink {
    /// Version and identity.
    pub stamp: Stamp,
    /// The served part.
    pub link: Link,
    /// The managed part.
    pub manage: LinkManage,
}

/// A link's place in the order of creation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkByAge {
    /// The record that created it.
    pub created_seq: Seq,
    /// The link.
    pub key: Key,
}

pub(super) const fn read_error(source: rocksdb::Error) -> StoreError {
    StoreError::Io { action: "read", source }
}

pub(super) const fn damaged(what: &'static str) -> impl Fn(crate::DecodeError) -> StoreError {
    move |source| StoreError::Damaged { what, source }
}

/// Reads a link with both its parts, if `wanted` wants it.
pub(super) fn link_in(
    store: &Store,
    snapshot: &SnapshotWithThreadMode<'_, DB>,
    encoded: &[u8],
    wanted: impl FnOnce(&LinkView<'_>, &LinkManage) -> bool,
) -> Result<Option<StoredLink>, StoreError> {
    link_of(|table| snapshot.get_pinned_cf(store.table(table), encoded).map_err(read_error), wanted)
}

/// Makes a link of its values in two tables.
fn link_of<V: std::ops::Deref<Target = [u8]>>(
    get: impl Fn(&'static str) -> Result<Option<V>, StoreError>,
    wanted: impl FnOnce(&LinkView<'_>, &LinkManage) -> bool,
) -> Result<Option<StoredLink>, StoreError> {
    let Some(serve) = get(SERVE)? else { return Ok(None) };
    let Some(view) = LinkView::of_value(&serve).map_err(damaged("link"))? else { return Ok(None) };
    let disagree = || damaged("link")(crate::DecodeError::invalid(0, "pair of serve and manage values"));
    let manage = get(MANAGE)?.ok_or_else(disagree)?;
    let (stamp, _) = value::split(&manage).map_err(damaged("link"))?;
    if stamp != view.stamp {
        return Err(disagree());
    }
    let manage = LinkManage::of_value(&manage).map_err(damaged("link"))?;
    if !wanted(&view, &manage) {
        return Ok(None);
    }
    Ok(Some(StoredLink { stamp, link: view.to_link().map_err(damaged("link"))?, manage }))
}

impl Reader {
    pub(crate) fn new(store: Arc<Store>, applied_seq: Arc<AtomicU64>) -> Reader {
        Reader { store, applied_seq }
    }

    pub(crate) fn shared_store(&self) -> Arc<Store> {
        self.store.clone()
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the last record whose effect every read that starts now will see.
    pub fn applied_seq(&self) -> Seq {
        Seq(self.applied_seq.load(Ordering::Acquire))
    }

    /// Returns the last record whose effect is in the database, be it published yet or not: whatever an earlier read has seen was made by
    /// it or by one before it.
    ///
    /// # Errors
    /// If the database fails or its head is damaged.
    pub fn head(&self) -> Result<Head, StoreError> {
        read_head(&self.store, HEAD)
    }

    /// Looks up a served value and hands its bytes ([`crate::codec::value`]) to `read`. May wait for the disk.
    ///
    /// # Errors
    /// If the disk fails or a block is damaged.
    pub fn serve_value<T>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, StoreError> {
        let value = self.store.get(SERVE, key)?;
        Ok(read(value.as_deref()))
    }

    /// Looks up a served value without touching the disk.
    ///
    /// # Errors
    /// If a block is damaged.
    pub fn serve_value_cached<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<Cached<T>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match self.store.db().get_pinned_cf_opt(self.store.table(SERVE), key, &options) {
            Ok(value) => Ok(Cached::Known(read(value.as_deref()))),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Cached::NeedsDisk),
            Err(error) => Err(read_error(error)),
        }
    }

    /// Returns a link's state with both parts; `None` if it does not exist or is deleted. Full members only.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn link(&self, key: &Key) -> Result<Option<StoredLink>, StoreError> {
        // Two tables, one moment: a change between two plain reads would mix versions.
        let encoded = key.encode();
        #[cfg(feature = "simulation")]
        if self.store.is_simulated() {
            return link_of(|table| self.store.get(table, &encoded), |_, _| true);
        }
        link_in(&self.store, &self.store.db().snapshot(), &encoded, |_, _| true)
    }

    /// Looks many links up, all of them as of one moment; returns those that exist, each with its place in `keys`. Quicker than one by one where
    /// most do not exist. Full members only.
    ///
    /// # Errors
    /// As [`Reader::link`].
    pub fn links(&self, keys: &[Key]) -> Result<Vec<(usize, StoredLink)>, StoreError> {
        let snapshot = self.store.db().snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        let encoded: Vec<_> = keys.iter().map(Key::encode).collect();
        let table = self.store.table(SERVE);
        let served = self.store.db().batched_multi_get_cf_opt(table, &encoded, false, &options);
        let mut found = Vec::new();
        for (place, served) in served.into_iter().enumerate() {
            if served.map_err(read_error)?.is_some() {
                let link = link_in(&self.store, &snapshot, &encoded[place], |_, _| true)?;
                found.extend(link.map(|link| (place, link)));
            }
        }
        Ok(found)
    }

    /// Finds links by what they have in common ([`Find`]). Full members only.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn find(&self, what: &Find) -> Result<Found, StoreError> {
        self.find_in_steps(what, &mut || ())
    }

    /// As [`Reader::find`], and calls `between` between steps, which take microseconds unless the disk is waited for.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn find_in_steps(&self, what: &Find, between: &mut dyn FnMut()) -> Result<Found, StoreError> {
        find::find(&self.store, what, between)
    }

    /// Finds links that have ended, those first whose end lies back longest, behind `after` or from the first. Full members only.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn ended(&self, what: &Ends, after: Option<&End>) -> Result<Vec<End>, StoreError> {
        ends::ends(&self.store, what, after)
    }

    /// Returns the records that changed or deleted a link, the newest first, those before record `before` (or all), at most `limit`. Its
    /// creation is not among them: that stands in its stamp. Records that the journal no longer has may be named. Full members only.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn changes_of(&self, key: &Key, before: Option<Seq>, limit: usize) -> Result<Vec<Seq>, StoreError> {
        let encoded = key.encode();
        let prefix = index::changes_prefix(&encoded);
        let from = before.map_or(0, |before| u128::from(!before.0) + 1).to_be_bytes();
        let start = [&prefix[..], &from].concat();
        let rows = self
            .store
            .db()
            .iterator_cf(self.store.table(INDEX), IteratorMode::From(&start, Direction::Forward));
        let mut changes = Vec::new();
        for row in rows {
            let (row, _) = row.map_err(read_error)?;
            let Some((place, of)) = row.strip_prefix(&prefix).and_then(|rest| rest.split_first_chunk::<16>())
            else {
                break;
            };
            if changes.len() == limit {
                break;
            }
            // Another link may share the hash.
            if *of == *encoded {
                changes.push(Seq(!(u128::from_be_bytes(*place) as u64)));
            }
        }
        Ok(changes)
    }

    /// Returns what is left of a link that was deleted, or of one that lives: version and identity. Full members only.
    ///
    /// # Errors
    /// As [`Reader::link`].
    pub fn stamp_of(&self, key: &Key) -> Result<Option<Stamp>, StoreError> {
        let stamp = |stored: Option<&[u8]>| stored.map(|stored| value::split(stored).map(|(stamp, _)| stamp));
        self.serve_value(&key.encode(), stamp)?.transpose().map_err(damaged("link"))
    }

    /// Counts links by what they have in common; `limit` plays no part. Full members only. `between` as with [`Reader::find_in_steps`].
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn count(&self, what: &Find, between: &mut dyn FnMut()) -> Result<Count, StoreError> {
        find::count(&self.store, what, between)
    }

    /// Returns links by age, newest first, those created before record `before` (or all), at most `limit`. Full members only.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn links_by_age(&self, before: Option<Seq>, limit: usize) -> Result<Vec<LinkByAge>, StoreError> {
        let mut options = ReadOptions::default();
        if let Some(before) = before {
            options.set_iterate_upper_bound(before.0.to_be_bytes());
        }
        let rows = self.store.db().iterator_cf_opt(self.store.table(CREATED), options, IteratorMode::End);
        let mut links = Vec::new();
        for row in rows.take(limit) {
            let (row, _) = row.map_err(read_error)?;
            let invalid = || damaged("index row")(crate::DecodeError::invalid(0, "index row"));
            let (seq, key) = row.split_first_chunk::<8>().ok_or_else(invalid)?;
            let Ok(StateKey::Link(key)) = StateKey::decode(key) else { return Err(invalid()) };
            links.push(LinkByAge { created_seq: Seq(u64::from_be_bytes(*seq)), key });
        }
        Ok(links)
    }

    /// Calls `each` with every live link or other served key from `from` on in key order, with its value, until it returns false.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn scan_served(&self, from: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.scan(SERVE, from, each)
    }

    /// Calls `each` with every key from `from` on in key order that has a managed value. Full members only.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn scan_managed(
        &self,
        from: &[u8],
        each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.scan(MANAGE, from, each)
    }

    fn scan(
        &self,
        table: &'static str,
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        for row in self.store.rows(table, from, None, false) {
            let (key, value) = row?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// Returns a managed value's stamp and bytes for keys that only full members hold. Full members only.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn manage_value<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, StoreError> {
        let value = self.store.get(MANAGE, key)?;
        Ok(read(value.as_deref()))
    }

    /// Returns what became of a command. Full members only.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn outcome(&self, id: CommandId) -> Result<Option<Outcome>, StoreError> {
        outcome::get(&self.store, id)
    }
}
