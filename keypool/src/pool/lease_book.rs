//! The latest leases, by the request that asked for them.
//!
//! It forgets the oldest, so it is bounded. Forgetting is safe: a request repeated after that gets other codes, and those
//! of the forgotten lease are burned.

use std::collections::{HashMap, VecDeque};

use super::{Lease, RequestId};

/// Most leases remembered: some 15 MB of memory.
pub const LEASES_KEPT_MAX: usize = 100_000;

/// Leases by request id, the latest [`LEASES_KEPT_MAX`].
#[derive(Debug, Default)]
pub struct LeaseBook {
    by_request: HashMap<RequestId, Lease>,
    /// Oldest first. A request id stands here twice if a forgotten lease was asked for again.
    order: VecDeque<(u64, RequestId)>,
}

impl LeaseBook {
    /// Adds the newest lease and forgets the oldest if there are too many.
    pub fn push(&mut self, lease: Lease) {
        if self.order.len() == LEASES_KEPT_MAX
            && let Some((number, request_id)) = self.order.pop_front()
            && self.by_request.get(&request_id).is_some_and(|lease| lease.number == number)
        {
            self.by_request.remove(&request_id);
        }
        self.order.push_back((lease.number, lease.request_id));
        self.by_request.insert(lease.request_id, lease);
    }

    /// Finds the lease that a request was given.
    pub fn find(&self, request_id: &RequestId) -> Option<&Lease> {
        self.by_request.get(request_id)
    }

    /// Returns the number of the lease that [`push`](Self::push) will forget.
    pub fn evicted_by_next(&self) -> Option<u64> {
        let full = self.order.len() == LEASES_KEPT_MAX;
        self.order.front().filter(|_| full).map(|(number, _)| *number)
    }
}
