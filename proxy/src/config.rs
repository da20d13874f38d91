//! The configuration of a proxy: what each key means, its default and its bounds.
//!
//! A [`Config`] is valid as a whole: what can be known from the file alone has been checked. Whether folders exist and ports are
//! free shows at start.

mod geo;
mod limits;
mod listeners;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use daemon::config::Section;
use daemon::disk::DiskReserve;
use daemon::telemetry::LogConfig;
use wire::channel::{self, ChannelError};
use wire::identity::{Role, check_name};

use crate::clicks::options::ClickOptions;
use crate::client::ClientAddress;
use crate::hosts::UnknownHost;
use crate::passwords::PasswordOptions;
use crate::peers::PEERS_MAX;
use crate::scrub::ScrubOptions;

pub use self::geo::GeoFile;
pub use self::limits::{LimitsConfig, PerNetwork};
pub use self::listeners::Listener;
pub use self::tls::{CertificateFiles, TlsFiles};

/// Most threads that serve.
pub const WORKERS_MAX: usize = 256;

/// Everything a proxy is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the replica lies.
    pub data_dir: PathBuf,
    /// Where visitors come in, at least one address, each once.
    pub listeners: Vec<Listener>,
    /// Certificates; `None` if no listener has TLS.
    pub tls: Option<TlsFiles>,
    /// Threads that serve, at least 1.
    pub workers: usize,
    /// Whether they come before everything else on their cores, while they leave room.
    pub real_time: bool,
    /// What clients may do.
    pub limits: LimitsConfig,
    /// Where health, readiness and metrics are answered.
    pub health: SocketAddr,
    /// Bytes kept free on the disk of `data_dir`; 0: none.
    pub disk_reserve_bytes: u64,
    /// Whom to follow.
    pub writers: Writers,
    /// The control socket.
    pub control_socket: PathBuf,
    /// The database of countries; `None`: no rule by country holds.
    pub geo: Option<GeoFile>,
    /// How clicks are counted.
    pub clicks: ClickOptions,
    /// What comparing passwords may take.
    pub passwords: PasswordOptions,
    /// Memory and disk.
    pub cache: Cache,
    /// When to be ready.
    pub ready: Ready,
    /// A proxy without any record fetches a snapshot instead of so many records.
    pub fresh_from_records: u64,
    /// How the disk is looked at.
    pub scrub: ScrubOptions,
    /// Where `/` leads; `None`: a small page.
    pub root_redirect: Option<String>,
    /// What is answered on hosts nobody declared.
    pub unknown_host: UnknownHost,
    /// How to log.
    pub log: LogConfig,
}

/// Whom to follow, and as whom.
#[derive(Clone, Debug)]
pub struct Writers {
    /// The feeds of all writers, at least one.
    pub urls: Vec<String>,
    /// The credential bundle; without it plain on loopback.
    pub tls_dir: Option<PathBuf>,
    /// Who we are without a bundle.
    pub name: Option<String>,
}

/// Memory and disk.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    /// Bytes of ready answers.
    pub hot_map_bytes: usize,
    /// Bytes of database blocks.
    pub block_cache_bytes: usize,
    /// Threads that may wait for the disk.
    pub disk_threads: usize,
    /// Lookups that may wait for one of them.
    pub disk_queue_max: usize,
    /// How long a visitor waits for the disk.
    pub disk_deadline: Duration,
}

/// When to be ready.
#[derive(Clone, Debug)]
pub struct Ready {
    /// How far behind the writer still counts as caught up.
    pub lag_max: Duration,
    /// After how long without any word from a writer a replica on disk is enough.
    pub without_writer_after: Duration,
    /// How long to be unready before the ports are closed.
    pub unready_before_stop: Duration,
    /// Health addresses of other proxies, asked while no writer is heard of.
    pub peers: Vec<String>,
}

impl Config {
    /// Reads the whole file.
    pub fn read(root: &mut Section) -> Config {
        let data_dir = root.value("data_dir", PathBuf::from("/var/lib/signpost-proxy"));
        let listeners = listeners::read(root);
        let workers = read_workers(&mut root.section("listen"));
        let real_time = root.section("listen").value("real_time", true);
        let unstated = listeners.iter().find(|listener| listener.client_address == ClientAddress::Unstated);
        let unstated = unstated.map(|listener| listener.address);
        let limits = limits::read(root, unstated);
        let geo = geo::read(&mut root.section("geo"), unstated);
        let has_tls = listeners.iter().any(|listener| listener.tls);
        let tls = tls::read(&mut root.section("tls"), has_tls);
        let health = root.section("health").value("listen", SocketAddr::from(([127, 0, 0, 1], 8081)));
        let disk_reserve_bytes = DiskReserve::read(&mut root.section("disk"));
        let writers = read_writers(&mut root.section("writers"));
        let control_socket =
            root.section("control").value("socket", PathBuf::from("/run/signpost-proxy/control.sock"));
        let clicks = ClickOptions::read(&mut root.section("clicks"));
        let passwords = read_passwords(&mut root.section("passwords"));
        let cache = read_cache(&mut root.section("cache"));
        let ready = read_ready(&mut root.section("ready"));
        let fresh_from_records =
            root.section("bootstrap").in_range("fresh_from_records", 1_000_000, 1..=u64::MAX >> 1);
        let scrub = read_scrub(&mut root.section("scrub"));
        let root_redirect = read_root(&mut root.section("root"));
        let unknown_host = read_unknown_host(&mut root.section("hosts"));
        let log = LogConfig::read(&mut root.section("log"));
        Config {
            data_dir,
            listeners,
            tls,
            workers,
            real_time,
            limits,
            health,
            disk_reserve_bytes,
            writers,
            control_socket,
            geo,
            clicks,
            passwords,
            cache,
            ready,
            fresh_from_records,
            scrub,
            root_redirect,
            unknown_host,
            log,
        }
    }
}

fn read_workers(section: &mut Section) -> usize {
    match section.in_range("workers", 0, 0..=WORKERS_MAX) {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX),
        workers => workers,
    }
}

fn read_writers(section: &mut Section) -> Writers {
    let urls: Vec<String> = section.required("urls");
    let tls_dir: Option<PathBuf> = section.optional("tls_dir");
    let name: Option<String> = section.optional("name");
    if section.has("urls") && urls.is_empty() {
        section.problem("urls", "expected at least one address, such as \"https://127.0.0.1:7302\"");
    }
    for url in &urls {
        match channel::endpoint(url, None, Role::Writer) {
            Err(ChannelError::NoIdentity { .. }) if tls_dir.is_some() => {}
            Err(error) => section.problem("urls", error.to_string()),
            Ok(_) => {}
        }
    }
    match &name {
        Some(name) => {
            if let Err(error) = check_name(name) {
                section.problem("name", error.to_string());
            }
        }
        None if tls_dir.is_none() => {
            section.problem("name", "missing: without tls_dir a proxy needs the name it was added under");
        }
        None => {}
    }
    Writers { urls, tls_dir, name }
}

fn read_passwords(section: &mut Section) -> PasswordOptions {
    let default = PasswordOptions::default();
    let window_s = section.in_range("attempts_window_s", default.attempts_window.as_secs(), 1..=86_400);
    PasswordOptions {
        threads: section.in_range("threads", default.threads, 1..=64),
        queue_max: section.in_range("queue_max", default.queue_max, 1..=4_096),
        attempts_max: section.in_range("attempts_max", default.attempts_max, 1..=1_000_000),
        attempts_window: Duration::from_secs(window_s),
    }
}

fn read_cache(section: &mut Section) -> Cache {
    const MIB: usize = 1 << 20;
    Cache {
        hot_map_bytes: section.in_range("hot_map_bytes", 256 * MIB, MIB..=1 << 42),
        block_cache_bytes: section.in_range("block_cache_bytes", 256 * MIB, 8 * MIB..=1 << 42),
        disk_threads: section.in_range("disk_threads", 4, 1..=256),
        disk_queue_max: section.in_range("disk_queue_max", 1024, 1..=1 << 20),
        disk_deadline: Duration::from_millis(section.in_range("disk_deadline_ms", 250, 1..=60_000)),
    }
}

fn read_ready(section: &mut Section) -> Ready {
    const HOUR_MS: u64 = 3_600_000;
    let peers = read_peers(section);
    let mut ms = |key, default, allowed| Duration::from_millis(section.in_range(key, default, allowed));
    Ready {
        peers,
        lag_max: ms("lag_ms_max", 5_000, 1..=HOUR_MS),
        without_writer_after: ms("without_writer_after_ms", 10_000, 0..=HOUR_MS),
        unready_before_stop: ms("unready_before_stop_ms", 0, 0..=HOUR_MS),
    }
}

fn read_peers(section: &mut Section) -> Vec<String> {
    let peers: Vec<String> = section.value("peers", Vec::new());
    if peers.len() > PEERS_MAX {
        section.problem("peers", format!("expected at most {PEERS_MAX} addresses"));
    }
    for peer in &peers {
        let is_address = |(host, port): (&str, &str)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        if !peer.rsplit_once(':').is_some_and(is_address) {
            let problem = format!("expected a host and a port, such as \"10.0.0.2:8081\", not {peer:?}");
            section.problem("peers", problem);
        }
    }
    peers
}

fn read_scrub(section: &mut Section) -> ScrubOptions {
    const YEAR_S: u64 = 365 * 24 * 3_600;
    ScrubOptions {
        every: Duration::from_secs(section.in_range("every_s", 24 * 3_600, 0..=YEAR_S)),
        bytes_per_s: section.in_range("bytes_per_s", 32 << 20, 1 << 10..=1 << 40),
    }
}

fn read_root(section: &mut Section) -> Option<String> {
    let target = section.value("redirect_to", String::new());
    if target.is_empty() {
        return None;
    }
    if !is_target(&target) {
        section.problem("redirect_to", "expected a URL in ASCII that begins with https:// or http://");
    }
    Some(target)
}

fn is_target(text: &str) -> bool {
    let has_scheme = text.starts_with("https://") || text.starts_with("http://");
    has_scheme && text.bytes().all(|b| (0x21..0x7f).contains(&b))
}

fn read_unknown_host(section: &mut Section) -> UnknownHost {
    let rule = section.value("unknown", "default".to_owned());
    match &*rule {
        "default" => UnknownHost::DefaultDomain,
        "not_found" => UnknownHost::NotFound,
        target if is_target(target) => UnknownHost::Redirect(target.as_bytes().into()),
        _ => {
            section
                .problem("unknown", "expected \"default\", \"not_found\", or a URL in ASCII to redirect to");
            UnknownHost::DefaultDomain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[writers]\nurls = ['https://127.0.0.1:7302']\ntls_dir = '/etc/signpost/proxy'\n";

    fn problems(text: &str) -> String {
        daemon::config::parse("x.toml", text, Config::read).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn the_example_file_equals_the_defaults() {
        let example = include_str!("../config.example.toml");
        let example = daemon::config::parse("config.example.toml", example, Config::read).unwrap();
        let least = daemon::config::parse("least.toml", LEAST, Config::read).unwrap();
        assert_eq!(example.effective, least.effective);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let text = "[listen]\naddresses = []\nworkers = 257\n[writers]\nurls = ['ftp://x:1']\nname = 'Proxy 0'\n\
                    [cache]\nhot_map_bytes = 3\n[root]\nredirect_to = 'https://a b/'\n[redy]\n";
        let problems = problems(text);
        for part in ["addresses", "workers", "urls", "name", "hot_map_bytes", "redirect_to", "redy"] {
            assert!(problems.contains(part), "{part} in\n{problems}");
        }
    }

    #[test]
    fn a_peer_is_a_host_and_a_port() {
        let peers = |peers: &str| format!("{LEAST}[ready]\npeers = [{peers}]\n");
        let good = "'10.0.0.2:8081', 'proxy-1.example:8081', '[::1]:8081'";
        daemon::config::parse("x", &peers(good), Config::read).unwrap();
        for bad in ["''", "'proxy-1'", "':8081'", "'proxy-1:0'", "'proxy-1:65536'", "'http://proxy-1:8081'"] {
            assert!(problems(&peers(bad)).contains("peers"), "{bad}");
        }
        assert!(problems(&peers(&"'a:1',".repeat(PEERS_MAX + 1))).contains("at most"));
    }

    #[test]
    fn a_proxy_without_a_bundle_needs_a_name_and_stays_on_loopback() {
        let plain = |url: &str, name: &str| format!("[writers]\nurls = ['{url}']\n{name}\n");
        daemon::config::parse("x", &plain("http://127.0.0.1:1", "name = 'proxy-0'"), Config::read).unwrap();
        assert!(problems(&plain("http://127.0.0.1:1", "")).contains("needs the name"));
        assert!(problems(&plain("http://10.0.0.1:1", "name = 'proxy-0'")).contains("in the clear"));
        assert!(problems(&plain("https://10.0.0.1:1", "name = 'proxy-0'")).contains("set tls_dir"));
    }

    #[test]
    fn a_root_redirect_that_could_break_the_header_is_refused() {
        for bad in ["javascript:alert(1)", "/x", "https://a/\\r\\nX: y", "https://ä/"] {
            assert!(
                problems(&format!("{LEAST}[root]\nredirect_to = \"{bad}\"\n")).contains("redirect_to"),
                "{bad}"
            );
        }
    }
}
