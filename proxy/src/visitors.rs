//! Who visitors are, as far as links ask that are not for everybody: users, their tokens, and the keys of signed links and cookies.
//!
//! The tables follow from the replica as [`crate::hosts`] does: built from a scan when a replica is opened, changed with every record that
//! touches one of their kinds, always before the record is acknowledged. Only links that are not for everybody look here, so a short lock of
//! one shard is no trouble. What a proxy knows of a person is an id, groups, and whether they are switched off.

use std::sync::Arc;

use access::signature::{Key, Link, Purpose, Signature};
use access::token::Shown;
use arc_swap::ArcSwap;
use dashmap::DashMap;
use linklog::codec::{Cursor, value};
use linklog::entity::{Pass, PersonId, SigningKey, User};
use linklog::link::access::Allowed;
use linklog::store::{Reader, StoreError};
use linklog::{DecodeError, StateKey};

const KINDS: [u8; 3] = [StateKey::USERS, StateKey::PASSES, StateKey::SIGNING_KEYS];

/// What is asked of a user who is not switched off.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Active {
    groups: Box<[PersonId]>,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Visitors {
    passes: DashMap<[u8; 8], Pass>,
    /// Those who are not switched off.
    users: DashMap<PersonId, Active>,
    /// By age, the youngest last: it signs.
    keys: ArcSwap<Vec<([u8; 8], SigningKey)>>,
}

/// Why the tables cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum VisitorsError {
    /// The replica cannot be read.
    #[error("cannot read users, passes and signing keys")]
    Store(#[from] StoreError),
    /// A record is damaged.
    #[error("the replica holds a damaged user, pass or signing key")]
    Damaged(#[from] DecodeError),
}

impl Visitors {
    /// Builds the tables from a replica.
    ///
    /// # Errors
    /// The replica cannot be read or is damaged.
    pub fn load(reader: &Reader) -> Result<Visitors, VisitorsError> {
        let visitors = Visitors::default();
        visitors.reload(reader)?;
        Ok(visitors)
    }

    /// Builds them anew, for another replica. Until it is done, some are nobody who are somebody; nobody is who should not be.
    ///
    /// # Errors
    /// As [`Visitors::load`]; whom it did not come to is then nobody.
    pub fn reload(&self, reader: &Reader) -> Result<(), VisitorsError> {
        self.passes.clear();
        self.users.clear();
        self.keys.store(Arc::default());
        for kind in KINDS {
            let mut damage = Ok(());
            reader.scan_served(&[kind], |key, value| {
                let is_of_kind = key.first() == Some(&kind);
                if is_of_kind {
                    damage = self.set(key, Some(value));
                }
                is_of_kind && damage.is_ok()
            })?;
            damage?;
        }
        Ok(())
    }

    /// Takes over a changed record: its key and new value; keys of other kinds are passed over.
    ///
    /// # Errors
    /// The value is damaged; whom it was about is then nobody.
    pub fn change(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), DecodeError> {
        match key.first().is_some_and(|kind| KINDS.contains(kind)) {
            true => self.set(key, value),
            false => Ok(()),
        }
    }

    fn set(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), DecodeError> {
        let body = match value.map(value::split).transpose() {
            Ok(split) => Ok(split.filter(|(stamp, _)| stamp.live).map(|(_, body)| body)),
            Err(error) => Err(error),
        };
        match StateKey::decode(key) {
            Ok(StateKey::User(id)) => {
                self.users.remove(&id);
                if let Some((false, groups)) = body?.map(User::decode_serve).transpose()? {
                    self.users.insert(id, Active { groups: groups.into() });
                }
            }
            Ok(StateKey::Pass(id)) => {
                self.passes.remove(&id);
                if let Some(pass) = body?.map(Pass::decode).transpose()? {
                    self.passes.insert(id, pass);
                }
            }
            Ok(StateKey::SigningKey(id)) => return self.set_key(id, body),
            _ => {}
        }
        Ok(())
    }

    fn set_key(&self, id: [u8; 8], body: Result<Option<Cursor<'_>>, DecodeError>) -> Result<(), DecodeError> {
        let decoded = body.and_then(|body| body.map(SigningKey::decode).transpose());
        let mut keys = Vec::clone(&self.keys.load());
        keys.retain(|(known, _)| *known != id);
        keys.extend(decoded.as_ref().ok().copied().flatten().map(|key| (id, key)));
        keys.sort_by_key(|(id, key)| (key.created_at_ms, *id));
        self.keys.store(Arc::new(keys));
        decoded.map(drop)
    }

    /// Whose token an `Authorization` header shows; `None` for none, and for one that is unknown, wrong, revoked or expired.
    pub fn user_of_token(&self, authorization: &[u8], now_ms: u64) -> Option<PersonId> {
        let shown = Shown::of_header(authorization)?;
        let pass = self.passes.get(&shown.id).map(|pass| *pass);
        // The comparison is made for unknown ids too, against a hash that nothing has.
        let matches = shown.matches(&pass.map_or([0; 32], |pass| pass.secret_hash));
        let pass = pass.filter(|pass| matches && pass.expires_at_ms.is_none_or(|end| now_ms < end));
        pass.map(|pass| pass.user)
    }

    /// Says whether a user, or a group of theirs, is among the allowed; nobody is who is switched off.
    pub fn is_allowed(&self, user: PersonId, allowed: Allowed<'_>) -> bool {
        let Some(known) = self.users.get(&user) else { return false };
        allowed.iter().any(|id| id == user || known.groups.contains(&id))
    }

    /// Says whether a signature holds at `now_ms` (milliseconds since the Unix epoch).
    pub fn holds(&self, signature: &Signature, link: Link<'_>, purpose: Purpose<'_>, now_ms: u64) -> bool {
        let keys = self.keys.load();
        let key = keys.iter().find(|(id, key)| *id == signature.key && key.holds_at(now_ms));
        key.is_some_and(|(_, key)| signature.is_of(&key.secret, link, purpose))
            && now_ms < signature.expires_at_ms
    }

    /// Signs with the youngest key; `None` if there is none yet.
    pub fn sign(&self, link: Link<'_>, purpose: Purpose<'_>, expires_at_ms: u64) -> Option<Signature> {
        let keys = self.keys.load();
        let (id, key) = keys.last()?;
        Some(Signature::new(Key { id: *id, secret: &key.secret }, link, purpose, None, expires_at_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::token::secret_hash;
    use linklog::link::extras::ExtrasView;
    use linklog::{Extras, Position, Stamp};

    fn put(visitors: &Visitors, key: &StateKey, body: Option<&[u8]>) {
        let mut out = Vec::new();
        let stamp = Stamp { live: body.is_some(), version: 1, created: Position::new(1, 1) };
        value::write(&mut out, &stamp, body.unwrap_or_default());
        visitors.change(&key.encode(), Some(&out)).unwrap();
    }

    #[test]
    fn a_token_counts_until_it_is_gone_or_over_and_a_user_until_switched_off() {
        let visitors = Visitors::default();
        let (user, group, token) = (PersonId([1; 8]), PersonId([2; 8]), [3; 8]);
        let secret = "s".repeat(43);
        let header = format!("Bearer sp_{}_{secret}", PersonId(token));
        let who = |now_ms| visitors.user_of_token(header.as_bytes(), now_ms);
        assert_eq!(who(1), None);
        let pass = Pass { user, secret_hash: secret_hash(&secret), expires_at_ms: Some(9) };
        put(&visitors, &StateKey::Pass(token), Some(&pass.encode()));
        assert_eq!((who(8), who(9)), (Some(user), None));
        let wrong = Pass { secret_hash: [0; 32], ..pass };
        put(&visitors, &StateKey::Pass(token), Some(&wrong.encode()));
        assert_eq!(who(8), None);
        put(&visitors, &StateKey::Pass(token), None);
        assert_eq!(who(8), None);

        let of_group = Extras { allowed: Some(vec![group]), ..Extras::default() };
        let bytes =
            linklog::Link { target: "t".into(), extras: of_group, ..linklog::Link::default() }.encode();
        let allowed = ExtrasView::decode(&bytes[3..]).unwrap().access.allowed.unwrap();
        assert!(!visitors.is_allowed(user, allowed), "nobody knows them");
        let record = User { groups: vec![group], ..User::default() };
        put(&visitors, &StateKey::User(user), Some(&record.encode_serve()));
        assert!(visitors.is_allowed(user, allowed));
        let off = User { disabled_at_ms: Some(1), ..record };
        put(&visitors, &StateKey::User(user), Some(&off.encode_serve()));
        assert!(!visitors.is_allowed(user, allowed));
        // What is damaged lets nobody in.
        let record = User { groups: vec![group], ..User::default() };
        put(&visitors, &StateKey::User(user), Some(&record.encode_serve()));
        assert!(visitors.change(&StateKey::User(user).encode(), Some(&[0xff])).is_err());
        assert!(!visitors.is_allowed(user, allowed));
    }

    #[test]
    fn what_an_older_key_signed_holds_until_its_time_is_over() {
        let visitors = Visitors::default();
        let link = Link { key: b"\x08\0\0ab", created: Position::new(1, 2) };
        assert!(visitors.sign(link, Purpose::Follow, 100).is_none());
        let old = SigningKey { secret: [1; 32], created_at_ms: 1, valid_until_ms: None };
        put(&visitors, &StateKey::SigningKey([1; 8]), Some(&old.encode()));
        let signed = visitors.sign(link, Purpose::Follow, 100).unwrap();
        let new = SigningKey { secret: [2; 32], created_at_ms: 2, valid_until_ms: None };
        put(&visitors, &StateKey::SigningKey([2; 8]), Some(&new.encode()));
        let old = SigningKey { valid_until_ms: Some(50), ..old };
        put(&visitors, &StateKey::SigningKey([1; 8]), Some(&old.encode()));
        let holds = |signature: &Signature, now_ms| visitors.holds(signature, link, Purpose::Follow, now_ms);
        assert_eq!((holds(&signed, 49), holds(&signed, 50)), (true, false));
        let newer = visitors.sign(link, Purpose::Follow, 100).unwrap();
        assert_eq!((newer.key, holds(&newer, 99), holds(&newer, 100)), ([2; 8], true, false));
        put(&visitors, &StateKey::SigningKey([2; 8]), None);
        assert!(!holds(&newer, 1), "a key that is gone");
    }
}
