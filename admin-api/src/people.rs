//! Users and groups, as the log has them: whom links and tokens belong to.
//!
//! Owned here: the tables in memory say what the log says. They change as soon as the record that changes them is durable, and never back to
//! an older one; every request that is let in looks at them, so nothing here waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use linklog::codec::{Cursor, value};
use linklog::entity::{Group, PersonId, User};
use linklog::store::{Reader, StoreError};
use linklog::{Change, DecodeError, Operation, Part, Precondition, StateKey};
use parking_lot::RwLock;

/// Most users, those switched off included: they are all held in memory.
pub const USERS_MAX: usize = 100_000;
/// Most groups.
pub const GROUPS_MAX: usize = 10_000;
/// Of a record that was just made.
const FIRST_VERSION: u64 = 1;

/// A record with its version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// Its version.
    pub version: u64,
}

#[derive(Default)]
struct Tables {
    users: HashMap<PersonId, Versioned<User>>,
    groups: HashMap<PersonId, Versioned<Group>>,
}

/// Users and groups, shared; cheap to clone.
#[derive(Clone, Default)]
pub struct People {
    tables: Arc<RwLock<Tables>>,
}

impl People {
    /// Reads users and groups from the log's state.
    ///
    /// # Errors
    /// If the database fails or holds a damaged record.
    pub fn load(reader: &Reader) -> Result<People, StoreError> {
        let people = People::default();
        let mut damaged = None;
        let mut keys = Vec::new();
        reader.scan_managed(&[StateKey::USERS], |key, stored| {
            match (StateKey::decode(key), read(stored, Group::decode)) {
                (Ok(StateKey::User(id)), _) => keys.push((id, key.to_vec(), stored.to_vec())),
                (Ok(StateKey::Group(id)), Ok(Some(group))) => {
                    people.tables.write().groups.insert(id, group);
                }
                (Ok(StateKey::Group(_)), Ok(None)) => {}
                (Ok(StateKey::Group(_)), Err(source)) => {
                    damaged = Some(StoreError::Damaged { what: "group", source });
                }
                _ => return false,
            }
            damaged.is_none()
        })?;
        for (id, key, manage) in keys {
            let user = reader.serve_value(&key, |serve| read_user(serve, &manage))?;
            match user {
                Ok(Some(user)) => people.put_user_if_newer(id, user),
                Ok(None) => {}
                Err(source) => damaged = Some(StoreError::Damaged { what: "user", source }),
            }
        }
        damaged.map_or(Ok(people), Err)
    }

    /// Reads them again, after records that this process did not make itself.
    ///
    /// # Errors
    /// As [`People::load`]; the tables then stay as they were.
    pub fn reload(&self, reader: &Reader) -> Result<(), StoreError> {
        let read = People::load(reader)?;
        *self.tables.write() = std::mem::take(&mut *read.tables.write());
        Ok(())
    }

    /// Takes over a user's record that has become durable, unless what is known is of a later version.
    pub fn put_user_if_newer(&self, id: PersonId, user: Versioned<User>) {
        put_if_newer(self.tables.write().users.entry(id), user);
    }

    /// Takes over a group's record that has become durable, unless what is known is of a later version. A change of a group that is not
    /// there came after it was deleted: ids are used once.
    pub fn put_group_if_newer(&self, id: PersonId, group: Versioned<Group>) {
        let mut tables = self.tables.write();
        match tables.groups.entry(id) {
            Entry::Vacant(_) if group.version > FIRST_VERSION => {}
            entry => put_if_newer(entry, group),
        }
    }

    /// Takes out a group whose deletion has become durable.
    pub fn remove_group(&self, id: PersonId) {
        self.tables.write().groups.remove(&id);
    }

    /// Returns a user.
    pub fn user(&self, id: PersonId) -> Option<Versioned<User>> {
        self.tables.read().users.get(&id).cloned()
    }

    /// Says whether a user is there and not switched off.
    pub fn is_active(&self, id: PersonId) -> bool {
        self.tables.read().users.get(&id).is_some_and(|user| user.record.disabled_at_ms.is_none())
    }

    /// Returns a group.
    pub fn group(&self, id: PersonId) -> Option<Versioned<Group>> {
        self.tables.read().groups.get(&id).cloned()
    }

    /// Says whether there is a user in a group.
    pub fn has_members(&self, group: PersonId) -> bool {
        self.tables.read().users.values().any(|user| user.record.groups.contains(&group))
    }

    /// Returns how many users and how many groups there are.
    pub fn counts(&self) -> (usize, usize) {
        let tables = self.tables.read();
        (tables.users.len(), tables.groups.len())
    }

    /// Returns the users after `after` in the order of their ids, at most `limit`.
    pub fn users(&self, after: Option<PersonId>, limit: usize) -> Vec<(PersonId, Versioned<User>)> {
        page(&self.tables.read().users, after, limit)
    }

    /// Returns the groups after `after` in the order of their ids, at most `limit`.
    pub fn groups(&self, after: Option<PersonId>, limit: usize) -> Vec<(PersonId, Versioned<Group>)> {
        page(&self.tables.read().groups, after, limit)
    }
}

fn put_if_newer<T>(entry: Entry<'_, PersonId, Versioned<T>>, record: Versioned<T>) {
    match entry {
        Entry::Occupied(known) if record.version <= known.get().version => {}
        entry => drop(entry.insert_entry(record)),
    }
}

fn page<T: Clone>(all: &HashMap<PersonId, T>, after: Option<PersonId>, limit: usize) -> Vec<(PersonId, T)> {
    let mut page: Vec<_> = all.iter().filter(|(id, _)| after.is_none_or(|after| **id > after)).collect();
    page.sort_unstable_by_key(|(id, _)| **id);
    page.into_iter().take(limit).map(|(id, record)| (*id, record.clone())).collect()
}

fn read<T>(
    stored: &[u8],
    decode: impl FnOnce(Cursor<'_>) -> Result<T, DecodeError>,
) -> Result<Option<Versioned<T>>, DecodeError> {
    let (stamp, body) = value::split(stored)?;
    if !stamp.live {
        return Ok(None);
    }
    Ok(Some(Versioned { record: decode(body)?, version: stamp.version }))
}

/// Reads a user's record with its version, as the log has it.
///
/// # Errors
/// If the database fails or holds a damaged record.
pub fn stored_user(reader: &Reader, id: PersonId) -> Result<Option<Versioned<User>>, StoreError> {
    let key = StateKey::User(id).encode();
    let Some(manage) = reader.manage_value(&key, |manage| manage.map(<[u8]>::to_vec))? else {
        return Ok(None);
    };
    let user = reader.serve_value(&key, |serve| read_user(serve, &manage))?;
    user.map_err(|source| StoreError::Damaged { what: "user", source })
}

/// Reads a group's record with its version, as the log has it.
///
/// # Errors
/// If the database fails or holds a damaged record.
pub fn stored_group(reader: &Reader, id: PersonId) -> Result<Option<Versioned<Group>>, StoreError> {
    let key = StateKey::Group(id).encode();
    let group =
        reader.manage_value(&key, |stored| stored.map_or(Ok(None), |stored| read(stored, Group::decode)))?;
    group.map_err(|source| StoreError::Damaged { what: "group", source })
}

fn read_user(serve: Option<&[u8]>, manage: &[u8]) -> Result<Option<Versioned<User>>, DecodeError> {
    let serve = serve.ok_or(DecodeError::invalid(0, "pair of serve and manage values"))?;
    let (_, serve) = value::split(serve)?;
    read(manage, |manage| User::decode(serve, manage))
}

/// The change that writes a user.
pub fn change_user(actor: &str, id: PersonId, user: &User, precondition: Precondition) -> Change {
    let operation = Operation::Put { serve: user.encode_serve(), manage: user.encode_manage() };
    Change::new(actor, vec![Part { key: StateKey::User(id), precondition, operation }])
}

/// The change that writes a group, or deletes it.
pub fn change_group(actor: &str, id: PersonId, group: Option<&Group>, precondition: Precondition) -> Change {
    let operation = match group {
        Some(group) => Operation::Put { serve: Vec::new(), manage: group.encode() },
        None => Operation::Delete,
    };
    Change::new(actor, vec![Part { key: StateKey::Group(id), precondition, operation }])
}

/// Makes an id of a user or a group, which is never 0.
///
/// # Errors
/// The random source of the operating system failed.
pub fn new_id() -> std::io::Result<PersonId> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(std::io::Error::from)?;
    id[0] |= 1;
    Ok(PersonId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, version: u64) -> Versioned<Group> {
        Versioned { record: Group { name: name.to_owned(), created_at_ms: 1 }, version }
    }

    #[test]
    fn an_older_record_takes_nothing_back_and_a_deleted_group_stays_deleted() {
        let (people, id) = (People::default(), PersonId([1; 8]));
        people.put_group_if_newer(id, group("first", 1));
        people.put_group_if_newer(id, group("third", 3));
        people.put_group_if_newer(id, group("second", 2));
        assert_eq!(people.group(id), Some(group("third", 3)));
        people.remove_group(id);
        people.put_group_if_newer(id, group("third", 3));
        assert_eq!(people.group(id), None);
    }
}
