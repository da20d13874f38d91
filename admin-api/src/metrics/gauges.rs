//! What is not counted here but looked up when somebody asks: the log, the stock of codes, the members.

use std::fmt;
use std::sync::Arc;

use clicklog::Kind;
use daemon::disk::{DiskReserve, Room};
use linklog::journal::JournalRead;
use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};

use crate::backup::BackupStatus;
use crate::clicks::Clicks;
use crate::codes::Codes;
use crate::codes::mark::Marks;
use crate::codes::stock::Supply;
use crate::log::Log;
use crate::replication::MemberStatus;
use crate::search::Search;
use crate::standby::status::Status;
use crate::sweep::status::SweepStatus;

/// The parts that are looked at. Nothing in here waits for a disk or a lock that is held for long.
pub struct Observed {
    /// The log.
    pub log: Log,
    /// The stock of codes.
    pub codes: Codes,
    /// What the pools are still to be told.
    pub marks: Marks,
    /// What the proxies report.
    pub clicks: Clicks,
    /// How far the sweep is.
    pub sweep: SweepStatus,
    /// The search index.
    pub search: Search,
    /// How backups go.
    pub backup: BackupStatus,
    /// The disk of the log.
    pub disk: DiskReserve,
    /// The members, as of the last look (their lag takes a read of the journal).
    pub members: Arc<RwLock<Vec<MemberStatus>>>,
    /// How following goes, on a standby.
    pub standby: Option<Arc<Status>>,
}

impl Observed {
    /// Returns what `/readyz` says.
    pub fn detail(&self) -> Value {
        let position = self.log.commit().head.position;
        let members = self.members.read();
        let members: Vec<_> = members
            .iter()
            .map(
                |member| json!({ "id": member.id, "state": member.state, "lag_records": member.lag_records }),
            )
            .collect();
        let mut detail = json!({
            "role": if self.standby.is_some() { "standby" } else { "writer" },
            "head": { "epoch": position.epoch.0, "seq": position.seq.0 },
            "codes_left": self.codes.left(),
            "keypools": match self.codes.supply() { Supply::Up => "up", Supply::Down => "down" },
            "members": members,
            "disk": { "room": self.disk.room().name(), "free_bytes": self.disk.free(), "reserve_bytes": self.disk.reserve() },
        });
        if let Some(standby) = &self.standby {
            detail["standby"] = standby.to_json(position.seq.0);
        }
        detail
    }

    /// Says whether it does what it is there for: a standby, whether it follows and has everything it was told of.
    pub fn is_ready(&self) -> bool {
        let applied_seq = self.log.commit().head.position.seq.0;
        self.standby.as_ref().is_none_or(|standby| standby.is_current(applied_seq))
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.log.counts();
        let mut counter = |name: &str, help: &str, value: u64| -> fmt::Result {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
        };
        counter("writer_groups", "Groups of changes written, each with one fsync", counts.groups)?;
        counter("writer_records", "Records written", counts.records)?;
        counter("writer_conflicts", "Changes refused because a precondition failed", counts.conflicts)?;
        let seconds = ConstCounter::new(counts.write_us as f64 / 1e6);
        let help = "Time spent deciding and writing groups, the fsync included";
        seconds.encode(encoder.encode_descriptor(
            "writer_write_seconds",
            help,
            None,
            MetricType::Counter,
        )?)?;
        let mut gauge = |name: &str, help: &str, value: u64| -> fmt::Result {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        if let Some(standby) = &self.standby {
            let applied_seq = self.log.commit().head.position.seq.0;
            let head = standby.snapshot().writer_head.map_or(0, |head| head.seq.0);
            let following = u64::from(standby.is_current(applied_seq));
            gauge("standby_current", "1 if this standby has everything the writer has told of", following)?;
            let help = "Records that the writer has told of and this standby lacks";
            gauge("standby_lag_records", help, head.saturating_sub(applied_seq))?;
        }
        gauge("head_seq", "Number of the last durable record", self.log.commit().head.position.seq.0)?;
        gauge(
            "journal_first_seq",
            "Number of the first record that the journal still has",
            self.log.journal().first_retained().0,
        )?;
        gauge(
            "format_level",
            "Level of the byte format that records are written at",
            u64::from(self.log.commit().format_level),
        )?;
        gauge("codes_left", "Generated codes in stock", self.codes.left() as u64)?;
        gauge(
            "keypools_up",
            "Whether a key pool answered when last asked",
            u64::from(self.codes.supply() == Supply::Up),
        )?;
        gauge(
            "marks_waiting",
            "Aliases that look like codes of which a key pool does not know yet",
            self.marks.waiting() as u64,
        )?;
        gauge(
            "sweep_links_due",
            "Links that ended long enough ago to be swept, as last counted, at most 10000",
            self.sweep.due().links,
        )?;
        let ended_at_ms = self.sweep.run().and_then(|run| run.ended_at_ms);
        if let Some(at_ms) = ended_at_ms {
            gauge(
                "sweep_last_run_seconds",
                "When the sweep had nothing left to do, Unix time",
                at_ms / 1_000,
            )?;
        }
        if self.search.is_on() {
            let lag = self.search.lag();
            gauge("search_ready", "Whether the search index can be asked", u64::from(lag.is_some()))?;
            if let Some((behind, links)) = lag {
                gauge("search_behind_records", "Records that the search index does not have yet", behind)?;
                gauge("search_links", "Links in the search index", links)?;
            }
        }
        gauge("disk_free_bytes", "Bytes free where the log is", self.disk.free())?;
        gauge("disk_reserve_bytes", "Bytes below which no change is taken", self.disk.reserve())?;
        gauge(
            "disk_low",
            "Whether less is free than is reserved",
            u64::from(self.disk.room() != Room::Enough),
        )?;
        if let Some((head, at_ms)) = self.backup.last_snapshot() {
            gauge(
                "backup_seconds",
                "When the last backup was made, seconds since the Unix epoch",
                at_ms / 1_000,
            )?;
            gauge("backup_head_seq", "Number of the last record that it has", head.seq.0)?;
        }
        if let Some(archived) = self.backup.archived() {
            gauge("archived_seq", "Number of the last record in the archive", archived.seq.0)?;
        }
        gauge(
            "backup_failures",
            "Backups and steps of the archive that failed since the start",
            self.backup.failures(),
        )?;
        self.encode_clicks(&mut encoder)?;
        let members = self.members.read().clone();
        member_gauge(
            &mut encoder,
            &members,
            "member_lag_records",
            "Records the member has not applied",
            |member| member.lag_records as f64,
        )?;
        let help = "Age of the oldest record the member has not applied";
        member_gauge(&mut encoder, &members, "member_lag_seconds", help, |member| member.lag_ms as f64 / 1e3)
    }
}

impl Observed {
    fn encode_clicks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.clicks.counts();
        let help = "Requests counted since the start, by what asked";
        let mut metric = encoder.encode_descriptor("clicks_counted", help, None, MetricType::Counter)?;
        for (kind, name) in Kind::ALL.into_iter().zip(["person", "bot", "head", "prefetch"]) {
            let labels = [("kind", name)];
            ConstCounter::new(counts.clicks.of(kind)).encode(metric.encode_family(&labels)?)?;
        }
        let mut counter = |name: &str, help: &str, value: u64| -> fmt::Result {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
        };
        counter("click_batches", "Batches of clicks counted", counts.batches)?;
        counter(
            "click_batches_repeated",
            "Batches that had no effect because they were counted before",
            counts.duplicates,
        )?;
        counter("click_batches_refused", "Batches refused because one was missing before them", counts.gaps)?;
        counter("click_groups", "Groups of batches written, each with one fsync", counts.groups)?;
        counter(
            "clicks_dropped",
            "Clicks that proxies had to drop: they are in no count",
            self.clicks.dropped(),
        )?;
        let (known, live) = self.clicks.ledgers();
        let mut gauge = |name: &str, help: &str, value: f64| -> fmt::Result {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("click_ledgers", "Ledgers that ever reported", known as f64)?;
        gauge("click_ledgers_reporting", "Ledgers that report now", live as f64)?;
        let freshness = self.clicks.freshness();
        gauge(
            "click_members_missing",
            "Active proxies that have not reported recently",
            freshness.missing.len() as f64,
        )?;
        if let Some(until) = freshness.complete_until_ms {
            let behind_ms = crate::clock::now_ms().saturating_sub(until);
            let help = "Age of the newest time up to which the clicks of all active proxies are counted";
            gauge("clicks_behind_seconds", help, behind_ms as f64 / 1e3)?;
        }
        Ok(())
    }
}

/// Members are added by hand: there are tens of them, and their names are fixed.
fn member_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    members: &[MemberStatus],
    name: &str,
    help: &str,
    value: impl Fn(&MemberStatus) -> f64,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for member in members {
        let labels = [("member", member.id.as_str())];
        ConstGauge::new(value(member)).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
