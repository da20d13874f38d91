//! Who may follow a link: private links, signed links, passwords.

use std::path::Path;

use serde_json::{Value, json};

use super::ends::in_ms;
use super::web::{Answer, Town, ask};
use super::{all_in_sync, eventually};

const TARGET: &str = "https://example.org/there";
const NEVER_KEPT: Option<&str> = Some("private, no-store");
const PASSWORD: &str = "correct horse+battery&staple";
/// The same as a browser sends it.
const FORM: &str = "password=correct+horse%2Bbattery%26staple";

/// Somebody with a token.
struct Person {
    id: String,
    token: String,
    bearer: String,
}

fn made(town: &Town, path: &str, body: &Value) -> Value {
    let made = town.api("POST", path, body);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

fn id(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

fn person(town: &Town, groups: &[&str]) -> Person {
    let user = id(&made(town, "/v1/users", &json!({ "name": "somebody", "groups": groups })));
    let token = json!({ "name": "theirs", "scopes": ["links:read"], "user": user });
    let token = made(town, "/v1/tokens", &token);
    Person { id: user, bearer: format!("Bearer {}", token["token"].as_str().unwrap()), token: id(&token) }
}

/// Starts the writer again; from then on it waits for the proxy.
fn writer_is_back(town: &Town) {
    town.fleet.must("start admin");
    eventually("the proxy follows again", || all_in_sync(&town.fleet));
}

/// Follows a link with a token.
fn visit_as(town: &Town, path: &str, bearer: &str) -> Answer {
    town.visit_with(path, &[("Authorization", bearer)])
}

#[track_caller]
fn is_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.header("location")), (401, None), "{answer:?}");
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), NEVER_KEPT);
    assert!(!answer.text().contains("example.org"), "{answer:?}");
}

#[track_caller]
fn leads_there(answer: &Answer) {
    assert_eq!((answer.status, answer.header("cache-control")), (302, NEVER_KEPT), "{answer:?}");
    assert!(answer.location().starts_with(TARGET), "{answer:?}");
}

/// The path and query of a URL on the first proxy.
fn path_of(url: &Value) -> String {
    let url = url.as_str().unwrap();
    url[url.find("://").unwrap() + 3..].split_once('/').map(|(_, path)| format!("/{path}")).unwrap()
}

fn sign(town: &Town, code: &str, body: &Value) -> Answer {
    town.api("POST", &format!("/v1/links/{code}/signatures"), body)
}

/// Posts a form to the first proxy.
fn post(town: &Town, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
    post_to(town, 0, path, form, headers)
}

fn post_to(town: &Town, proxy: usize, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
    let kind =
        [("Content-Type", "application/x-www-form-urlencoded"), ("User-Agent", "Mozilla/5.0 Firefox/140.0")];
    let headers: Vec<_> = kind.into_iter().chain(headers.iter().copied()).collect();
    ask(&town.fleet.ready().proxies[proxy], "POST", path, &headers, form)
}

/// The cookie of an answer as a browser sends it back.
#[track_caller]
fn cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie in {answer:?}"));
    set.split(';').next().unwrap().to_owned()
}

#[test]
fn a_private_link_is_for_tokens_of_users_and_groups_that_are_allowed_with_and_without_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let group = id(&made(&town, "/v1/groups", &json!({ "name": "friends" })));
    let (ada, bob, eve) = (person(&town, &[]), person(&town, &[&group]), person(&town, &[]));
    let link =
        json!({ "long_url": TARGET, "visibility": "private", "allowed": [ada.id, group], "status": 301 });
    let link = town.link(&link);
    assert_eq!((&link["visibility"], &link["allowed"]), (&json!("private"), &json!([ada.id, group])));
    let code = link["code"].as_str().unwrap();
    let path = format!("/{code}");
    let admin = format!("Bearer {}", town.fleet.ready().token);
    let wrong = ada.bearer.replace(&ada.token, &eve.token);
    for bearer in [&eve.bearer, &admin, &wrong, "Bearer sp_x", "Basic dTpw"] {
        is_refused(&visit_as(&town, &path, bearer));
    }
    is_refused(&town.visit(&path));
    is_refused(&town.send("HEAD", &path, &[]));
    is_refused(&town.visit(&format!("{path}+")));
    for bearer in [&ada.bearer, &bob.bearer] {
        leads_there(&visit_as(&town, &path, bearer));
    }
    leads_there(&town.send("HEAD", &path, &[("Authorization", &ada.bearer)]));
    assert!(visit_as(&town, &format!("{path}+"), &ada.bearer).text().contains(TARGET));
    town.all_counted();
    assert_eq!(town.clicks(code), 2, "who was led there, and nobody else");

    town.fleet.must("kill admin 9");
    leads_there(&visit_as(&town, &path, &bob.bearer));
    is_refused(&visit_as(&town, &path, &eve.bearer));
    town.fleet.must("stop proxy-0");
    town.fleet.must("start proxy-0");
    leads_there(&visit_as(&town, &path, &ada.bearer));
    is_refused(&town.visit(&path));
    writer_is_back(&town);

    // Whoever loses the right loses it at once.
    let status = |bearer: &str| visit_as(&town, &path, bearer).status;
    let revoked = town.api("DELETE", &format!("/v1/tokens/{}", ada.token), &Value::Null);
    assert_eq!(revoked.status, 204);
    eventually("a revoked token is refused", || status(&ada.bearer) == 401);
    let disabled = town.api("PATCH", &format!("/v1/users/{}", bob.id), &json!({ "disabled": true }));
    assert_eq!(disabled.status, 200);
    eventually("a user who is switched off is refused", || status(&bob.bearer) == 401);
    town.patch(code, &json!({ "allowed": [eve.id] }));
    assert_eq!(status(&eve.bearer), 302);
    let soon =
        json!({ "name": "short", "scopes": ["links:read"], "user": eve.id, "expires_at": in_ms(1_500) });
    let token = made(&town, "/v1/tokens", &soon);
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    eventually("a token is refused from its end on", || status(&bearer) == 401);

    let public = town.patch(code, &json!({ "visibility": "public" }));
    assert_eq!((&public["visibility"], &public["allowed"]), (&json!("public"), &json!([])));
    assert_eq!(town.visit(&path).status, 301);
    for (body, field) in [
        (json!({ "long_url": TARGET, "visibility": "secret" }), "visibility"),
        (json!({ "long_url": TARGET, "allowed": [eve.id] }), "allowed"),
        (json!({ "long_url": TARGET, "visibility": "private", "allowed": ["me"] }), "allowed"),
        (json!({ "long_url": TARGET, "visibility": "private", "allowed": ["00000000000000ff"] }), "allowed"),
        (json!({ "long_url": TARGET, "visibility": "private", "allowed": vec![&eve.id; 65] }), "allowed"),
        (json!({ "long_url": TARGET, "password": "" }), "password"),
        (json!({ "long_url": TARGET, "password": "x".repeat(257) }), "password"),
    ] {
        let (status, found, _) = town.refused(&body);
        assert_eq!((status, &*found), (422, field), "{body}");
    }
    let refused = town.api("PATCH", &format!("/v1/links/{code}"), &json!({ "allowed": [eve.id] }));
    assert_eq!((refused.status, refused.json()["errors"][0]["field"].clone()), (422, json!("allowed")));
}

#[test]
fn a_signed_link_leads_there_until_its_end_and_only_as_long_as_its_user_and_its_key_are_good() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let ada = person(&town, &[]);
    let private = json!({ "long_url": TARGET, "alias": "for-few", "visibility": "private", "allowed": [ada.id], "forward_query": true });
    let code = town.code(&private);
    let other = town.code(&json!({ "long_url": TARGET, "visibility": "private" }));
    let signed = sign(&town, &code, &json!({ "user": ada.id, "ttl": 3600 }));
    assert_eq!((signed.status, signed.json()["user"].clone()), (201, json!(ada.id)), "{}", signed.text());
    let path = path_of(&signed.json()["url"]);
    let answer = town.visit(&format!("{path}&x=1"));
    leads_there(&answer);
    assert_eq!(answer.location(), format!("{TARGET}?x=1"), "the signature stays with us");
    is_refused(&town.visit(&format!("/{code}")));
    is_refused(&town.visit(&path[..path.len() - 1]));
    is_refused(&town.visit(&path.replace("sp_sig=", "sp_sig=A")));
    is_refused(&town.visit(&path.replace(&code, &other)));
    let nobodys = path_of(&sign(&town, &code, &json!({ "ttl": 3600 })).json()["url"]);
    leads_there(&town.visit(&nobodys));
    let short = path_of(&sign(&town, &code, &json!({ "ttl": 1 })).json()["url"]);
    eventually("a signature is over at its end", || town.visit(&short).status == 401);

    // A new key signs; what the old one signed holds.
    let keys = || town.api("GET", "/v1/signing-keys", &Value::Null).json()["data"].clone();
    let (first, text) = (keys()[0]["id"].clone(), keys().to_string());
    assert!(!text.contains("secret"), "{text}");
    let rotated = made(&town, "/v1/signing-keys", &Value::Null);
    assert_eq!(keys().as_array().unwrap().len(), 2);
    assert!(keys()[0]["valid_until"].is_string() && keys()[1]["signs"] == true);
    leads_there(&town.visit(&path));
    let newer = sign(&town, &code, &json!({ "user": ada.id, "ttl": 3600 })).json();
    assert_eq!(newer["key"], rotated["id"]);
    let newer = path_of(&newer["url"]);
    leads_there(&town.visit(&newer));
    town.fleet.must("kill admin 9");
    leads_there(&town.visit(&newer));
    writer_is_back(&town);
    let first = format!("/v1/signing-keys/{}", first.as_str().unwrap());
    assert_eq!(town.api("DELETE", &first, &Value::Null).status, 204);
    is_refused(&town.visit(&path));
    leads_there(&town.visit(&newer));
    assert_eq!(town.api("DELETE", &first, &Value::Null).json()["code"], "signing_key_not_found");

    // In whose name it is has to be allowed still, and another link under the code is another link.
    town.patch(&code, &json!({ "allowed": [] }));
    is_refused(&town.visit(&newer));
    let nobodys = path_of(&sign(&town, &code, &json!({ "ttl": 3600 })).json()["url"]);
    leads_there(&town.visit(&nobodys));
    assert_eq!(town.api("DELETE", &format!("/v1/links/{code}"), &Value::Null).status, 204);
    assert_eq!(town.code(&private), code);
    is_refused(&town.visit(&nobodys));

    let public = town.code(&json!({ "long_url": TARGET }));
    assert_eq!(sign(&town, &public, &json!({ "ttl": 60 })).json()["code"], "link_not_private");
    for (body, field) in [
        (json!({}), "ttl"),
        (json!({ "ttl": 0 }), "ttl"),
        (json!({ "ttl": 60, "expires_at": "2200-01-01T00:00:00Z" }), "ttl"),
        (json!({ "expires_at": "2200-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "2001-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "ttl": 60, "user": person(&town, &[]).id }), "user"),
        (json!({ "ttl": 60, "who": "me" }), "who"),
    ] {
        let refused = sign(&town, &code, &body);
        assert_eq!(
            (refused.status, refused.json()["errors"][0]["field"].clone()),
            (422, json!(field)),
            "{body}"
        );
    }
}

#[test]
fn a_password_is_asked_for_once_and_is_nowhere_to_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::with(dir.path(), &["proxy.log.level=debug", "admin.log.level=debug"]);
    let link = town.link(&json!({ "long_url": TARGET, "password": PASSWORD, "status": 301 }));
    assert_eq!(link["has_password"], true);
    assert!(!link.to_string().contains("horse") && link.get("password").is_none(), "{link}");
    let code = link["code"].as_str().unwrap();
    let path = format!("/{code}");
    let mut forms = vec![town.visit(&path), town.send("HEAD", &path, &[]), town.visit(&format!("{path}+"))];
    // Neither a query nor anything but the form is read for a password.
    forms.push(town.visit(&format!("{path}?{FORM}")));
    forms.push(post(&town, &path, "passwort=x", &[]));
    for form in &forms {
        assert_eq!((form.status, form.header("cache-control")), (200, NEVER_KEPT), "{form:?}");
        assert_eq!((form.header("location"), form.header("set-cookie")), (None, None));
        assert!(form.header("content-security-policy").unwrap().contains("default-src 'none'"));
        assert!(!form.text().contains("example.org"), "{form:?}");
    }
    assert!(forms[0].text().contains(&format!("<form method=post action=\"{path}\">")), "{forms:?}");
    let wrong = post(&town, &path, "password=guess", &[]);
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None), "{wrong:?}");
    assert!(!wrong.text().contains("guess"));

    let right = post(&town, &format!("{path}?x=1"), FORM, &[]);
    assert_eq!((right.status, right.location()), (303, &*format!("{path}?x=1")), "{right:?}");
    assert_eq!(right.header("cache-control"), NEVER_KEPT);
    let set = right.header("set-cookie").unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Max-Age=3600", &format!("Path={path}")] {
        assert!(set.split("; ").any(|found| found == attribute), "{attribute} in {set}");
    }
    assert!(!set.contains("Secure"), "there is no TLS here");
    let known = cookie(&right);
    let visit = |path: &str, cookie: &str| town.visit_with(path, &[("Cookie", cookie)]);
    leads_there(&visit(&path, &known));
    leads_there(&visit(&path, &format!("a=b; sp_pass=x; {known}; c=d")));
    town.all_counted();
    assert_eq!(town.clicks(code), 2, "pages, guesses and the way back are no clicks");

    // It is of this link and this password, and needs nobody.
    let other = town.code(&json!({ "long_url": TARGET, "password": PASSWORD }));
    assert_eq!(visit(&format!("/{other}"), &known).status, 200);
    town.fleet.must("kill admin 9");
    leads_there(&visit(&path, &known));
    assert_eq!(post(&town, &path, FORM, &[]).status, 303);
    writer_is_back(&town);
    town.patch(code, &json!({ "title": "the same password" }));
    leads_there(&visit(&path, &known));
    town.patch(code, &json!({ "password": PASSWORD }));
    assert_eq!(visit(&path, &known).status, 200, "set anew, it has to be said anew");
    let public = town.patch(code, &json!({ "password": null }));
    assert_eq!((&public["has_password"], town.visit(&path).status), (&json!(false), 301));
    assert_eq!(post(&town, &path, FORM, &[]).status, 405);

    town.fleet.must("stop proxy-0");
    let said = everything_in(town.fleet.dir());
    for part in ["horse", "staple", "guess"] {
        assert!(!said.windows(part.len()).any(|found| found == part.as_bytes()), "{part} is in a file");
    }
}

/// Every byte of every file under a folder, logs and databases alike.
fn everything_in(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => bytes.extend(everything_in(&entry.path())),
            kind if kind.is_file() => bytes.extend(std::fs::read(entry.path()).unwrap_or_default()),
            _ => {}
        }
    }
    bytes
}

#[test]
fn guesses_are_limited_for_each_link_and_say_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::with(dir.path(), &["proxy.passwords.attempts_max=3"]);
    let codes = [0, 1].map(|_| town.code(&json!({ "long_url": TARGET, "password": PASSWORD })));
    let [path, other] = codes.map(|code| format!("/{code}"));
    // Right ones are no guesses.
    assert_eq!([0; 4].map(|_| post(&town, &path, FORM, &[]).status), [303; 4]);
    assert_eq!([0; 3].map(|_| post(&town, &path, "password=no", &[]).status), [403; 3]);
    let over = post(&town, &path, FORM, &[]);
    assert_eq!((over.status, over.header("cache-control")), (429, Some("no-store")), "{over:?}");
    let seconds: u64 = over.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=600).contains(&seconds), "{seconds}");
    assert_eq!(town.visit(&path).status, 200, "the form is still there");
    assert_eq!(post(&town, &other, FORM, &[]).status, 303);
    let metrics = town.metrics();
    for (outcome, count) in [("right", 5), ("wrong", 3), ("too_many", 1), ("pool_full", 0), ("late", 0)] {
        let line = format!("signpost_proxy_password_guesses_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[test]
fn proxies_share_the_guesses_of_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::several(dir.path(), 2, &["proxy.passwords.attempts_max=6"]);
    // Until it has heard how many there are, a proxy may take itself for the only one.
    eventually("both to know of one another", || {
        let path = format!("/{}", town.code(&json!({ "long_url": TARGET, "password": PASSWORD })));
        let of = |proxy| {
            let wrong = || post_to(&town, proxy, &path, "password=no", &[]).status;
            (0..7).map(|_| wrong()).take_while(|status| *status == 403).count()
        };
        [of(0), of(1)] == [3, 3]
    });
}

#[test]
fn with_more_guesses_at_once_than_may_wait_some_are_told_to_come_back_and_the_others_get_through() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::with(dir.path(), &["proxy.passwords.threads=1", "proxy.passwords.queue_max=1"]);
    let secret = format!("/{}", town.code(&json!({ "long_url": TARGET, "password": PASSWORD })));
    let open = format!("/{}", town.code(&json!({ "long_url": TARGET })));
    // One comparison takes tens of milliseconds; these arrive within one.
    let answers = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..32).map(|_| scope.spawn(|| post(&town, &secret, FORM, &[]))).collect();
        assert_eq!(town.visit(&open).status, 302, "nobody else waits for them");
        asked.into_iter().map(|answer| answer.join().unwrap()).collect::<Vec<_>>()
    });
    let (through, full): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 303);
    assert!(!through.is_empty() && !full.is_empty(), "{} and {}", through.len(), full.len());
    for answer in &full {
        let headers = ["retry-after", "cache-control"].map(|name| answer.header(name));
        assert_eq!((answer.status, headers), (503, [Some("1"), Some("no-store")]), "{answer:?}");
    }
    for (outcome, count) in [("right", through.len()), ("pool_full", full.len())] {
        let line = format!("signpost_proxy_password_guesses_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(town.metrics().contains(&line), "{line}{}", town.metrics());
    }
    // What was turned away was no guess: who comes back gets through.
    assert_eq!(post(&town, &secret, FORM, &[]).status, 303);
}

#[test]
fn an_end_counts_before_who_may_follow_and_every_condition_has_to_hold() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let ada = person(&town, &[]);
    let rules = json!([{ "query": { "name": "to", "value": "b" }, "long_url": format!("{TARGET}/b") }]);
    let all = json!({
        "long_url": TARGET, "visibility": "private", "allowed": [ada.id], "password": PASSWORD, "max_clicks": 2,
        "rules": rules, "forward_query": true,
    });
    let code = town.code(&all);
    let path = path_of(&sign(&town, &code, &json!({ "ttl": 600 })).json()["url"]);
    // Who may not follow it is not asked for a password, and cannot guess it.
    is_refused(&town.visit(&format!("/{code}")));
    is_refused(&post(&town, &format!("/{code}"), FORM, &[]));
    let form = town.visit(&path);
    assert_eq!(form.status, 200);
    let right = post(&town, &path, FORM, &[]);
    assert_eq!((right.status, right.location()), (303, &*path), "with its signature");
    let known = cookie(&right);
    is_refused(&town.visit_with(&format!("/{code}"), &[("Cookie", &known)]));
    let follow = |path: &str| {
        let mut answer = None;
        eventually("an answer that is not 503", || {
            let headers = [("Cookie", &*known)];
            answer = Some(town.visit_with(path, &headers)).filter(|answer: &Answer| answer.status != 503);
            answer.is_some()
        });
        answer.unwrap()
    };
    // A bot that knows everything gets the button, and its press leads on.
    let bot = [("User-Agent", "Googlebot/2.1 (+http://www.google.com/bot.html)"), ("Cookie", &*known)];
    let button = town.visit_with(&path, &bot);
    assert_eq!((button.status, button.header("location")), (200, None));
    let answer = follow(&format!("{path}&to=b"));
    leads_there(&answer);
    assert_eq!(answer.location(), format!("{TARGET}/b?to=b"));
    leads_there(&follow(&path));
    assert_eq!(follow(&path).status, 410);
    assert_eq!(town.visit(&format!("/{code}")).status, 410, "it has ended, for everybody");
    town.all_counted();
    assert_eq!(town.clicks(&code), 2);

    let later = town
        .code(&json!({ "long_url": TARGET, "visibility": "private", "not_before": "2200-01-01T00:00:00Z" }));
    assert_eq!(town.visit(&format!("/{later}")).status, 404);
    town.patch(&later, &json!({ "state": "banned" }));
    assert_eq!(town.visit(&format!("/{later}")).status, 451);
}

#[test]
fn what_is_exported_comes_back_with_who_may_follow_it() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let ada = person(&town, &[]);
    let link = json!({ "long_url": TARGET, "alias": "kept", "visibility": "private", "allowed": [ada.id], "password": PASSWORD });
    let code = town.code(&link);
    let export = |bearer: &str| {
        let answer = ask(&town.fleet.ready().admin, "GET", "/v1/export", &[("Authorization", bearer)], "");
        answer.text().lines().find(|line| line.contains("\"kept\"")).unwrap().to_owned()
    };
    let admin = format!("Bearer {}", town.fleet.ready().token);
    let line = export(&admin);
    let hash = serde_json::from_str::<Value>(&line).unwrap()["password_hash"].as_str().unwrap().to_owned();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let reader = made(&town, "/v1/tokens", &json!({ "name": "reader", "scopes": ["links:read"] }));
    let shown = export(&format!("Bearer {}", reader["token"].as_str().unwrap()));
    assert!(!shown.contains("argon2") && shown.contains("\"has_password\":true"), "{shown}");

    assert_eq!(town.api("DELETE", &format!("/v1/links/{code}"), &Value::Null).status, 204);
    let import = |line: &str| {
        let headers = [("Authorization", &*admin), ("Content-Type", "application/x-ndjson")];
        ask(&town.fleet.ready().admin, "POST", "/v1/import", &headers, &format!("{line}\n")).text()
    };
    let refused = import(&shown);
    assert!(refused.contains("password_missing"), "never without it: {refused}");
    let imported = import(&line);
    assert!(imported.contains("\"created\":1"), "{imported}");
    assert!(import(&line).contains("\"unchanged\":1"));
    eventually("the proxy has it", || town.visit(&format!("/{code}")).status == 401);
    let path = path_of(&sign(&town, &code, &json!({ "ttl": 600, "user": ada.id })).json()["url"]);
    assert_eq!(post(&town, &path, FORM, &[]).status, 303, "the password is the one it was");
}
