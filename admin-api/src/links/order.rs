//! A link to be made, its request judged. Pure.

use linklog::entity::PersonId;
use linklog::store::StoredLink;
use linklog::{
    Change, Code, CommandId, DomainId, Extras, Key, Link, LinkManage, LinkState, Operation, Part,
    Precondition, StateKey,
};

use super::extras::ExtrasPatch;
use super::fields::{Finding, Judge, LinkFields};
use super::import::Kept;
use super::keeping::{Keeping, external_parts};
use super::{Rules, where_to};
use crate::domains::{DomainTable, host_name};
use crate::json::Json;
use crate::{alias, target};

/// How long an alias is kept that was reserved without a target, in seconds: 30 days.
pub const RESERVED_FOR_S: u64 = 30 * 24 * 3600;

/// A link to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// On which domain.
    pub domain: DomainId,
    /// The code asked for; none: a generated one.
    pub alias: Option<Code>,
    /// What proxies get; without an end if [`Order::ttl_s`] has one.
    pub link: Link,
    /// How long it lives from its creation on, in seconds.
    pub ttl_s: Option<u64>,
    /// How long links live on its domain that say nothing about it, in seconds.
    pub default_ttl_s: Option<u64>,
    /// Its domain finds aliases whatever the case of their letters.
    pub folded: bool,
    /// A title for people.
    pub title: Option<String>,
    /// Tags for people.
    pub tags: Vec<String>,
    /// What an import keeps of a link's past: such a link may also have ended already. `None`: it is made anew.
    pub kept: Option<Kept>,
    /// How it is kept in order.
    pub keeping: Keeping,
    /// Whether a link that is there already will do.
    pub dedupe: bool,
}

/// Who makes a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct By<'a> {
    /// The token's public id.
    pub actor: &'a str,
    /// Its user: the owner unless the order says otherwise.
    pub user: Option<PersonId>,
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
    let reserve = fields.is_reservation(&mut judge);
    let target = match reserve {
        true => None,
        false => long_url(&mut judge, fields.long_url.as_ref(), rules, domains),
    };
    let domain = domain_named(judge.text("domain", fields.domain.as_ref()), domains);
    let known = domain.as_ref().ok().and_then(|id| domains.get(*id));
    let lengths = known.and_then(|known| known.manage.alias_lengths);
    let alias = judge.text("alias", fields.alias.as_ref()).and_then(|text| {
        let checked = alias::check(text, &rules.alias.with_lengths(lengths));
        checked.map_err(|error| judge.find("alias", error.code(), error.to_string())).ok()
    });
    let dedupe = dedupe(&mut judge, &fields);
    let mut order = described(&mut judge, &fields, target, alias, (rules, domains));
    if reserve {
        order.link.state = LinkState::Reserved;
        order.default_ttl_s = Some(RESERVED_FOR_S);
    }
    let order = judge.end(Some(order)).map_err(Refusal::Fields)?;
    Ok(Order { dedupe, ..order }.on(domain.map_err(Refusal::UnknownDomain)?, domains))
}

/// Judges whether a link that is there already will do, which it cannot under another name.
fn dedupe(judge: &mut Judge, fields: &LinkFields<'_>) -> bool {
    let dedupe = match &fields.dedupe {
        None | Some(Json::Null) => false,
        Some(Json::Bool(flag)) => *flag,
        Some(other) => {
            judge.wrong_type("dedupe", "true or false", other);
            false
        }
    };
    let named = |json: &Option<Json<'_>>| !matches!(json, None | Some(Json::Null));
    if dedupe && (named(&fields.alias) || named(&fields.external_id)) {
        judge.find(
            "dedupe",
            "dedupe_with_name",
            "a link that is there has a name already: leave out alias and external_id",
        );
    }
    dedupe
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
    judge.not_here("dedupe", fields.dedupe.as_ref(), "a put says which link it means");
    let target = long_url(&mut judge, fields.long_url.as_ref(), rules, domains);
    let state = judge.state(fields.state.as_ref());
    let order = described(&mut judge, &fields, target, Some(key.code), (rules, domains));
    judge.not_here("reserve", fields.reserve.as_ref(), "reserve an alias with POST");
    let order = judge.end(Some(order))?;
    Ok(Order { link: Link { state, ..order.link }, ..order }.on(key.domain, domains))
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
    judge.not_here("dedupe", fields.dedupe.as_ref(), "a line is a link of its own");
    judge.not_here("reserve", fields.reserve.as_ref(), "say state reserved, as an export does");
    let (target, state) = match is_kept_reservation(&mut judge, fields, code.as_ref()) {
        true => (None, LinkState::Reserved),
        false => {
            let target = long_url(&mut judge, fields.long_url.as_ref(), rules, domains);
            (target, judge.state(fields.state.as_ref()))
        }
    };
    let order = described(&mut judge, fields, target, code, (rules, domains));
    let order = judge.end(Some(order)).map_err(Refusal::Fields)?;
    Ok(Order { link: Link { state, ..order.link }, kept: Some(kept), ..order })
}

/// Says whether a line is an alias that is kept without a target, as exports show it.
fn is_kept_reservation(judge: &mut Judge, fields: &LinkFields<'_>, code: Option<&Code>) -> bool {
    if !matches!(&fields.state, Some(Json::Text(state)) if *state == "reserved") {
        return false;
    }
    if !matches!(&fields.long_url, None | Some(Json::Null))
        && judge.text("long_url", fields.long_url.as_ref()) != Some("")
    {
        judge.find("long_url", "unknown_field", "a reserved alias has no target yet");
    }
    if code.is_none() {
        judge.find("code", "required", "say which alias is to be reserved");
    }
    true
}

/// Judges what is the same for every way of describing a whole link.
fn described(
    judge: &mut Judge,
    fields: &LinkFields<'_>,
    target: Option<String>,
    alias: Option<Code>,
    (rules, domains): (&Rules, &DomainTable),
) -> Order {
    let expires_at_ms = judge.expires_at_ms(fields.expires_at.as_ref());
    let given = ExtrasPatch::judge(judge, fields, expires_at_ms.is_some(), rules, domains);
    let mut extras = Extras::default();
    given.apply(&mut extras);
    let link = Link {
        target: target.unwrap_or_default(),
        status: judge.status(fields.status.as_ref()),
        expires_at_ms,
        extras,
        ..Link::default()
    };
    where_to::check_fits(judge, &link.extras);
    let title = judge.title(fields.title.as_ref());
    let tags = judge.tags(fields.tags.as_ref());
    let keeping = Keeping::judge(judge, fields);
    Order {
        domain: DomainId::DEFAULT,
        alias,
        link,
        ttl_s: given.ttl_s,
        // Who says that there is no end means it.
        default_ttl_s: fields.expires_at.as_ref().map(|_| 0),
        folded: false,
        title,
        tags,
        kept: None,
        keeping,
        dedupe: false,
    }
}

/// Judges a target that has to be there.
pub(super) fn long_url(
    judge: &mut Judge,
    json: Option<&Json<'_>>,
    rules: &Rules,
    domains: &DomainTable,
) -> Option<String> {
    if matches!(json, None | Some(Json::Null)) {
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

/// Returns a code in lower case.
pub(crate) fn lower_case(code: &Code) -> Code {
    Code::from_bytes(code.as_str().to_ascii_lowercase().as_bytes())
        .expect("lower case is allowed where upper case is")
}

/// Returns the key that claims a code in lower case, if that could be a generated one ([`StateKey::FoldedCode`]).
pub(super) fn folded_key(key: Key) -> Option<StateKey> {
    let folded = lower_case(&key.code).as_code7()?;
    Some(StateKey::FoldedCode(key.domain, folded))
}

impl Order {
    /// The order on its domain, with what that decides.
    pub(super) fn on(self, domain: DomainId, domains: &DomainTable) -> Order {
        let known = domains.get(domain);
        let folded = known.is_some_and(|known| known.answers.folded);
        let default_ttl_s = match self.default_ttl_s {
            None if self.kept.is_none() => known.and_then(|known| known.manage.default_ttl_s),
            given => given.filter(|ttl| *ttl > 0),
        };
        // What is imported may be a generated code.
        let is_alias = |alias: &Code| self.kept.is_none() || alias.as_code7().is_none();
        let alias =
            self.alias.map(|alias| if folded && is_alias(&alias) { lower_case(&alias) } else { alias });
        Order { domain, folded, default_ttl_s, alias, ..self }
    }

    /// Returns the change that makes the link under `code`.
    pub fn change(
        &self,
        code: Code,
        by: By<'_>,
        now_ms: u64,
        command: Option<CommandId>,
        request_hash: [u8; 16],
    ) -> Change {
        // Who asks for an alias may take up one that was deleted; a generated code must be nobody's former link.
        let precondition = if self.alias.is_some() { Precondition::Absent } else { Precondition::NeverUsed };
        let serve = match self.ttl_s.or(self.default_ttl_s) {
            None => self.link.encode(),
            Some(_) => Link { expires_at_ms: self.expires_at_ms(now_ms), ..self.link.clone() }.encode(),
        };
        let (key, manage) = (Key::new(self.domain, code), self.manage(by, now_ms));
        let operation = Operation::Put { serve, manage: manage.encode() };
        let mut parts = vec![Part { key: StateKey::Link(key), precondition, operation }];
        // The external id is the second part wherever there is one: `names_external` relies on it.
        parts.extend(external_parts(&key, None, Some(&manage)));
        if let Some(claim) = folded_key(key).filter(|_| self.folded) {
            let operation = Operation::Put { serve: Vec::new(), manage: Vec::new() };
            parts.push(Part { key: claim, precondition: Precondition::Absent, operation });
        }
        Change { command, request_hash, actor: by.actor.to_owned(), parts }
    }

    /// Returns when the link ends that is made at `now_ms`; both in milliseconds since the Unix epoch.
    pub fn expires_at_ms(&self, now_ms: u64) -> Option<u64> {
        self.named_end_ms(now_ms).or_else(|| self.default_ttl_s.map(|ttl| now_ms + ttl * 1_000))
    }

    /// Returns the order of a link that is made at `now_ms`, with the end that follows from that.
    pub(super) fn settled(&self, now_ms: u64) -> Order {
        let link = Link { expires_at_ms: self.expires_at_ms(now_ms), ..self.link.clone() };
        Order { link, ttl_s: None, default_ttl_s: None, ..self.clone() }
    }

    /// Returns the end that the order itself names, if it is carried out at `now_ms`; both in milliseconds since the Unix epoch.
    pub(super) fn named_end_ms(&self, now_ms: u64) -> Option<u64> {
        self.link.expires_at_ms.or_else(|| self.ttl_s.map(|ttl| now_ms + ttl * 1_000))
    }

    /// Says whether part `part` of the change that makes the link claims its external id.
    pub(super) fn names_external(&self, part: usize) -> bool {
        part == 1 && matches!(&self.keeping.external_id, Some(Some(_)))
    }

    /// Returns the order for a link that is there, whose name and state stay; one that was reserved has a target from now on.
    pub(super) fn in_place_of(&self, key: Key, old: &StoredLink) -> Order {
        let state = match old.link.state {
            LinkState::Reserved => LinkState::Active,
            state => state,
        };
        let link = Link { state, ..self.link.clone() };
        Order { domain: key.domain, alias: Some(key.code), link, ..self.clone() }
    }

    /// Returns the link as it is when this takes the place of what is there: who made it and when stays.
    pub(super) fn replacing(&self, old: &StoredLink, now_ms: u64) -> StoredLink {
        let mut manage =
            LinkManage { title: self.title.clone(), tags: self.tags.clone(), ..old.manage.clone() };
        self.keeping.replace(&mut manage, now_ms);
        let expires_at_ms = match self.named_end_ms(now_ms) {
            // What the domain's default gave is counted from the making: the same request again does not change it.
            None if self.default_ttl_s.is_some() && old.link.state != LinkState::Reserved => {
                old.link.expires_at_ms
            }
            None => self.expires_at_ms(now_ms),
            named => named,
        };
        StoredLink { stamp: old.stamp, link: Link { expires_at_ms, ..self.link.clone() }, manage }
    }

    /// Returns what is kept of the link besides what proxies get.
    pub fn manage(&self, by: By<'_>, now_ms: u64) -> LinkManage {
        let (created_at_ms, updated_at_ms) = self.kept.map_or((now_ms, now_ms), |kept| kept.dates(now_ms));
        let mut manage = LinkManage {
            created_at_ms,
            updated_at_ms,
            created_by: by.actor.to_owned(),
            title: self.title.clone(),
            tags: self.tags.clone(),
            owner: by.user,
            imported_clicks: self.kept.map_or(0, |kept| kept.clicks),
            ..LinkManage::default()
        };
        self.keeping.apply(&mut manage, now_ms);
        manage
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
        if self.link.state == LinkState::Reserved {
            out.extend_from_slice(b"reserve");
        }
        self.keeping.write_canonical(out);
        if self.dedupe {
            out.extend_from_slice(b"dedupe");
        }
        if self.ttl_s.is_some() || self.link.extras != Extras::default() {
            out.extend_from_slice(&self.ttl_s.unwrap_or(0).to_le_bytes());
            // The body's own form is canonical, and has nothing that the request did not say.
            out.extend_from_slice(
                &Link { target: "x".to_owned(), extras: self.link.extras.clone(), ..Link::default() }
                    .encode(),
            );
        }
    }
}
