//! Everything this service counts. Labels come from fixed sets; no code, URL, token or address is ever one.

mod gauges;

pub use gauges::Observed;

use std::sync::Arc;
use std::time::Duration;

use crate::abuse::Counts;
use daemon::metrics::{Counter, EncodeLabelSet, Family, Latency, Registry, render};

/// The label set of requests.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: &'static str,
}

/// The counters, shared; cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    create: Latency,
    batch: Latency,
    /// Links made.
    pub links_created: Counter,
    /// Generated codes that turned out to be in use.
    pub code_conflicts: Counter,
    /// Leases taken from key pools.
    pub leases: Counter,
    /// Leases that could not be had or were refused.
    pub lease_failures: Counter,
    /// Targets that were refused.
    pub targets: Counts,
    /// Clicks of limited links.
    pub budgets: crate::budgets::Counts,
    /// Links that were swept.
    pub sweep: crate::sweep::status::SweepStatus,
    /// Connections refused or cut for breaking a limit.
    pub connections_cut: Counter,
}

impl Metrics {
    /// Counts a request.
    pub fn request(&self, route: &'static str, method: &'static str, status: u16, took: Duration) {
        let status = match status {
            0..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&RequestLabels { route, method, status }).inc();
        if status == "2xx" && method == "POST" {
            match route {
                "/v1/links" => self.create.observe(took),
                "/v1/links/batch" => self.batch.observe(took),
                _ => {}
            }
        }
    }

    /// Returns the registry of everything counted here and of what `observed` shows.
    pub fn registry(&self, observed: Arc<Observed>) -> Registry {
        let mut registry = Registry::with_prefix("signpost_admin");
        let r = &mut registry;
        r.register(
            "http_requests",
            "Requests answered, by route, method and class of status",
            self.requests.clone(),
        );
        r.register(
            "create_duration_seconds",
            "Time from the request to the 201, replication included",
            self.create.clone(),
        );
        r.register(
            "batch_duration_seconds",
            "Time from the request to the answer of a batch, replication included",
            self.batch.clone(),
        );
        self.budgets.register(r);
        r.register("links_created", "Links made", self.links_created.clone());
        r.register(
            "code_conflicts",
            "Generated codes that turned out to be in use",
            self.code_conflicts.clone(),
        );
        r.register("leases", "Leases taken from key pools", self.leases.clone());
        r.register(
            "lease_failures",
            "Leases that could not be had or were refused",
            self.lease_failures.clone(),
        );
        r.register("connections_cut", "Connections cut for breaking a limit", self.connections_cut.clone());
        self.targets.register(r);
        self.sweep.register(r);
        registry.register_collector(Box::new(observed));
        registry
    }
}

/// Renders a registry.
pub fn text(registry: &Registry) -> String {
    render(registry)
}
