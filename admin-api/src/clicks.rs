//! Clicks: taken from the proxies over the feed's port, kept in [`clicklog::accounts`], shown by the API.
//!
//! Owned here: one live stream a ledger; what is in memory for all streams together is bounded; and what a number means that the API
//! shows: up to when it is complete, who has not been heard of, what is lost.

mod copies;
mod reporters;
mod stream;

pub use copies::Copies;
pub(crate) use copies::CopyService;
pub use reporters::Reporters;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clicklog::account::{Account, Totals};
use clicklog::accounts::{AccountsCounts, AccountsHandle};
use clicklog::{LedgerId, Subject};
use linklog::entity::{MemberRole, MemberState};
use linklog::journal::JournalReader;
use linklog::store::StoreError;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use wire::clicks::clicks_server::Clicks as ClicksRpc;
use wire::clicks::{AccountantMessage, ReporterMessage};
use wire::identity::{FleetId, Role, authorize};

use crate::members::Members;

/// How long ago a proxy may have reported last to count as heard of. It says something every second.
pub const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// Batches of all streams together that are read and not yet counted. With at most half a megabyte each, twice over, this bounds the memory.
const BATCHES_MAX: usize = 64;
/// Messages that may wait between a reporter's task and its connection.
const OUTBOX_MESSAGES: usize = 4;

/// What is needed to take reports; cheap to clone.
#[derive(Clone)]
pub struct ClickSource {
    /// The fleet every reporter must belong to.
    pub fleet: FleetId,
    /// Who may report.
    pub members: Members,
    /// Where batches go.
    pub accounts: AccountsHandle,
    /// Who is reporting.
    pub reporters: Reporters,
    /// The entries that lead to the counts.
    pub journal: JournalReader,
    /// Who has a copy of them.
    pub copies: Copies,
}

/// Serves `signpost.clicks.v1.Clicks`.
pub(crate) struct ReportService {
    source: Arc<ClickSource>,
    batches: Arc<Semaphore>,
    stop: CancellationToken,
}

impl ReportService {
    pub(crate) fn new(source: ClickSource, stop: CancellationToken) -> ReportService {
        ReportService { source: Arc::new(source), batches: Arc::new(Semaphore::new(BATCHES_MAX)), stop }
    }
}

#[tonic::async_trait]
impl ClicksRpc for ReportService {
    type ReportStream = ReceiverStream<Result<AccountantMessage, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<ReporterMessage>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let peer = authorize(&request, &[Role::Proxy])?;
        let inbound = request.into_inner();
        let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
        let (source, batches, stop) = (self.source.clone(), self.batches.clone(), self.stop.clone());
        tokio::spawn(async move { stream::report(&source, &batches, peer, inbound, outbox, stop).await });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// Looks clicks up; cheap to clone.
#[derive(Clone)]
pub struct Clicks {
    accounts: AccountsHandle,
    reporters: Reporters,
    members: Members,
}

/// How fresh counts are, over the whole fleet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Freshness {
    /// Every click answered before this time is counted or known to be lost; `None`: some active proxy has never reported, or there is none.
    pub complete_until_ms: Option<u64>,
    /// Active proxies that have not been heard of for [`HEARD_WITHIN`].
    pub missing: Vec<String>,
    /// Clicks that are in nobody's count, of all links together.
    pub dropped: u64,
}

/// What is known of the clicks of one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberClicks {
    /// The ledger it introduced last.
    pub ledger: LedgerId,
    /// Its account.
    pub account: Account,
}

impl Clicks {
    /// Returns what looks clicks up.
    pub fn new(accounts: AccountsHandle, reporters: Reporters, members: Members) -> Clicks {
        Clicks { accounts, reporters, members }
    }

    /// Returns what was counted on some links, in their order. May wait for the disk.
    ///
    /// # Errors
    /// If the disk fails or holds bytes that cannot be right.
    pub fn totals(&self, subjects: &[Subject]) -> Result<Vec<Totals>, StoreError> {
        self.accounts.totals(subjects)
    }

    /// Returns the account of a member's newest ledger; `None` if it has never reported.
    pub fn of_member(&self, name: &str) -> Option<MemberClicks> {
        let mut newest: Option<MemberClicks> = None;
        self.accounts.for_each_account(|ledger, account| {
            let order = |ledger: LedgerId, account: &Account| (account.introduced_at_ms, ledger);
            let is_newer = newest
                .as_ref()
                .is_none_or(|known| order(ledger, account) > order(known.ledger, &known.account));
            if account.member == name && is_newer {
                newest = Some(MemberClicks { ledger, account: account.clone() });
            }
        });
        newest
    }

    /// Says how fresh counts are.
    pub fn freshness(&self) -> Freshness {
        let now = Instant::now();
        let mut freshness = Freshness { dropped: self.dropped(), ..Freshness::default() };
        let mut complete = None;
        for (name, member) in self.members.all() {
            if member.state != MemberState::Active || member.role != MemberRole::Read {
                continue;
            }
            let until = self.of_member(&name).map_or(0, |known| known.account.complete_until_ms);
            complete = Some(complete.map_or(until, |earliest: u64| earliest.min(until)));
            let heard = self.reporters.last_heard(&name);
            if heard.is_none_or(|at| now.saturating_duration_since(at) > HEARD_WITHIN) {
                freshness.missing.push(name);
            }
        }
        freshness.complete_until_ms = complete.filter(|until| *until > 0);
        freshness
    }

    /// Returns how many clicks are known to be in nobody's count.
    pub fn dropped(&self) -> u64 {
        let mut dropped = 0u64;
        self.accounts.for_each_account(|_, account| dropped = dropped.saturating_add(account.dropped()));
        dropped
    }

    /// Returns how many ledgers there ever were, and how many report now.
    pub fn ledgers(&self) -> (usize, usize) {
        let mut known = 0;
        self.accounts.for_each_account(|_, _| known += 1);
        (known, self.reporters.live())
    }

    /// Returns what was done since the start.
    pub fn counts(&self) -> AccountsCounts {
        self.accounts.counts()
    }
}
