//! The history of a link: who changed what and when, out of the log.
//!
//! The log is the only source, so what it no longer keeps is no longer known: `[journal] retention_bytes` decides, and the answer says
//! whether it goes back to the creation. A link that was deleted still has its history, until its code is taken up again.

use linklog::codec::record;
use linklog::journal::{JournalRead, JournalReader, ReadError};
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::{DecodeError, Key, Link, LinkManage, Seq, StateKey};

use super::{ChangeError, Links};
use crate::auth::Caller;

/// Changes of a page unless said otherwise.
pub const LIMIT_DEFAULT: usize = 50;
/// Most changes of a page: each is a read of the log.
pub const LIMIT_MAX: usize = 500;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The version it led to.
    pub version: u64,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who asked: a token's public id, or a name of the system.
    pub actor: String,
    /// What the link was before; `None`: there was none, or it is not known any more.
    pub before: Option<StoredLink>,
    /// What it was afterwards; `None`: it was deleted.
    pub after: Option<StoredLink>,
    /// Whether the link was made by it.
    pub is_creation: bool,
}

/// The history of a link.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// The changes, the newest first.
    pub entries: Vec<Entry>,
    /// Whether the last one is the creation.
    pub is_complete: bool,
}

impl Links {
    /// Returns the newest `limit` changes of a link.
    ///
    /// # Errors
    /// There never was such a link, it is not the caller's to see, or the log cannot be read.
    pub async fn history(&self, caller: Caller, key: Key, limit: usize) -> Result<History, ChangeError> {
        self.tokens.may_touch(caller, &key)?;
        let journal = self.log.journal().clone();
        let owner = caller.sees_only();
        let read = move |reader: &Reader| {
            let link = reader.link(&key)?;
            let sees = match (&link, owner) {
                (_, None) => true,
                // Whose a deleted link was is nobody's to ask who sees only some.
                (link, Some(owner)) => link.as_ref().is_some_and(|link| link.manage.owner == owner),
            };
            match reader.stamp_of(&key)?.filter(|_| sees) {
                Some(stamp) => history(reader, &journal, &key, &stamp, limit.clamp(1, LIMIT_MAX)).map(Some),
                None => Ok(None),
            }
        };
        self.log.read(read).await??.ok_or(ChangeError::NotFound)
    }
}

/// What a record did to a link.
struct Step {
    at_ms: u64,
    actor: String,
    after: Option<(Link, LinkManage)>,
}

fn history(
    reader: &Reader,
    journal: &JournalReader,
    key: &Key,
    stamp: &linklog::Stamp,
    limit: usize,
) -> Result<History, StoreError> {
    let created = stamp.created.seq;
    // One more than is shown: what it was before the oldest.
    let mut seqs = reader.changes_of(key, None, limit + 1)?;
    seqs.retain(|seq| *seq > created);
    seqs.push(created);
    seqs.truncate(limit + 1);
    let mut steps = Vec::with_capacity(seqs.len());
    for seq in &seqs {
        match step(journal, key, *seq)? {
            Some(step) => steps.push(step),
            None => break,
        }
    }
    let stored = |(link, manage): (Link, LinkManage), version| StoredLink {
        stamp: linklog::Stamp { live: true, version, ..*stamp },
        link,
        manage,
    };
    let mut entries = Vec::with_capacity(steps.len());
    let mut steps = steps.into_iter().peekable();
    let mut version = stamp.version;
    for seq in seqs.iter().take(limit) {
        let Some(step) = steps.next() else { break };
        let is_creation = *seq == created;
        let before = steps.peek().filter(|_| !is_creation).and_then(|before| before.after.clone());
        entries.push(Entry {
            version,
            at_ms: step.at_ms,
            actor: step.actor,
            before: before.map(|before| stored(before, version - 1)),
            after: step.after.map(|after| stored(after, version)),
            is_creation,
        });
        version -= 1;
    }
    let is_complete = entries.last().is_some_and(|entry| entry.is_creation);
    Ok(History { entries, is_complete })
}

/// Reads what a record did to a link; `None`: the log no longer has it.
fn step(journal: &JournalReader, key: &Key, seq: Seq) -> Result<Option<Step>, StoreError> {
    let damaged = |source| StoreError::Damaged { what: "journal entry", source };
    let entry = match journal.read(seq, 1) {
        Ok(entries) => entries.into_iter().next(),
        Err(ReadError::NotRetained { .. }) => None,
        Err(ReadError::Store(error)) => return Err(error),
        Err(ReadError::Hole { .. }) => return Err(damaged(DecodeError::invalid(0, "journal"))),
    };
    let Some(entry) = entry else { return Ok(None) };
    let view = entry.view().map_err(damaged)?;
    let serve = record::read_serve(view.header, view.serve).map_err(damaged)?;
    let manage = record::read_manage(&serve, view.manage).map_err(damaged)?;
    let of_link = |part: &&record::PartView<'_>| StateKey::decode(part.key) == Ok(StateKey::Link(*key));
    let Some(part) = manage.parts.iter().find(of_link) else { return Ok(None) };
    let served = serve.parts.iter().find(|served| served.index == part.index);
    let after = match (part.is_put, served) {
        (true, Some(served)) => Some((
            Link::decode(served.body).map_err(damaged)?,
            LinkManage::decode(part.body).map_err(damaged)?,
        )),
        _ => None,
    };
    Ok(Some(Step { at_ms: serve.at_ms, actor: manage.actor.to_owned(), after }))
}
