//! Links: what can be asked for and what becomes of it. Knows no HTTP; [`crate::http`] brings requests here and answers back.
//!
//! Owned here: whatever is acknowledged is durable in the log first, and every change of a link carries the precondition under which
//! it was decided, so two clients never overwrite each other unseen.
//!
//! - [`fields`], [`extras`]: what a client says about a link, judged
//! - [`order`]: a link to be made · [`create`] · [`put`] · [`patch`] · [`delete`] · [`list`]
//! - [`export`]: all of them, oldest first · [`import`]: links from elsewhere, as they were
//! - [`idempotency`]: commands that arrive twice · [`condition`]: If-Match · [`view`]: a link as answers show it

pub mod condition;
pub mod create;
pub mod delete;
pub mod domains;
pub mod export;
pub mod extras;
pub mod fields;
pub mod idempotency;
pub mod import;
pub mod list;
pub mod order;
pub mod patch;
pub mod put;
pub mod reserved;
pub mod view;
pub mod where_to;

use clicklog::Subject;
use clicklog::account::Totals;
use linklog::store::{StoreError, StoredLink};
use linklog::writer::{Decision, ProposeError};
use linklog::{Change, Key, Link, LinkState, Position, Stamp};

use crate::alias::AliasRules;
use crate::auth::Caller;
use crate::clicks::Clicks;
use crate::codes::Codes;
use crate::codes::mark::Marks;
use crate::domains::Domains;
use crate::levels::{LevelError, Levels};
use crate::log::{Ending, Log};
use crate::metrics::Metrics;
use crate::replication::{OutcomeUnknown, Replication, ReplicationReport};
use crate::target::TargetRules;

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
    /// Who counts.
    pub metrics: Metrics,
    /// Which idempotent requests are being worked on.
    pub in_flight: idempotency::InFlight,
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
    /// Only operators take links down.
    #[error("only a token with the scope admin may take a link down (state banned)")]
    MayNotBan,
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
    /// It would end before it begins.
    #[error("not_before is not before expires_at")]
    EndsFirst,
    /// The key of an idempotent request was used for another one.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
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
        (_, LinkState::Banned) => Err(ChangeError::MayNotBan),
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
    match (link.expires_at_ms, link.extras.not_before_ms) {
        (Some(end), _) if end <= now_ms => Err(ChangeError::AlreadyExpired),
        (Some(end), Some(begin)) if end <= begin => Err(ChangeError::EndsFirst),
        _ => Ok(()),
    }
}

impl Links {
    /// Looks a link up.
    ///
    /// # Errors
    /// There is none, or the state cannot be read.
    pub async fn get(&self, key: Key) -> Result<StoredLink, ChangeError> {
        let link = self.log.read(move |reader| reader.link(&key)).await??;
        link.ok_or(ChangeError::NotFound)
    }

    /// Looks a link up, and what was counted on it since it was made.
    ///
    /// # Errors
    /// There is none, or the state cannot be read.
    pub async fn get_counted(&self, key: Key) -> Result<(StoredLink, Totals), ChangeError> {
        let clicks = self.clicks.clone();
        let read = move |reader: &linklog::store::Reader| {
            let Some(link) = reader.link(&key)? else { return Ok(None) };
            let totals = clicks.totals(&[Subject { key, created: link.stamp.created }])?;
            Ok::<_, StoreError>(totals.first().map(|totals| (link, *totals)))
        };
        self.log.read(read).await??.ok_or(ChangeError::NotFound)
    }

    /// Proposes a change whose first part is a link's; `None`: somebody else was faster, look again.
    async fn applied(&self, change: Change) -> Result<Option<(Position, Stamp)>, ChangeError> {
        self.levels.check(&change)?;
        match self.log.propose(vec![change]).await?.pop() {
            Some(Decision::Applied { position, stamps, .. }) => Ok(stamps[0].map(|stamp| (position, stamp))),
            Some(Decision::Invalid(invalid)) => Err(invalid.into()),
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
