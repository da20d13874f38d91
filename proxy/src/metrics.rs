//! Every metric of a proxy, declared in one place, and what the health listener asks.
//!
//! Requests are counted by the workers, each in its own memory, and summed when somebody looks. Labels are statuses, tiers and
//! states: never a code, a host or an address.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use daemon::disk::{DiskReserve, Room};
use daemon::health::{Probe, Readiness};
use daemon::metrics::{Latency, Registry, render};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};

use crate::allocations::{self, Role};
use crate::census::Census;
use crate::clicks::status::{ClickStatus, KIND_NAMES, ReportState};
use crate::follow::status::FeedState;
use crate::geo::Geo;
use crate::hot_map::HotMap;
use crate::limits::Limit;
use crate::lookup::Tier;
use crate::passwords;
use crate::peers::Outage;
use crate::quota::{Quotas, Seen};
use crate::readiness::ReadyState;
use crate::scrub::Scrub;
use crate::tls::{Shown, Tls};
use crate::worker::{Counters, Event, Handshake, STATUSES};

/// Everything that is measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// One set a worker.
    pub workers: Vec<Arc<Counters>>,
    /// The hot map.
    pub hot: Arc<HotMap>,
    /// Clicks, if they are counted.
    pub clicks: Option<Arc<ClickStatus>>,
    /// Who is connected.
    pub census: Arc<Census>,
    /// What networks ask, if that is limited.
    pub quotas: Option<Arc<Quotas>>,
    /// Readiness, and through it the feed.
    pub ready: Arc<ReadyState>,
    /// Lookups on the disk.
    pub disk_took: Latency,
    /// From the fsync on the writer to visible here.
    pub replication_lag: Latency,
    /// TLS with visitors, if a listener has it.
    pub tls: Option<Arc<Tls>>,
    /// The database of countries, if there is one.
    pub geo: Option<Arc<Geo>>,
    /// When our certificate for the feed ends, seconds since the Unix epoch; `None` without one.
    pub credential_expires_at_s: Option<u64>,
    /// Who looks at the disk.
    pub scrub: Arc<Scrub>,
    /// Room for the replica and the clicks.
    pub disk: DiskReserve,
    /// What came of guesses of passwords.
    pub guesses: Arc<passwords::Counts>,
}

impl Measured {
    fn events(&self, event: Event) -> u64 {
        self.workers.iter().map(|worker| worker.events(event)).sum()
    }

    fn answers(&self, index: usize) -> u64 {
        self.workers.iter().map(|worker| worker.answers(index)).sum()
    }

    fn limited(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL
            .into_iter()
            .map(|(limit, name)| (name, self.workers.iter().map(|worker| worker.limited(limit)).sum()))
    }

    fn seen(&self) -> Seen {
        self.quotas.as_ref().map_or(Seen::default(), |quotas| quotas.seen())
    }

    /// For `stats`.
    pub fn to_json(&self) -> Value {
        let answers: serde_json::Map<String, Value> = STATUSES
            .iter()
            .enumerate()
            .map(|(index, status)| (status.to_string(), self.answers(index)))
            .filter(|(_, count)| *count > 0)
            .map(|(status, count)| (status, count.into()))
            .collect();
        let limited: serde_json::Map<String, Value> = self
            .limited()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect();
        let (fill, seen) = (self.hot.fill_level(), self.seen());
        json!({
            "answers": answers,
            "limited": limited,
            "networks": { "scans": seen.scans, "forgotten": seen.forgotten },
            "lookups": {
                "hot": self.events(Event::LookedUp(Tier::Hot)),
                "cache": self.events(Event::LookedUp(Tier::Cache)),
                "disk": self.events(Event::LookedUp(Tier::Disk)),
                "disk_full": self.events(Event::DiskFull),
                "disk_late": self.events(Event::DiskLate),
                "disk_failed": self.events(Event::DiskFailed),
                "incomplete": self.events(Event::Incomplete),
            },
            "requests": {
                "fast": self.events(Event::Fast),
                "session": self.events(Event::Session),
                "h2": self.events(Event::Http2),
            },
            "tls": self.tls_json(),
            "countries": self.geo.as_ref().map(|geo| geo.shown().to_json()),
            "connections": {
                "opened": self.events(Event::Opened),
                "closed": self.events(Event::Closed),
                "now": self.census.connected(),
            },
            "password_guesses": self.guesses.all().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "hot_map": { "entries": fill.entries, "bytes": fill.bytes },
            "clicks": self.clicks.as_ref().map(|clicks| clicks.numbers().to_json()),
        })
    }
}

impl Measured {
    fn tls_json(&self) -> Value {
        let Some(tls) = &self.tls else { return Value::Null };
        let (reloads, refused) = tls.reloads();
        json!({
            "handshakes": HANDSHAKES
                .map(|(result, version, handshake)| json!({
                    "result": result,
                    "version": version,
                    "count": self.events(Event::Handshake(handshake)),
                })),
            "certificates": tls.certificates().iter().map(Shown::to_json).collect::<Vec<_>>(),
            "reloads": { "ok": reloads, "refused": refused },
        })
    }
}

/// Results of handshakes, with the version of TLS.
const HANDSHAKES: [(&str, &str, Handshake); 6] = [
    ("full", "1.2", Handshake::Full12),
    ("full", "1.3", Handshake::Full13),
    ("resumed", "1.2", Handshake::Resumed12),
    ("resumed", "1.3", Handshake::Resumed13),
    ("failed", "none", Handshake::Failed),
    ("late", "none", Handshake::Late),
];

/// What the health listener asks.
pub struct ProxyProbe {
    registry: Registry,
    ready: Arc<ReadyState>,
    disk: DiskReserve,
}

impl ProxyProbe {
    /// Declares the metrics.
    pub fn new(measured: Measured) -> ProxyProbe {
        let (ready, disk) = (Arc::clone(&measured.ready), measured.disk.clone());
        let mut registry = Registry::with_prefix("signpost_proxy");
        registry.register(
            "disk_lookup_duration_seconds",
            "Time a lookup on the disk took, the queue included",
            measured.disk_took.clone(),
        );
        registry.register(
            "replication_lag_seconds",
            "Time from the fsync on the writer to visible here, per frame",
            measured.replication_lag.clone(),
        );
        registry.register_collector(Box::new(Collected(measured)));
        ProxyProbe { registry, ready, disk }
    }
}

impl Probe for ProxyProbe {
    fn readiness(&self) -> Readiness {
        let (verdict, follow) = self.ready.verdict();
        Readiness { ready: verdict.is_ready(), detail: ReadyState::detail(verdict, &follow, &self.disk) }
    }

    fn metrics(&self) -> String {
        render(&self.registry)
    }
}

/// What is read when somebody looks.
#[derive(Debug)]
struct Collected(Measured);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let measured = &self.0;
        let statuses: Vec<(String, u64)> = STATUSES
            .iter()
            .enumerate()
            .map(|(index, status)| (status.to_string(), measured.answers(index)))
            .collect();
        let statuses = statuses.iter().map(|(status, count)| (status.as_str(), *count));
        counters(&mut encoder, "answers", "Answers by status", "status", statuses)?;
        let lookups = [
            ("hot", Event::LookedUp(Tier::Hot)),
            ("cache", Event::LookedUp(Tier::Cache)),
            ("disk", Event::LookedUp(Tier::Disk)),
        ];
        let lookups = lookups.map(|(tier, event)| (tier, measured.events(event)));
        counters(
            &mut encoder,
            "lookups",
            "Lookups by where they were answered",
            "tier",
            lookups.into_iter(),
        )?;
        let unsure = [
            ("full", Event::DiskFull),
            ("late", Event::DiskLate),
            ("failed", Event::DiskFailed),
            ("incomplete", Event::Incomplete),
        ];
        let unsure = unsure.map(|(reason, event)| (reason, measured.events(event)));
        counters(&mut encoder, "unsure", "Lookups answered 503 and why", "reason", unsure.into_iter())?;
        let requests = [("fast", Event::Fast), ("session", Event::Session), ("h2", Event::Http2)];
        let requests = requests.map(|(parser, event)| (parser, measured.events(event)));
        counters(&mut encoder, "requests", "Requests by who read them", "parser", requests.into_iter())?;
        let connections = [("opened", Event::Opened), ("closed", Event::Closed)];
        let connections = connections.map(|(what, event)| (what, measured.events(event)));
        counters(
            &mut encoder,
            "connections",
            "Connections that came and went",
            "what",
            connections.into_iter(),
        )?;
        let ahead = measured.workers.iter().filter(|worker| worker.is_ahead()).count();
        let help = "Workers that come before everything else on their cores";
        gauge(&mut encoder, "workers_real_time", help, ahead as i64)?;
        gauge(&mut encoder, "connections_now", "Connections", measured.census.connected() as i64)?;
        counters(&mut encoder, "limited", "Limits reached, by limit", "limit", measured.limited())?;
        let seen = measured.seen();
        counter(
            &mut encoder,
            "network_scans",
            "Networks that asked for very many unknown codes",
            seen.scans,
        )?;
        let help = "Networks forgotten by the limits before their window was over";
        counter(&mut encoder, "networks_forgotten", help, seen.forgotten)?;
        let fill = measured.hot.fill_level();
        gauge(&mut encoder, "hot_map_entries", "Links in the hot map", fill.entries as i64)?;
        gauge(&mut encoder, "hot_map_bytes", "Bytes the hot map takes", fill.bytes as i64)?;
        let allocated = Role::ALL.map(|(role, name)| (name, allocations::counted(role)));
        let help = "Allocations of the threads that serve, those of C libraries left out";
        counters(&mut encoder, "allocations", help, "thread", allocated.into_iter())?;
        let help = "Guesses of passwords, by how they ended";
        counters(&mut encoder, "password_guesses", help, "outcome", measured.guesses.all().into_iter())?;
        self.encode_tls(&mut encoder)?;
        self.encode_geo(&mut encoder)?;
        self.encode_clicks(&mut encoder)?;
        self.encode_following(&mut encoder)
    }
}

impl Collected {
    fn encode_tls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(tls) = &self.0.tls else { return Ok(()) };
        let kind = prometheus_client::metrics::MetricType::Counter;
        let mut family =
            encoder.encode_descriptor("tls_handshakes", "TLS handshakes by how they ended", None, kind)?;
        for (result, version, handshake) in HANDSHAKES {
            let count = ConstCounter::new(self.0.events(Event::Handshake(handshake)));
            count.encode(family.encode_family(&[("result", result), ("version", version)])?)?;
        }
        let (reloads, refused) = tls.reloads();
        let results = [("ok", reloads), ("refused", refused)];
        counters(encoder, "tls_reloads", "Certificates read again", "result", results.into_iter())?;
        let mut family = encoder.encode_descriptor(
            "tls_certificate_expiry_timestamp_seconds",
            "When a certificate ends, seconds since the Unix epoch, by its place in the configuration",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for (place, certificate) in tls.certificates().iter().enumerate() {
            let expiry = ConstGauge::new(certificate.expires_at_s);
            expiry.encode(family.encode_family(&[("certificate", place.to_string())])?)?;
        }
        Ok(())
    }

    fn encode_geo(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(geo) = &self.0.geo else { return Ok(()) };
        let (reloads, refused) = geo.reloads();
        let results = [("ok", reloads), ("refused", refused)];
        let help = "Times the database of countries was read again";
        counters(encoder, "country_database_reloads", help, "result", results.into_iter())?;
        let help = "When the database of countries was made, seconds since the Unix epoch";
        let built_at_s = i64::try_from(geo.shown().built_at_s).unwrap_or(i64::MAX);
        gauge(encoder, "country_database_build_timestamp_seconds", help, built_at_s)
    }

    fn encode_clicks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(clicks) = &self.0.clicks else { return Ok(()) };
        let clicks = clicks.numbers();
        let kinds = KIND_NAMES.into_iter().zip(clicks.kinds);
        counters(encoder, "clicks", "Redirects recorded on disk, by who asked", "kind", kinds)?;
        let dropped = [
            ("ring_full", clicks.ring_full),
            ("damaged", clicks.damaged),
            ("queue_full", clicks.queue_full()),
        ];
        counters(
            encoder,
            "clicks_dropped",
            "Redirects lost to the counts, by why (queue_full: over the ledger's life)",
            "reason",
            dropped.into_iter(),
        )?;
        counter(
            encoder,
            "clicks_possible_losses",
            "Times since start that clicks may have been lost uncounted: the machine went down, or a ring was damaged",
            clicks.possible_losses,
        )?;
        let (batches, bytes) = clicks.unreleased();
        gauge(encoder, "clicks_unreleased_batches", "Batches kept for the writer", batches as i64)?;
        gauge(encoder, "clicks_unreleased_bytes", "Their bytes", bytes as i64)?;
        gauge(
            encoder,
            "clicks_failing",
            "1 if the click ledger cannot be written",
            i64::from(clicks.is_failing),
        )?;
        let behind = ConstGauge::new(clicks.behind_ms as f64 / 1_000.0);
        let help = "How far the writer's counts are behind this proxy's answers";
        behind.encode(encoder.encode_descriptor(
            "clicks_behind_seconds",
            help,
            None,
            behind.metric_type(),
        )?)?;
        let mut family = encoder.encode_descriptor(
            "clicks_report_state",
            "1 for what reporting to the writer is doing",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for state in ReportState::ALL {
            let value = i64::from(state == clicks.report);
            ConstGauge::new(value).encode(family.encode_family(&[("state", state.name())])?)?;
        }
        Ok(())
    }

    fn encode_following(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (verdict, follow) = self.0.ready.verdict();
        let applied = follow.applied.position;
        gauge(encoder, "ready", "1 if visitors should come", i64::from(verdict.is_ready()))?;
        gauge(encoder, "replica_epoch", "Epoch of the last record applied", i64::from(applied.epoch.0))?;
        gauge(encoder, "replica_applied_seq", "Last record applied", applied.seq.0 as i64)?;
        gauge(encoder, "replica_keys", "Served keys, tombstones included", follow.served.keys as i64)?;
        if let Some(head) = follow.writer_head {
            gauge(encoder, "writer_head_seq", "The writer's last record, as last heard", head.seq.0 as i64)?;
        }
        if let Some(skew_ms) = follow.clock_skew_ms {
            let skew = ConstGauge::new(skew_ms as f64 / 1_000.0);
            let help = "This clock minus the writer's, the way included";
            skew.encode(encoder.encode_descriptor("clock_skew_seconds", help, None, skew.metric_type())?)?;
        }
        if let Some(expires_at_s) = self.0.credential_expires_at_s {
            let name = "credential_expiry_timestamp_seconds";
            gauge(
                encoder,
                name,
                "When the certificate ends, seconds since the Unix epoch",
                expires_at_s as i64,
            )?;
        }
        let states = FeedState::ALL.map(|state| (state.name(), i64::from(state == follow.state)));
        let mut family = encoder.encode_descriptor(
            "feed_state",
            "1 for what the feed is doing",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for (state, value) in states {
            ConstGauge::new(value).encode(family.encode_family(&[("state", state)])?)?;
        }
        let outage = follow.outage(Instant::now());
        let help = "1 for why no writer is heard of, as far as peers can tell";
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let mut family = encoder.encode_descriptor("feed_outage", help, None, kind)?;
        for cause in Outage::ALL {
            let value = i64::from(outage == Some(cause));
            ConstGauge::new(value).encode(family.encode_family(&[("cause", cause.name())])?)?;
        }
        let disk = &self.0.disk;
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        gauge(encoder, "disk_free_bytes", "Bytes free where the replica is", bytes(disk.free()))?;
        gauge(encoder, "disk_reserve_bytes", "Bytes below which nothing is received", bytes(disk.reserve()))?;
        let help = "1 while nothing is received for want of room";
        gauge(encoder, "disk_low", help, i64::from(disk.room() != Room::Enough))?;
        let damaged = i64::from(follow.damage.is_some());
        gauge(encoder, "replica_damaged", "1 while the replica served from is damaged or diverged", damaged)?;
        counter(encoder, "replica_damages", "Replicas found damaged or diverged", follow.damages)?;
        counter(encoder, "bootstraps", "Replicas fetched", follow.bootstraps)?;
        counter(encoder, "bootstrap_bytes", "Bytes of snapshots received", follow.bootstrap_bytes)?;
        let (bytes, of) = follow.bootstrapping.as_ref().map_or((0, 0), |now| (now.bytes, now.of));
        gauge(encoder, "bootstrap_progress_bytes", "Bytes of the snapshot being received", bytes as i64)?;
        gauge(encoder, "bootstrap_size_bytes", "Bytes it has; 0: none is being received", of as i64)?;
        let passes = self.0.scrub.passes();
        counter(encoder, "scrub_passes", "Looks at everything on the disk, ended", passes.ended)?;
        counter(encoder, "scrub_damages", "Looks that found damage", passes.damaged)?;
        let help = "When the disk was last found sound, seconds since the Unix epoch; 0: not since start";
        gauge(encoder, "scrub_sound_timestamp_seconds", help, passes.sound_at_s as i64)?;
        counter(encoder, "feed_frames", "Frames applied", follow.frames)?;
        counter(encoder, "feed_records", "Records applied", follow.records)?;
        counter(encoder, "feed_streams", "Streams the writer welcomed", follow.streams)
    }
}

fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    counts: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let kind = prometheus_client::metrics::MetricType::Counter;
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (value, count) in counts {
        ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: u64) -> fmt::Result {
    let metric = ConstCounter::new(count);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
