//! Targets that no link may lead to: by address, by the operator's lists, by the verdict of another service; and links that are taken
//! down by the host they lead to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool, until};

fn operator(admin: &Admin) -> Client {
    Client::new(admin.addresses().http, &admin.make_token(&["admin", "links:read", "links:write"]))
}

fn make(client: &Client, alias: &str, target: &str) -> super::fixture::Reply {
    client.post("/v1/links", &json!({ "long_url": target, "alias": alias }))
}

#[test]
fn private_addresses_are_refused_wherever_a_target_is_given_unless_they_are_allowed() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://192.0.2.7/docs", "alias": "fine" }));
    let private = "http://169.254.169.254/latest/meta-data";
    let refused = make(&client, "private", private);
    assert_eq!((refused.status, refused.errors()), (422, vec![("long_url", "url_private")]));
    let body = Some(json!({ "long_url": private }).to_string());
    assert_eq!(
        client.send(Method::PUT, "/v1/links/private", &[], body).errors(),
        [("long_url", "url_private")]
    );
    let patched = client.patch("/v1/links/fine", &json!({ "long_url": "http://localhost:3000/" }));
    assert_eq!(patched.errors(), [("long_url", "url_private")]);
    let batch = json!({ "links": [{ "long_url": private, "alias": "one" }, { "long_url": "https://b.example/", "alias": "two" }] });
    let batch = client.post("/v1/links/batch", &batch);
    let statuses: Vec<&Value> =
        batch.json["results"].as_array().unwrap().iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [&json!(422), &json!(201)], "{batch:?}");

    let admin =
        Admin::with(&[], "[targets]\nallow_private = true\nschemes = [\"https\", \"http\", \"myapp\"]\n");
    assert_eq!(make(&admin.client(), "private", private).status, 201);
    assert_eq!(make(&admin.client(), "app", "myapp://open/thing").status, 201);
    assert_eq!(make(&admin.client(), "ftp", "ftp://a.example/").errors(), [("long_url", "url_scheme")]);
}

#[test]
fn blocklists_are_in_force_as_soon_as_their_files_change_and_a_retry_is_not_judged_again() {
    let dir = tempfile::tempdir().unwrap();
    let (hosts, patterns) = (dir.path().join("hosts"), dir.path().join("patterns"));
    std::fs::write(&hosts, "bad.example\n").unwrap();
    std::fs::write(&patterns, "*/wp-login.php*\n").unwrap();
    let targets = format!(
        "[targets]\nblocked_hosts = [{hosts:?}]\nblocked_patterns = [{patterns:?}]\ncheck_files_s = 1\n"
    );
    let pool = FakePool::start(1, 0);
    let admin = Admin::with(&[&pool], &targets);
    admin.wait_for_codes(1);
    let client = admin.client();
    for (alias, target) in [("one", "https://a.bad.example/x"), ("two", "https://c.example/wp-login.php?x")] {
        let refused = make(&client, alias, target);
        assert_eq!(
            (refused.status, refused.errors()),
            (422, vec![("long_url", "url_blocked")]),
            "{refused:?}"
        );
    }
    let once = || {
        let body = Some(json!({ "long_url": "https://later.example/" }).to_string());
        client.send(Method::POST, "/v1/links", &[("Idempotency-Key", "once")], body)
    };
    let made = once();
    assert_eq!(made.status, 201, "{made:?}");

    std::fs::write(&patterns, "*/wp-login.php*\n*.exe\n").unwrap();
    std::fs::write(&hosts, "bad.example\nlater.example\n").unwrap();
    let mut n = 0;
    until("the new lists are in force", || {
        n += 1;
        (make(&client, &format!("later-{n}"), "https://later.example/x").status == 422).then_some(())
    });
    assert_eq!(make(&client, "exe", "https://c.example/a.exe").errors(), [("long_url", "url_blocked")]);
    let again = once();
    assert_eq!((again.status, &again.json["code"]), (201, &made.json["code"]), "{again:?}");
    let put = Some(json!({ "long_url": "https://later.example/y" }).to_string());
    assert_eq!(client.send(Method::PUT, "/v1/links/put", &[], put).errors(), [("long_url", "url_blocked")]);
    let code = made.json["code"].as_str().unwrap();
    let patched = client.patch(&format!("/v1/links/{code}"), &json!({ "long_url": "https://bad.example/" }));
    assert_eq!(patched.errors(), [("long_url", "url_blocked")]);
    let metrics = Client::new(admin.addresses().health, "").get("/metrics").text;
    assert!(metrics.contains("signpost_admin_targets_refused_total{reason=\"pattern\"} 2"), "{metrics}");
}

/// A service that blocks what has `phish` in it; it counts the requests it got.
fn verdicts(asked: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/verdicts?v=1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).unwrap() > 2 {
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            asked.fetch_add(1, Ordering::SeqCst);
            let verdict = |url: &Value| match url.as_str().unwrap().contains("phish") {
                true => json!({ "block": true, "reason": "phishing" }),
                false => json!({ "block": false }),
            };
            let verdicts: Vec<Value> = body["urls"].as_array().unwrap().iter().map(verdict).collect();
            let answer = json!({ "verdicts": verdicts }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            stream.get_mut().write_all(head.as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn a_service_is_asked_once_for_all_targets_of_a_request_and_its_silence_means_what_the_operator_says() {
    let asked = Arc::new(AtomicUsize::new(0));
    let url = verdicts(asked.clone());
    let admin =
        Admin::with(&[], &format!("[targets]\nverdict_url = \"{url}\"\nverdict_when_silent = \"refuse\"\n"));
    let client = admin.client();
    let links: Vec<Value> = ["a.example", "phish.example", "b.example"]
        .iter()
        .map(|host| json!({ "long_url": format!("https://{host}/"), "alias": host.replace('.', "-") }))
        .collect();
    let batch = client.post("/v1/links/batch", &json!({ "links": links }));
    let statuses: Vec<&Value> =
        batch.json["results"].as_array().unwrap().iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [&json!(201), &json!(422), &json!(201)], "{batch:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let refused = make(&client, "phish", "https://phish.example/2");
    assert_eq!(refused.errors(), [("long_url", "url_blocked")]);
    assert!(refused.json["detail"].as_str().unwrap().contains("phishing"), "{refused:?}");
    let patched = client.patch("/v1/links/a-example", &json!({ "title": "no new target, no question" }));
    assert_eq!((patched.status, asked.load(Ordering::SeqCst)), (200, 2));

    // A port that nobody listens on.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (when_silent, expected) in [("refuse", 503), ("allow", 201)] {
        let targets =
            format!("[targets]\nverdict_url = \"http://{gone}/\"\nverdict_when_silent = \"{when_silent}\"\n");
        let admin = Admin::with(&[], &targets);
        let made = make(&admin.client(), "unjudged", "https://a.example/");
        assert_eq!(made.status, expected, "{made:?}");
        if expected == 503 {
            assert_eq!((made.problem(), made.header("retry-after")), ((503, "no_verdict"), Some("1")));
        }
    }
    // One that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let admin = Admin::with(
        &[],
        &format!(
            "[targets]\nverdict_url = \"{url}\"\nverdict_timeout_ms = 50\nverdict_when_silent = \"refuse\"\n"
        ),
    );
    assert_eq!(make(&admin.client(), "late", "https://a.example/").problem(), (503, "no_verdict"));
}

#[test]
fn every_link_to_a_host_is_taken_down_and_put_back_at_once() {
    let admin = Admin::start(&[]);
    let (client, operator) = (admin.client(), operator(&admin));
    let links: Vec<Value> = (0..1_000)
        .map(|n| {
            let host = ["bad.example", "www.bad.example", "good.example", "notbad.example"][n % 4];
            json!({ "long_url": format!("https://{host}/{n}"), "alias": format!("link-{n}") })
        })
        .collect();
    assert_eq!(client.post("/v1/links/batch", &json!({ "links": links })).status, 200);
    client.create(&json!({ "long_url": "https://bad.example/more", "alias": "one-more" }));
    let state = |alias: &str| client.get(&format!("/v1/links/{alias}")).json["state"].clone();

    let whole = json!({ "target_host": "BAD.example" });
    assert_eq!(client.post("/v1/takedowns", &whole).problem(), (403, "scope_missing"));
    let dry = operator.post("/v1/takedowns", &json!({ "target_host": "bad.example", "dry_run": true }));
    assert_eq!(
        (dry.status, &dry.json["matched"], &dry.json["changed"]),
        (200, &json!(501), &json!(501)),
        "{dry:?}"
    );
    assert_eq!(state("one-more"), "active");
    let exact = operator.post(
        "/v1/takedowns",
        &json!({ "target_host": "bad.example", "subdomains": false, "state": "disabled" }),
    );
    assert_eq!((&exact.json["matched"], &exact.json["changed"]), (&json!(251), &json!(251)));
    assert_eq!((state("link-0"), state("link-1")), (json!("disabled"), json!("active")));
    let all = operator.post("/v1/takedowns", &whole);
    assert_eq!((&all.json["matched"], &all.json["changed"]), (&json!(501), &json!(501)), "{all:?}");
    assert_eq!(all.json["links"].as_array().unwrap().len(), 100);
    assert_eq!(all.json["links"][0], json!({ "code": "one-more", "domain": "s.test" }));
    assert_eq!(operator.post("/v1/takedowns", &whole).json["changed"], 0);
    for (alias, expected) in
        [("link-0", "banned"), ("link-1", "banned"), ("link-2", "active"), ("link-3", "active")]
    {
        assert_eq!(state(alias), expected, "{alias}");
    }
    let back = operator.post("/v1/takedowns", &json!({ "target_host": "bad.example", "state": "active" }));
    assert_eq!(back.json["changed"], 501);
    assert_eq!(state("link-1"), "active");

    for (body, field, code) in [
        (json!({}), "target_host", "required"),
        (json!({ "target_host": "https://bad.example/" }), "target_host", "no_host"),
        (json!({ "target_host": "bad.example", "dry_run": 1 }), "dry_run", "wrong_type"),
        (json!({ "target_host": "bad.example", "state": "gone" }), "state", "state_not_allowed"),
        (json!({ "target_host": "bad.example", "host": "x" }), "host", "unknown_field"),
    ] {
        assert_eq!(operator.post("/v1/takedowns", &body).errors(), [(field, code)], "{body}");
    }
    assert_eq!(operator.post("/v1/takedowns", &json!([])).status, 422);
}
