//! The configuration of a key pool; `config.example.toml` is the same in the operator's words.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use daemon::config::{self, ConfigError, Loaded, Section};
use daemon::telemetry::LogConfig;

use crate::slots::SlotSet;

/// Most codes that may wait: 120 MB of stock on disk.
pub const WATERMARK_MAX: u64 = 20_000_000;
/// Longest quarantine, in days.
const QUARANTINE_DAYS_MAX: u32 = 3_650;

/// What a key pool is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database lies.
    pub data_dir: PathBuf,
    /// Where admins ask for codes.
    pub grpc_listen: SocketAddr,
    /// The credential bundle; without one the port is plain and on loopback.
    pub tls_dir: Option<PathBuf>,
    /// Where health, readiness and metrics are.
    pub http_listen: SocketAddr,
    /// Where this program's own commands reach the daemon.
    pub control_socket: PathBuf,
    /// What is generated and kept.
    pub pool: PoolConfig,
    /// How to log.
    pub log: LogConfig,
}

/// The `[pool]` table.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The slots of the code space to generate in.
    pub slots: SlotSet,
    /// Refilling begins when fewer codes wait.
    pub low_watermark: u64,
    /// Refilling ends when so many wait.
    pub high_watermark: u64,
    /// A file of further words for the blocklist.
    pub blocklist: Option<PathBuf>,
    /// How long a released code rests, in days; 0: released codes never return.
    pub quarantine_days: u32,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// It cannot be read, or has problems: all of them.
    pub fn load(path: &Path) -> Result<Loaded<Config>, ConfigError> {
        config::load(path, Config::read)
    }

    /// Takes the configuration out of the root section.
    pub fn read(root: &mut Section) -> Config {
        let data_dir = root.value("data_dir", PathBuf::from("/var/lib/signpost-keypool"));
        let mut grpc = root.section("grpc");
        let grpc_listen = grpc.value("listen", SocketAddr::from(([127, 0, 0, 1], 7400)));
        let tls_dir: Option<PathBuf> = grpc.optional("tls_dir");
        if tls_dir.is_none() && !grpc_listen.ip().is_loopback() {
            grpc.problem(
                "listen",
                "other machines can reach this address: set grpc.tls_dir, or listen on 127.0.0.1",
            );
        }
        let http_listen = root.section("http").value("listen", SocketAddr::from(([127, 0, 0, 1], 7401)));
        let control_socket = PathBuf::from("/run/signpost-keypool/control.sock");
        let control_socket = root.section("control").value("socket", control_socket);
        let pool = PoolConfig::read(&mut root.section("pool"));
        let log = LogConfig::read(&mut root.section("log"));
        Config { data_dir, grpc_listen, tls_dir, http_listen, control_socket, pool, log }
    }
}

impl PoolConfig {
    fn read(section: &mut Section) -> PoolConfig {
        let slots = section.value("slots", SlotSet::all());
        let low_watermark = section.in_range("low_watermark", 1_000_000, 1..=WATERMARK_MAX);
        let high_watermark = section.in_range("high_watermark", 2_000_000, 1..=WATERMARK_MAX);
        if low_watermark > high_watermark {
            section.problem("low_watermark", "it must not be above high_watermark");
        }
        let blocklist = section.optional("blocklist");
        let quarantine_days = section.in_range("quarantine_days", 0, 0..=QUARANTINE_DAYS_MAX);
        PoolConfig { slots, low_watermark, high_watermark, blocklist, quarantine_days }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const EXAMPLE: &str = include_str!("../config.example.toml");

    fn parse(text: &str) -> Result<Loaded<Config>, ConfigError> {
        config::parse("keypool.toml", text, Config::read)
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        assert_eq!(parse(EXAMPLE).unwrap().effective, parse("").unwrap().effective);
    }

    #[test]
    fn every_line_that_the_example_comments_out_is_valid_too() {
        let with_all: String =
            EXAMPLE.lines().map(|line| format!("{}\n", line.trim_start_matches("#:"))).collect();
        let config = parse(&with_all).unwrap().config;
        assert_eq!(config.tls_dir, Some(PathBuf::from("/etc/signpost/keypool")));
        assert!(config.pool.blocklist.is_some());
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = "
            [grpc]
            listen = '10.0.0.1:7400'
            [pool]
            slots = '0-5000'
            low_watermark = 10
            high_watermark = 5
            quarantine_days = -1
            watermark = 3
        ";
        let message = parse(text).unwrap_err().to_string();
        for part in [
            "5 problems",
            "grpc.listen = '10.0.0.1:7400': other machines can reach this address",
            "pool.slots = '0-5000'",
            "pool.low_watermark = 10: it must not be above high_watermark",
            "pool.quarantine_days = -1: expected a number from 0 to 3650",
            "pool.watermark",
        ] {
            assert!(message.contains(part), "{part} is not in\n{message}");
        }
    }
}
