//! A standby follows the writer, answers reads, and takes its place when an operator says so.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use signpost_admin::config::{self, Config};
use signpost_admin::server::{Ended, Running, RunningStandby};
use tokio_util::sync::CancellationToken;

use crate::fixture::{
    Admin, Client, FakePool, Reporter, batch, config_text, hello, subject_of_newest, until,
};

/// A standby in this process, before and after its promotion.
pub struct Standby {
    pub dir: tempfile::TempDir,
    config: Config,
    pub following: Option<RunningStandby>,
    pub writing: Option<Running>,
    token: String,
}

fn parsed(dir: &Path, pools: &[&FakePool], more: &str) -> Config {
    let text = config_text(dir, pools, more);
    daemon::config::parse("test", &text, config::read).unwrap().config
}

impl Standby {
    /// Adds a standby to a writer and waits until it has everything.
    pub fn of(writer: &Admin, name: &str, pools: &[&FakePool], more: &str) -> Standby {
        writer.control("proxy.add", json!({ "name": name, "sync": true })).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let feed = writer.addresses().feed;
        let more = format!("[standby]\nof = [\"http://{feed}\"]\nname = \"{name}\"\n{more}");
        let config = parsed(dir.path(), pools, &more);
        let following = Some(RunningStandby::start(&config).unwrap());
        let standby = Standby { dir, config, following, writing: None, token: writer.token.clone() };
        standby.caught_up(writer);
        standby
    }

    pub fn caught_up(&self, writer: &Admin) {
        until("the standby has what the writer has", || {
            let head = writer.control("status", Value::Null).unwrap()["head"].clone();
            (self.control("status", Value::Null).unwrap()["head"] == head).then_some(())
        });
    }

    pub fn control(&self, command: &str, args: Value) -> Result<Value, String> {
        let socket = self.dir.path().join("control.sock");
        daemon::control::call(&socket, command, args).map_err(|error| error.to_string())
    }

    pub fn stop(&mut self) {
        assert_eq!(self.following.take().unwrap().stop().unwrap(), Ended::Stopped);
    }

    /// Why it does not start.
    pub fn start_refused(&self) -> String {
        let refused = RunningStandby::start(&self.config).err().unwrap();
        std::iter::successors(Some(&refused as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }

    pub fn start(&mut self) {
        self.following = Some(RunningStandby::start(&self.config).unwrap());
    }

    /// What the process does by itself when it has fetched what it lacked.
    pub fn renewed(&mut self) {
        let following = self.following.take().unwrap();
        following.wait(&CancellationToken::new());
        assert_eq!(following.stop().unwrap(), Ended::Renewed);
        self.start();
    }

    pub fn client(&self) -> Client {
        let addresses = match (&self.following, &self.writing) {
            (Some(standby), _) => standby.addresses(),
            (None, Some(writer)) => writer.addresses(),
            (None, None) => panic!("it does not run"),
        };
        Client::new(addresses.http, &self.token)
    }

    /// What the process does by itself when its operator says `promote`.
    pub fn promote(&mut self, accept_loss: bool) -> Result<Value, String> {
        let promoted = self.control("promote", json!({ "accept_loss": accept_loss }))?;
        let following = self.following.take().unwrap();
        following.wait(&CancellationToken::new());
        assert_eq!(following.stop().unwrap(), Ended::Promoted);
        self.writing = Some(Running::start(&self.config).unwrap());
        Ok(promoted)
    }
}

pub fn alias(client: &Client, code: &str) -> (u16, String) {
    let reply = client.post("/v1/links", &json!({ "long_url": "https://a.example/", "alias": code }));
    (reply.status, reply.json["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_standby_answers_reads_and_sends_changes_to_the_writer() {
    let writer = Admin::start(&[]);
    assert_eq!(alias(&writer.client(), "before").0, 201);
    let standby = Standby::of(&writer, "standby-0", &[], "api_url = \"https://api.example\"");
    assert_eq!(alias(&writer.client(), "after").0, 201);
    standby.caught_up(&writer);
    let client = standby.client();
    for code in ["before", "after"] {
        let reply = client.get(&format!("/v1/links/{code}"));
        assert_eq!(
            (reply.status, reply.json["long_url"].as_str()),
            (200, Some("https://a.example/")),
            "{reply:?}"
        );
    }
    let refused = client.post("/v1/links", &json!({ "long_url": "https://b.example/" }));
    assert_eq!(refused.problem(), (421, "standby"));
    assert!(refused.json["detail"].as_str().unwrap().contains("https://api.example"), "{refused:?}");
    assert_eq!(client.get("/v1/links/before/clicks").problem(), (421, "standby"));
    let replication = client.get("/v1/replication").json;
    assert_eq!(
        (&replication["role"], &replication["standby"]["state"]),
        (&json!("standby"), &json!("following"))
    );
    let health = Client::new(standby.following.as_ref().unwrap().addresses().health, "");
    until("the standby is ready", || (health.get("/readyz").status == 200).then_some(()));
    assert!(health.get("/metrics").text.contains("standby_current 1"));
    // A token that is made later is known at once, one that is taken back no more.
    let token = writer.make_token(&["links:read"]);
    standby.caught_up(&writer);
    let later = Client::new(standby.following.as_ref().unwrap().addresses().http, &token);
    assert_eq!(later.get("/v1/links/before").status, 200);
    // The writer knows it, as a copy that counts.
    let members = writer.client().get("/v1/replication").json;
    assert_eq!(
        (&members["members"][0]["id"], &members["members"][0]["role"]),
        (&json!("standby-0"), &json!("sync"))
    );
}

#[test]
fn a_promoted_standby_goes_on_with_everything_and_the_writer_it_replaced_stops() {
    let pool = FakePool::start(1, 1);
    let writer = Admin::start(&[&pool]);
    let key = ("idempotency-key", "once");
    let body = json!({ "long_url": "https://a.example/" });
    let first = writer.client().send(Method::POST, "/v1/links", &[key], Some(body.to_string()));
    assert_eq!(first.status, 201, "{first:?}");
    let mut standby = Standby::of(&writer, "standby-0", &[&pool], "");
    // The writer answers, so that nothing can be lost though it waits for nobody.
    let promoted = standby.promote(false).unwrap();
    assert_eq!((&promoted["epoch"], &promoted["at_risk"]), (&json!(2), &Value::Null));
    let refused =
        writer.client().post("/v1/links", &json!({ "long_url": "https://b.example/", "alias": "late" }));
    assert_eq!(refused.problem(), (503, "writer_replaced"));
    let client = standby.client();
    // A retry in the new epoch gets the answer of the old one.
    let again = client.send(Method::POST, "/v1/links", &[key], Some(body.to_string()));
    assert_eq!((again.status, &again.json["code"]), (201, &first.json["code"]), "{again:?}");
    let code = first.json["code"].as_str().unwrap();
    let taken = client.post("/v1/links", &json!({ "long_url": "https://b.example/", "alias": code }));
    assert_eq!(taken.problem(), (409, "alias_taken"));
    let made = client.post("/v1/links", &json!({ "long_url": "https://c.example/" }));
    assert_eq!(made.status, 201, "{made:?}");
    assert_ne!(made.json["code"], first.json["code"]);
    // It is its own standby no more.
    let members = client.get("/v1/replication").json;
    assert_eq!(members["members"][0]["state"], "drained");
}

#[test]
fn a_writer_that_waits_for_sync_members_changes_nothing_without_them() {
    let writer = Admin::with(&[], "[replication]\nmin_sync_replicas = 1");
    let refused =
        writer.client().post("/v1/links", &json!({ "long_url": "https://a.example/", "alias": "alone" }));
    assert_eq!(refused.problem(), (503, "no_sync_replica"));
    let head = writer.control("status", Value::Null).unwrap();
    assert_eq!(writer.client().get("/v1/links/alone").status, 404);
    let standby = Standby::of(&writer, "standby-0", &[], "");
    until("changes are taken with it", || (alias(&writer.client(), "together").0 == 201).then_some(()));
    assert_eq!(
        standby.client().get("/v1/links/together").status,
        200,
        "it is there before it is acknowledged"
    );
    assert_ne!(writer.control("status", Value::Null).unwrap(), head);
}

#[test]
fn with_too_few_sync_members_a_promotion_is_refused_and_changes_nothing() {
    let mut writer = Admin::with(&[], "[replication]\nmin_sync_replicas = 1");
    writer.settle();
    let more = "writer_min_sync_replicas = 1";
    let mut first = Standby::of(&writer, "standby-0", &[], more);
    let second = Standby::of(&writer, "standby-1", &[], more);
    until("changes are taken", || (alias(&writer.client(), "one").0 == 201).then_some(()));
    first.caught_up(&writer);
    writer.stop();
    // standby-1 is there, but the first was not told where.
    let refused = first.promote(false).unwrap_err();
    assert!(refused.contains("1 of 2 sync members") && refused.contains("standby-1"), "{refused}");
    assert!(refused.contains("Nothing was changed"), "{refused}");
    writer.restart();
    until("the writer goes on", || (alias(&writer.client(), "two").0 == 201).then_some(()));
    first.caught_up(&writer);
    writer.stop();
    let promoted = first.promote(true).unwrap();
    assert!(promoted["at_risk"].as_str().unwrap().contains("standby-1"), "{promoted}");
    assert_eq!(first.client().get("/v1/links/two").status, 200);
    drop(second);
}

#[test]
fn a_promotion_adopts_the_longer_log_of_another_sync_member() {
    let mut writer = Admin::with(&[], "[replication]\nmin_sync_replicas = 1");
    let second = Standby::of(&writer, "standby-1", &[], "writer_min_sync_replicas = 1");
    let peer = second.following.as_ref().unwrap().addresses().feed;
    let more = format!("writer_min_sync_replicas = 1\npeers = [\"http://{peer}\"]");
    let mut first = Standby::of(&writer, "standby-0", &[], &more);
    // The first is down while changes are acknowledged with the second alone.
    first.stop();
    for n in 0..20 {
        until("changes are taken", || (alias(&writer.client(), &format!("link-{n}")).0 == 201).then_some(()));
    }
    writer.stop();
    first.start();
    first.promote(false).unwrap();
    for n in 0..20 {
        assert_eq!(first.client().get(&format!("/v1/links/link-{n}")).status, 200, "link-{n}");
    }
    drop(second);
}

#[test]
fn a_proxy_forgets_no_click_before_a_standby_has_it_and_a_promoted_one_counts_on() {
    let mut writer = Admin::with(&[], "[replication]\nmin_sync_replicas = 1");
    let mut standby = Standby::of(&writer, "standby-0", &[], "writer_min_sync_replicas = 1");
    writer.control("proxy.add", json!({ "name": "proxy-0" })).unwrap();
    until("changes are taken", || (alias(&writer.client(), "link").0 == 201).then_some(()));
    let link = subject_of_newest(&writer.client(), "link");
    let (mut reporter, _) = Reporter::welcomed(writer.addresses().feed, hello(1, 0));
    reporter.send(&batch(1, 1, link, [1, 0, 0, 0]));
    reporter.released(1);

    // Without the standby it is counted, and kept.
    assert_eq!(standby.following.take().unwrap().stop().unwrap(), Ended::Stopped);
    reporter.send(&batch(1, 2, link, [2, 0, 0, 0]));
    assert_eq!(reporter.watermark(), (2, 1));
    // The standby takes what it lacks, and nothing twice.
    standby.following = Some(RunningStandby::start(&standby.config).unwrap());
    reporter.released(2);
    standby.caught_up(&writer);

    writer.stop();
    standby.promote(true).unwrap();
    let feed = standby.writing.as_ref().unwrap().addresses().feed;
    let (mut reporter, watermark) = Reporter::welcomed(feed, hello(1, 2));
    assert_eq!(watermark, 2, "as the old writer had it");
    for (number, clicks) in [(2, 2), (3, 4)] {
        reporter.send(&batch(1, number, link, [clicks, 0, 0, 0]));
    }
    while reporter.watermark().0 < 3 {}
    assert_eq!(standby.client().get("/v1/links/link/clicks").json["total"], 7);
}

#[test]
fn a_copy_of_the_counts_that_lost_its_place_begins_again_and_counts_nothing_twice() {
    let writer = Admin::start(&[]);
    writer.control("proxy.add", json!({ "name": "proxy-0" })).unwrap();
    assert_eq!(alias(&writer.client(), "link").0, 201);
    let link = subject_of_newest(&writer.client(), "link");
    let (mut reporter, _) = Reporter::welcomed(writer.addresses().feed, hello(1, 0));
    for number in 1..=300 {
        reporter.send(&batch(1, number, link, [1, 0, 0, 0]));
        reporter.counted(number);
    }
    let mut standby = Standby::of(&writer, "standby-0", &[], "");
    for _ in 0..3 {
        let metric = |standby: &Standby| {
            let health = standby.following.as_ref().unwrap().addresses().health;
            let metrics = Client::new(health, "").get("/metrics").text;
            metrics.lines().any(|line| line.starts_with("signpost_admin_click_ledgers 1")).then_some(())
        };
        until("the ledger is known", || metric(&standby));
        standby.stop();
        let _ = std::fs::remove_file(standby.dir.path().join("data/clicks-copied.json"));
        standby.start();
    }
    standby.caught_up(&writer);
    standby.promote(false).unwrap();
    let feed = standby.writing.as_ref().unwrap().addresses().feed;
    let (mut reporter, watermark) = Reporter::welcomed(feed, hello(1, 300));
    assert!(watermark <= 300);
    for number in watermark + 1..=301 {
        reporter.send(&batch(1, number, link, [1, 0, 0, 0]));
        reporter.counted(number);
    }
    assert_eq!(standby.client().get("/v1/links/link/clicks").json["total"], 301);
}

/// What `proxy list` says of a member's state.
fn state_of(writer: &Admin, name: &str) -> String {
    let list = writer.control("proxy.list", Value::Null).unwrap();
    let member = list["members"].as_array().unwrap().iter().find(|member| member["name"] == name).unwrap();
    member["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_new_sync_member_counts_only_when_the_old_ones_know_of_it() {
    let writer = Admin::with(&[], "[replication]\nmin_sync_replicas = 1");
    let mut first = Standby::of(&writer, "standby-0", &[], "writer_min_sync_replicas = 1");
    assert_eq!(state_of(&writer, "standby-0"), "active", "there is nobody who has to know of it");
    until("changes are taken", || (alias(&writer.client(), "one").0 == 201).then_some(()));
    first.caught_up(&writer);
    first.stop();
    until("the writer has noticed", || {
        let members = writer.client().get("/v1/replication").json;
        (members["members"][0]["state"] == "absent").then_some(())
    });
    // The second has everything, and nothing is acknowledged with it alone.
    let second = Standby::of(&writer, "standby-1", &[], "writer_min_sync_replicas = 1");
    assert_eq!(state_of(&writer, "standby-1"), "joining");
    let members = writer.client().get("/v1/replication").json;
    assert_eq!(
        (&members["members"][1]["id"], &members["members"][1]["state"]),
        (&json!("standby-1"), &json!("joining"))
    );
    assert_eq!(alias(&writer.client(), "two").0, 503);
    // Activated again it is what it was; taken out and back it begins anew.
    let joining = writer.control("proxy.activate", json!({ "name": "standby-1" })).unwrap();
    assert_eq!(joining["state"], "joining");
    assert_eq!(writer.control("proxy.drain", json!({ "name": "standby-1" })).unwrap()["state"], "drained");
    assert_eq!(writer.control("proxy.activate", json!({ "name": "standby-1" })).unwrap()["state"], "joining");
    let refused = writer.control("proxy.drain", json!({ "name": "standby-0" })).unwrap_err();
    assert!(refused.contains("0 active sync members would be left"), "{refused}");
    // The first comes back, learns of it, and may then be gone again.
    first.start();
    until("the second counts", || (state_of(&writer, "standby-1") == "active").then_some(()));
    first.caught_up(&writer);
    first.stop();
    until("changes are taken with the second", || (alias(&writer.client(), "two").0 == 201).then_some(()));
    drop(second);
}

#[test]
fn a_machine_that_is_gone_for_good_is_forgotten_and_the_next_one_counts() {
    let writer = Admin::with(&[], "[replication]\nmin_sync_replicas = 1");
    writer.control("proxy.add", json!({ "name": "lost", "sync": true })).unwrap();
    let standby = Standby::of(&writer, "standby-0", &[], "writer_min_sync_replicas = 1");
    assert_eq!(state_of(&writer, "standby-0"), "joining");
    writer.control("proxy.forget", json!({ "name": "lost" })).unwrap();
    until("it counts", || (state_of(&writer, "standby-0") == "active").then_some(()));
    until("changes are taken", || (alias(&writer.client(), "one").0 == 201).then_some(()));
    drop(standby);
}

#[test]
fn a_writer_that_yielded_to_another_promotion_is_not_enough_for_a_standby_that_knows_nothing_of_it() {
    let writer = Admin::start(&[]);
    let mut first = Standby::of(&writer, "standby-0", &[], "");
    let mut second = Standby::of(&writer, "standby-1", &[], "");
    first.caught_up(&writer);
    // It asks the writer alone, which waits for nobody and answers.
    first.promote(false).unwrap();
    assert_eq!(alias(&first.client(), "acknowledged").0, 201);
    // So would the second, which has not heard of the new epoch's writer.
    let refused = second.promote(false).unwrap_err();
    assert!(refused.contains("replaced by epoch 2 already"), "{refused}");
    assert!(refused.contains("Nothing was changed"), "{refused}");
    let promoted = second.promote(true).unwrap();
    assert!(promoted["at_risk"].as_str().unwrap().contains("replaced by epoch 2 already"), "{promoted}");
    assert_eq!(second.client().get("/v1/links/acknowledged").status, 404);
}
