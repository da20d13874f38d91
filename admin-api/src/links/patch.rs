//! Changing a link: a merge patch (RFC 7396) over what may be changed. Code and domain may not: they are the link's name.

use linklog::store::StoredLink;
use linklog::{Extras, Key, LinkState, RedirectStatus};

use super::access::AccessPatch;
use super::condition::Condition;
use super::extras::ExtrasPatch;
use super::fields::{Finding, Judge, LinkFields};
use super::keeping::Keeping;
use super::{ChangeError, Changed, Links, Rules, TRIES_MAX, ends_first, order, times, where_to};
use crate::auth::Caller;
use crate::clock;
use crate::domains::DomainTable;

/// What is to be different; what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    target: Option<String>,
    status: Option<RedirectStatus>,
    state: Option<LinkState>,
    expires_at_ms: Option<Option<u64>>,
    extras: ExtrasPatch,
    title: Option<Option<String>>,
    tags: Option<Vec<String>>,
    keeping: Keeping,
}

/// Judges a patch.
///
/// # Errors
/// Everything that is wrong with it.
pub fn judge(
    mut fields: LinkFields<'_>,
    rules: &Rules,
    domains: &DomainTable,
) -> Result<Patch, Vec<Finding>> {
    let mut judge = Judge::new(std::mem::take(&mut fields.stray));
    let fixed = "a link's code and domain cannot be changed: make another link";
    judge.not_here("alias", fields.alias.as_ref(), fixed);
    judge.not_here("domain", fields.domain.as_ref(), fixed);
    judge.not_here("reserve", fields.reserve.as_ref(), "only a new alias can be reserved");
    judge.not_here("dedupe", fields.dedupe.as_ref(), "a patch changes a link that is there");
    let expires_at = matches!(&fields.expires_at, Some(json) if !matches!(json, crate::json::Json::Null));
    let extras = ExtrasPatch::judge(&mut judge, &fields, expires_at, rules, domains);
    let patch = Patch {
        extras,
        target: fields
            .long_url
            .as_ref()
            .and_then(|json| order::long_url(&mut judge, Some(json), rules, domains)),
        status: fields.status.as_ref().map(|json| judge.status(Some(json))),
        state: fields.state.as_ref().map(|json| judge.state(Some(json))),
        expires_at_ms: fields.expires_at.as_ref().map(|json| judge.expires_at_ms(Some(json))),
        title: fields.title.as_ref().map(|json| judge.title(Some(json))),
        tags: fields.tags.as_ref().map(|json| judge.tags(Some(json))),
        keeping: Keeping::judge(&mut judge, &fields),
    };
    judge.end(Some(patch))
}

impl Patch {
    /// Who may follow the link.
    pub(super) fn access(&mut self) -> &mut AccessPatch {
        &mut self.extras.access
    }

    fn applied_to(&self, stored: &StoredLink, now_ms: u64) -> StoredLink {
        let mut new = stored.clone();
        if let Some(target) = &self.target {
            if new.link.state == LinkState::Reserved {
                // It has a target from now on, and no longer the end of a reservation.
                new.link.state = LinkState::Active;
                new.link.expires_at_ms = None;
            }
            new.link.target.clone_from(target);
        }
        new.link.status = self.status.unwrap_or(new.link.status);
        new.link.state = self.state.unwrap_or(new.link.state);
        new.link.expires_at_ms = self.expires_at_ms.unwrap_or(new.link.expires_at_ms);
        if let Some(ttl_s) = self.extras.ttl_s {
            new.link.expires_at_ms = Some(now_ms + ttl_s * 1_000);
        }
        self.extras.apply(&mut new.link.extras);
        new.manage.title = self.title.clone().unwrap_or(new.manage.title);
        new.manage.tags = self.tags.clone().unwrap_or(new.manage.tags);
        self.keeping.apply(&mut new.manage, now_ms);
        new
    }
}

impl Links {
    /// Changes a link. A patch that changes nothing makes no record.
    ///
    /// # Errors
    /// There is no such link, the condition does not hold, or the change could not be decided.
    pub async fn patch(
        &self,
        caller: Caller,
        key: Key,
        patch: &Patch,
        condition: &Condition,
        skip_proxies: bool,
    ) -> Result<Changed, ChangeError> {
        let now_ms = clock::now_ms();
        if patch.expires_at_ms.flatten().is_some_and(|end| end <= now_ms) {
            return Err(ChangeError::AlreadyExpired);
        }
        let mut turn = None;
        for _ in 0..TRIES_MAX {
            let stored = self.get(caller, key).await?;
            let version = stored.stamp.version;
            if !condition.allows(version) {
                return Err(ChangeError::VersionMismatch { found: version });
            }
            let mut link = patch.applied_to(&stored, now_ms);
            self.may_give(caller, &patch.keeping, stored.manage.owner)?;
            super::may_move(caller, stored.link.state, link.link.state)?;
            if patch.extras.access.needs_private() && stored.link.extras.allowed.is_none() {
                return Err(ChangeError::NotPrivate);
            }
            self.may_allow(&link.link, Some(&stored.link))?;
            if link == stored {
                let replication = self.replicated(self.log.commit().head.position, skip_proxies).await?;
                return Ok(Changed { link, replication });
            }
            let extras_change = link.link.extras != stored.link.extras;
            match link.link.state {
                // Nobody is led anywhere from there: what says where or how needs a target first.
                LinkState::Reserved if extras_change && link.link.extras != Extras::default() => {
                    return Err(ChangeError::NoTarget);
                }
                LinkState::Reserved => {}
                _ if link.link.target.is_empty() => return Err(ChangeError::NoTarget),
                _ => {}
            }
            if times(&link.link) != times(&stored.link) && ends_first(&link.link) {
                return Err(ChangeError::EndsFirst);
            }
            if !where_to::fits(&link.link.extras) {
                return Err(ChangeError::TooLong);
            }
            if turn.is_none() {
                turn = self.room_for(key, &stored.link, &link.link).await?;
                if turn.is_some() {
                    continue;
                }
            }
            self.check_targets(&link.link, Some(&stored.link)).await?;
            let change = self.changing(caller, key, &stored, &mut link, now_ms);
            if let Some((position, stamp)) = self.applied(change).await? {
                link.stamp = stamp;
                let replication = self.replicated(position, skip_proxies).await?;
                return Ok(Changed { link, replication });
            }
        }
        Err(ChangeError::Contended)
    }
}
