//! Exports and imports, as streams.

mod callers;
mod clicks;

use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool, Reply, until};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn import(client: &Client, query: &str, lines: &[Value]) -> Vec<Value> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let reply = client.send(Method::POST, &format!("/v1/import{query}"), &[NDJSON], Some(body));
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/x-ndjson")),
        "{reply:?}"
    );
    said(&reply)
}

fn said(reply: &Reply) -> Vec<Value> {
    reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn export(client: &Client, query: &str) -> Vec<Value> {
    let reply = client.get(&format!("/v1/export{query}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    said(&reply)
}

/// What is done at the end: `[line, created, unchanged, replaced, collisions, refused]`.
fn done(said: &[Value]) -> [u64; 6] {
    let done = &said.last().unwrap()["done"];
    ["line", "created", "unchanged", "replaced", "collisions", "refused"]
        .map(|name| done[name].as_u64().unwrap_or_else(|| panic!("{said:?}")))
}

fn links(said: &[Value]) -> Vec<&Value> {
    said.iter().filter(|line| line.get("code").is_some()).collect()
}

#[test]
fn an_export_is_a_backup_that_an_import_restores() {
    let pool = FakePool::start(1, 1_000_000);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(1);
    let client = admin.client();
    admin.control("domain.add", json!({ "host": "other.test" })).unwrap();
    client.create(&json!({ "long_url": "https://example.org/1", "alias": "first", "title": "Ä \"title\"", "tags": ["a", "b"] }));
    client.create(
        &json!({ "long_url": "https://example.org/2", "expires_at": "2040-01-01T00:00:00Z", "status": 308 }),
    );
    client.create(&json!({ "long_url": "https://example.org/3", "alias": "first", "domain": "other.test" }));
    client.patch("/v1/links/first", &json!({ "state": "disabled" }));
    client.create(&json!({ "reserve": true, "alias": "kept-back" }));
    let before = export(&client, "");
    let end = before.last().unwrap();
    assert_eq!((&end["end"], &end["links"]), (&json!(true), &json!(4)));
    assert_eq!(links(&before)[3]["state"], "reserved");
    assert_eq!(links(&before)[0]["code"], "first", "the oldest comes first");

    let restored = Admin::start(&[&pool]);
    restored.control("domain.add", json!({ "host": "other.test" })).unwrap();
    let client = restored.client();
    let report = import(&client, "", &before);
    assert_eq!(done(&report), [5, 4, 0, 0, 0, 0], "{report:?}");
    // The file again changes nothing.
    assert_eq!(done(&import(&client, "", &before)), [5, 0, 4, 0, 0, 0]);
    let after = export(&client, "");
    let plain = |said: &[Value]| -> Vec<Value> {
        let without = |line: &&Value| {
            let mut line = (*line).clone();
            // Who made and changed it is the token that brings it back.
            for field in ["version", "created_by", "last_changed_by"] {
                line[field] = Value::Null;
            }
            line
        };
        links(said).iter().map(without).collect()
    };
    assert_eq!(plain(&after), plain(&before));
    // A code that looks like a generated one is never given out again.
    until("the pool knows the code", || (!pool.marked().is_empty()).then_some(()));
}

#[test]
fn an_export_goes_on_where_it_broke_off_and_can_be_of_one_domain() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    admin.control("domain.add", json!({ "host": "other.test" })).unwrap();
    let make = |alias: &str, domain: &str| {
        client.create(&json!({ "long_url": "https://example.org/", "alias": alias, "domain": domain }));
    };
    make("one", "s.test");
    make("two", "other.test");
    let first = export(&client, "");
    let cursor = first.last().unwrap()["cursor"].as_str().unwrap().to_owned();
    make("three", "s.test");
    let codes = |said: &[Value]| -> Vec<String> {
        links(said).iter().map(|link| link["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(&export(&client, &format!("?cursor={cursor}"))), ["three"]);
    assert_eq!(codes(&export(&client, "?domain=s.test")), ["one", "three"]);
    assert_eq!(client.get("/v1/export?cursor=nonsense").errors(), [("cursor", "cursor_invalid")]);
    assert_eq!(client.get("/v1/export?domain=nobody.test").problem(), (404, "domain_not_found"));
}

#[test]
fn collisions_and_bad_lines_are_reported_and_the_others_are_made() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://example.org/mine", "alias": "taken" }));
    let lines = [
        json!({ "long_url": "https://example.org/a", "code": "aaa" }),
        json!({ "long_url": "https://example.org/theirs", "code": "taken" }),
        json!({ "long_url": "nothing", "code": "bad", "colour": "red" }),
        json!([]),
        json!({ "long_url": "https://example.org/b", "code": "x", "created_at": "2011-02-03T04:05:06Z" }),
        json!({ "long_url": "https://example.org/ended", "code": "ended", "expires_at": "2012-01-01T00:00:00Z" }),
        json!({ "long_url": "https://example.org/taken-down", "code": "down", "state": "banned" }),
    ];
    let report = import(&client, "", &lines);
    assert_eq!(done(&report), [7, 3, 0, 0, 1, 3], "{report:?}");
    let of = |line: u64| report.iter().find(|said| said["line"] == line).unwrap();
    assert_eq!((of(2)["result"].as_str(), of(2)["code"].as_str()), (Some("collision"), Some("taken")));
    assert_eq!(of(3)["problem"]["code"], "validation_failed");
    let fields: Vec<_> =
        of(3)["problem"]["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert_eq!(fields, ["colour", "long_url"]);
    assert_eq!(of(4)["problem"]["code"], "validation_failed");
    assert_eq!(of(7)["problem"]["code"], "scope_missing");
    // A code is kept as it was, with its date, though nobody could choose it today; an ended link stays ended.
    assert_eq!(client.get("/v1/links/x").json["created_at"], "2011-02-03T04:05:06Z");
    assert_eq!(client.get("/v1/links/ended").json["expires_at"], "2012-01-01T00:00:00Z");
    assert_eq!(client.get("/v1/links/taken").json["long_url"], "https://example.org/mine");

    let report = import(&client, "?collisions=replace&first_line=101", &lines[1..2]);
    assert_eq!(done(&report), [101, 0, 0, 1, 0, 0], "{report:?}");
    assert_eq!(client.get("/v1/links/taken").json["long_url"], "https://example.org/theirs");
}

#[test]
fn the_lines_of_a_file_are_done_in_their_order_however_far_apart_they_are() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let line = |n: usize, url: &str| json!({ "code": format!("code-{n}"), "long_url": url });
    let one = "https://one.example/";
    let mut lines: Vec<_> = (0..2500).map(|n| line(n, one)).collect();
    lines.extend([line(0, one), line(1, "https://two.example/"), line(2499, one)]);
    let report = import(&client, "", &lines);
    assert_eq!(done(&report), [2503, 2500, 2, 0, 1, 0], "{report:?}");
    assert_eq!(client.get("/v1/links/code-1").json["long_url"], one);
    let target = |n: usize| client.get(&format!("/v1/links/code-{n}")).json["long_url"].clone();
    // The last line is what the link is before the first one: it has to be looked at after that.
    let three = "https://three.example/";
    lines.truncate(2400);
    lines[7] = line(7, three);
    lines.push(line(7, one));
    let report = import(&client, "?collisions=replace", &lines);
    assert_eq!((done(&report), target(7)), ([2401, 0, 2399, 2, 0, 0], json!(one)), "{report:?}");
}

#[test]
fn lines_with_and_without_codes_are_done_in_their_order_too() {
    let pool = FakePool::start(1, 2_000_000);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(3);
    let client = admin.client();
    let named = |n: usize, url: &str| json!({ "code": format!("code-{n}"), "long_url": url });
    let mut lines: Vec<_> = (0..1_500).map(|n| named(n, "https://one.example/")).collect();
    lines.extend((0..3).map(|n| json!({ "long_url": format!("https://example.org/{n}") })));
    lines.extend((0..1_200).map(|n| named(n, "https://two.example/")));
    let report = import(&client, "", &lines);
    assert_eq!(done(&report), [2_703, 1_503, 0, 0, 1_200, 0]);
    let created: Vec<_> = report.iter().filter(|line| line["result"] == "created").collect();
    let numbers: Vec<_> = created.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1_501, 1_502, 1_503]);
    let code = created[2]["code"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/links/{code}")).json["long_url"], "https://example.org/2");
    assert_eq!(client.get("/v1/links/code-1199").json["long_url"], "https://one.example/");
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_happen() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://example.org/mine", "alias": "taken" }));
    let lines = [
        json!({ "long_url": "https://example.org/new", "code": "new" }),
        json!({ "long_url": "https://example.org/theirs", "code": "taken" }),
        json!({ "long_url": "https://example.org/mine", "code": "taken" }),
        json!({ "code": "bad" }),
    ];
    let report = import(&client, "?dry_run=true", &lines);
    assert_eq!(done(&report), [4, 1, 1, 0, 1, 1], "{report:?}");
    assert_eq!(report.last().unwrap()["done"]["dry_run"], true);
    assert_eq!(client.get("/v1/links/new").status, 404);
}

#[test]
fn progress_is_said_while_the_lines_are_still_coming() {
    let admin = Admin::start(&[]);
    let mut stream = TcpStream::connect(admin.addresses().http).unwrap();
    stream.set_read_timeout(Some(super::fixture::PATIENCE)).unwrap();
    write!(
        stream,
        "POST /v1/import HTTP/1.1\r\nHost: s.test\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        admin.token
    )
    .unwrap();
    let chunk =
        |stream: &mut TcpStream, text: &str| write!(stream, "{:x}\r\n{text}\r\n", text.len()).unwrap();
    let lines = |range: std::ops::Range<u32>| -> String {
        range
            .map(|n| format!("{{\"long_url\":\"https://example.org/{n}\",\"code\":\"code-{n}\"}}\n"))
            .collect()
    };
    chunk(&mut stream, &lines(0..1500));
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains("{\"progress\":{\"line\":1000,\"created\":1000,") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    // What was said to be done is there, with the import still under way.
    assert_eq!(admin.client().get("/v1/links/code-999").status, 200);
    chunk(&mut stream, &lines(1500..1501));
    chunk(&mut stream, "");
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("{\"done\":{\"line\":1501,\"created\":1501,"), "{answer}");
}

#[test]
fn links_without_a_code_get_one_and_are_told_it() {
    let pool = FakePool::start(1, 2_000_000);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(1);
    let client = admin.client();
    let report = import(&client, "", &[json!({ "long_url": "https://example.org/" })]);
    let code = report[0]["code"].as_str().unwrap();
    assert_eq!(report[0]["short_url"], format!("http://s.test/{code}"));
    assert_eq!(client.get(&format!("/v1/links/{code}")).json["long_url"], "https://example.org/");
}

#[test]
fn what_is_wrong_with_a_request_to_import_is_said_before_it_begins() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let send = |query: &str, headers: &[(&str, &str)]| {
        client.send(Method::POST, &format!("/v1/import{query}"), headers, Some("{}".to_owned()))
    };
    assert_eq!(send("", &[]).problem(), (415, "unsupported_media_type"));
    assert_eq!(send("?collisions=merge", &[NDJSON]).errors(), [("collisions", "not_allowed")]);
    assert_eq!(send("?first_line=0", &[NDJSON]).errors(), [("first_line", "out_of_range")]);
    let reader = Client::new(admin.addresses().http, &admin.make_token(&["links:read"]));
    let refused = reader.send(Method::POST, "/v1/import", &[NDJSON], Some(String::new()));
    assert_eq!(refused.problem(), (403, "scope_missing"));
    assert_eq!(done(&import(&client, "", &[])), [0, 0, 0, 0, 0, 0]);
}
