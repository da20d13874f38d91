//! Exports and imports, as streams.

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

/// Makes a token and gives its client and its id.
fn token(admin: &Admin, operator: &Client, more: Value) -> (Client, String) {
    let mut body = json!({ "name": "t", "scopes": ["links:read", "links:write"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let token = operator.post("/v1/tokens", &body);
    assert_eq!(token.status, 201, "{token:?}");
    let client = Client::new(admin.addresses().http, token.json["token"].as_str().unwrap());
    (client, token.json["id"].as_str().unwrap().to_owned())
}

fn operator(admin: &Admin) -> Client {
    Client::new(admin.addresses().http, &admin.make_token(&["admin"]))
}

fn user(operator: &Client, name: &str) -> String {
    operator.post("/v1/users", &json!({ "name": name })).json["id"].as_str().unwrap().to_owned()
}

/// The code of the problem of each line that was refused.
fn refused(said: &[Value]) -> Vec<(u64, &str)> {
    let refused = said.iter().filter(|line| line["result"] == "refused");
    refused.map(|line| (line["line"].as_u64().unwrap(), line["problem"]["code"].as_str().unwrap())).collect()
}

#[test]
fn an_export_goes_to_where_its_owners_are_unknown() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let ada = user(&boss, "Ada");
    let owned = |code: &str, owner: Value| json!({ "long_url": "https://example.org/", "code": code, "owner": owner });
    let lines =
        [owned("adas", json!("0123456789abcdef")), owned("nobodys", json!(null)), owned("hers", json!(ada))];
    // Who is there is kept, who is not is said to be missing.
    let said = import(&boss, "", &lines);
    assert_eq!(done(&said), [3, 2, 0, 0, 0, 1], "{said:?}");
    assert_eq!(said[0]["problem"]["errors"][0]["code"], "user_not_found", "{said:?}");
    assert_eq!(boss.get("/v1/links/hers").json["owner"], ada);
    let (of_ada, _) = token(&admin, &boss, json!({ "user": ada, "alias_prefix": "x-" }));
    let lines = [owned("x-1", json!(null)), owned("x-2", json!("0123456789abcdef")), owned("y", json!(null))];
    for query in ["?dry_run=true", ""] {
        let said = import(&of_ada, query, &lines);
        assert_eq!(refused(&said), [(2, "owner_not_allowed"), (3, "alias_prefix_missing")], "{query}");
        assert_eq!(done(&said), [3, 1, 0, 0, 0, 2], "{query}");
    }
    let said = import(&of_ada, "?owners=none", &lines[..2]);
    assert_eq!(done(&said), [2, 1, 1, 0, 0, 0], "{said:?}");
    assert_eq!(boss.get("/v1/links/x-2").json["owner"], ada);
    assert_eq!(
        done(&import(&boss, "?owners=none", &[owned("adas", json!("0123456789abcdef"))])),
        [1, 1, 0, 0, 0, 0]
    );
    assert_eq!(boss.get("/v1/links/adas").json["owner"], Value::Null);
    let reply = boss.send(Method::POST, "/v1/import?owners=me", &[NDJSON], Some(String::new()));
    assert_eq!(reply.errors(), [("owners", "not_allowed")]);
}

#[test]
fn lines_that_are_there_already_cost_nothing_of_the_quota() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (client, _) = token(&admin, &boss, json!({ "creates": { "count": 3, "period_s": 31_536_000 } }));
    let lines: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|code| json!({ "long_url": format!("https://example.org/{code}"), "code": code }))
        .collect();
    assert_eq!(done(&import(&client, "", &lines)), [3, 3, 0, 0, 0, 0]);
    for query in ["?dry_run=true", ""] {
        assert_eq!(done(&import(&client, query, &lines)), [3, 0, 3, 0, 0, 0], "{query}");
    }
    let other = [json!({ "long_url": "https://example.org/other", "code": "one" })];
    assert_eq!(done(&import(&client, "", &other)), [1, 0, 0, 0, 1, 0]);
    assert_eq!(done(&import(&client, "?collisions=replace", &other)), [1, 0, 0, 1, 0, 0]);
    let new = [json!({ "long_url": "https://example.org/new", "code": "four" })];
    for query in ["?dry_run=true", ""] {
        let said = import(&client, query, &new);
        assert_eq!(said[0]["problem"]["code"], "quota_used_up", "{query}: {said:?}");
    }
}

#[test]
fn a_dry_run_foresees_external_ids_and_says_no_more_than_a_collision_about_links_of_others() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (ada, bob) = (user(&boss, "Ada"), user(&boss, "Bob"));
    let ((of_ada, _), (of_bob, _)) =
        (token(&admin, &boss, json!({ "user": ada })), token(&admin, &boss, json!({ "user": bob })));
    let line = |code: &str, id: Value| json!({ "long_url": "https://example.org/", "code": code, "external_id": id });
    of_ada.create(&json!({ "long_url": "https://example.org/", "alias": "adas" }));
    of_bob.create(&json!({ "long_url": "https://example.org/", "alias": "bobs", "external_id": "7" }));
    let lines = [line("adas", json!(null)), line("new", json!("7")), line("free", json!("8"))];
    for (query, wanted) in [
        ("?dry_run=true", [3, 1, 0, 0, 2, 0]),
        ("", [3, 1, 0, 0, 2, 0]),
        ("?dry_run=true&collisions=replace", [3, 0, 1, 0, 2, 0]),
        ("?collisions=replace", [3, 0, 1, 0, 2, 0]),
    ] {
        assert_eq!(done(&import(&of_bob, query, &lines)), wanted, "{query}");
    }
}

#[test]
fn a_target_that_is_refused_refuses_its_line_and_not_the_import() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("hosts.txt");
    std::fs::write(&list, "bad.example\n").unwrap();
    let admin = Admin::with(&[], &format!("[targets]\nblocked_hosts = [{list:?}]\n"));
    let client = admin.client();
    let line = |code: &str, host: &str| json!({ "long_url": format!("https://{host}/"), "code": code });
    let lines = [line("a", "good.example"), line("b", "bad.example"), line("c", "good.example")];
    for query in ["?dry_run=true", ""] {
        assert_eq!(done(&import(&client, query, &lines)), [3, 2, 0, 0, 0, 1], "{query}");
    }
}

#[test]
fn an_import_ends_when_its_token_is_revoked() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (client, id) = token(&admin, &boss, json!({}));
    let mut stream = TcpStream::connect(admin.addresses().http).unwrap();
    stream.set_read_timeout(Some(super::fixture::PATIENCE)).unwrap();
    write!(
        stream,
        "POST /v1/import HTTP/1.1\r\nHost: s.test\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        client.token()
    )
    .unwrap();
    let mut chunk = |range: std::ops::Range<u32>| {
        let text: String = range
            .map(|n| format!("{{\"long_url\":\"https://example.org/{n}\",\"code\":\"code-{n}\"}}\n"))
            .collect();
        write!(stream, "{:x}\r\n{text}\r\n", text.len()).unwrap();
        stream.try_clone().unwrap()
    };
    let mut answers = chunk(0..1000);
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains("{\"progress\":{\"line\":1000,") {
        let read = answers.read(&mut buffer).unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert_eq!(boss.delete(&format!("/v1/tokens/{id}")).status, 204);
    chunk(1000..2000);
    answers.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("{\"gave_up\":{\"line\":1000,"), "{answer}");
    assert!(answer.contains("\"code\":\"token_invalid\""), "{answer}");
    assert_eq!(boss.get("/v1/links/code-1000").status, 404);
}

#[test]
fn an_export_is_cut_off_when_its_token_is_revoked() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let notes = "\u{1f980}".repeat(5_000);
    // Far more than the buffers on the way hold.
    for batch in 0..8 {
        let lines: Vec<_> = (0..250)
            .map(|n| json!({ "long_url": "https://example.org/", "code": format!("code-{batch}-{n}"), "notes": notes }))
            .collect();
        assert_eq!(done(&import(&boss, "", &lines))[1], 250);
    }
    let (client, id) = token(&admin, &boss, json!({}));
    let mut stream = TcpStream::connect(admin.addresses().http).unwrap();
    stream.set_read_timeout(Some(super::fixture::PATIENCE)).unwrap();
    write!(
        stream,
        "GET /v1/export HTTP/1.1\r\nHost: s.test\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        client.token()
    )
    .unwrap();
    let mut answer = vec![0; 4096];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(boss.delete(&format!("/v1/tokens/{id}")).status, 204);
    // However the end is told, it is not that of a whole export.
    let _ = stream.read_to_end(&mut answer);
    let end = String::from_utf8_lossy(&answer[answer.len() - 400..]).into_owned();
    assert!(!end.contains("\"end\":true"), "{end}");
}

#[test]
fn clicks_so_far_come_with_a_link_once_and_are_told_apart_from_those_counted_here() {
    let mut admin = Admin::start(&[]);
    let client = admin.client();
    let line = json!({ "code": "spring", "long_url": "https://example.org/", "clicks": 70_000 });
    assert_eq!(done(&import(&client, "", std::slice::from_ref(&line)))[1], 1);
    let seen = |client: &Client| {
        let link = client.get("/v1/links/spring").json;
        let clicks = client.get("/v1/links/spring/clicks").json;
        let listed = client.get("/v1/links").json["data"][0].clone();
        assert_eq!(
            (&listed["clicks"], &listed["imported_clicks"]),
            (&link["clicks"], &link["imported_clicks"])
        );
        assert_eq!((&clicks["total"], &clicks["imported"]), (&link["clicks"], &link["imported_clicks"]));
        (link["clicks"].as_u64().unwrap(), link["imported_clicks"].as_u64().unwrap())
    };
    assert_eq!(seen(&client), (70_000, 70_000));
    // Again, with more, and in place of what is there: never twice.
    let more = json!({ "code": "spring", "long_url": "https://example.org/", "clicks": 80_000 });
    assert_eq!(done(&import(&client, "", std::slice::from_ref(&line)))[2], 1);
    assert_eq!(done(&import(&client, "", std::slice::from_ref(&more)))[2], 1);
    let other = json!({ "code": "spring", "long_url": "https://example.org/2", "clicks": 80_000 });
    assert_eq!(done(&import(&client, "?collisions=replace", &[other]))[3], 1);
    assert_eq!(seen(&client), (70_000, 70_000));
    client.patch("/v1/links/spring", &json!({ "title": "Spring" }));
    assert_eq!(
        client
            .send(
                Method::PUT,
                "/v1/links/spring",
                &[],
                Some(json!({ "long_url": "https://example.org/3" }).to_string())
            )
            .status,
        200
    );
    admin.restart();
    let client = admin.client();
    assert_eq!(seen(&client), (70_000, 70_000), "and they stay");

    let out = export(&client, "");
    let out: Vec<Value> = links(&out).into_iter().cloned().collect();
    assert_eq!((&out[0]["clicks"], &out[0]["imported_clicks"]), (&json!(70_000), &json!(70_000)));
    assert_eq!(done(&import(&client, "", &out))[2], 1, "an export changes nothing where it comes from");
    let elsewhere = Admin::start(&[]);
    assert_eq!(done(&import(&elsewhere.client(), "", &out))[1], 1);
    assert_eq!(seen(&elsewhere.client()), (70_000, 70_000));

    client.delete("/v1/links/spring");
    client.create(&json!({ "long_url": "https://example.org/", "alias": "spring" }));
    assert_eq!(seen(&client), (0, 0), "another link");
    for clicks in [json!(-1), json!("many"), json!(1.5), json!(2_000_000_000_000_u64)] {
        let said = import(
            &client,
            "",
            &[json!({ "code": "x", "long_url": "https://example.org/", "clicks": clicks })],
        );
        assert_eq!(said[0]["problem"]["errors"][0]["field"], "clicks", "{said:?}");
    }
}

#[test]
fn clicks_so_far_are_used_of_a_link_that_ends_with_a_number_of_them() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let link = |code: &str, more: Value| {
        let mut line = json!({ "code": code, "long_url": "https://example.org/", "max_clicks": 100 });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let lines = [
        link("some", json!({ "clicks": 60 })),
        link("told", json!({ "clicks": 60, "max_clicks_used": 75 })),
        link("over", json!({ "clicks": 100 })),
        link("anew", json!({})),
    ];
    assert_eq!(done(&import(&client, "", &lines))[1], 4);
    for (code, used, left) in [("some", 60, 40), ("told", 75, 25), ("over", 100, 0), ("anew", 0, 100)] {
        let limit = client.get(&format!("/v1/links/{code}/limit")).json;
        assert_eq!(
            (&limit["max_clicks"], &limit["used"], &limit["left"]),
            (&json!(100), &json!(used), &json!(left)),
            "{code}"
        );
    }
    assert_eq!(done(&import(&client, "", &lines))[2], 4, "again: nothing changes");
    let out = export(&client, "");
    let out: Vec<Value> = links(&out).into_iter().cloned().collect();
    assert_eq!(done(&import(&client, "", &out))[2], 4);
}
