//! One key pool as this writer sees it: asks it for leases, knows its slots, waits longer after each failure.
//!
//! Owned here: a request id is repeated until the pool has answered it, so a lease whose answer was lost is not lost with it; and two
//! pools that claim one slot of the code space are never both used.

use std::time::Duration;

use linklog::{Code7, Epoch};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use wire::channel::{ChannelError, keys_client, reason};
use wire::identity::{Identity, Role};
use wire::keys::{
    DescribeReply, DescribeRequest, LeaseRequest, MarkUsedRequest, ReleaseReply, ReleaseRequest,
};

use super::lease::{Lease, PoolId};

/// How long a pool may take to answer. Leases take milliseconds; the next pool is not kept waiting for a dead one.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Why a pool gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// It said no, or could not be reached.
    #[error("{0}")]
    Call(String),
    /// It did not answer.
    #[error("no answer within {} s", ANSWER_MAX.as_secs())]
    Silent,
    /// Its answer makes no sense.
    #[error("its answer is not valid: {0}")]
    Answer(&'static str),
    /// Another pool has the same slots.
    #[error(
        "it claims slot {slot}, which the key pool at {other} claims too: correct [pool] slots of one of them; neither may be used twice"
    )]
    SharedSlot {
        /// The slot.
        slot: u32,
        /// The other pool.
        other: String,
    },
    /// No random numbers.
    #[error("the random source of the operating system failed: {0}")]
    Random(std::io::Error),
}

/// What a pool says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Its id.
    pub id: PoolId,
    /// Ranges of slots, first and last.
    pub slots: Vec<(u32, u32)>,
}

impl Description {
    /// Says whether a code lies in one of the pool's slots.
    pub fn owns(&self, code: Code7) -> bool {
        let slot = u32::from(code.pool_slot());
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }

    fn shares_with(&self, other: &Description) -> Option<u32> {
        let common = |a: &(u32, u32), b: &(u32, u32)| Some(a.0.max(b.0)).filter(|slot| *slot <= a.1.min(b.1));
        self.slots.iter().find_map(|a| other.slots.iter().find_map(|b| common(a, b)))
    }
}

#[derive(Default)]
struct State {
    /// What it said last, which stands against the claims of others even while it is away.
    description: Option<Description>,
    /// Whether that is to be asked again: after a failure it may come back as another one.
    is_current: bool,
    request_id: Option<[u8; 16]>,
    failures: u32,
    not_before: Option<Instant>,
}

/// One key pool.
pub struct Pool {
    url: String,
    channel: Channel,
    state: Mutex<State>,
}

impl Pool {
    /// Prepares to dial a pool; to be called inside a runtime. Nothing is sent yet.
    ///
    /// # Errors
    /// The address is wrong, or needs an identity.
    pub fn new(url: &str, identity: Option<&Identity>) -> Result<Pool, ChannelError> {
        let channel = wire::channel::endpoint(url, identity, Role::Keypool)?.connect_lazy();
        Ok(Pool { url: url.to_owned(), channel, state: Mutex::default() })
    }

    /// Returns its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns what it last said about itself.
    pub fn description(&self) -> Option<Description> {
        self.state.lock().description.clone()
    }

    /// Returns when it may be asked again; `None`: now.
    pub fn not_before(&self) -> Option<Instant> {
        self.state.lock().not_before.filter(|at| *at > Instant::now())
    }

    /// Notes that it failed. True: it had answered before, so this is news.
    pub fn failed(&self) -> bool {
        let mut state = self.state.lock();
        state.is_current = false;
        let wait = BACKOFF_MIN.saturating_mul(1 << state.failures.min(10)).min(BACKOFF_MAX);
        state.not_before = Some(Instant::now() + wait);
        state.failures += 1;
        state.failures == 1
    }

    /// Has it describe itself again before it is used.
    pub fn ask_again(&self) {
        self.state.lock().is_current = false;
    }

    /// Notes that it answered. True: it had failed before.
    pub fn answered(&self) -> bool {
        let mut state = self.state.lock();
        state.not_before = None;
        std::mem::take(&mut state.failures) > 0
    }

    /// Asks for a lease.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn lease(&self, epoch: Epoch, count: u32, others: &[Pool]) -> Result<Lease, PoolError> {
        let description = self.described(others).await?;
        let request_id = self.request_id()?;
        let request = LeaseRequest {
            request_id: request_id.to_vec(),
            holder: "admin".to_owned(),
            epoch: epoch.0,
            count,
        };
        let mut client = keys_client(self.channel.clone());
        let reply = answer(client.lease(request)).await?;
        // Answered, whatever is in it: the next request is another one.
        self.state.lock().request_id = None;
        let pool = <[u8; 16]>::try_from(&*reply.pool_id).map_err(|_| PoolError::Answer("pool id"))?;
        let codes = reply.codes.iter().map(|code| Code7::new(*code)).collect::<Option<Vec<_>>>();
        let codes = codes.ok_or(PoolError::Answer("a code out of range"))?;
        if codes.is_empty() || codes.len() > wire::limits::LEASE_CODES_MAX as usize {
            return Err(PoolError::Answer("the number of codes"));
        }
        if PoolId(pool) != description.id || !codes.iter().all(|code| description.owns(*code)) {
            // It became another pool since it described itself; ask it again next time.
            self.state.lock().is_current = false;
            return Err(PoolError::Answer("codes of slots it does not own, or another pool id than before"));
        }
        Ok(Lease { epoch, pool: PoolId(pool), number: reply.lease_number, codes })
    }

    /// Tells the pool that codes of its slots came into use another way.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn mark_used(&self, codes: &[Code7]) -> Result<(), PoolError> {
        let request = MarkUsedRequest { codes: codes.iter().map(|code| code.value()).collect() };
        let mut client = keys_client(self.channel.clone());
        answer(client.mark_used(request)).await.map(drop)
    }

    /// Gives codes of its slots back to the pool, which lets them rest.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn release(&self, codes: &[Code7]) -> Result<ReleaseReply, PoolError> {
        let request = ReleaseRequest { codes: codes.iter().map(|code| code.value()).collect() };
        let mut client = keys_client(self.channel.clone());
        answer(client.release(request)).await
    }

    /// Returns what the pool says about itself, asking it the first time.
    ///
    /// # Errors
    /// It cannot be asked, or claims what another one has.
    pub async fn described(&self, others: &[Pool]) -> Result<Description, PoolError> {
        if let Some(known) = self.current_description() {
            return Ok(known);
        }
        let mut client = keys_client(self.channel.clone());
        let description = read(answer(client.describe(DescribeRequest {})).await?)?;
        for other in others.iter().filter(|other| !std::ptr::eq(*other, self)) {
            if let Some(slot) = other.description().and_then(|theirs| description.shares_with(&theirs)) {
                return Err(PoolError::SharedSlot { slot, other: other.url.clone() });
            }
        }
        let mut state = self.state.lock();
        state.description = Some(description.clone());
        state.is_current = true;
        Ok(description)
    }

    fn current_description(&self) -> Option<Description> {
        let state = self.state.lock();
        state.description.clone().filter(|_| state.is_current)
    }

    fn request_id(&self) -> Result<[u8; 16], PoolError> {
        let mut state = self.state.lock();
        if let Some(id) = state.request_id {
            return Ok(id);
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| PoolError::Random(error.into()))?;
        state.request_id = Some(id);
        Ok(id)
    }
}

async fn answer<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, PoolError> {
    match timeout(ANSWER_MAX, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(PoolError::Call(reason(&status))),
        Err(_) => Err(PoolError::Silent),
    }
}

fn read(reply: DescribeReply) -> Result<Description, PoolError> {
    let id = <[u8; 16]>::try_from(&*reply.pool_id).map_err(|_| PoolError::Answer("pool id"))?;
    let slots: Vec<_> = reply.slots.iter().map(|range| (range.first, range.last)).collect();
    let valid = |(first, last): &(u32, u32)| first <= last && *last < u32::from(Code7::POOL_SLOTS);
    if slots.is_empty() || !slots.iter().all(valid) {
        return Err(PoolError::Answer("slots"));
    }
    Ok(Description { id: PoolId(id), slots })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(slots: &[(u32, u32)]) -> Description {
        Description { id: PoolId([0; 16]), slots: slots.to_vec() }
    }

    #[test]
    fn a_slot_that_two_pools_claim_is_found() {
        let a = pool(&[(0, 9), (20, 29)]);
        assert_eq!(a.shares_with(&pool(&[(10, 19), (30, 4095)])), None);
        assert_eq!(a.shares_with(&pool(&[(10, 20)])), Some(20));
        assert_eq!(a.shares_with(&pool(&[(5, 5)])), Some(5));
        assert_eq!(a.shares_with(&a), Some(0));
    }

    #[test]
    fn a_description_that_cannot_be_right_is_refused() {
        let reply = |first, last| DescribeReply {
            pool_id: vec![1; 16],
            slots: vec![wire::keys::SlotRange { first, last }],
            ..DescribeReply::default()
        };
        assert!(read(reply(0, 4095)).is_ok());
        assert!(read(reply(0, 4096)).is_err());
        assert!(read(reply(2, 1)).is_err());
        assert!(read(DescribeReply { pool_id: vec![1; 15], ..reply(0, 1) }).is_err());
        assert!(read(DescribeReply { slots: vec![], ..reply(0, 1) }).is_err());
    }
}
