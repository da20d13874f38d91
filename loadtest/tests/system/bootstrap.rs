//! A replica that will not do is replaced by another one, and visitors notice nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rocksdb::{DB, IteratorMode, Options as DbOptions};
use serde_json::{Value, json};
use signpost_loadtest::fleet::{Fleet, Options};

use super::web::{Town, ask};
use super::{PATIENCE, all_in_sync, bin_dir, create, eventually, health, holds_in_time, real_links, verify};

/// Targets that fill a journal quickly: long, and no two alike.
fn long_links(path: &Path, links: u64) {
    let mut lines = String::new();
    let mut noise = 0x5eed_u64;
    for n in 0..links {
        write!(lines, "https://long.example/{n}?").unwrap();
        for _ in 0..450 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            write!(lines, "{noise:016x}").unwrap();
        }
        lines.push('\n');
    }
    fs::write(path, lines).unwrap();
}

/// A fleet whose journal keeps as little as it can.
fn forgetful_fleet(dir: &Path, settings: &[&str]) -> Fleet {
    forgetful_with_standbys(dir, 0, settings)
}

/// The same with standbys.
pub(super) fn forgetful_with_standbys(dir: &Path, standbys: u16, settings: &[&str]) -> Fleet {
    let mut options = Options::new(dir, 2).unwrap();
    options.bin_dir = bin_dir();
    options.standbys = standbys;
    // On a busy machine a proxy that has just been started may take longer than usual to read its disk.
    let always = ["admin.journal.retention_bytes=16777216", "proxy.cache.disk_deadline_ms=10000"];
    let settings = always.into_iter().chain(settings.iter().copied());
    options.settings = settings.map(|setting| setting.parse().unwrap()).collect();
    Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}"))
}

/// More than such a journal keeps; what was created is in the file returned.
pub(super) fn outgrow(fleet: &Fleet, name: &str) -> PathBuf {
    let (urls, out) = (fleet.dir().join("long.txt"), fleet.dir().join(name));
    long_links(&urls, 3_600);
    create(fleet, &urls, &out, &["--concurrency", "8"]);
    // It is trimmed now and then, not with every record.
    eventually("the journal has lost its beginning", || first_kept(fleet) > 1_000);
    out
}

/// The first record that the writer's journal still has, as its metrics say.
fn first_kept(fleet: &Fleet) -> u64 {
    let ports = fs::read_to_string(fleet.dir().join("fleet.json")).unwrap();
    let ports: serde_json::Value = serde_json::from_str(&ports).unwrap();
    let address = format!("127.0.0.1:{}", ports.pointer("/admin/health").unwrap());
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("signpost_admin_journal_first_seq "));
    line.unwrap().parse().unwrap()
}

pub(super) fn data_dir(fleet: &Fleet, part: &str) -> PathBuf {
    fleet.dir().join(part).join("data")
}

fn readyz(fleet: &Fleet, proxy: usize) -> Value {
    health(&fleet.ready().proxy_health[proxy], "/readyz")
}

pub(super) fn bootstraps(fleet: &Fleet, proxy: usize) -> u64 {
    readyz(fleet, proxy)["replica"]["bootstraps"].as_u64().unwrap()
}

/// A number in the metrics of a proxy.
fn metric(fleet: &Fleet, proxy: usize, name: &str) -> Option<u64> {
    let metrics = ask(&fleet.ready().proxy_health[proxy], "GET", "/metrics", &[], "").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("signpost_proxy_{name} ")));
    line.and_then(|value| value.parse().ok())
}

/// How often a proxy has found its replica damaged since it was started.
fn damages(fleet: &Fleet, proxy: usize) -> Option<u64> {
    metric(fleet, proxy, "replica_damages_total")
}

pub(super) fn log(fleet: &Fleet, part: &str) -> String {
    fs::read_to_string(fleet.dir().join("logs").join(format!("{part}.log"))).unwrap()
}

/// All links of a file are right at both proxies.
#[track_caller]
pub(super) fn all_right(fleet: &Fleet, expect: &Path) {
    let links = fs::read_to_string(expect).unwrap().lines().count() as u64;
    let results = verify(fleet, expect);
    assert_eq!(results["checked"]["right"].as_u64(), Some(2 * links), "{results}");
}

/// Where a proxy leads a visitor.
fn target_at(fleet: &Fleet, proxy: usize, code: &str) -> Option<String> {
    let answer = ask(&fleet.ready().proxies[proxy], "GET", &format!("/{code}"), &[], "");
    answer.header("location").map(str::to_owned)
}

/// A proxy that is started without waiting until it is ready, and killed.
pub(super) struct Unready(Child);

impl Unready {
    pub(super) fn start(fleet: &Fleet, part: &str) -> Unready {
        let log = fs::File::options().append(true).open(fleet.dir().join("logs").join(format!("{part}.log")));
        let log = log.unwrap();
        let child = Command::new(bin_dir().join("signpost-proxy"))
            .arg("--config")
            .arg(fleet.dir().join(part).join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Unready(child.unwrap())
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs a command of a proxy's own binary.
fn proxy_command(fleet: &Fleet, part: &str, command: &str) -> Value {
    let config = fleet.dir().join(part).join("config.toml");
    let output = Command::new(bin_dir().join("signpost-proxy"))
        .arg("--config")
        .arg(config)
        .arg(command)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The folder a proxy serves from.
fn replica_dir(fleet: &Fleet, part: &str) -> PathBuf {
    let dirs = fs::read_dir(data_dir(fleet, part)).unwrap().map(|entry| entry.unwrap().path());
    let mut replicas: Vec<PathBuf> =
        dirs.filter(|dir| dir.file_name().unwrap().to_string_lossy().starts_with("replica")).collect();
    replicas.sort();
    assert_eq!(replicas.len(), 1, "one replica: {replicas:?}");
    replicas.remove(0)
}

/// Changes the stored target of a link behind the back of a proxy that is stopped.
fn change_stored_link(replica: &Path, code: &str) {
    let tables = DB::list_cf(&DbOptions::default(), replica).unwrap();
    let db = DB::open_cf(&DbOptions::default(), replica, &tables).unwrap();
    let serve = db.cf_handle("serve").unwrap();
    let rows = db.iterator_cf(serve, IteratorMode::Start).map(Result::unwrap);
    let (key, value) = {
        let mut matching = rows.filter(|(key, _)| key.ends_with(code.as_bytes()));
        matching.next().unwrap_or_else(|| panic!("no link {code}"))
    };
    let mut value = value.to_vec();
    let host = value.windows(7).position(|bytes| bytes == b"example").unwrap();
    value[host] = b'f';
    db.put_cf(serve, key, value).unwrap();
    db.flush_wal(true).unwrap();
}

#[test]
fn a_proxy_behind_the_journal_and_a_fresh_one_fetch_a_snapshot_and_follow_on() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = forgetful_fleet(dir.path(), &[]);
    let before = dir.path().join("before.tsv");
    create(&fleet, &real_links(), &before, &["--concurrency", "8"]);
    fleet.must("kill proxy-1 9");
    let missed = outgrow(&fleet, "missed.tsv");
    fleet.must("start proxy-1");
    eventually("the proxy has another replica", || bootstraps(&fleet, 1) == 1 && all_in_sync(&fleet));
    assert_eq!(bootstraps(&fleet, 0), 0);
    all_right(&fleet, &before);
    all_right(&fleet, &missed);
    eventually("the old replica is gone", || {
        ["replica", "bootstrap"].iter().all(|name| !data_dir(&fleet, "proxy-1").join(name).exists())
    });
    // What it fetched is what it starts with.
    fleet.must("kill proxy-1 9");
    fleet.must("start proxy-1");
    eventually("it follows from its own disk", || all_in_sync(&fleet));
    assert_eq!(bootstraps(&fleet, 1), 0);
    // A disk that was lost.
    fleet.must("kill proxy-1 9");
    fs::remove_dir_all(data_dir(&fleet, "proxy-1")).unwrap();
    fleet.must("start proxy-1");
    eventually("the empty proxy has a replica", || bootstraps(&fleet, 1) == 1 && all_in_sync(&fleet));
    let later = dir.path().join("later.tsv");
    create(&fleet, &real_links(), &later, &["--concurrency", "8"]);
    for expect in [&before, &missed, &later] {
        all_right(&fleet, expect);
    }
}

#[test]
fn a_bootstrap_that_is_killed_goes_on_where_it_was_and_the_old_state_is_served_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = forgetful_fleet(dir.path(), &["admin.feed.snapshot_bytes_per_s=3000000"]);
    let before = dir.path().join("before.tsv");
    create(&fleet, &real_links(), &before, &["--concurrency", "8"]);
    fleet.must("kill proxy-1 9");
    let missed = outgrow(&fleet, "missed.tsv");
    for kill in 1..=3 {
        let proxy = Unready::start(&fleet, "proxy-1");
        let address = fleet.ready().proxy_health[1].trim_start_matches("http://").to_owned();
        eventually("it answers", || std::net::TcpStream::connect(&address).is_ok());
        eventually("some of the snapshot is received", || {
            let bootstrap = &readyz(&fleet, 1)["feed"]["bootstrap"];
            let is_receiving = bootstrap["of"].as_u64().is_some_and(|of| of > 0);
            is_receiving && bootstrap["bytes"].as_u64().is_some_and(|bytes| bytes > 3_000_000 * kill)
        });
        all_right(&fleet, &before);
        drop(proxy);
    }
    fleet.must("start proxy-1");
    eventually("the proxy has another replica", || bootstraps(&fleet, 1) == 1 && all_in_sync(&fleet));
    all_right(&fleet, &before);
    all_right(&fleet, &missed);
    let log = log(&fleet, "proxy-1");
    let tries: Vec<&str> = log.lines().filter(|line| line.contains("receiving a snapshot")).collect();
    assert_eq!(tries.len(), 4, "{tries:?}");
    let anew = tries.iter().filter(|line| line.contains("already=0")).count();
    assert_eq!(anew, 1, "every try but the first goes on where the last one was: {tries:?}");
}

// How long it took belongs into the test's output.
#[allow(clippy::print_stdout)]
#[test]
fn a_link_that_was_changed_on_the_disk_is_found_by_a_scrub_and_by_the_next_change_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town { fleet: forgetful_fleet(dir.path(), &[]) };
    let fleet = &town.fleet;
    for code in ["first", "second"] {
        town.link(&json!({ "long_url": format!("https://example.com/{code}"), "alias": code }));
    }
    eventually("both proxies follow", || all_in_sync(fleet));
    // Nothing but a scrub would notice: nobody changes the link.
    fleet.must("stop proxy-1");
    change_stored_link(&replica_dir(fleet, "proxy-1"), "first");
    fleet.must("start proxy-1");
    eventually("it follows on", || all_in_sync(fleet));
    assert_eq!(
        target_at(fleet, 1, "first").as_deref(),
        Some("https://fxample.com/first"),
        "the damage is there"
    );
    let passes = proxy_command(fleet, "proxy-1", "scrub");
    assert_eq!(passes["damaged"], 1, "{passes}");
    eventually("the scrub's damage is mended", || bootstraps(fleet, 1) == 1 && all_in_sync(fleet));
    assert_eq!(target_at(fleet, 1, "first").as_deref(), Some("https://example.com/first"));
    assert_eq!(proxy_command(fleet, "proxy-1", "scrub")["last"], "sound");
    eventually("the old replica is gone", || !data_dir(fleet, "proxy-1").join("replica").exists());
    // A change on top of a wrong row makes sums that no other member has: the next heartbeat shows it.
    fleet.must("stop proxy-1");
    change_stored_link(&replica_dir(fleet, "proxy-1"), "second");
    fleet.must("start proxy-1");
    eventually("it follows on", || all_in_sync(fleet));
    assert_eq!(damages(fleet, 1), Some(0), "nobody knows of it yet");
    let mended = AtomicBool::new(false);
    let visits = std::thread::scope(|threads| {
        let visitor = threads.spawn(|| {
            let (mut visits, begun) = (0, Instant::now());
            // Not for ever, should the other thread fail.
            while !mended.load(Ordering::Acquire) && begun.elapsed() < 3 * PATIENCE {
                assert_eq!(target_at(fleet, 1, "first").as_deref(), Some("https://example.com/first"));
                visits += 1;
            }
            visits
        });
        let changed = Instant::now();
        town.patch("second", &json!({ "long_url": "https://example.com/changed" }));
        let alarmed = holds_in_time(|| damages(fleet, 1) == Some(1));
        println!("the alarm came {:?} after the change was asked for", changed.elapsed());
        let whole = holds_in_time(|| bootstraps(fleet, 1) == 1 && all_in_sync(fleet));
        println!("the replica was mended {:?} after it", changed.elapsed());
        // Whatever came of it, the visitor has to stop.
        mended.store(true, Ordering::Release);
        assert!(alarmed, "the sums show no damage");
        assert!(whole, "the sums' damage is not mended");
        visitor.join().unwrap()
    });
    assert!(visits > 0);
    println!("{visits} visits were redirected meanwhile");
    assert!(metric(fleet, 1, "replica_damaged") == Some(0) && damages(fleet, 1) == Some(1));
    for proxy in [0, 1] {
        for (code, target) in [("first", "first"), ("second", "changed")] {
            assert_eq!(target_at(fleet, proxy, code), Some(format!("https://example.com/{target}")));
        }
    }
    assert!(log(fleet, "proxy-1").contains("cannot apply what the writer sent"));
}

#[test]
fn a_flipped_byte_in_a_table_file_is_found_and_the_replica_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = forgetful_fleet(dir.path(), &[]);
    let before = dir.path().join("before.tsv");
    create(&fleet, &real_links(), &before, &["--concurrency", "8"]);
    // A look at the disk writes out what is in memory.
    assert_eq!(proxy_command(&fleet, "proxy-1", "scrub")["last"], "sound");
    fleet.must("stop proxy-1");
    let files = fs::read_dir(replica_dir(&fleet, "proxy-1")).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|is| is == "sst"));
    let largest = tables.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[1_000] ^= 0x40;
    fs::write(&largest, bytes).unwrap();
    fleet.must("start proxy-1");
    let found = proxy_command(&fleet, "proxy-1", "scrub");
    eventually("the replica is made anew", || bootstraps(&fleet, 1) == 1 && all_in_sync(&fleet));
    assert!(
        found["damaged"] == 1 || log(&fleet, "proxy-1").contains("beginning with an empty one"),
        "{found}"
    );
    all_right(&fleet, &before);
    assert_eq!(proxy_command(&fleet, "proxy-1", "scrub")["last"], "sound");
}

#[test]
fn a_limited_link_is_followed_exactly_as_often_as_it_may_while_a_replica_is_replaced() {
    const LIMIT: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let town = Town { fleet: forgetful_fleet(dir.path(), &[]) };
    let fleet = &town.fleet;
    town.link(&json!({ "long_url": "https://example.com/damaged", "alias": "damaged-link" }));
    town.link(&json!({ "long_url": "https://example.com/limited", "alias": "limited", "max_clicks": LIMIT }));
    eventually("both proxies follow", || all_in_sync(fleet));
    fleet.must("stop proxy-1");
    change_stored_link(&replica_dir(fleet, "proxy-1"), "damaged-link");
    fleet.must("start proxy-1");
    let follow_until_it_ends = |proxy: usize| {
        let mut followed = 0;
        loop {
            let browser =
                [("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")];
            let answer = ask(&fleet.ready().proxies[proxy], "GET", "/limited", &browser, "");
            match answer.status {
                302 => followed += 1,
                410 => return followed,
                503 => std::thread::sleep(std::time::Duration::from_millis(20)),
                other => panic!("{other}: {}", answer.text()),
            }
        }
    };
    let followed: usize = std::thread::scope(|threads| {
        let follow = &follow_until_it_ends;
        let visitors = [0, 1].map(|proxy| threads.spawn(move || follow(proxy)));
        assert_eq!(proxy_command(fleet, "proxy-1", "scrub")["damaged"], 1);
        eventually("the damage is mended", || bootstraps(fleet, 1) == 1 && all_in_sync(fleet));
        visitors.map(|visitor| visitor.join().unwrap()).iter().sum()
    });
    assert_eq!(followed, LIMIT);
}
