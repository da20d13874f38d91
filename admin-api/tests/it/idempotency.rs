//! Requests that arrive twice.

use std::collections::HashSet;
use std::net::TcpListener;

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool, Reply, until};

const LINKS: &str = "/v1/links";
const BATCH: &str = "/v1/links/batch";

fn send(client: &Client, path: &str, key: &str, body: &Value) -> Reply {
    client.send(Method::POST, path, &[("idempotency-key", key)], Some(body.to_string()))
}

fn replayed(reply: &Reply) -> bool {
    reply.header("idempotency-replayed") == Some("true")
}

#[test]
fn a_repeated_create_gives_the_same_answer_and_makes_nothing() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    let body = json!({ "long_url": "https://a.example/", "title": "once" });
    let first = send(&client, LINKS, "key-1", &body);
    let second = send(&client, LINKS, "key-1", &json!({ "title": "once", "long_url": "https://a.example/" }));
    assert_eq!((first.status, replayed(&first)), (201, false), "{first:?}");
    assert_eq!((second.status, replayed(&second)), (201, true), "{second:?}");
    assert_eq!(first.json, second.json);
    assert_eq!(first.header("location"), second.header("location"));
    let third = send(&client, LINKS, "key-2", &body);
    assert_ne!(third.json["code"], first.json["code"]);
    assert_eq!(client.get(LINKS).json["data"].as_array().unwrap().len(), 2);
}

#[test]
fn a_key_belongs_to_one_request_and_one_token() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    let body = json!({ "long_url": "https://a.example/" });
    let first = send(&client, LINKS, "key", &body);
    for other in [
        json!({ "long_url": "https://b.example/" }),
        json!({ "long_url": "https://a.example/", "alias": "abc" }),
        json!({ "long_url": "https://a.example/", "status": 301 }),
        json!({ "long_url": "https://a.example/", "title": "" }),
    ] {
        assert_eq!(send(&client, LINKS, "key", &other).problem(), (422, "idempotency_key_reused"), "{other}");
    }
    let batch = send(&client, BATCH, "key", &json!({ "links": [body] }));
    assert_eq!(batch.problem(), (422, "idempotency_key_reused"));
    let stranger = Client::new(admin.addresses().http, &admin.make_token(&["links:write"]));
    let theirs = send(&stranger, LINKS, "key", &body);
    assert_eq!((theirs.status, replayed(&theirs)), (201, false));
    assert_ne!(theirs.json["code"], first.json["code"]);
}

#[test]
fn while_the_first_request_of_a_key_is_worked_on_another_one_is_told_to_come_back() {
    // A service that is asked about targets, and takes its time until the test says so.
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", service.local_addr().unwrap());
    let admin = Admin::with(
        &[],
        &format!(
            "[targets]\nverdict_url = \"{url}\"\nverdict_timeout_ms = 10000\nverdict_when_silent = \"allow\"\n"
        ),
    );
    let client = admin.client();
    let body = json!({ "long_url": "https://a.example/", "alias": "once" });
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| send(&admin.client(), LINKS, "key", &body));
        let (held, _) = service.accept().unwrap();
        let second = send(&client, LINKS, "key", &body);
        assert_eq!(second.problem(), (409, "idempotency_key_in_flight"));
        assert!(second.header("retry-after").is_some(), "{second:?}");
        // Closed without an answer, it has said nothing: the first one goes on.
        drop((held, service));
        first.join().unwrap()
    });
    assert_eq!((first.status, replayed(&first)), (201, false), "{first:?}");
    let again = send(&client, LINKS, "key", &body);
    assert_eq!((again.status, replayed(&again)), (201, true), "{again:?}");
    let other = json!({ "long_url": "https://b.example/", "alias": "once" });
    assert_eq!(send(&client, LINKS, "key", &other).problem(), (422, "idempotency_key_reused"));
}

#[test]
fn a_conflict_is_repeated_too() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let body = json!({ "long_url": "https://a.example/", "alias": "taken" });
    client.create(&body);
    assert_eq!(send(&client, LINKS, "key", &body).problem(), (409, "alias_taken"));
    client.delete("/v1/links/taken");
    assert_eq!(send(&client, LINKS, "key", &body).problem(), (409, "alias_taken"), "it was decided then");
    assert_eq!(send(&client, LINKS, "other", &body).status, 201);
}

#[test]
fn what_was_deleted_since_is_said_to_be() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let body = json!({ "long_url": "https://a.example/", "alias": "short-lived" });
    assert_eq!(send(&client, LINKS, "key", &body).status, 201);
    client.delete("/v1/links/short-lived");
    assert_eq!(send(&client, LINKS, "key", &body).problem(), (410, "link_deleted_since"));
    client.create(&body);
    assert_eq!(
        send(&client, LINKS, "key", &body).problem(),
        (410, "link_deleted_since"),
        "this is another link"
    );
}

#[test]
fn a_repeated_batch_gives_the_same_results_item_by_item() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "taken" }));
    let body = json!({ "links": [
        { "long_url": "https://a.example/0" },
        { "long_url": "nonsense" },
        { "long_url": "https://a.example/2", "alias": "taken" },
        { "long_url": "https://a.example/3", "alias": "mine" },
    ] });
    let first = send(&client, BATCH, "key", &body);
    let second = send(&client, BATCH, "key", &body);
    assert_eq!((first.status, replayed(&first)), (200, false), "{first:?}");
    assert_eq!((second.status, replayed(&second)), (200, true));
    assert_eq!(first.json, second.json);
    let statuses: Vec<_> = first.json["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [201, 422, 409, 201]);
    let other = json!({ "links": [{ "long_url": "https://a.example/0" }] });
    assert_eq!(send(&client, BATCH, "key", &other).problem(), (422, "idempotency_key_reused"));
}

#[test]
fn a_retry_is_answered_after_a_restart_and_without_key_pools() {
    let mut pool = FakePool::start(1, 0);
    let mut admin = Admin::with(&[&pool], "[codes]\nblock = 1\nlow_watermark = 1\n");
    let body = json!({ "long_url": "https://a.example/", "expires_at": "2999-01-01T00:00:00Z" });
    let first = send(&admin.client(), LINKS, "key", &body);
    assert_eq!(first.status, 201, "{first:?}");
    pool.switch_off();
    admin.restart();
    let second = send(&admin.client(), LINKS, "key", &body);
    assert_eq!((second.status, replayed(&second)), (201, true), "{second:?}");
    assert_eq!(first.json, second.json);
}

#[test]
fn many_clients_with_one_key_make_one_link() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    let body = json!({ "long_url": "https://a.example/" });
    let codes: HashSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (client, body) = (admin.client(), &body);
                scope.spawn(move || {
                    until("an answer", || {
                        let reply = send(&client, LINKS, "key", body);
                        if reply.status == 409 {
                            assert_eq!(reply.problem().1, "idempotency_key_in_flight");
                            assert!(reply.header("retry-after").is_some());
                            return None;
                        }
                        assert_eq!(reply.status, 201, "{reply:?}");
                        Some(reply.json["code"].as_str().unwrap().to_owned())
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(codes.len(), 1);
    assert_eq!(admin.client().get(LINKS).json["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_retry_finds_the_link_although_its_first_codes_were_in_use() {
    let pool = FakePool::start(1, 100);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    // The next codes the pool will give out are in use as aliases already.
    let used: Vec<String> = (100..103).map(|n| linklog::Code7::new(n).unwrap().to_string()).collect();
    for alias in &used {
        client.create(&json!({ "long_url": "https://a.example/", "alias": alias }));
    }
    let body = json!({ "long_url": "https://b.example/" });
    let first = send(&client, LINKS, "key", &body);
    assert_eq!(first.status, 201, "{first:?}");
    assert!(!used.contains(&first.json["code"].as_str().unwrap().to_owned()));
    let second = send(&client, LINKS, "key", &body);
    assert_eq!((second.status, replayed(&second), &second.json), (201, true, &first.json));
}
