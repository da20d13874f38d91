//! A link to be made, its request judged. Pure.

use linklog::store::StoredLink;
use linklog::{
    Change, Code, CommandId, DomainId, Key, Link, LinkManage, Operation, Part, Precondition, StateKey,
};

use super::Rules;
use super::fields::{Finding, Judge, LinkFields};
use super::import::Kept;
use crate::domains::{DomainTable, host_name};
use crate::{alias, target};

/// A link to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// On which domain.
    pub domain: DomainId,
    /// The code asked for; none: a generated one.
    pub alias: Option<Code>,
    /// What proxies get.
    pub link: Link,
    /// A title for people.
    pub title: Option<String>,
    /// Tags for people.
    pub tags: Vec<String>,
    /// What an import keeps of a link's past: such a link may also have ended already. `None`: it is made anew.
    pub kept: Option<Kept>,
}

/// Why a request for a link is refused before anything is tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Fields are wrong.
    Fields(Vec<Finding>),
    /// Nobody declared the domain.
    UnknownDomain(String),
}

/// Judges a request for a link.
///
/// # Errors
/// Everything that is wrong with it.
pub fn judge(mut fields: LinkFields<'_>, rules: &Rules, domains: &DomainTable) -> Result<Order, Refusal> {
    let mut judge = Judge::new(std::mem::take(&mut fields.stray));
    judge.not_here("state", fields.state.as_ref(), "a new link is active; change it afterwards");
    let target = long_url(&mut judge, fields.long_url.as_ref(), rules, domains);
    let alias = judge.text("alias", fields.alias.as_ref()).and_then(|text| {
        let checked = alias::check(text, &rules.alias);
        checked.map_err(|error| judge.find("alias", error.code(), error.to_string())).ok()
    });
    let domain = judge.text("domain", fields.domain.as_ref());
    let order = described(&mut judge, &fields, target, alias);
    let order = judge.end(Some(order)).map_err(Refusal::Fields)?;
    let domain = domain_named(domain, domains).map_err(Refusal::UnknownDomain)?;
    Ok(Order { domain, ..order })
}

/// Judges a request for what a link named by `key` is to be, whether it exists or not: what is not said has its default.
///
/// # Errors
/// Everything that is wrong with it.
pub fn judge_whole(
    mut fields: LinkFields<'_>,
    key: Key,
    rules: &Rules,
    domains: &DomainTable,
) -> Result<Order, Vec<Finding>> {
    let mut judge = Judge::new(std::mem::take(&mut fields.stray));
    judge.not_here("alias", fields.alias.as_ref(), "the code is in the path");
    judge.not_here("domain", fields.domain.as_ref(), "the domain is in the query: ?domain=");
    let target = long_url(&mut judge, fields.long_url.as_ref(), rules, domains);
    let state = judge.state(fields.state.as_ref());
    let order = described(&mut judge, &fields, target, Some(key.code));
    let order = judge.end(Some(order))?;
    Ok(Order { domain: key.domain, link: Link { state, ..order.link }, ..order })
}

/// Judges a link as it was: a line of an import, of which `judge` has seen the rest. The domain is judged by the caller.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn judge_kept(
    mut judge: Judge,
    fields: &LinkFields<'_>,
    code: Option<Code>,
    kept: Kept,
    rules: &Rules,
    domains: &DomainTable,
) -> Result<Order, Refusal> {
    let target = long_url(&mut judge, fields.long_url.as_ref(), rules, domains);
    let state = judge.state(fields.state.as_ref());
    let order = described(&mut judge, fields, target, code);
    let order = judge.end(Some(order)).map_err(Refusal::Fields)?;
    Ok(Order { link: Link { state, ..order.link }, kept: Some(kept), ..order })
}

/// Judges what is the same for every way of describing a whole link.
fn described(
    judge: &mut Judge,
    fields: &LinkFields<'_>,
    target: Option<String>,
    alias: Option<Code>,
) -> Order {
    let link = Link {
        target: target.unwrap_or_default(),
        status: judge.status(fields.status.as_ref()),
        expires_at_ms: judge.expires_at_ms(fields.expires_at.as_ref()),
        ..Link::default()
    };
    let title = judge.title(fields.title.as_ref());
    let tags = judge.tags(fields.tags.as_ref());
    Order { domain: DomainId::DEFAULT, alias, link, title, tags, kept: None }
}

/// Judges a target that has to be there.
pub(super) fn long_url(
    judge: &mut Judge,
    json: Option<&crate::json::Json<'_>>,
    rules: &Rules,
    domains: &DomainTable,
) -> Option<String> {
    if matches!(json, None | Some(crate::json::Json::Null)) {
        judge.find("long_url", "required", "the field is required");
        return None;
    }
    let text = judge.text("long_url", json)?;
    let checked = target::check(text, &rules.target, |host, port| domains.serves(host, port));
    checked.map_err(|error| judge.find("long_url", error.code(), error.to_string())).ok()
}

/// Finds a domain by the name of its host; no name means the default domain.
///
/// # Errors
/// The name, if nobody declared it.
pub fn domain_named(name: Option<&str>, domains: &DomainTable) -> Result<DomainId, String> {
    let Some(name) = name else { return Ok(DomainId::DEFAULT) };
    let id = host_name(name).and_then(|host| domains.of_host(&host));
    id.ok_or_else(|| name.chars().take(253).collect())
}

impl Order {
    /// Returns the change that makes the link under `code`.
    pub fn change(
        &self,
        code: Code,
        actor: &str,
        now_ms: u64,
        command: Option<CommandId>,
        request_hash: [u8; 16],
    ) -> Change {
        // Who asks for an alias may take up one that was deleted; a generated code must be nobody's former link.
        let precondition = if self.alias.is_some() { Precondition::Absent } else { Precondition::NeverUsed };
        let operation =
            Operation::Put { serve: self.link.encode(), manage: self.manage(actor, now_ms).encode() };
        let key = StateKey::Link(Key::new(self.domain, code));
        Change {
            command,
            request_hash,
            actor: actor.to_owned(),
            parts: vec![Part { key, precondition, operation }],
        }
    }

    /// Returns the link as it is when this takes the place of what is there: who made it and when stays.
    pub(super) fn replacing(&self, old: &StoredLink) -> StoredLink {
        let manage = LinkManage { title: self.title.clone(), tags: self.tags.clone(), ..old.manage.clone() };
        StoredLink { stamp: old.stamp, link: self.link.clone(), manage }
    }

    pub(super) fn manage(&self, actor: &str, now_ms: u64) -> LinkManage {
        let (created_at_ms, updated_at_ms) = self.kept.map_or((now_ms, now_ms), |kept| kept.dates(now_ms));
        LinkManage {
            created_at_ms,
            updated_at_ms,
            created_by: actor.to_owned(),
            title: self.title.clone(),
            tags: self.tags.clone(),
            ..LinkManage::default()
        }
    }

    /// Appends the order's canonical form: two requests with the same one ask for the same.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        let mut text = |text: &str| {
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        text(&self.link.target);
        text(self.alias.as_ref().map_or("", Code::as_str));
        text(self.title.as_deref().unwrap_or_default());
        self.tags.iter().for_each(|tag| text(tag));
        out.extend_from_slice(&self.domain.0.to_le_bytes());
        out.extend_from_slice(&self.link.status.code().to_le_bytes());
        out.extend_from_slice(&self.link.expires_at_ms.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&(self.tags.len() as u64).to_le_bytes());
        out.push(u8::from(self.title.is_some()));
    }
}
