//! The configuration file. `config.example.toml` holds every key with its default, and a test keeps it so.

mod standby;
mod targets;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use daemon::config::{ConfigError, Loaded, Section};
use daemon::disk::DiskReserve;
use daemon::telemetry::LogConfig;
use linklog::limits::CODE_BYTES_MAX;
use wire::channel::ChannelError;
use wire::identity::Role;

use crate::alias::AliasRules;
use crate::backup::BackupOptions;
use crate::codes::CodesOptions;
use crate::codes::reuse::Reuse;
use crate::domains::ShortUrlBase;
use crate::http::dropin::DropIn;
use crate::replication::ReplicationOptions;
use crate::scrub::ScrubOptions;
use crate::search::SearchOptions;
use crate::sweep::window::Window;
use crate::sweep::{Action, SweepOptions};
pub use standby::StandbyConfig;
pub use targets::Targets;

/// Everything the file says.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log and the leases lie.
    pub data_dir: PathBuf,
    /// What short URLs of the default domain begin with; `None` only in a configuration that is refused.
    pub short_url_base: Option<ShortUrlBase>,
    /// Where the API listens.
    pub http_listen: SocketAddr,
    /// Where health, readiness and metrics are.
    pub health_listen: SocketAddr,
    /// Where followers connect.
    pub feed_listen: SocketAddr,
    /// How the disk is looked at.
    pub scrub: ScrubOptions,
    /// How many bytes of snapshots are sent each second, to all followers together; 0: as fast as it goes.
    pub snapshot_bytes_per_s: u64,
    /// The writer's credential bundle; none: plain, loopback only.
    pub tls_dir: Option<PathBuf>,
    /// The control socket.
    pub control_socket: PathBuf,
    /// Addresses of the key pools.
    pub keypools: Vec<String>,
    /// The stock of codes.
    pub codes: CodesOptions,
    /// How replication is waited for.
    pub replication: ReplicationOptions,
    /// Whom to follow, if this is a standby.
    pub standby: Option<StandbyConfig>,
    /// When and where backups are made.
    pub backup: BackupOptions,
    /// Bytes to keep free on the disk of `data_dir`.
    pub disk_reserve_bytes: u64,
    /// How many bytes of records are kept for followers that come back.
    pub journal_retention_bytes: u64,
    /// How many bytes of counted batches are kept.
    pub clicks_retention_bytes: u64,
    /// What becomes of links that have ended.
    pub sweep: SweepOptions,
    /// The search index.
    pub search: SearchOptions,
    /// Which aliases are allowed, unless a domain says otherwise.
    pub aliases: AliasRules,
    /// Where links may lead.
    pub targets: Targets,
    /// How old a key gets that links are signed with, in milliseconds; `None`: as old as nobody asks for another one.
    pub signing_key_rotate_after_ms: Option<u64>,
    /// Which APIs of others are there.
    pub drop_in: DropIn,
    /// What a client may use up.
    pub limits: Limits,
    /// Logs.
    pub log: LogConfig,
}

/// What a client may use up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// Largest body of a batch, in bytes.
    pub batch_body_bytes_max: usize,
    /// Longest target, in bytes.
    pub url_bytes_max: usize,
    /// Requests per second and token; 0: unlimited.
    pub requests_per_s_per_token: u32,
}

const MIB: usize = 1 << 20;

/// Reads a configuration file.
///
/// # Errors
/// It cannot be read, or has problems: then all of them.
pub fn load(path: &std::path::Path) -> Result<Loaded<Config>, ConfigError> {
    daemon::config::load(path, read)
}

fn scrub(section: &mut Section) -> ScrubOptions {
    const YEAR_S: u64 = 365 * 24 * 3_600;
    ScrubOptions {
        every: Duration::from_secs(section.in_range("every_s", 24 * 3_600, 0..=YEAR_S)),
        bytes_per_s: section.in_range("bytes_per_s", 32 << 20, 1 << 10..=1 << 40),
    }
}

/// Takes the configuration out of the root section.
pub fn read(root: &mut Section) -> Config {
    let data_dir = root.value("data_dir", PathBuf::from("/var/lib/signpost-admin"));
    let short_url_base = short_url_base(root);
    let (mut http, mut health, mut feed) =
        (root.section("http"), root.section("health"), root.section("feed"));
    let http_listen = http.value("listen", loopback(7300));
    let health_listen = health.value("listen", loopback(7301));
    let feed_listen = feed.value("listen", loopback(7302));
    let tls_dir: Option<PathBuf> = feed.optional("tls_dir");
    if tls_dir.is_none() && !feed_listen.ip().is_loopback() {
        feed.problem("listen", "others can reach this address: set tls_dir, or listen on 127.0.0.1");
    }
    let snapshot_bytes_per_s = feed.in_range("snapshot_bytes_per_s", 256 << 20, 0..=1 << 40);
    let control_socket =
        root.section("control").value("socket", PathBuf::from("/run/signpost-admin/control.sock"));
    let keypools = root.sections("keypool").iter_mut().map(|pool| keypool(pool, tls_dir.is_some())).collect();
    let limits = limits(&mut root.section("limits"));
    let disk_reserve_bytes = DiskReserve::read(&mut root.section("disk"));
    let replication = replication(&mut root.section("replication"));
    let standby =
        standby::read(&mut root.section("standby"), replication.min_sync_replicas, tls_dir.is_some());
    Config {
        search: search(&mut root.section("search"), &data_dir, disk_reserve_bytes),
        data_dir,
        short_url_base,
        http_listen,
        health_listen,
        feed_listen,
        snapshot_bytes_per_s,
        scrub: scrub(&mut root.section("scrub")),
        tls_dir,
        control_socket,
        keypools,
        codes: codes(&mut root.section("codes")),
        replication,
        backup: BackupOptions::read(&mut root.section("backup")),
        standby,
        disk_reserve_bytes,
        journal_retention_bytes: root.section("journal").in_range(
            "retention_bytes",
            10 << 30,
            (16 * MIB) as u64..=1 << 50,
        ),
        clicks_retention_bytes: root.section("clicks").in_range(
            "retention_bytes",
            1 << 30,
            (16 * MIB) as u64..=1 << 50,
        ),
        sweep: sweep(&mut root.section("sweep")),
        aliases: aliases(&mut root.section("aliases")),
        targets: targets::read(&mut root.section("targets"), limits.url_bytes_max),
        signing_key_rotate_after_ms: signing(&mut root.section("signing")),
        drop_in: drop_in(&mut root.section("drop_in")),
        limits,
        log: LogConfig::read(&mut root.section("log")),
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

fn short_url_base(root: &mut Section) -> Option<ShortUrlBase> {
    let text: String = root.required("short_url_base");
    if !root.has("short_url_base") {
        return None;
    }
    text.parse()
        .map_err(|error| root.problem("short_url_base", format!("not the beginning of a short URL: {error}")))
        .ok()
}

fn keypool(pool: &mut Section, have_identity: bool) -> String {
    let url: String = pool.required("url");
    if pool.has("url") {
        match wire::channel::endpoint(&url, None, Role::Keypool) {
            Err(ChannelError::NoIdentity { .. }) if have_identity => {}
            Err(error) => pool.problem("url", error.to_string()),
            Ok(_) => {}
        }
    }
    url
}

fn codes(section: &mut Section) -> CodesOptions {
    CodesOptions {
        block: section.in_range("block", 10_000, 1..=wire::limits::LEASE_CODES_MAX),
        low_watermark: section.in_range("low_watermark", 5_000, 1..=1_000_000),
        reuse: reuse(section),
    }
}

fn reuse(section: &mut Section) -> Reuse {
    let (is_on, days) =
        (section.value("reuse", false), section.in_range("reuse_after_days", 90, 0..=3_650_u64));
    Reuse { after_ms: is_on.then_some(days * DAY_MS) }
}

const DAY_MS: u64 = 24 * 3_600_000;

fn sweep(section: &mut Section) -> SweepOptions {
    let window: String = section.value("window", "off".to_owned());
    let window = window.parse().unwrap_or_else(|error| {
        section.problem("window", format!("{error}"));
        Window::Off
    });
    let idle_days = section.in_range("idle_days", 0, 0..=3_650_u64);
    SweepOptions {
        window,
        per_s: section.in_range("sweep_per_s", 200, 1..=10_000),
        keep_ms: section.in_range("keep_expired_days", 30, 0..=3_650_u64) * DAY_MS,
        action: section.one_of(
            "action",
            "delete",
            &[("delete", Action::Delete), ("archive", Action::Archive)],
        ),
        idle_ms: (idle_days > 0).then_some(idle_days * DAY_MS),
    }
}

fn aliases(section: &mut Section) -> AliasRules {
    let length_min = section.in_range("length_min", 3, 1..=CODE_BYTES_MAX);
    let length_max = section.in_range("length_max", 50, 1..=CODE_BYTES_MAX);
    if length_min > length_max {
        section.problem("length_min", "it is above length_max");
    }
    let words: Vec<String> = section.value("reserved", Vec::new());
    let reserved = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    AliasRules { length_min, length_max, reserved: Arc::new(reserved) }
}

fn replication(section: &mut Section) -> ReplicationOptions {
    let min_sync_replicas = section.in_range("min_sync_replicas", 0, 0..=2);
    let wait_ms = section.in_range("wait_ms", 250, 0..=60_000);
    let healthy_within_ms = section.in_range("healthy_within_ms", 2_000, 100..=60_000);
    ReplicationOptions {
        min_sync_replicas,
        wait: Duration::from_millis(wait_ms),
        healthy_within: Duration::from_millis(healthy_within_ms),
    }
}

fn search(section: &mut Section, data_dir: &std::path::Path, disk_reserve_bytes: u64) -> SearchOptions {
    SearchOptions {
        enabled: section.value("enabled", true),
        dir: data_dir.join("search"),
        free_bytes_min: disk_reserve_bytes.saturating_mul(2),
        memory_bytes: section.in_range("memory_bytes", 64 * MIB, 16 * MIB..=1024 * MIB),
        commit_every: Duration::from_millis(section.in_range("commit_every_ms", 5_000, 100..=30_000)),
        clicks_every: Duration::from_millis(section.in_range("clicks_every_ms", 20_000, 100..=60_000)),
    }
}

fn drop_in(section: &mut Section) -> DropIn {
    DropIn {
        shlink: section.value("shlink", false),
        yourls: section.value("yourls", false),
        bitly: section.value("bitly", false),
        shorten: section.value("shorten", false),
    }
}

fn signing(section: &mut Section) -> Option<u64> {
    let days = section.in_range("rotate_after_days", 90u64, 0..=3_650);
    (days > 0).then_some(days * 24 * 3_600 * 1_000)
}

fn limits(section: &mut Section) -> Limits {
    Limits {
        body_bytes_max: section.in_range("body_bytes_max", MIB, 1024..=16 * MIB),
        batch_body_bytes_max: section.in_range("batch_body_bytes_max", 8 * MIB, 1024..=64 * MIB),
        url_bytes_max: section.in_range("url_bytes_max", 8192, 64..=linklog::limits::TARGET_BYTES_MAX),
        requests_per_s_per_token: section.in_range("requests_per_s_per_token", 0, 0..=1_000_000),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<Loaded<Config>, String> {
        daemon::config::parse("x.toml", text, read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_file_equals_the_defaults() {
        let example = include_str!("../config.example.toml");
        let base = "short_url_base = \"http://127.0.0.1:8080\"";
        assert!(example.contains(base));
        let (example, defaults) = (parse(example).unwrap(), parse(base).unwrap());
        assert_eq!(example.effective, defaults.effective);
        // Optional keys and lists have no defaults to compare with: the example shows them in comments.
        for key in [
            "tls_dir",
            "[[keypool]]",
            "url",
            "url = \"/mnt",
            "verdict_url",
            "name",
            "api_url",
            "writer_min_sync_replicas",
        ] {
            assert!(include_str!("../config.example.toml").contains(&format!("# {key}")), "{key}");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let text = "
            short_url_base = 'ftp://x'
            surplus = 1
            [feed]
            listen = '0.0.0.0:7302'
            [[keypool]]
            url = 'http://10.0.0.1:7400'
            [[keypool]]
            [codes]
            block = 0
            [replication]
            min_sync_replicas = 3
            [limits]
            url_bytes_max = 1000000
            [targets]
            schemes = ['https', 'javascript']
            verdict_url = 'https://x.example/'
            verdict_when_silent = 'maybe'
        ";
        let error = parse(text).unwrap_err();
        for expected in [
            "short_url_base",
            "surplus",
            "feed.listen",
            "keypool[0].url",
            "keypool[1].url",
            "codes.block",
            "replication.min_sync_replicas",
            "limits.url_bytes_max",
            "targets.schemes",
            "targets.verdict_url",
            "targets.verdict_when_silent",
        ] {
            assert!(error.contains(expected), "no {expected} in {error}");
        }
    }

    #[test]
    fn the_base_of_short_urls_has_no_default() {
        assert!(parse("").unwrap_err().contains("short_url_base"));
    }

    #[test]
    fn key_pools_on_other_machines_need_a_credential_bundle() {
        let with = |tls: &str| {
            parse(&format!(
                "short_url_base = 'https://s.test'\n[feed]\n{tls}\n[[keypool]]\nurl = 'https://pool:7400'"
            ))
        };
        assert!(with("").unwrap_err().contains("tls_dir"));
        assert_eq!(with("tls_dir = '/etc/x'").unwrap().config.keypools, ["https://pool:7400"]);
    }
}
