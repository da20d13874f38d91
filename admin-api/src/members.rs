//! The members of the fleet, as the log has them: who may follow and who is waited for.
//!
//! `admission`: who is let in · [`joining`]: when a new sync member counts · `joins`: the writer's task that lets it count
//!
//! The table is a copy of the member records in memory. It changes only after the record that changes it is durable; whoever
//! writes one calls [`Members::reload`] afterwards, and everybody who holds the table is told through [`Members::changes`].

mod admission;
pub mod joining;
mod joins;

pub use admission::NotAdmitted;
pub(crate) use joins::Joins;

use std::collections::BTreeMap;
use std::sync::Arc;

use linklog::codec::value;
use linklog::entity::{Member, MemberRole, MemberState};
use linklog::store::{Reader, StoreError};
use linklog::{Change, Operation, Part, Precondition, StateKey};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Every member by its name.
pub type MemberTable = BTreeMap<String, Member>;
/// Every member by its name, with the version of its record.
pub type MemberVersions = BTreeMap<String, (Member, u64)>;

/// The members, shared; cheap to clone.
#[derive(Clone)]
pub struct Members {
    table: Arc<watch::Sender<MemberTable>>,
    reader: Reader,
    /// Held from reading until what was read is in place: of two at once the one that read last is also the last to store.
    reloading: Arc<Mutex<()>>,
}

impl Members {
    /// Reads the members from the log's state.
    ///
    /// # Errors
    /// If the database fails or holds a damaged record.
    pub fn load(reader: &Reader) -> Result<Members, StoreError> {
        let table = read_all(reader)?;
        let table = Arc::new(watch::Sender::new(table));
        Ok(Members { table, reader: reader.clone(), reloading: Arc::default() })
    }

    /// Reads the members again after a record about one has become durable.
    ///
    /// # Errors
    /// As [`Members::load`]; the table then stays as it was.
    pub fn reload(&self) -> Result<(), StoreError> {
        let _alone = self.reloading.lock();
        let table = read_all(&self.reader)?;
        self.table.send_if_modified(|current| {
            let changed = *current != table;
            *current = table;
            changed
        });
        Ok(())
    }

    /// Returns a member's record.
    pub fn get(&self, name: &str) -> Option<Member> {
        self.table.borrow().get(name).cloned()
    }

    /// Returns the table itself, locked against change for as long as it is held: not across an await.
    pub(crate) fn table(&self) -> watch::Ref<'_, MemberTable> {
        self.table.borrow()
    }

    /// Returns all members.
    pub fn all(&self) -> MemberTable {
        self.table.borrow().clone()
    }

    /// Returns how many members answer visitors: active ones that hold a replica to serve from.
    pub fn active_proxies(&self) -> u32 {
        let table = self.table.borrow();
        let is_one =
            |member: &&Member| member.role == MemberRole::Read && member.state == MemberState::Active;
        table.values().filter(is_one).count() as u32
    }

    /// Returns a receiver that is told of every change of the table.
    pub fn changes(&self) -> watch::Receiver<MemberTable> {
        self.table.subscribe()
    }
}

fn read_all(reader: &Reader) -> Result<MemberTable, StoreError> {
    Ok(with_versions(reader)?.into_iter().map(|(name, (member, _))| (name, member)).collect())
}

/// Reads every member from the log's state, with the version of its record. May wait for the disk.
///
/// # Errors
/// If the database fails or holds a damaged record.
pub fn with_versions(reader: &Reader) -> Result<MemberVersions, StoreError> {
    let mut members = MemberVersions::new();
    let mut damaged = None;
    reader.scan_managed(&[StateKey::MEMBERS], |key, stored| {
        let Ok(StateKey::Member(name)) = StateKey::decode(key) else { return false };
        match value::split(stored)
            .and_then(|(stamp, body)| Ok((stamp, stamp.live.then(|| Member::decode(body)).transpose()?)))
        {
            Ok((stamp, Some(member))) => drop(members.insert(name, (member, stamp.version))),
            Ok((_, None)) => {}
            Err(source) => damaged = Some(StoreError::Damaged { what: "member", source }),
        }
        damaged.is_none()
    })?;
    damaged.map_or(Ok(members), Err)
}

/// Returns the change that adds an active member. Its precondition refuses a name that is in use or was forgotten: a name stands for one
/// member for ever, so that budgets and acknowledgements of the old one cannot be mistaken for the new one's.
pub fn add(name: &str, credential: Option<[u8; 32]>, role: MemberRole, now_ms: u64) -> Change {
    add_in_state(name, credential, role, MemberState::Active, now_ms)
}

/// As [`add`], in the state that [`joining::state_to_begin_in`] says.
pub fn add_in_state(
    name: &str,
    credential: Option<[u8; 32]>,
    role: MemberRole,
    state: MemberState,
    now_ms: u64,
) -> Change {
    let member = Member { role, state, credential, created_at_ms: now_ms, announced_level: None };
    put(name, &member, Precondition::Absent)
}

/// Returns the change that moves a member to another state; the caller has read `member` at version `version`.
pub fn set_state(name: &str, member: &Member, version: u64, state: MemberState) -> Change {
    put(name, &Member { state, ..member.clone() }, Precondition::Version(version))
}

/// The change that notes which format level a member reads; the caller has read `member` at version `version`.
pub fn set_announced_level(name: &str, member: &Member, version: u64, level: u8) -> Change {
    put(name, &Member { announced_level: Some(level), ..member.clone() }, Precondition::Version(version))
}

fn put(name: &str, member: &Member, precondition: Precondition) -> Change {
    let key = StateKey::Member(name.to_owned());
    let operation = Operation::Put { serve: Vec::new(), manage: member.encode() };
    Change::new("operator", vec![Part { key, precondition, operation }])
}

/// Returns a member with the version of its record, for [`set_state`].
///
/// # Errors
/// If the database fails or holds a damaged record.
pub fn with_version(reader: &Reader, name: &str) -> Result<Option<(Member, u64)>, StoreError> {
    let key = StateKey::Member(name.to_owned()).encode();
    let read = |stored: Option<&[u8]>| -> Result<Option<(Member, u64)>, linklog::DecodeError> {
        let Some(stored) = stored else { return Ok(None) };
        let (stamp, body) = value::split(stored)?;
        if !stamp.live { Ok(None) } else { Ok(Some((Member::decode(body)?, stamp.version))) }
    };
    let found = reader.manage_value(&key, read)?;
    found.map_err(|source| StoreError::Damaged { what: "member", source })
}
