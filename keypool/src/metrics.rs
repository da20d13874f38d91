//! Every metric of a key pool.
//!
//! Also what the health listener reads: it must not wait for a lock of the pool, so it knows the pool from here alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use daemon::metrics::{Counter, Gauge, Latency, Registry, render};

use crate::pool::Pool;
use crate::supply::Added;

/// The metrics and the registry they are in. Cheap to change from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    unused: Gauge,
    used: Gauge,
    leases: Counter,
    leased_codes: Counter,
    lease_duration: Latency,
    generated_codes: Counter,
    refused_codes: Counter,
    forbidden_codes: Counter,
    returned_codes: Counter,
    marked_codes: Counter,
    released_codes: Counter,
    refilling: Gauge,
    refill_codes_per_second: Gauge,
    table_bytes: Gauge,
    stopped: AtomicBool,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("signpost_keypool"),
            unused: Gauge::default(),
            used: Gauge::default(),
            leases: Counter::default(),
            leased_codes: Counter::default(),
            lease_duration: Latency::default(),
            generated_codes: Counter::default(),
            refused_codes: Counter::default(),
            forbidden_codes: Counter::default(),
            returned_codes: Counter::default(),
            marked_codes: Counter::default(),
            released_codes: Counter::default(),
            refilling: Gauge::default(),
            refill_codes_per_second: Gauge::default(),
            table_bytes: Gauge::default(),
            stopped: AtomicBool::new(false),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("unused_codes", "Codes that wait to be leased", self.unused.clone());
        let help = "Codes that will never be leased again: leased, marked or burned";
        registry.register("used_codes", help, self.used.clone());
        registry.register("leases", "Leases handed out, repeated ones included", self.leases.clone());
        registry.register("leased_codes", "Codes handed out", self.leased_codes.clone());
        let help = "Time a lease took in the pool, the fsync included";
        registry.register("lease_duration_seconds", help, self.lease_duration.clone());
        registry.register("generated_codes", "Codes put into the stock", self.generated_codes.clone());
        let help = "Drawn codes that had been taken before";
        registry.register("refused_codes", help, self.refused_codes.clone());
        registry.register(
            "forbidden_codes",
            "Drawn codes that the blocklist forbids",
            self.forbidden_codes.clone(),
        );
        registry.register("returned_codes", "Codes back from quarantine", self.returned_codes.clone());
        registry.register("marked_codes", "Codes marked as used", self.marked_codes.clone());
        registry.register("released_codes", "Codes put into quarantine", self.released_codes.clone());
        registry.register("refilling", "1 while codes are being generated", self.refilling.clone());
        let help = "Codes generated per second in the current or latest refill";
        registry.register("refill_codes_per_second", help, self.refill_codes_per_second.clone());
        registry.register("table_bytes", "Bytes of the database's tables", self.table_bytes.clone());
    }

    /// Returns all of them as OpenMetrics text.
    pub fn render(&self) -> String {
        render(&self.registry)
    }

    /// Returns how many codes wait.
    pub fn unused(&self) -> u64 {
        self.unused.get().unsigned_abs()
    }

    /// Returns how many codes will never be leased again.
    pub fn used(&self) -> u64 {
        self.used.get().unsigned_abs()
    }

    /// Returns how many codes a second the current or latest refill generates.
    pub fn refill_codes_per_second(&self) -> u64 {
        self.refill_codes_per_second.get().unsigned_abs()
    }

    /// Says whether codes are being generated.
    pub fn is_refilling(&self) -> bool {
        self.refilling.get() != 0
    }

    /// Says whether nothing is handed out any more, as after a failed write.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn stopped(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Shows where a pool stands; to be called with its lock held, or an older state may be the last one shown.
    pub(crate) fn show(&self, pool: &Pool) {
        set(&self.unused, pool.unused());
        set(&self.used, pool.used());
    }

    pub(crate) fn leased(&self, codes: usize, pool: &Pool, asked_at: Instant) {
        self.leases.inc();
        self.leased_codes.inc_by(codes as u64);
        self.lease_duration.observe_since(asked_at);
        self.show(pool);
    }

    pub(crate) fn added(&self, added: &Added) {
        self.generated_codes.inc_by(added.stocked - added.returned);
        self.refused_codes.inc_by(added.refused);
        self.forbidden_codes.inc_by(added.forbidden);
        self.returned_codes.inc_by(added.returned);
    }

    pub(crate) fn marked(&self, codes: usize) {
        self.marked_codes.inc_by(codes as u64);
    }

    pub(crate) fn released(&self, codes: usize) {
        self.released_codes.inc_by(codes as u64);
    }

    pub(crate) fn refill(&self, refilling: bool, codes_per_second: u64) {
        self.refilling.set(i64::from(refilling));
        set(&self.refill_codes_per_second, codes_per_second);
    }

    pub(crate) fn table_bytes(&self, bytes: u64) {
        set(&self.table_bytes, bytes);
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
