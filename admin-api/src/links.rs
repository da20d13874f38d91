//! Links: what can be asked for and what becomes of it. Knows no HTTP; [`crate::http`] brings requests here and answers back.
//!
//! Owned here: whatever is acknowledged is durable in the log first, and every change of a link carries the precondition under which
//! it was decided, so two clients never overwrite each other unseen.
//!
//! - [`fields`], [`extras`], [`access`]: what a client says about a link, judged
//! - [`order`]: a link to be made · [`create`] · [`put`] · [`patch`] · [`delete`] · [`list`] · [`search`] · [`takedown`]
//! - [`export`]: all of them, oldest first · [`import`]: links from elsewhere, as they were
//! - [`idempotency`]: commands that arrive twice · [`condition`]: If-Match · [`view`]: a link as answers show it

pub mod access;
pub mod condition;
pub mod create;
pub mod dedupe;
pub mod delete;
pub mod domains;
pub mod export;
pub mod extras;
pub mod fields;
pub mod history;
pub mod idempotency;
pub mod import;
pub mod keeping;
pub mod list;
pub mod order;
pub mod patch;
pub mod put;
pub mod reserved;
pub mod search;
pub mod takedown;
pub mod targets;
pub mod upsert;
pub mod view;
pub mod where_to;

use clicklog::Subject;
use clicklog::account::Totals;
use linklog::entity::PersonId;
use linklog::store::{StoreError, StoredLink};
use linklog::writer::{Decision, ProposeError};
use linklog::{Change, Key, Link, LinkState, Operation, Part, Position, Precondition, Stamp, StateKey};

use self::targets::RefusedTarget;
use crate::abuse::Gate;
use crate::alias::AliasRules;
use crate::auth::allow::{Denied, QuotaUsedUp, may_give};
use crate::auth::{Caller, TokenId, Tokens};
use crate::budgets::{Budgets, Turn};
use crate::clicks::Clicks;
use crate::codes::Codes;
use crate::codes::mark::Marks;
use crate::codes::reuse::Reuse;
use crate::domains::Domains;
use crate::levels::{LevelError, Levels};
use crate::log::{Ending, Log};
use crate::metrics::Metrics;
use crate::people::People;
use crate::replication::{OutcomeUnknown, Replication, ReplicationReport};
use crate::search::{Search, SearchError};
use crate::signing::Signing;
use crate::target::TargetRules;
use keeping::Keeping;

/// How often a change that lost against another one is tried again.
const TRIES_MAX: usize = 64;

/// What may be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Targets.
    pub target: TargetRules,
    /// Aliases.
    pub alias: AliasRules,
}

/// The links of this writer; cheap to clone.
#[derive(Clone)]
pub struct Links {
    /// Where they are kept.
    pub log: Log,
    /// Where generated codes come from.
    pub codes: Codes,
    /// Whether those of deleted links come back.
    pub reuse: Reuse,
    /// Which aliases look like generated codes.
    pub marks: Marks,
    /// Where they live.
    pub domains: Domains,
    /// What may be written down at all.
    pub levels: Levels,
    /// Who has them.
    pub replication: Replication,
    /// Who follows them.
    pub clicks: Clicks,
    /// What is allowed.
    pub rules: Rules,
    /// Who may do how much.
    pub tokens: Tokens,
    /// Whom links belong to.
    pub people: People,
    /// Which targets are refused although they are well-formed.
    pub gate: Gate,
    /// The clicks of links that end with a number of them.
    pub budgets: Budgets,
    /// What finds them by words.
    pub search: Search,
    /// Who counts.
    pub metrics: Metrics,
    /// Which idempotent requests are being worked on.
    pub in_flight: idempotency::InFlight,
    /// Which targets are being looked for among the links that are there.
    pub duplicates: dedupe::Duplicates,
    /// Who hashes passwords.
    pub passwords: access::Passwords,
    /// What links are signed with.
    pub signing: Signing,
}

/// Why a change was not made, or is not known to have been made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such link.
    #[error("there is no such link")]
    NotFound,
    /// The link is not, or no longer, at the version the client knows.
    #[error("the link is at version {found}, which is not what If-Match or If-None-Match asks for")]
    VersionMismatch {
        /// Its version.
        found: u64,
    },
    /// There is no link, and the client asks for one at a version.
    #[error("there is no such link, and If-Match asks for one")]
    NothingToMatch,
    /// The operator took it down, and what is asked for would undo that.
    #[error(
        "the operator took this link down: only a token with the scope admin may lift that, delete the link or put another in its place"
    )]
    Banned,
    /// The token may not make or change this link.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The token may make no more links in this period.
    #[error(transparent)]
    QuotaUsedUp(#[from] QuotaUsedUp),
    /// Another link of the owner has the external id.
    #[error("another link of the same owner has this external_id")]
    ExternalIdTaken,
    /// The link under this name is somebody else's.
    #[error("the alias belongs to another link")]
    Taken,
    /// Only operators take links down.
    #[error("only a token with the scope admin may take a link down (state banned)")]
    MayNotBan(TokenId),
    /// No link may lead there.
    #[error(transparent)]
    Target(#[from] RefusedTarget),
    /// Members have clicks of the link at hand that would go beyond its new limit.
    #[error("clicks of this link are in the hands of {}, which cannot be reached: try again, or burn them with `signpost-admin proxy forget`", .0.join(", "))]
    LimitHeld(Vec<String>),
    /// Another request with the same key is being worked on.
    #[error("a request with this Idempotency-Key is being worked on: ask again when it is done")]
    KeyInFlight,
    /// The code cannot be made: it is no alias that is allowed.
    #[error(transparent)]
    Alias(#[from] crate::alias::AliasError),
    /// Others changed it again and again meanwhile.
    #[error("the link was changed by others {TRIES_MAX} times while this change was tried")]
    Contended,
    /// The end of its life is not in the future.
    #[error("expires_at is not in the future")]
    AlreadyExpired,
    /// It has no target.
    #[error("a reserved alias has no target: give it a long_url")]
    NoTarget,
    /// It is for everybody.
    #[error("the link is public: say visibility private besides")]
    NotPrivate,
    /// A password or a key could not be made.
    #[error("a password could not be hashed, or a key not be made: {0}")]
    NoHash(String),
    /// There are as many signing keys as there may be.
    #[error("there are as many signing keys as there may be: wait until old ones are over, or revoke some")]
    TooManyKeys,
    /// It would end before it begins.
    #[error("not_before is not before expires_at")]
    EndsFirst,
    /// Its targets are too long together.
    #[error("the targets of rules and variants together have at most {} bytes", where_to::TARGETS_BYTES_MAX)]
    TooLong,
    /// The key of an idempotent request was used for another one.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// The search index gave no answer.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The writer did not take it.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// It is durable here, but not where it has to be besides.
    #[error(transparent)]
    Replication(#[from] OutcomeUnknown),
    /// The state could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The members cannot read it yet.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The process is ending.
    #[error(transparent)]
    Ending(#[from] Ending),
    /// The writer refused what this service should never have asked for.
    #[error("the writer found the change invalid: {0}")]
    Invalid(#[from] linklog::change::InvalidChange),
}

/// Says whether a caller may bring a link from one state into another: taking links down is the operator's, and so is lifting that.
fn may_move(caller: Caller, from: LinkState, to: LinkState) -> Result<(), ChangeError> {
    match (from, to) {
        _ if from == to || caller.is_admin() => Ok(()),
        (LinkState::Banned, _) => Err(ChangeError::Banned),
        (_, LinkState::Banned) => Err(ChangeError::MayNotBan(caller.token)),
        _ => Ok(()),
    }
}

/// A link after a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// The link.
    pub link: StoredLink,
    /// Who has it.
    pub replication: ReplicationReport,
}

/// Checks that a link is there at some time after `now_ms` (milliseconds since the Unix epoch).
fn has_a_life(link: &Link, now_ms: u64) -> Result<(), ChangeError> {
    match link.expires_at_ms {
        Some(end) if end <= now_ms => Err(ChangeError::AlreadyExpired),
        _ if ends_first(link) => Err(ChangeError::EndsFirst),
        _ => Ok(()),
    }
}

/// When a link ends and when it begins, in milliseconds since the Unix epoch.
fn times(link: &Link) -> (Option<u64>, Option<u64>) {
    (link.expires_at_ms, link.extras.not_before_ms)
}

fn ends_first(link: &Link) -> bool {
    matches!(times(link), (Some(end), Some(begin)) if end <= begin)
}

impl Links {
    /// Looks a link up that the caller sees.
    ///
    /// # Errors
    /// There is none, the name is outside the caller's limits, or the state cannot be read.
    pub async fn get(&self, caller: Caller, key: Key) -> Result<StoredLink, ChangeError> {
        self.tokens.may_touch(caller, &key)?;
        let link = self.log.read(move |reader| reader.link(&key)).await??;
        link.filter(|link| caller.sees(link.manage.owner)).ok_or(ChangeError::NotFound)
    }

    /// Returns the key that a link is kept under whose domain finds aliases in any case: as a proxy looks it up, the exact code first, then
    /// the alias in lower case.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn key_as_kept(&self, key: Key) -> Result<Key, ChangeError> {
        let folded = Key::new(key.domain, order::lower_case(&key.code));
        if folded == key || !self.domains.table().get(key.domain).is_some_and(|known| known.answers.folded) {
            return Ok(key);
        }
        let read = move |reader: &linklog::store::Reader| {
            let is_exact = reader.link(&key)?.is_some() || reader.link(&folded)?.is_none();
            Ok::<_, StoreError>(if is_exact { key } else { folded })
        };
        Ok(self.log.read(read).await??)
    }

    /// Looks a link up that the caller sees, and what was counted on it since it was made.
    ///
    /// # Errors
    /// As [`Links::get`].
    pub async fn get_counted(&self, caller: Caller, key: Key) -> Result<(StoredLink, Totals), ChangeError> {
        self.tokens.may_touch(caller, &key)?;
        let clicks = self.clicks.clone();
        let read = move |reader: &linklog::store::Reader| {
            let link = reader.link(&key)?.filter(|link| caller.sees(link.manage.owner));
            let Some(link) = link else { return Ok(None) };
            let totals = clicks.totals(&[Subject { key, created: link.stamp.created }])?;
            Ok::<_, StoreError>(totals.first().map(|totals| (link, *totals)))
        };
        self.log.read(read).await??.ok_or(ChangeError::NotFound)
    }

    /// Returns the change that makes a link from what it was into what it is to be, in the caller's name.
    fn changing(
        &self,
        caller: Caller,
        key: Key,
        old: &StoredLink,
        new: &mut StoredLink,
        now_ms: u64,
    ) -> Change {
        let actor = caller.token.to_string();
        new.manage.updated_at_ms = now_ms;
        if let Some(limit) = &mut new.link.extras.limit {
            *limit = limit.noticed(now_ms);
        }
        // It came with a later format level: nothing else is held up for it.
        if self.levels.is_highest() {
            new.manage.last_changed_by = Some(actor.clone());
        }
        let operation = Operation::Put { serve: new.link.encode(), manage: new.manage.encode() };
        let precondition = Precondition::Version(old.stamp.version);
        let mut parts = vec![Part { key: StateKey::Link(key), precondition, operation }];
        parts.extend(keeping::external_parts(&key, Some(&old.manage), Some(&new.manage)));
        Change::new(actor, parts)
    }

    /// Waits until a link's limit may become what `new` has; `None`: it may at once. Only in the turn that is returned, and only after
    /// looking at the link again.
    async fn room_for(&self, key: Key, old: &Link, new: &Link) -> Result<Option<Turn<'_>>, ChangeError> {
        Ok(match (old.extras.limit, new.extras.limit) {
            (Some(old), Some(new)) if new.max < old.max => Some(self.budgets.make_room(key, new.max).await?),
            (Some(_), None) => Some(self.budgets.clear(key).await?),
            _ => None,
        })
    }

    /// Says whether a caller may give a link to the owner that is asked for.
    fn may_give(&self, caller: Caller, keeping: &Keeping, stays: Option<PersonId>) -> Result<(), Denied> {
        match keeping.owner {
            Some(owner) if owner != stays => may_give(caller, &self.people, owner),
            _ => Ok(()),
        }
    }

    /// Says whether those who alone may follow a link are anybody.
    fn may_allow(&self, link: &Link, before: Option<&Link>) -> Result<(), Denied> {
        let known = |id: &PersonId| self.people.user(*id).is_some() || self.people.group(*id).is_some();
        let was = before.and_then(|link| link.extras.allowed.as_deref()).unwrap_or_default();
        let mut new = link.extras.allowed.iter().flatten().filter(|id| !was.contains(id));
        match new.find(|id| !known(id)) {
            Some(id) => Err(Denied::NobodyAllowed { id: *id }),
            None => Ok(()),
        }
    }

    /// Proposes a change whose first part is a link's; `None`: somebody else was faster, look again.
    async fn applied(&self, change: Change) -> Result<Option<(Position, Stamp)>, ChangeError> {
        self.levels.check(&change)?;
        let names: Vec<_> =
            change.parts.iter().map(|part| matches!(part.key, StateKey::External(..))).collect();
        match self.log.propose(vec![change]).await?.pop() {
            Some(Decision::Applied { position, stamps, .. }) => Ok(stamps[0].map(|stamp| (position, stamp))),
            Some(Decision::Invalid(invalid)) => Err(invalid.into()),
            Some(Decision::Conflict(conflict)) if names.get(conflict.part) == Some(&true) => {
                Err(ChangeError::ExternalIdTaken)
            }
            // A claim on the name in another spelling.
            Some(Decision::Conflict(conflict)) if conflict.part > 0 => Err(ChangeError::Taken),
            _ => Ok(None),
        }
    }

    pub(crate) async fn replicated(
        &self,
        position: Position,
        skip_proxies: bool,
    ) -> Result<ReplicationReport, ChangeError> {
        Ok(self.replication.wait(position, skip_proxies).await?)
    }
}
