//! The pool on the wire: `signpost.keys.v1.KeySupply`.
//!
//! Checks what a peer sends, moves the work off the runtime's threads, and turns errors into statuses. Only a writer may
//! call; on a plain port, which is on loopback, whoever is there.

use std::sync::Arc;

use linklog::Code7;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use wire::channel::reason;
use wire::identity::{Role, authorize};
use wire::keys::key_supply_server::KeySupply;
use wire::keys::{
    DescribeReply, DescribeRequest, LeaseReply, LeaseRequest, MarkUsedReply, MarkUsedRequest, ReleaseReply,
    ReleaseRequest, SlotRange,
};
use wire::limits::{LEASE_CODES_MAX, MARK_CODES_MAX};

use crate::pool::{self, HOLDER_BYTES_MAX};
use crate::refill::now_ms;
use crate::store::StoreError;
use crate::supply::{LeaseError, MarkError, ReleaseError, Stats, Stopped, Supply};

/// Calls that work on the database at once; further ones wait in line. One disk gains nothing from more.
pub const CALLS_AT_ONCE: usize = 8;

/// The service.
#[derive(Clone, Debug)]
pub struct Service {
    supply: Arc<Supply>,
    /// Marking and releasing wait for a batch that is being added. They do it here, one by one, and not on a thread that
    /// a lease could use.
    patient: Arc<Semaphore>,
}

impl Service {
    /// Makes the service of a pool.
    pub fn new(supply: Arc<Supply>) -> Service {
        Service { supply, patient: Arc::new(Semaphore::new(1)) }
    }

    /// Returns the pool in numbers; its lock may be held for the time of an fsync, hence not on the runtime's threads.
    pub(crate) async fn stats(&self) -> Result<Stats, Status> {
        let supply = Arc::clone(&self.supply);
        blocking(move || Ok(supply.stats())).await
    }

    /// Marks codes as used: what the wire and the control socket share.
    pub(crate) async fn mark_used(&self, codes: Vec<Code7>) -> Result<u32, Status> {
        let _turn = self.patient.acquire().await.map_err(|_| Status::unavailable("the pool is stopping"))?;
        let supply = Arc::clone(&self.supply);
        blocking(move || supply.mark_used(&codes).map_err(|error| mark_status(&error))).await
    }

    /// Puts codes into quarantine; see [`mark_used`](Self::mark_used).
    pub(crate) async fn release(&self, codes: Vec<Code7>) -> Result<ReleaseReply, Status> {
        let _turn = self.patient.acquire().await.map_err(|_| Status::unavailable("the pool is stopping"))?;
        let supply = Arc::clone(&self.supply);
        let released =
            blocking(move || supply.release(&codes, now_ms()).map_err(|error| release_status(&error)));
        let released = released.await?;
        Ok(ReleaseReply { quarantined: released.quarantined, ignored: released.ignored })
    }
}

#[tonic::async_trait]
impl KeySupply for Service {
    async fn lease(&self, request: Request<LeaseRequest>) -> Result<Response<LeaseReply>, Status> {
        let peer = authorize(&request, &[Role::Writer])?;
        let request = lease_request(request.into_inner())?;
        let supply = Arc::clone(&self.supply);
        let (leased, request) = blocking(move || match supply.lease(&request) {
            Ok(leased) => Ok((leased, request)),
            Err(error) => Err(lease_status(&error)),
        })
        .await?;
        tracing::info!(
            lease_number = leased.lease_number,
            codes = leased.codes.len(),
            holder = request.holder,
            epoch = request.epoch,
            peer = peer.map(tracing::field::display),
            "leased"
        );
        Ok(Response::new(LeaseReply {
            pool_id: leased.pool_id.0.to_vec(),
            lease_number: leased.lease_number,
            codes: leased.codes.into_iter().map(Code7::value).collect(),
        }))
    }

    async fn mark_used(&self, request: Request<MarkUsedRequest>) -> Result<Response<MarkUsedReply>, Status> {
        authorize(&request, &[Role::Writer])?;
        let newly_marked = Service::mark_used(self, codes(&request.into_inner().codes)?).await?;
        Ok(Response::new(MarkUsedReply { newly_marked }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseReply>, Status> {
        authorize(&request, &[Role::Writer])?;
        let reply = Service::release(self, codes(&request.into_inner().codes)?).await?;
        Ok(Response::new(reply))
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        authorize(&request, &[Role::Writer])?;
        let stats = self.stats().await?;
        let ranges = self.supply.slots().ranges().into_iter();
        let slots =
            ranges.map(|(first, last)| SlotRange { first: first.into(), last: last.into() }).collect();
        Ok(Response::new(DescribeReply {
            pool_id: stats.pool_id.0.to_vec(),
            slots,
            unused: stats.unused,
            used: stats.used,
            last_lease_number: stats.last_lease_number,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}

fn lease_request(request: LeaseRequest) -> Result<pool::LeaseRequest, Status> {
    let request_id = request.request_id.try_into().map_err(|found: Vec<u8>| {
        Status::invalid_argument(format!("request_id has 16 random bytes, not {}", found.len()))
    })?;
    if request.count == 0 || request.count > LEASE_CODES_MAX {
        let message = format!("count is 1 to {LEASE_CODES_MAX}, not {}", request.count);
        return Err(Status::invalid_argument(message));
    }
    if request.holder.len() > HOLDER_BYTES_MAX {
        return Err(Status::invalid_argument(format!("holder has at most {HOLDER_BYTES_MAX} bytes")));
    }
    Ok(pool::LeaseRequest { request_id, holder: request.holder, epoch: request.epoch, count: request.count })
}

fn codes(values: &[u64]) -> Result<Vec<Code7>, Status> {
    if values.len() > MARK_CODES_MAX {
        let message = format!("at most {MARK_CODES_MAX} codes at once, not {}", values.len());
        return Err(Status::invalid_argument(message));
    }
    let code = |value: &u64| {
        Code7::new(*value)
            .ok_or_else(|| Status::invalid_argument(format!("{value} is the number of no code")))
    };
    values.iter().map(code).collect()
}

/// Runs work on the database where it may block. Work that has begun ends even if the caller goes away: then a lease
/// waits for its request to be repeated.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a call ended without a result");
            Err(Status::internal("the call failed inside the pool; its log says more"))
        }
    }
}

fn lease_status(error: &LeaseError) -> Status {
    match error {
        LeaseError::Empty => Status::resource_exhausted(error.to_string()),
        LeaseError::Stolen => Status::failed_precondition(error.to_string()),
        LeaseError::Stopped(stopped) => stopped_status(stopped),
        LeaseError::Store(error) => store_status(error),
    }
}

fn mark_status(error: &MarkError) -> Status {
    match error {
        MarkError::NotHeld { .. } => Status::invalid_argument(error.to_string()),
        MarkError::Stopped(stopped) => stopped_status(stopped),
        MarkError::Store(error) => store_status(error),
    }
}

fn release_status(error: &ReleaseError) -> Status {
    match error {
        ReleaseError::Stopped(stopped) => stopped_status(stopped),
        ReleaseError::Store(error) => store_status(error),
    }
}

fn stopped_status(stopped: &Stopped) -> Status {
    Status::unavailable(stopped.to_string())
}

fn store_status(error: &StoreError) -> Status {
    match error {
        // Logged where it happened; the pool is ending.
        StoreError::Write { .. } => stopped_status(&Stopped),
        StoreError::Read { .. } | StoreError::Damaged { .. } => {
            tracing::error!(error = reason(error), "a call failed");
            Status::internal("the pool's database cannot be read; its log says more")
        }
    }
}
