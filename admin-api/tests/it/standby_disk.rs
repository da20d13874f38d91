//! A standby whose disk fills up, or does not keep what was written.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::fixture::{Admin, Client, config_text, own_address, until};
use crate::standby::Standby;

const MIB: u64 = 1 << 20;
/// Of the whole disk.
const SIZE: u64 = 512 * MIB;
const RESERVE: u64 = 128 * MIB;

/// A standby as a process of its own, with a small disk for its data: a tmpfs in a mount namespace (root, and a kernel that has them).
struct SmallStandby {
    child: Child,
    http: SocketAddr,
    health: SocketAddr,
    log: PathBuf,
    data: PathBuf,
}

impl SmallStandby {
    fn of(writer: &Admin, dir: &Path) -> SmallStandby {
        writer.control("proxy.add", json!({ "name": "standby-0", "sync": true })).unwrap();
        let (http, health, data) = (own_address(), own_address(), dir.join("data"));
        let more = format!(
            "[standby]\nof = [\"http://{}\"]\nname = \"standby-0\"\n[disk]\nreserve_bytes = {RESERVE}\n",
            writer.addresses().feed
        );
        let text = config_text(dir, &[], &more)
            .replace("[http]\nlisten = \"127.0.0.1:0\"", &format!("[http]\nlisten = \"{http}\""))
            .replace("[health]\nlisten = \"127.0.0.1:0\"", &format!("[health]\nlisten = \"{health}\""));
        let (config, log) = (dir.join("config.toml"), dir.join("stderr"));
        fs::write(&config, text).unwrap();
        let at = data.display();
        let script = format!("mkdir -p {at} && mount -t tmpfs -o size={SIZE} small {at} && exec \"$@\"");
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
            .args([env!("CARGO_BIN_EXE_signpost-admin"), "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let standby = SmallStandby { child, http, health, log, data };
        until("the standby to answer", || standby.readyz());
        standby
    }

    fn readyz(&self) -> Option<(u16, Value)> {
        let client = Client::new(self.health, "");
        let reply = client.try_send(reqwest::Method::GET, "/readyz", &[], None).ok()?;
        Some((reply.status, reply.json))
    }

    fn await_standby(&self, status: u16, state: &str, room: &str) {
        until(&format!("{status}, {state}, {room}"), || {
            let (found, detail) = self.readyz()?;
            (found == status && detail["standby"]["state"] == state && detail["disk"]["room"] == room)
                .then_some(())
        });
    }

    fn has_line(&self, line: &str) -> bool {
        Client::new(self.health, "").get("/metrics").text.lines().any(|found| found == line)
    }

    /// Its disk, as it sees it.
    fn disk(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.child.id(), self.data.display()))
    }

    /// Takes all but `free` bytes of the disk.
    fn fill_to(&self, free: u64) {
        let length = daemon::disk::free_bytes(&self.disk()).unwrap() - free;
        let file = self.disk().join("filler");
        let filled = Command::new("fallocate").args(["--length", &length.to_string()]).arg(file).status();
        assert!(filled.unwrap().success());
    }
}

impl Drop for SmallStandby {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn with_less_room_than_is_reserved_a_standby_receives_nothing_answers_on_and_goes_on_by_itself() {
    let writer = Admin::start(&[]);
    let link = |alias: &str| json!({ "long_url": "https://a.example/", "alias": alias });
    writer.client().create(&link("before"));
    let dir = tempfile::tempdir().unwrap();
    let standby = SmallStandby::of(&writer, dir.path());
    standby.await_standby(200, "following", "enough");
    let client = Client::new(standby.http, &writer.token);
    let is_there = |alias: &str| (client.get(&format!("/v1/links/{alias}")).status == 200).then_some(());
    until("what was made before", || is_there("before"));

    standby.fill_to(RESERVE / 2);
    standby.await_standby(503, "paused", "low");
    assert!(
        standby.has_line("signpost_admin_disk_low 1") && standby.has_line("signpost_admin_standby_current 0")
    );
    let (_, detail) = standby.readyz().unwrap();
    assert!(detail["standby"]["problem"].as_str().unwrap().contains("make room"), "{detail}");
    // The writer needs nobody to confirm, and this one takes nothing.
    writer.client().create(&link("meanwhile"));
    let statuses = ["before", "meanwhile"].map(|alias| client.get(&format!("/v1/links/{alias}")).status);
    assert_eq!(statuses, [200, 404]);

    fs::remove_file(standby.disk().join("filler")).unwrap();
    standby.await_standby(200, "following", "enough");
    until("what was made meanwhile", || is_there("meanwhile"));
    assert!(standby.has_line("signpost_admin_disk_low 0"));
    let log = fs::read_to_string(&standby.log).unwrap();
    for message in
        ["the disk is nearly full", "not following for want of room", "there is room again, following"]
    {
        assert_eq!(log.matches(message).count(), 1, "{message}: {log}");
    }
}

/// All files with rows.
fn tables(log: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(log.join("db")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|is| is == "sst")).collect()
}

/// Those with the rows that links are served from.
fn served_tables(log: &Path) -> Vec<PathBuf> {
    // A table file ends with its properties, the name of its column family among them.
    let of_links = |path: &PathBuf| {
        let property = "nameserve";
        fs::read(path).unwrap().windows(property.len()).any(|window| window == property.as_bytes())
    };
    tables(log).into_iter().filter(of_links).collect()
}

/// Turns over a bit in the first rows of a file.
fn flip(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 20).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], 20).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_standby_whose_disk_is_damaged_is_not_promoted_and_fetches_another_log() {
    let mut writer = Admin::start(&[]);
    writer.settle();
    let link = |alias: &str| json!({ "long_url": "https://a.example/", "alias": alias });
    for n in 0..20 {
        writer.client().create(&link(&format!("link-{n}")));
    }
    let mut standby = Standby::of(&writer, "standby-0", &[], "[scrub]\nevery_s = 1\n");
    let health = |standby: &Standby| Client::new(standby.following.as_ref().unwrap().addresses().health, "");
    let metric = |standby: &Standby, name: &str| -> u64 {
        let metrics = health(standby).get("/metrics").text;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("signpost_admin_{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or_default()
    };
    let sound = |standby: &Standby| metric(standby, "scrub_sound_timestamp_seconds") > 0;
    // A look at the disk writes out what is in memory.
    until("the disk to be found sound", || sound(&standby).then_some(()));
    until("the standby to be ready", || (health(&standby).get("/readyz").status == 200).then_some(()));

    writer.stop();
    let log = standby.dir.path().join("data/log");
    let served = served_tables(&log);
    assert!(!served.is_empty());
    served.iter().for_each(|path| flip(path));
    until("the damage to be found", || (metric(&standby, "scrub_damages_total") > 0).then_some(()));
    let ready = health(&standby).get("/readyz");
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.json["standby"]["damage"].is_string(), "{ready:?}");
    assert_eq!(metric(&standby, "standby_current"), 0);
    let refused = standby.control("promote", json!({ "accept_loss": false })).unwrap_err();
    assert!(
        refused.contains("is damaged on its disk") && refused.contains("Nothing was changed"),
        "{refused}"
    );

    fs::write(log.join("damaged"), "").unwrap();
    writer.restart();
    writer.client().create(&link("later"));
    standby.renewed();
    assert!(!log.join("damaged").exists(), "the log is another one");
    standby.caught_up(&writer);
    until("it to be found sound", || sound(&standby).then_some(()));
    until("the standby to be ready", || (health(&standby).get("/readyz").status == 200).then_some(()));
    assert_eq!(metric(&standby, "scrub_damages_total"), 0);
    for alias in ["link-0", "link-19", "later"] {
        assert_eq!(standby.client().get(&format!("/v1/links/{alias}")).status, 200, "{alias}");
    }

    // Found at a start, it is for people to decide: the journal may be what a promotion needs.
    standby.stop();
    tables(&log).iter().for_each(|path| flip(path));
    let refused = standby.start_refused();
    assert!(refused.contains("is damaged") && refused.contains("move that folder away"), "{refused}");
    fs::rename(&log, log.with_extension("damaged")).unwrap();
    standby.start();
    standby.caught_up(&writer);
    assert_eq!(standby.client().get("/v1/links/later").status, 200);
}
