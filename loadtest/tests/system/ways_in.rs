//! Links however they came to be: visitors follow what another shortener's client, an importer or a bulk change left behind.

use serde_json::{Value, json};

use super::web::{Answer, Town, ask};
use super::{bin_dir, eventually};

const TARGET: &str = "https://example.org/there";

/// The path on the proxy of a short URL.
fn path_of(short_url: &str) -> String {
    let (_, rest) = short_url.split_once("://").unwrap_or(("", short_url));
    format!("/{}", rest.split_once('/').unwrap_or_else(|| panic!("no path in {short_url:?}")).1)
}

#[track_caller]
fn leads_to(town: &Town, path: &str, target: &str) {
    let answer = town.visit(path);
    assert_eq!((answer.status, answer.header("location")), (302, Some(target)), "{path}");
}

#[test]
fn what_clients_of_other_shorteners_make_is_followed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["shlink", "yourls", "bitly", "shorten"].map(|api| format!("admin.drop_in.{api}=true"));
    let town = Town::with(dir.path(), &settings.each_ref().map(String::as_str));
    let ready = town.fleet.ready();
    let bearer = format!("Bearer {}", ready.token);
    let post = |path: &str, header: (&str, &str), body: &Value| -> Answer {
        let headers = [header, ("Content-Type", "application/json")];
        ask(&ready.admin, "POST", path, &headers, &body.to_string())
    };
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let shlink = post("/rest/v3/short-urls", ("X-Api-Key", &ready.token), &json!({ "longUrl": TARGET }));
    leads_to(&town, &path_of(&text(&shlink.json()["shortUrl"])), TARGET);
    let changed = ask(
        &ready.admin,
        "PATCH",
        &format!("/rest/v3/short-urls/{}", text(&shlink.json()["shortCode"])),
        &[("X-Api-Key", &ready.token), ("Content-Type", "application/json")],
        &json!({ "longUrl": format!("{TARGET}/2") }).to_string(),
    );
    assert_eq!(changed.status, 200, "{}", changed.text());
    leads_to(&town, &path_of(&text(&shlink.json()["shortUrl"])), &format!("{TARGET}/2"));

    let yourls =
        format!("/yourls-api.php?signature={}&action=shorturl&url={TARGET}&format=json", ready.token);
    let yourls = ask(&ready.admin, "GET", &yourls, &[], "");
    leads_to(&town, &path_of(&text(&yourls.json()["shorturl"])), TARGET);
    let bitly = post("/v4/shorten", ("Authorization", &bearer), &json!({ "long_url": TARGET }));
    leads_to(&town, &path_of(&text(&bitly.json()["link"])), TARGET);
    let plain = json!({ "long_url": TARGET, "custom_alias": "mine", "expiry_date": "2999-01-01T00:00:00Z" });
    let plain = post("/shorten", ("Authorization", &bearer), &plain);
    assert!(matches!(plain.status, 200 | 201), "{}", plain.text());
    leads_to(&town, "/mine", TARGET);
}

#[test]
fn what_every_importer_takes_over_is_followed_under_its_old_code() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let ready = town.fleet.ready();
    assert_eq!(town.api("POST", "/v1/domains", &json!({ "host": "old.example" })).status, 201);
    for (format, file, code) in [
        ("shlink-csv", "shlink.csv", "promo"),
        ("yourls-csv", "yourls.csv", "ozh"),
        ("bitly-json", "bitly.json", "launch"),
        ("dub-json", "dub.json", "one"),
    ] {
        let path = format!("{}/../cli/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
        let ran = std::process::Command::new(bin_dir().join("signpost"))
            .args(["import", "--from", format, "--domain", "old.example", &path, "--url", &ready.admin])
            .env("SIGNPOST_TOKEN", &ready.token)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{format}: {ran:?}");
        let link = town.api("GET", &format!("/v1/links/{code}?domain=old.example"), &Value::Null).json();
        let answer = town.visit_with(&format!("/{code}"), &[("Host", "old.example")]);
        assert!(matches!(answer.status, 301 | 302 | 307), "{format}: {answer:?}");
        assert_eq!(Some(answer.location()), link["long_url"].as_str(), "{format}: {link}");
    }
}

#[test]
fn taking_a_host_down_ends_its_links_and_no_others_until_it_is_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let [bad, under, good] = ["https://bad.example/x", "https://www.bad.example/", "https://good.example/"]
        .map(|target| format!("/{}", town.code(&json!({ "long_url": target }))));
    let admin = town.operator(&["token", "create", "--name", "operator", "--scope", "admin"]);
    let admin = admin.split_whitespace().find(|word| word.starts_with("sp_")).unwrap();
    let bearer = format!("Bearer {admin}");
    let take = |body: &Value| {
        let headers = [("Authorization", &*bearer), ("Content-Type", "application/json")];
        let answer = ask(&town.fleet.ready().admin, "POST", "/v1/takedowns", &headers, &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["changed"].as_u64().unwrap()
    };
    let status = || [&bad, &under, &good].map(|path| town.visit(path).status);
    assert_eq!(take(&json!({ "target_host": "bad.example", "dry_run": true })), 2);
    assert_eq!(status(), [302, 302, 302], "nothing happened yet");
    assert_eq!(take(&json!({ "target_host": "bad.example", "subdomains": false })), 1);
    assert_eq!(status(), [451, 302, 302]);
    assert_eq!(take(&json!({ "target_host": "bad.example" })), 1);
    assert_eq!(status(), [451, 451, 302]);
    assert_eq!(take(&json!({ "target_host": "bad.example", "state": "active" })), 2);
    assert_eq!(status(), [302, 302, 302]);
}

#[test]
fn what_is_put_aside_goes_on_redirecting() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": TARGET }));
    let aside = town.patch(&code, &json!({ "archived": true }));
    assert!(aside["archived_at"].is_string(), "{aside}");
    leads_to(&town, &format!("/{code}"), TARGET);
    town.fleet.must("kill proxy-0 9");
    town.fleet.must("start proxy-0");
    eventually("the proxy is back", || town.visit(&format!("/{code}")).status == 302);
}

#[test]
fn a_host_that_nobody_declared_has_no_links_where_the_proxy_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::with(dir.path(), &["proxy.hosts.unknown=\"not_found\""]);
    let code = town.code(&json!({ "long_url": TARGET }));
    let on = |host: &str| town.visit_with(&format!("/{code}"), &[("Host", host)]).status;
    assert_eq!(on("nobody.example"), 404);
    assert_eq!(town.api("POST", "/v1/domains", &json!({ "host": "go.example" })).status, 201);
    let theirs = town.code(&json!({ "long_url": TARGET, "domain": "go.example" }));
    assert_eq!(town.visit_with(&format!("/{theirs}"), &[("Host", "go.example")]).status, 302);
}

#[test]
fn a_second_request_with_a_key_is_told_that_the_first_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let ready = town.fleet.ready();
    let bearer = format!("Bearer {}", ready.token);
    let headers =
        [("Authorization", &*bearer), ("Content-Type", "application/json"), ("Idempotency-Key", "once")];
    // Whichever comes first waits for the proxy, some seconds.
    town.fleet.must("kill proxy-0 STOP");
    let body = json!({ "long_url": TARGET }).to_string();
    let send = || ask(&ready.admin, "POST", "/v1/links", &headers, &body);
    let mut answers =
        std::thread::scope(|scope| [(); 2].map(|()| scope.spawn(send)).map(|sent| sent.join().unwrap()));
    answers.sort_by_key(|answer| answer.status);
    let [first, second] = answers;
    assert_eq!((first.status, second.status), (201, 409), "{first:?} {second:?}");
    assert_eq!(second.json()["code"], "idempotency_key_in_flight");
    assert!(second.header("retry-after").is_some(), "{second:?}");
    town.fleet.must("kill proxy-0 CONT");
    let again = send();
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")), "{again:?}");
    assert_eq!(again.json()["code"], first.json()["code"]);
}
