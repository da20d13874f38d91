//! The format level rises when every active member reads it, and not before.

use linklog::codec::FORMAT_LEVEL;
use linklog::entity::{Fleet, MemberRole};
use linklog::store::StoreOptions;
use linklog::writer::{Writer, WriterOptions};
use linklog::{Change, Operation, Part, Precondition, StateKey};
use serde_json::json;
use signpost_admin::members;
use tokio_stream::wrappers::ReceiverStream;
use wire::feed::follower_message::Message;
use wire::feed::refusal::Reason;
use wire::feed::writer_message::Message as FromWriter;
use wire::feed::{FollowerMessage, Hello};
use wire::identity::Role;

use super::fixture::{Admin, FakePool, until};

/// Writes the log of a fleet as version 1 of the format has it, with these members.
fn log_at_level_1(admin: &Admin, names: &[&str]) {
    let dir = admin.dir().join("data/log");
    std::fs::create_dir_all(&dir).unwrap();
    let options = WriterOptions {
        store: StoreOptions { block_cache_bytes: 4 << 20, memtable_bytes: 2 << 20, background_threads: 1 },
        journal_bytes_kept: u64::MAX,
        queue_max: 100,
        clock_us: Box::new(|| 1_700_000_000_000_000),
        nonce: Box::new(|| [7; 16]),
        at_start: Box::new(|| {}),
        on_commit: Box::new(|_| {}),
        on_fatal: Box::new(|error| panic!("{error}")),
    };
    let writer = Writer::open(&dir, options).unwrap();
    let operation = Operation::Put { serve: Fleet::new([7; 16], 1).encode(), manage: Vec::new() };
    let fleet = Part { key: StateKey::Fleet, precondition: Precondition::NeverUsed, operation };
    writer.handle().propose_and_wait(vec![Change::new("t", vec![fleet])]).unwrap();
    let add = |name: &&str| members::add(name, None, MemberRole::Read, 1);
    writer.handle().propose_and_wait(names.iter().map(add).collect()).unwrap();
}

/// Says Hello as a member that reads `level`; returns whether it was welcomed, or why not.
fn follow(admin: &Admin, member: &str, level: u32) -> Result<u32, Reason> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("http://{}", admin.addresses().feed);
        let endpoint = wire::channel::endpoint(&url, None, Role::Writer).unwrap();
        let mut client = wire::channel::feed_client(endpoint.connect().await.unwrap());
        let hello =
            Hello { member: member.into(), format_level: level, window_bytes: 1 << 20, ..Hello::default() };
        let messages = tokio_stream::iter([FollowerMessage { message: Some(Message::Hello(hello)) }]);
        let (keep_open, rest) = tokio::sync::mpsc::channel::<FollowerMessage>(1);
        let messages = tokio_stream::StreamExt::chain(messages, ReceiverStream::new(rest));
        let mut answers = client.follow(messages).await.unwrap().into_inner();
        let first = answers.message().await.unwrap().unwrap().message;
        drop(keep_open);
        match first {
            Some(FromWriter::Welcome(welcome)) => Ok(welcome.format_level),
            Some(FromWriter::Refusal(refusal)) => Err(refusal.reason()),
            other => panic!("{other:?}"),
        }
    })
}

fn level(admin: &Admin) -> u64 {
    admin.control("status", json!({})).unwrap()["format_level"].as_u64().unwrap()
}

#[test]
fn a_member_one_version_behind_keeps_the_level_and_what_needs_more_is_refused_by_its_name() {
    let pool = FakePool::start(1, 1);
    let mut admin = Admin::start(&[&pool]);
    admin.forget_data();
    log_at_level_1(&admin, &["proxy-0", "proxy-1", "proxy-2"]);
    admin.restart();
    admin.token = admin.make_token(&["links:read", "links:write"]);
    admin.wait_for_codes(10);
    let client = admin.client();

    // Two of three read everything.
    assert_eq!(follow(&admin, "proxy-0", u32::from(FORMAT_LEVEL)), Ok(1));
    assert_eq!(follow(&admin, "proxy-1", 1), Ok(1));
    let announced = || {
        let members = admin.control("proxy.list", json!({})).unwrap();
        let of = |n: usize| members["members"][n]["format_level"].clone();
        (of(0), of(1), of(2))
    };
    until("both announcements", || {
        (announced() == (json!(FORMAT_LEVEL), json!(1), json!(null))).then_some(())
    });
    assert_eq!(level(&admin), 1);
    let plain = json!({ "long_url": "https://a.example/" });
    let needs_2 = json!({ "long_url": "https://a.example/", "not_before": "2040-01-01T00:00:00Z" });
    let made = client.create(&plain);
    let refused = client.post("/v1/links", &needs_2);
    assert_eq!(refused.problem(), (409, "format_level_too_low"));
    let detail = refused.json["detail"].as_str().unwrap();
    assert!(detail.contains("proxy-1 (reads level 1), proxy-2 (has never connected)"), "{detail}");
    let path = format!("/v1/links/{}", made["code"].as_str().unwrap());
    let refused = client.patch(&path, &json!({ "not_before": "2040-01-01T00:00:00Z" }));
    assert_eq!(refused.problem(), (409, "format_level_too_low"));
    // Nothing of a batch is made if one of it needs more.
    let batch = client.post("/v1/links/batch", &json!({ "links": [plain, needs_2] }));
    assert_eq!(batch.problem(), (409, "format_level_too_low"));

    // One is drained, the other upgraded: nobody has to do anything else.
    admin.control("proxy.drain", json!({ "name": "proxy-2" })).unwrap();
    assert_eq!(level(&admin), 1);
    assert!(follow(&admin, "proxy-1", u32::from(FORMAT_LEVEL)).is_ok());
    until("the higher level", || (level(&admin) == u64::from(FORMAT_LEVEL)).then_some(()));
    client.create(&needs_2);
    // Who reads less is told so, and the level never falls.
    assert_eq!(follow(&admin, "proxy-2", 1), Err(Reason::FormatLevel));
    admin.restart();
    assert_eq!(level(&admin), u64::from(FORMAT_LEVEL));
}

#[test]
fn a_new_log_is_at_the_highest_level() {
    let pool = FakePool::start(1, 1);
    let admin = Admin::start(&[&pool]);
    assert_eq!(level(&admin), u64::from(FORMAT_LEVEL));
}
