//! What one thread of `create` counted; merged at the end.

use std::collections::BTreeMap;

use crate::latency::Latency;
use crate::verdict::Checked;

/// Counts and times of a thread.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests sent, the warm-up among them.
    pub(super) requests: u64,
    /// Links acknowledged, the warm-up among them.
    pub(super) created: u64,
    /// Links acknowledged in the measured part.
    pub(super) created_measured: u64,
    /// Links not acknowledged, by reason.
    pub(super) errors: BTreeMap<String, u64>,
    /// Links acknowledged with another target than was sent.
    pub(super) altered: u64,
    /// Requests that found every connection waiting for an answer when their time came.
    pub(super) no_connection_free: u64,
    /// From the intended start to the answer read.
    pub(super) latency: Latency,
    /// From the send to the answer read.
    pub(super) service: Latency,
    /// From the intended start to the send, of requests whose connection was free by then.
    pub(super) send_delay: Latency,
    /// What the proxies answered right after the acknowledgement.
    pub(super) followed: Checked,
    /// From the acknowledgement read to the last proxy's answer read.
    pub(super) follow: Latency,
}

impl Tally {
    /// Counts links that were not acknowledged.
    pub(super) fn failed(&mut self, reason: String, links: u64) {
        *self.errors.entry(reason).or_default() += links;
    }

    /// Adds what another thread counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.created += other.created;
        self.created_measured += other.created_measured;
        for (reason, links) in other.errors {
            self.failed(reason, links);
        }
        self.altered += other.altered;
        self.no_connection_free += other.no_connection_free;
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.send_delay.merge(&other.send_delay);
        self.followed.merge(other.followed);
        self.follow.merge(&other.follow);
    }
}
