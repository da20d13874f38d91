//! `[limits]`, which hold for every connection, and `[per_network]`, which need to know whose a connection is.

use std::net::SocketAddr;
use std::time::Duration;

use daemon::config::{ConfigValue, Section};

use crate::client::Clients;
use crate::http::IN_BYTES;
use crate::limits::Limits;
use crate::network::{NetworkList, Prefixes};
use crate::quota::{QuotaOptions, Rule};

/// Everything that is limited.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Of a connection.
    pub limits: Limits,
    /// Connections of the whole process.
    pub connections_max: usize,
    /// Of a network; `None` where it is not known whose a connection is.
    pub per_network: Option<PerNetwork>,
}

/// What one network may do.
#[derive(Clone, Debug)]
pub struct PerNetwork {
    /// What a network is, and who is exempt.
    pub clients: Clients,
    /// Connections of one network.
    pub connections_max: usize,
    /// Requests and unknown codes of one network.
    pub quotas: QuotaOptions,
}

/// Reads `[limits]` and `[per_network]`; `unstated` is a listener that does not know whose its connections are.
pub(super) fn read(root: &mut Section, unstated: Option<SocketAddr>) -> LimitsConfig {
    let section = &mut root.section("limits");
    let default = Limits::default();
    let mut ms = |key, default: Duration, most: u64| {
        Duration::from_millis(section.in_range(key, default.as_millis() as u64, 1..=most))
    };
    let limits = Limits {
        handshake: ms("handshake_ms", default.handshake, 600_000),
        head: ms("head_ms", default.head, 600_000),
        idle: ms("idle_ms", default.idle, 3_600_000),
        write: ms("write_ms", default.write, 600_000),
        body: ms("body_ms", default.body, 600_000),
        linger: ms("linger_ms", default.linger, 60_000),
        proxy_header: ms("proxy_header_ms", default.proxy_header, 60_000),
        head_bytes: section.in_range("head_bytes_max", default.head_bytes, 1 << 10..=IN_BYTES),
        requests_per_connection: section.in_range(
            "requests_per_connection_max",
            default.requests_per_connection,
            1..=u32::MAX,
        ),
    };
    let connections_max = section.in_range("connections_max", 100_000, 1..=10_000_000);
    let section = &mut root.section("per_network");
    let per_network = match unstated {
        Some(address) => {
            refuse(section, address);
            None
        }
        None => Some(read_per_network(section)),
    };
    LimitsConfig { limits, connections_max, per_network }
}

fn read_per_network(section: &mut Section) -> PerNetwork {
    let prefixes = Prefixes {
        v4_bits: section.in_range("ipv4_bits", 32u16, 8..=32) as u8,
        v6_bits: section.in_range("ipv6_bits", 64u16, 16..=64) as u8,
    };
    let exempt = section.value("exempt", NetworkList::default());
    let connections_max = match section.in_range("connections_max", 1_000, 0..=10_000_000) {
        0 => usize::MAX,
        max => max,
    };
    let mut rule = |count_key, window_key| {
        let count = section.in_range(count_key, 0, 0..=1_000_000_000u32);
        let window_s = section.in_range(window_key, 60, 1..=86_400u64);
        (count > 0).then_some(Rule { count, window: Duration::from_secs(window_s) })
    };
    let requests = rule("requests_max", "requests_window_s");
    let not_found = rule("not_found_max", "not_found_window_s");
    let strict = section.value("strict", false);
    let alarm = section.in_range("scan_alarm_per_hour", 1_000, 0..=1_000_000_000u32);
    let block_s = section.in_range("scan_block_s", 0, 0..=86_400u64);
    if block_s > 0 && alarm == 0 {
        section
            .problem("scan_block_s", "blocks networks that pass scan_alarm_per_hour, which is 0 and so off");
    }
    let quotas = QuotaOptions {
        requests,
        not_found,
        strict,
        scan_alarm: (alarm > 0).then_some(alarm),
        scan_block: Duration::from_secs(block_s),
        networks_max: section.in_range("networks_max", 65_536, 1_024..=1 << 22),
    };
    PerNetwork { clients: Clients { prefixes, exempt }, connections_max, quotas }
}

/// Every key is unset, and a problem if it is in the file.
fn refuse(section: &mut Section, unstated: SocketAddr) {
    let numbers = [
        "ipv4_bits",
        "ipv6_bits",
        "connections_max",
        "requests_max",
        "requests_window_s",
        "not_found_max",
        "not_found_window_s",
        "scan_alarm_per_hour",
        "scan_block_s",
        "networks_max",
    ];
    let why = format!(
        "limits per network need to know whose a connection is, and the listener at {unstated} does not say: give every \
         [[listener]] a client_address, \"socket\" if packets come from the visitors themselves, \"proxy\" if a \
         balancer sends the PROXY protocol"
    );
    numbers.into_iter().for_each(|key| refuse_key::<u64>(section, key, &why));
    refuse_key::<NetworkList>(section, "exempt", &why);
    refuse_key::<bool>(section, "strict", &why);
}

fn refuse_key<T: ConfigValue>(section: &mut Section, key: &str, why: &str) {
    if section.optional::<T>(key).is_some() {
        section.problem(key, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::config::{ConfigError, Loaded, parse};

    fn read_text(text: &str, stated: bool) -> Result<Loaded<LimitsConfig>, ConfigError> {
        let unstated = (!stated).then(|| "127.0.0.1:8080".parse().unwrap());
        parse("x.toml", text, |root| read(root, unstated))
    }

    #[test]
    fn limits_per_network_are_refused_where_it_is_not_known_whose_a_connection_is() {
        assert!(read_text("", false).unwrap().config.per_network.is_none());
        let all = "[per_network]\nipv4_bits = 24\nipv6_bits = 48\nconnections_max = 1\nrequests_max = 1\n\
                   requests_window_s = 1\nnot_found_max = 1\nnot_found_window_s = 1\nscan_alarm_per_hour = 1\n\
                   scan_block_s = 1\nnetworks_max = 2000\nexempt = ['10.0.0.0/8']\nstrict = true\n";
        let problems = read_text(all, false).unwrap_err().to_string();
        for line in all.lines().skip(1) {
            let key = line.split(' ').next().unwrap();
            assert!(problems.contains(&format!("per_network.{key}")), "{key} in {problems}");
        }
        assert!(problems.contains("127.0.0.1:8080 does not say"), "{problems}");
        let read = read_text(all, true).unwrap().config.per_network.unwrap();
        assert_eq!((read.connections_max, read.quotas.strict), (1, true));
        assert_eq!(read.quotas.requests, Some(Rule { count: 1, window: Duration::from_secs(1) }));
    }

    #[test]
    fn what_is_in_force_can_be_read_again() {
        for stated in [true, false] {
            let once = read_text("", stated).unwrap();
            let twice = read_text(&once.effective, stated).unwrap();
            assert_eq!(once.effective, twice.effective);
        }
    }

    #[test]
    fn requests_are_counted_only_if_wished_and_scans_are_watched_unless_not() {
        let read = read_text("", true).unwrap().config.per_network.unwrap();
        assert_eq!((read.quotas.requests, read.quotas.not_found), (None, None));
        assert_eq!((read.quotas.scan_alarm, read.quotas.scan_block), (Some(1_000), Duration::ZERO));
        let off = read_text("[per_network]\nconnections_max = 0\nscan_alarm_per_hour = 0\n", true).unwrap();
        let off = off.config.per_network.unwrap();
        assert_eq!((off.connections_max, off.quotas.scan_alarm), (usize::MAX, None));
        assert!(crate::quota::Quotas::new(off.quotas).is_none());
    }

    #[test]
    fn a_block_without_an_alarm_is_a_mistake() {
        let text = "[per_network]\nscan_alarm_per_hour = 0\nscan_block_s = 60\n";
        assert!(read_text(text, true).unwrap_err().to_string().contains("scan_block_s"));
    }

    #[test]
    fn no_head_is_larger_than_what_is_read_at_once() {
        for bad in [1_023, IN_BYTES + 1] {
            assert!(read_text(&format!("[limits]\nhead_bytes_max = {bad}\n"), true).is_err());
        }
    }
}
