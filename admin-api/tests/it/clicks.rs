//! Clicks: what a proxy reports is counted once, and shown.

use clicklog::LedgerId;
use serde_json::{Value, json};
use wire::clicks::accountant_message::Message as Answer;
use wire::clicks::refusal::Reason;
use wire::clicks::reporter_message::Message;
use wire::clicks::{Hello, UpTo};

use super::fixture::{Admin, Client, Reporter, batch, hello, subject_of_newest, until};

fn admin() -> Admin {
    let admin = Admin::start(&[]);
    add_proxy(&admin, "proxy-0");
    admin
}

fn add_proxy(admin: &Admin, name: &str) {
    admin.control("proxy.add", json!({ "name": name })).unwrap();
}

fn link(client: &Client, alias: &str) -> clicklog::Subject {
    client.create(&json!({ "long_url": "https://a.example/", "alias": alias }));
    subject_of_newest(client, alias)
}

fn clicks(client: &Client, code: &str) -> Value {
    let reply = client.get(&format!("/v1/links/{code}/clicks"));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json
}

#[test]
fn reported_clicks_are_shown_by_kind_and_in_lists() {
    let admin = admin();
    let client = admin.client();
    let (one, two) = (link(&client, "link-one"), link(&client, "link-two"));
    let nothing = json!({
        "total": 0, "imported": 0, "bots": 0, "head": 0, "prefetch": 0, "last_click_at": null,
        "complete_until": null, "missing": ["proxy-0"], "dropped": 0,
    });
    assert_eq!(clicks(&client, "link-one"), nothing);
    let (mut reporter, watermark) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    assert_eq!(watermark, 0);
    reporter.send(&batch(1, 1, one, [3, 2, 1, 4]));
    reporter.send(&batch(1, 2, two, [0, 5, 0, 0]));
    reporter.send(&batch(1, 3, one, [1, 0, 0, 0]));
    reporter.counted(3);
    let shown = json!({
        "total": 4, "imported": 0, "bots": 2, "head": 1, "prefetch": 4, "last_click_at": "2023-11-14T22:13:20.003Z",
        "complete_until": "2023-11-14T22:13:20.003Z", "missing": [], "dropped": 0,
    });
    assert_eq!(clicks(&client, "link-one"), shown);
    assert_eq!(clicks(&client, "link-two")["total"], 0);
    assert_eq!(clicks(&client, "link-two")["bots"], 5);
    assert_eq!(client.get("/v1/links/link-one").json["clicks"], 4);
    let page = client.get("/v1/links").json;
    let listed: Vec<_> = page["data"].as_array().unwrap().iter().map(|link| link["clicks"].clone()).collect();
    assert_eq!(listed, [json!(0), json!(4)]);
    let member = &client.get("/v1/replication").json["members"][0];
    assert_eq!(member["clicks"]["watermark"], 3, "{member}");
    assert_eq!(member["clicks"]["ledger"], LedgerId([1; 16]).to_string());
    let metrics = Client::new(admin.addresses().health, "").get("/metrics").text;
    for line in [
        "signpost_admin_clicks_counted_total{kind=\"person\"} 4",
        "signpost_admin_clicks_counted_total{kind=\"bot\"} 7",
        "signpost_admin_click_batches_total 3",
        "signpost_admin_click_ledgers_reporting 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn batches_that_come_again_change_nothing() {
    let mut admin = admin();
    let one = link(&admin.client(), "link-one");
    let (mut reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 2));
    reporter.send(&batch(1, 1, one, [1, 0, 0, 0]));
    reporter.send(&batch(1, 2, one, [10, 0, 0, 0]));
    reporter.counted(2);
    drop(reporter);
    // The writer goes and comes back; the acknowledgements may have been lost, so everything is sent again.
    admin.restart();
    let (mut reporter, watermark) =
        until("the ledger is free again", || Some(Reporter::welcomed(admin.addresses().feed, hello(1, 3))));
    assert_eq!(watermark, 2);
    reporter.send(&batch(1, 2, one, [10, 0, 0, 0]));
    reporter.send(&batch(1, 1, one, [1, 0, 0, 0]));
    reporter.send(&batch(1, 3, one, [100, 0, 0, 0]));
    reporter.send(&batch(1, 3, one, [100, 0, 0, 0]));
    reporter.counted(3);
    assert_eq!(clicks(&admin.client(), "link-one")["total"], 111);
}

#[test]
fn an_alias_that_is_made_again_begins_at_zero() {
    let admin = admin();
    let client = admin.client();
    let first = link(&client, "link-one");
    let (mut reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    reporter.send(&batch(1, 1, first, [7, 0, 0, 0]));
    reporter.counted(1);
    client.delete("/v1/links/link-one");
    assert_eq!(client.get("/v1/links/link-one/clicks").problem(), (404, "link_not_found"));
    let second = link(&client, "link-one");
    assert_eq!(clicks(&client, "link-one")["total"], 0);
    // Late clicks of the old link stay the old link's.
    reporter.send(&batch(1, 2, first, [5, 0, 0, 0]));
    reporter.send(&batch(1, 3, second, [1, 0, 0, 0]));
    reporter.counted(3);
    assert_eq!(clicks(&client, "link-one")["total"], 1);
}

#[test]
fn counts_are_complete_up_to_what_the_slowest_proxy_reported() {
    let admin = admin();
    add_proxy(&admin, "proxy-1");
    let client = admin.client();
    let one = link(&client, "link-one");
    let (mut reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    reporter.send(&batch(1, 1, one, [1, 0, 0, 0]));
    reporter.counted(1);
    assert_eq!(clicks(&client, "link-one")["complete_until"], Value::Null, "proxy-1 has never reported");
    assert_eq!(clicks(&client, "link-one")["missing"], json!(["proxy-1"]));
    let other = Hello { member: "proxy-1".into(), ..hello(2, 0) };
    let (second, _) = Reporter::welcomed(admin.addresses().feed, other);
    second.say(Message::UpTo(UpTo { complete_until_ms: 1_600_000_000_000 }));
    until("the time is taken over", || {
        (clicks(&client, "link-one")["complete_until"] == "2020-09-13T12:26:40Z").then_some(())
    });
    admin.control("proxy.drain", json!({ "name": "proxy-1" })).unwrap();
    let shown = clicks(&client, "link-one");
    assert_eq!(
        (&shown["complete_until"], &shown["missing"]),
        (&json!("2023-11-14T22:13:20.001Z"), &json!([]))
    );
}

#[test]
fn what_a_proxy_had_to_drop_is_shown() {
    let admin = admin();
    let client = admin.client();
    let one = link(&client, "link-one");
    let lost = Hello { first_kept: 5, dropped_clicks: 40, ..hello(1, 5) };
    let (mut reporter, watermark) = Reporter::welcomed(admin.addresses().feed, lost);
    assert_eq!(watermark, 4);
    reporter.send(&batch(1, 5, one, [2, 0, 0, 0]));
    reporter.counted(5);
    let shown = clicks(&client, "link-one");
    assert_eq!((&shown["total"], &shown["dropped"]), (&json!(2), &json!(40)));
}

#[test]
fn a_reporter_that_reads_late_is_held_back_and_loses_nothing() {
    let admin = admin();
    let client = admin.client();
    let one = link(&client, "link-one");
    let (mut reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    for number in 1..=500 {
        reporter.send(&batch(1, number, one, [1, 0, 0, 0]));
    }
    reporter.counted(500);
    assert_eq!(clicks(&client, "link-one")["total"], 500);
}

#[test]
fn strangers_and_broken_reports_are_refused_with_the_reason() {
    let admin = admin();
    let feed = admin.addresses().feed;
    let one = link(&admin.client(), "link-one");
    let cases = [
        (Hello { member: "nobody".into(), ..hello(1, 0) }, Reason::UnknownMember),
        (Hello { fleet_id: vec![8; 16], ..hello(1, 0) }, Reason::WrongFleet),
        (Hello { ledger_id: vec![1; 3], ..hello(1, 0) }, Reason::BadRequest),
        (Hello { first_kept: 0, ..hello(1, 0) }, Reason::BadRequest),
        (Hello { first_kept: 9, ..hello(1, 7) }, Reason::BadRequest),
    ];
    for (hello, reason) in cases {
        assert_eq!(Reporter::connect(feed, hello).refusal(), reason);
    }
    type Case = (u8, fn(&Reporter, clicklog::Subject), Reason);
    let cases: [Case; 5] = [
        (10, |reporter, one| reporter.send(&batch(10, 2, one, [1; 4])), Reason::Gap),
        (11, |reporter, one| reporter.send(&batch(99, 1, one, [1; 4])), Reason::BadBatch),
        (
            12,
            |reporter, one| {
                let mut bytes = batch(12, 1, one, [1; 4]).encode();
                bytes[30] ^= 1;
                reporter.say(Message::Batch(wire::clicks::Batch { number: 1, batch: bytes }));
            },
            Reason::BadBatch,
        ),
        (
            13,
            |reporter, one| {
                let batch = batch(13, 1, one, [1; 4]).encode();
                reporter.say(Message::Batch(wire::clicks::Batch { number: 2, batch }));
            },
            Reason::BadBatch,
        ),
        (14, |reporter, _| reporter.say(Message::Hello(hello(14, 0))), Reason::BadRequest),
    ];
    for (ledger, act, reason) in cases {
        let (mut reporter, _) = Reporter::welcomed(feed, hello(ledger, 0));
        act(&reporter, one);
        assert_eq!(reporter.refusal(), reason, "ledger {ledger}");
    }
    assert_eq!(clicks(&admin.client(), "link-one")["total"], 0);
}

#[test]
fn a_ledger_has_one_live_stream() {
    let admin = admin();
    let feed = admin.addresses().feed;
    let (first, _) = Reporter::welcomed(feed, hello(1, 0));
    assert_eq!(Reporter::connect(feed, hello(1, 0)).refusal(), Reason::LedgerInUse);
    drop(first);
    until("the ledger is free", || {
        matches!(Reporter::connect(feed, hello(1, 0)).next(), Some(Answer::Welcome(_))).then_some(())
    });
}

#[test]
fn an_old_copy_of_a_ledger_is_told_what_is_counted_and_can_change_nothing() {
    let admin = admin();
    let one = link(&admin.client(), "link-one");
    let (mut reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    reporter.send(&batch(1, 1, one, [1; 4]));
    reporter.send(&batch(1, 2, one, [1; 4]));
    reporter.counted(2);
    drop(reporter);
    let welcomed = until("the ledger is free", || {
        let mut reporter = Reporter::connect(admin.addresses().feed, hello(1, 1));
        match reporter.next() {
            Some(Answer::Welcome(welcome)) => Some((reporter, welcome.watermark)),
            _ => None,
        }
    });
    let (mut reporter, watermark) = welcomed;
    assert_eq!(watermark, 2, "above the last batch of the copy");
    reporter.send(&batch(1, 2, one, [100; 4]));
    reporter.counted(2);
    assert_eq!(clicks(&admin.client(), "link-one")["total"], 2);
}

#[test]
fn a_forgotten_member_reports_no_more_and_a_stop_is_announced() {
    let mut admin = admin();
    add_proxy(&admin, "proxy-1");
    let feed = admin.addresses().feed;
    let (mut zero, _) = Reporter::welcomed(feed, hello(1, 0));
    let (mut one, _) = Reporter::welcomed(feed, Hello { member: "proxy-1".into(), ..hello(2, 0) });
    admin.control("proxy.forget", json!({ "name": "proxy-0" })).unwrap();
    assert_eq!(zero.refusal(), Reason::UnknownMember);
    let stopping = std::thread::spawn(move || {
        admin.stop();
        admin
    });
    assert_eq!(one.refusal(), Reason::ShuttingDown);
    drop(one);
    stopping.join().unwrap();
}

#[test]
fn either_scope_is_enough_to_see_clicks() {
    let admin = admin();
    link(&admin.client(), "link-one");
    let as_token = |scopes: &[&str]| Client::new(admin.addresses().http, &admin.make_token(scopes));
    for scope in ["stats:read", "links:read", "admin"] {
        assert_eq!(clicks(&as_token(&[scope]), "link-one")["total"], 0);
    }
    let refused = as_token(&["links:write"]).get("/v1/links/link-one/clicks");
    assert_eq!(refused.problem(), (403, "scope_missing"));
    assert_eq!(as_token(&["stats:read"]).get("/v1/links/link-one").problem(), (403, "scope_missing"));
    let client = admin.client();
    assert_eq!(client.get("/v1/links/nothing/clicks").problem(), (404, "link_not_found"));
    assert_eq!(client.delete("/v1/links/link-one/clicks").problem(), (405, "method_not_allowed"));
}
