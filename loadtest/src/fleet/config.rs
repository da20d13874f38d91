//! The configuration files of the parts: pure, from the layout and the settings.
//!
//! Only what a fleet on loopback needs is written; everything else is the services' own defaults, so that what is
//! tested is what ships.

use std::fs;

use anyhow::Context;
use toml::{Table, Value, toml};

use super::layout::{AdminPorts, Layout, loopback, text};
use super::options::Options;
use super::setting::Setting;

/// The size of the code space in slots.
const SLOTS: usize = 4096;
/// Unused codes a pool starts to refill at. Small, so that a fleet for a test starts at once and takes little disk.
const POOL_LOW: i64 = 100_000;
/// Unused codes a pool refills up to: some seconds of creating as fast as it goes.
const POOL_HIGH: i64 = 400_000;

/// Writes the configuration of every part.
pub(super) fn write_all(layout: &Layout, options: &Options) -> anyhow::Result<()> {
    let settings = &options.settings;
    write(layout, "admin", admin(layout), settings)?;
    for (index, part) in layout.standbys().enumerate() {
        write(layout, &part, standby(layout, &part, index), settings)?;
    }
    for (index, part) in layout.keypools().enumerate() {
        write(layout, &part, keypool(layout, &part, index), settings)?;
    }
    for (index, part) in layout.proxies().enumerate() {
        write(layout, &part, proxy(layout, &part, index, options.visitors_known), settings)?;
    }
    Ok(())
}

fn write(layout: &Layout, part: &str, mut config: Table, settings: &[Setting]) -> anyhow::Result<()> {
    for setting in settings {
        setting.apply(part, &mut config)?;
    }
    let text = toml::to_string(&config).context("cannot put the configuration into TOML")?;
    let path = layout.config(part);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn admin(layout: &Layout) -> Table {
    writer(layout, "admin", layout.topology.admin, text(&layout.writer_tls()))
}

/// A standby follows the admin API and every other standby, whichever of them writes.
fn standby(layout: &Layout, part: &str, index: usize) -> Table {
    let topology = &layout.topology;
    let mut config = writer(layout, part, topology.standbys[index], text(&layout.tls(part)));
    let feed = |ports: &AdminPorts| Value::String(url("https", ports.feed));
    let others = topology.standbys.iter().enumerate().filter(|(other, _)| *other != index);
    let peers: Vec<Value> = others.map(|(_, ports)| feed(ports)).collect();
    let of: Vec<Value> = [feed(&topology.admin)].into_iter().chain(peers.iter().cloned()).collect();
    let api_url = url("http", topology.admin.http);
    let (of, peers) = (Value::Array(of), Value::Array(peers));
    let standby = toml! {
        of = of
        peers = peers
        api_url = api_url
        writer_min_sync_replicas = 1
    };
    config.insert("standby".to_owned(), Value::Table(standby));
    // The last one that can be promoted has nobody left to wait for.
    if index + 1 == topology.standbys.len() {
        config.remove("replication");
    }
    config
}

fn writer(layout: &Layout, part: &str, ports: AdminPorts, tls_dir: String) -> Table {
    let topology = &layout.topology;
    let data_dir = text(&layout.data(part));
    let short_url_base = url("http", topology.proxies.first().map_or(0, |ports| ports.http));
    let [http, health, feed] = [ports.http, ports.health, ports.feed].map(|port| loopback(port).to_string());
    let socket = text(&layout.control(part));
    let mut config = toml! {
        data_dir = data_dir
        short_url_base = short_url_base
        http = { listen = http }
        health = { listen = health }
        feed = { listen = feed, tls_dir = tls_dir }
        control = { socket = socket }
    };
    let pool = |port| Value::Table(Table::from_iter([("url".to_owned(), Value::String(url("https", port)))]));
    let pools = topology.keypools.iter().map(|ports| pool(ports.grpc)).collect();
    config.insert("keypool".to_owned(), Value::Array(pools));
    if !topology.standbys.is_empty() {
        config.insert("replication".to_owned(), Value::Table(toml! { min_sync_replicas = 1 }));
    }
    config
}

fn keypool(layout: &Layout, part: &str, index: usize) -> Table {
    let ports = layout.topology.keypools[index];
    let data_dir = text(&layout.data(part));
    let [grpc, http] = [ports.grpc, ports.http].map(|port| loopback(port).to_string());
    let tls_dir = text(&layout.tls(part));
    let socket = text(&layout.control(part));
    let slots = slots(index, layout.topology.keypools.len());
    toml! {
        data_dir = data_dir
        grpc = { listen = grpc, tls_dir = tls_dir }
        http = { listen = http }
        control = { socket = socket }
        pool = { slots = slots, low_watermark = POOL_LOW, high_watermark = POOL_HIGH }
    }
}

fn proxy(layout: &Layout, part: &str, index: usize, visitors_known: bool) -> Table {
    let ports = layout.topology.proxies[index];
    let data_dir = text(&layout.data(part));
    let [http, health] = [ports.http, ports.health].map(|port| loopback(port).to_string());
    let topology = &layout.topology;
    let writers = [&topology.admin].into_iter().chain(&topology.standbys);
    let writers: Vec<Value> = writers.map(|ports| Value::String(url("https", ports.feed))).collect();
    let tls_dir = text(&layout.tls(part));
    let socket = text(&layout.control(part));
    let (rings, is_tmpfs) = layout.rings(part);
    let (ring_dir, allow_disk) = (text(&rings), !is_tmpfs);
    let mut config = toml! {
        data_dir = data_dir
        health = { listen = health }
        writers = { urls = writers, tls_dir = tls_dir }
        control = { socket = socket }
        clicks = { ring_dir = ring_dir, allow_disk = allow_disk }
    };
    let listeners = match visitors_known {
        false => toml! { listen = { addresses = [http] } },
        true => toml! { listener = [{ address = http, client_address = "socket" }] },
    };
    config.extend(listeners);
    config
}

/// The slots of pool `index` of `pools`, as `first-last`: all slots in shares that differ by one at most.
fn slots(index: usize, pools: usize) -> String {
    let start = |index: usize| SLOTS * index / pools;
    format!("{}-{}", start(index), start(index + 1) - 1)
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://{}", loopback(port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_pools_share_out_all_slots() {
        assert_eq!(slots(0, 1), "0-4095");
        assert_eq!(
            (0..3).map(|index| slots(index, 3)).collect::<Vec<_>>(),
            ["0-1364", "1365-2729", "2730-4095"]
        );
    }

    #[test]
    fn every_part_gets_a_file_with_its_own_addresses_and_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            vec!["proxy-1.cache.disk_threads=2".parse().unwrap(), "admin.log.level=debug".parse().unwrap()];
        let mut options = Options { keypools: 2, settings, ..Options::new(dir.path(), 2).unwrap() };
        let layout = Layout::open(&options).unwrap();
        write_all(&layout, &options).unwrap();
        let read = |part: &str| fs::read_to_string(layout.config(part)).unwrap().parse::<Table>().unwrap();
        let admin = read("admin");
        let pools: Vec<&str> =
            admin["keypool"].as_array().unwrap().iter().map(|pool| pool["url"].as_str().unwrap()).collect();
        let topology = &layout.topology;
        assert_eq!(pools, topology.keypools.iter().map(|ports| url("https", ports.grpc)).collect::<Vec<_>>());
        assert_eq!(admin["log"]["level"].as_str(), Some("debug"));
        assert_eq!(admin["short_url_base"].as_str().unwrap(), url("http", topology.proxies[0].http));
        let proxy = read("proxy-1");
        assert_eq!(
            proxy["listen"]["addresses"][0].as_str().unwrap(),
            loopback(topology.proxies[1].http).to_string()
        );
        assert_eq!(proxy["writers"]["urls"][0].as_str().unwrap(), url("https", topology.admin.feed));
        assert_eq!(proxy["cache"]["disk_threads"].as_integer(), Some(2));
        assert!(read("proxy-0").get("cache").is_none());
        assert_eq!(read("keypool-1")["pool"]["slots"].as_str(), Some("2048-4095"));
        options.visitors_known = true;
        write_all(&layout, &options).unwrap();
        let listener = &read("proxy-1")["listener"][0];
        assert_eq!(listener["address"].as_str().unwrap(), loopback(topology.proxies[1].http).to_string());
        assert_eq!(listener["client_address"].as_str(), Some("socket"));
    }
}
