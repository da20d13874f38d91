//! Logs: what must not be read by whoever reads them.
//!
//! Every part says all it ever says (level `trace`, other people's crates at `debug`) while requests succeed and fail in every way a client,
//! a visitor and an operator can make them. Each secret has a text of its own in it, which no line of any log may hold.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::eventually;
use super::web::{Answer, Town, ask};

/// In the query of a target.
const IN_TARGET: &str = "hush-target-5d1e";
/// In a token that nobody made, wherever tokens stand.
const IN_TOKEN: &str = "hush-token-9a27";
/// In an `Idempotency-Key`.
const IN_KEY: &str = "hush-idempotency-c4f0";
/// In what a visitor sends: parameters, cookies, headers.
const IN_VISIT: &str = "hush-visit-71b8";
/// In a password, as it is set and as it is entered.
const IN_PASSWORD: &str = "hush-password-b3d2";
/// In bodies that are not what they should be.
const IN_BODY: &str = "hush-body-e036";
const SECRETS: [&str; 6] = [IN_TARGET, IN_TOKEN, IN_KEY, IN_VISIT, IN_PASSWORD, IN_BODY];

fn target() -> String {
    format!("https://example.org/account?reset={IN_TARGET}#{IN_TARGET}")
}

/// Sends bytes that need not be a request; what comes back is not looked at, and need not come.
fn send_raw(address: &str, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(address.trim_start_matches("http://")) else { return };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Refused half-way, the rest cannot be written.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    let _ = stream.read_to_end(&mut Vec::new());
}

/// A service of verdicts that sends what it was asked back, in a place of the answer where it does not belong.
fn echoing_verdicts() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/verdicts?key={IN_TOKEN}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut bytes = 0;
            for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    bytes = length.parse().unwrap();
                }
            }
            let mut body = vec![0; bytes];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let answer = json!({ "verdicts": asked["urls"][0] }).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            let _ = reader.get_mut().write_all((head + &answer).as_bytes());
        }
    });
    url
}

/// Every request of a client that goes wrong, and some that do not. Which is which is tested elsewhere.
fn clients(town: &Town) {
    let ready = town.fleet.ready();
    let bearer = format!("Bearer {}", ready.token);
    let send = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| -> Answer {
        let json = [("Content-Type", "application/json"), ("Authorization", &*bearer)];
        let named = |name: &str| headers.iter().any(|(given, _)| *given == name);
        let headers: Vec<_> =
            json.into_iter().filter(|(name, _)| !named(name)).chain(headers.iter().copied()).collect();
        ask(&ready.admin, method, path, &headers, body)
    };
    let post = |body: &Value| send("POST", "/v1/links", &[], &body.to_string());

    // Made, made again, and then something else with the same key.
    let key = [("Idempotency-Key", IN_KEY)];
    let body = json!({ "long_url": target(), "alias": "secret-link" }).to_string();
    assert_eq!(send("POST", "/v1/links", &key, &body).status, 201);
    assert_eq!(send("POST", "/v1/links", &key, &body).status, 201);
    let other = json!({ "long_url": format!("{}2", target()) }).to_string();
    assert_eq!(send("POST", "/v1/links", &key, &other).status, 422);
    send("POST", "/v1/links", &[("Idempotency-Key", &format!("{IN_KEY} {}", "x".repeat(300)))], &other);
    // Taken, not wanted, not understood.
    assert_eq!(post(&json!({ "long_url": target(), "alias": "secret-link" })).status, 409);
    for (name, value) in [
        ("long_url", json!(format!("ftp://{IN_TARGET}:{IN_TARGET}@example.org/"))),
        ("long_url", json!(format!("https://user:{IN_TARGET}@example.org/"))),
        ("long_url", json!({ "at": target() })),
        ("long_url", json!(format!("https://example.org/{}", IN_TARGET.repeat(1000)))),
        (IN_BODY, json!(IN_BODY)),
        ("alias", json!(format!("{IN_BODY} with blanks"))),
        ("domain", json!(format!("{IN_BODY}.example"))),
        ("owner", json!(IN_BODY)),
        ("rules", json!([{ "device": IN_BODY, "long_url": target() }])),
        ("cache", json!(IN_BODY)),
        ("max_clicks", json!(IN_BODY)),
    ] {
        let mut body = json!({ "long_url": target() });
        body[name] = value;
        let refused = post(&body);
        assert!((400..500).contains(&refused.status), "{body}: {refused:?}");
    }
    for body in [
        format!("{{\"long_url\": \"{}\"", target()),
        IN_BODY.to_owned(),
        format!("{{\"long_url\": \"\\u{IN_BODY}\"}}"),
        format!("[\"{}\"]", target()),
        format!("\"{}\"", IN_BODY.repeat(200_000)),
    ] {
        let refused = send("POST", "/v1/links", &[], &body);
        assert!((400..500).contains(&refused.status), "{refused:?}");
    }
    let lines = format!("{{\"long_url\":\"{0}\"}}\n{{\"long_url\":\"{0}\",\"x\":1}}\n{IN_BODY}\n", target());
    for (path, kind, body) in [
        ("/v1/import", "application/x-ndjson", lines.as_str()),
        ("/v1/import?dry_run=true", "application/x-ndjson", lines.as_str()),
        (
            "/v1/links/batch",
            "application/json",
            &json!({ "links": [{ "long_url": target() }, { "long_url": IN_BODY }] }).to_string(),
        ),
        ("/v1/links", IN_BODY, "{}"),
    ] {
        let answer = send("POST", path, &[("Content-Type", kind)], body);
        assert!(answer.status == 200 || path == "/v1/links", "{path}: {answer:?}");
    }
    for (method, path) in [
        ("GET", format!("/v1/links?q={IN_BODY}&{IN_BODY}={IN_BODY}&cursor={IN_BODY}")),
        ("GET", format!("/v1/links?host={IN_BODY}.example")),
        ("GET", format!("/v1/links/{IN_BODY}")),
        ("GET", format!("/{IN_BODY}?token={IN_TOKEN}")),
        ("DELETE", format!("/v1/links/{IN_BODY}")),
        ("TRACE", format!("/v1/links/{IN_BODY}")),
        ("GET", "/v1/links/secret-link/history".to_owned()),
        ("PATCH", format!("/v1/links/export?{IN_BODY}")),
    ] {
        send(method, &path, &[("If-Match", IN_BODY), ("Prefer", IN_BODY)], "");
    }
    assert_eq!(send("GET", "/v1/export", &[], "").status, 200);
    let patch = [("Content-Type", "application/merge-patch+json"), ("If-Match", "\"77\"")];
    send("PATCH", "/v1/links/secret-link", &patch, &json!({ "long_url": target() }).to_string());
    send(
        "PATCH",
        "/v1/links/secret-link",
        &patch[..1],
        &json!({ "long_url": format!("{}3", target()) }).to_string(),
    );
    send("PUT", "/v1/links/secret-link", &[], &json!({ "long_url": format!("{}4", target()) }).to_string());
    send("POST", "/v1/takedowns", &[], &json!({ "target_host": IN_BODY, "state": IN_BODY }).to_string());

    // Who asks.
    for authorization in [
        format!("Bearer sp_{IN_TOKEN}"),
        format!("Bearer {IN_TOKEN}"),
        format!("Basic {IN_TOKEN}"),
        IN_TOKEN.to_owned(),
        format!("{bearer}{IN_TOKEN}"),
    ] {
        let refused = send("GET", "/v1/links", &[("Authorization", &authorization)], "");
        assert_eq!(refused.status, 401, "{authorization}");
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let yourls = format!("signature={IN_TOKEN}&action=shorturl&url={}", target());
    send("POST", "/yourls-api.php", &form, &yourls);
    send("GET", &format!("/yourls-api.php?signature={IN_TOKEN}&action=expand&shorturl=x"), &[], "");
    let ours = format!(
        "/yourls-api.php?signature={}&action=shorturl&url=https://example.org/?{IN_TARGET}",
        ready.token
    );
    assert_eq!(send("GET", &ours, &[], "").status, 200);
    for token in [IN_TOKEN, &ready.token] {
        let body = json!({ "longUrl": target() }).to_string();
        send("POST", "/rest/v3/short-urls", &[("X-Api-Key", token)], &body);
        send(
            "POST",
            "/v4/shorten",
            &[("Authorization", &format!("Bearer {token}"))],
            &json!({ "long_url": target() }).to_string(),
        );
        send(
            "POST",
            "/shorten",
            &[("Authorization", &format!("Bearer {token}"))],
            &json!({ "long_url": target(), "expiry_date": IN_BODY }).to_string(),
        );
    }
    for raw in [
        format!(
            "GET /v1/links HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {IN_TOKEN}\r\nBad Header: {IN_TOKEN}\r\n\r\n"
        ),
        format!(
            "POST /v1/links HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\nContent-Length: 9999\r\n\r\n{IN_BODY}"
        ),
        format!(
            "POST /v1/links HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\n\r\n{IN_BODY}\r\n"
        ),
        format!("{IN_TOKEN}\r\n\r\n"),
        format!("GET /{IN_BODY} HTTP/9.9\r\n\r\n"),
    ] {
        send_raw(&ready.admin, raw.as_bytes());
    }
}

/// Every request of a visitor that goes wrong, and some that do not.
fn visitors(town: &Town) {
    let ready = town.fleet.ready();
    let path = |code: &str| format!("/{code}?{IN_VISIT}={IN_VISIT}");
    let rules = json!([{ "device": "ios", "long_url": target() }]);
    let codes = [
        town.code(&json!({ "long_url": target() })),
        town.code(&json!({ "long_url": target(), "forward_query": true, "forward_path": true })),
        town.code(&json!({ "long_url": target(), "rules": rules, "status": 301 })),
        town.code(&json!({ "long_url": target(), "max_clicks": 1 })),
        town.code(&json!({ "long_url": target(), "password": IN_PASSWORD })),
        town.code(&json!({ "long_url": target(), "visibility": "private" })),
        town.code(&json!({ "long_url": target(), "ttl": 1, "when_ended": { "fallback_url": target() } })),
    ];
    let said = [
        ("Authorization", IN_VISIT),
        ("Cookie", IN_VISIT),
        ("Referer", IN_VISIT),
        ("User-Agent", IN_VISIT),
        ("Accept-Language", IN_VISIT),
    ];
    for code in codes.iter().map(String::as_str).chain(["nobody", "nob%zzody", "nobody/below"]) {
        for method in ["GET", "HEAD", "POST", "BREW"] {
            town.send(method, &path(code), &said);
            town.send(method, &path(&format!("{code}+")), &said);
        }
    }
    let get = |more: &str| {
        format!("GET {} HTTP/1.1\r\nHost: x\r\nCookie: {IN_VISIT}\r\n{more}\r\n", path(&codes[0]))
    };
    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("User-Agent", IN_VISIT)];
    for (entered, status) in [(IN_PASSWORD.to_owned(), 303), (format!("{IN_PASSWORD}-not"), 403)] {
        let answer = ask(&ready.proxies[0], "POST", &path(&codes[4]), &form, &format!("password={entered}"));
        assert_eq!(answer.status, status);
    }
    let signed = format!("/{}?sp_sig={IN_VISIT}&sp_user={IN_VISIT}", codes[5]);
    assert_eq!(town.send("GET", &signed, &[("Cookie", &format!("sp_pass={IN_VISIT}"))]).status, 401);
    for raw in [
        get(&format!("Bad Header {IN_VISIT}: x\r\n")),
        get(&format!("Host: {IN_VISIT}\r\n")),
        get("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        get(&format!("Upgrade: {IN_VISIT}\r\nExpect: {IN_VISIT}\r\n")),
        get(&format!("Long: {}\r\n", IN_VISIT.repeat(2000))),
        get("Content-Length: 99\r\n") + IN_VISIT,
        format!("GET http://x{} HTTP/1.0\r\n\r\n", path(&codes[0])),
        format!("{IN_VISIT}\r\n\r\n"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{IN_VISIT}"),
        format!("PROXY TCP4 {IN_VISIT}\r\n{}", get("")),
    ] {
        send_raw(&ready.proxies[0], raw.as_bytes());
    }
}

/// The logs of all parts; each was talkative.
fn logs(dir: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(dir.join("logs")).unwrap().map(|entry| entry.unwrap().path());
    let logs: Vec<_> = files
        .map(|path| {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            (path.file_name().unwrap().to_string_lossy().into_owned(), text)
        })
        .collect();
    assert_eq!(logs.len(), 3, "{:?}", logs.iter().map(|(name, _)| name).collect::<Vec<_>>());
    for (name, text) in &logs {
        assert!(
            text.contains("DEBUG"),
            "{name} does not say all it could: the test would find nothing\n{text}"
        );
    }
    logs
}

#[test]
fn no_log_holds_a_token_a_target_or_what_a_visitor_sent() {
    let dir = tempfile::tempdir().unwrap();
    let verdicts = format!("admin.targets.verdict_url={}", echoing_verdicts());
    let mut settings = vec![verdicts.as_str()];
    let quiet = "trace,h2=debug,hyper=debug,hyper_util=debug,tonic=debug,tower=debug,rustls=debug";
    let levels = ["admin", "keypool", "proxy"].map(|part| format!("{part}.log.level={quiet}"));
    settings.extend(levels.iter().map(String::as_str));
    let drop_ins = ["shlink", "yourls", "bitly", "shorten"].map(|name| format!("admin.drop_in.{name}=true"));
    settings.extend(drop_ins.iter().map(String::as_str));
    let town = Town::with(dir.path(), &settings);
    let made = town.operator(&["token", "create", "--name", "logs", "--scope", "links:write"]);
    let made = made.split_whitespace().find(|word| word.starts_with("sp_")).unwrap().to_owned();
    clients(&town);
    visitors(&town);
    // A part that is away is talked about.
    town.fleet.must("kill keypool-0 9");
    town.fleet.must("kill admin 9");
    visitors_alone(&town);
    town.fleet.must("start admin");
    let unmade = json!({ "long_url": target(), "alias": "without-pool" });
    town.code(&unmade);
    town.fleet.must("start keypool-0");
    eventually("the proxy follows again", || super::all_in_sync(&town.fleet));
    let token = town.fleet.ready().token.clone();
    let dir = town.fleet.dir().to_owned();
    // The end of each part is in its log too.
    drop(town);
    let mut leaks = Vec::new();
    for (name, text) in logs(&dir) {
        for line in text.lines() {
            let holds = |secret: &str| line.contains(secret);
            if SECRETS.into_iter().chain([token.as_str(), made.as_str(), "reset="]).any(holds) {
                leaks.push(format!("{name}: {line}"));
            }
        }
    }
    assert!(leaks.is_empty(), "{} lines:\n{}", leaks.len(), leaks[..leaks.len().min(20)].join("\n"));
}

/// What a proxy answers while nobody feeds it.
fn visitors_alone(town: &Town) {
    for code in ["secret-link", "nobody"] {
        town.visit_with(&format!("/{code}?{IN_VISIT}"), &[("Authorization", IN_VISIT)]);
    }
}
