//! Putting a link: it is afterwards what the request says, whether there was one before or not. What the request does not say has its
//! default, so a put is no patch. Sent twice it makes one link, and the second time no record.

use linklog::Key;
use linklog::link::extras::Limit;
use linklog::store::StoredLink;
use linklog::writer::ProposeError;

use super::condition::Condition;
use super::order::{By, Order, lower_case};
use super::{ChangeError, Changed, Links, TRIES_MAX, ends_first, has_a_life, may_move, times};
use crate::alias::AliasError;
use crate::auth::Caller;
use crate::{alias, clock};

/// A link after a put.
pub struct Put {
    /// The link, and who has it.
    pub changed: Changed,
    /// Whether it was made now.
    pub is_new: bool,
}

impl Links {
    /// Makes or replaces a link; `order` is for `key`.
    ///
    /// # Errors
    /// The condition does not hold, the code is none that may be chosen, or the change could not be decided.
    pub async fn put(
        &self,
        caller: Caller,
        key: Key,
        order: &Order,
        condition: &Condition,
        skip_proxies: bool,
    ) -> Result<Put, ChangeError> {
        let now_ms = clock::now_ms();
        let fresh = &order.settled(now_ms);
        if order.kept.is_none() && order.named_end_ms(now_ms).is_some_and(|end| end <= now_ms) {
            return Err(ChangeError::AlreadyExpired);
        }
        self.tokens.may_touch(caller, &key)?;
        self.check_targets(&order.link, None).await?;
        let actor = caller.token.to_string();
        let by = By { actor: &actor, user: caller.user, quota: self.tokens.quota_of(caller.token) };
        // A code that looks like a generated one is told to the key pools, as with any alias.
        let pending = key.code.as_code7().map(|code| (code, self.marks.begin()));
        let mut turn = None;
        for _ in 0..TRIES_MAX {
            let stored = self.log.read(move |reader| reader.link(&key)).await??;
            let Some(old) = stored else {
                if !condition.allows_making() {
                    return Err(ChangeError::NothingToMatch);
                }
                if order.kept.is_none() {
                    has_a_life(&fresh.link, now_ms)?;
                }
                self.may_be_chosen(key)?;
                may_move(caller, Default::default(), order.link.state)?;
                self.may_give(caller, &fresh.keeping, caller.user)?;
                let mut taken = self.tokens.take_creates(caller, 1)?;
                let change = fresh.change(key.code, by, now_ms, None, [0; 16]);
                if let Some(taken) = &mut taken {
                    taken.propose(1);
                }
                let made = self.applied(change).await;
                let may_be = matches!(made, Ok(Some(_)) | Err(ChangeError::Propose(ProposeError::Unknown)));
                if let Some(taken) = taken.as_mut().filter(|_| !may_be) {
                    taken.not_made(1);
                }
                let Some((position, stamp)) = made? else { continue };
                if let Some((code, pending)) = &pending {
                    pending.created(*code);
                }
                self.metrics.links_created.inc();
                let link = StoredLink { stamp, link: fresh.link.clone(), manage: fresh.manage(by, now_ms) };
                let replication = self.replicated(position, skip_proxies).await?;
                return Ok(Put { changed: Changed { link, replication }, is_new: true });
            };
            if !caller.sees(old.manage.owner) {
                return Err(ChangeError::Taken);
            }
            let version = old.stamp.version;
            if !condition.allows(version) {
                return Err(ChangeError::VersionMismatch { found: version });
            }
            let mut link = order.replacing(&old, now_ms);
            if order.kept.is_none() && times(&link.link) != times(&old.link) && ends_first(&link.link) {
                return Err(ChangeError::EndsFirst);
            }
            self.may_give(caller, &order.keeping, old.manage.owner)?;
            may_move(caller, old.link.state, link.link.state)?;
            if let (Some(old), Some(new)) = (old.link.extras.limit, &mut link.link.extras.limit) {
                *new = Limit { max: new.max, ..old };
            }
            if turn.is_none() {
                turn = self.room_for(key, &old.link, &link.link).await?;
                if turn.is_some() {
                    continue;
                }
            }
            let position = if link == old {
                self.log.commit().head.position
            } else {
                let change = self.changing(caller, key, &old, &mut link, now_ms);
                let Some((position, stamp)) = self.applied(change).await? else { continue };
                link.stamp = stamp;
                position
            };
            let replication = self.replicated(position, skip_proxies).await?;
            return Ok(Put { changed: Changed { link, replication }, is_new: false });
        }
        Err(ChangeError::Contended)
    }

    fn may_be_chosen(&self, key: Key) -> Result<(), ChangeError> {
        let table = self.domains.table();
        let known = table.get(key.domain);
        let lengths = known.and_then(|known| known.manage.alias_lengths);
        alias::check(key.code.as_str(), &self.rules.alias.with_lengths(lengths))?;
        let lower = lower_case(&key.code);
        if known.is_some_and(|known| known.answers.folded) && lower != key.code {
            return Err(AliasError::NotLowerCase { lower: lower.to_string() }.into());
        }
        Ok(())
    }
}
