//! Links that end with a number of clicks.

use serde_json::{Value, json};

use super::web::{Answer, Town};
use super::{bin_dir, eventually, loadtest};

const TARGET: &str = "https://example.org/there";
const BOT: (&str, &str) = ("User-Agent", "Googlebot/2.1 (+http://www.google.com/bot.html)");

fn limit(town: &Town, code: &str) -> Value {
    town.api("GET", &format!("/v1/links/{code}/limit"), &Value::Null).json()
}

/// Follows a link until it is not told to come back.
fn follow(town: &Town, code: &str) -> Answer {
    let mut answer = None;
    eventually("an answer that is not 503", || {
        answer = Some(town.visit(&format!("/{code}"))).filter(|answer: &Answer| answer.status != 503);
        answer.is_some()
    });
    answer.unwrap()
}

#[test]
fn a_link_is_followed_as_often_as_it_allows_and_then_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": TARGET, "max_clicks": 2, "status": 301 }));
    for _ in 0..2 {
        let answer = follow(&town, &code);
        // Whoever kept it would follow it without us.
        assert_eq!(
            (answer.status, answer.location(), answer.header("cache-control")),
            (302, TARGET, Some("no-store"))
        );
    }
    let gone = follow(&town, &code);
    assert_eq!((gone.status, gone.header("cache-control")), (410, Some("no-store")));
    eventually("everything to be settled", || limit(&town, &code)["held"] == json!([]));
    let expected = json!({ "max_clicks": 2, "used": 2, "burned": 0, "left": 0, "held": [] });
    assert_eq!(limit(&town, &code), expected);

    // Raised, it goes on where it was; lowered below what was used, it has ended again; taken off, it never does.
    assert_eq!(town.patch(&code, &json!({ "max_clicks": 3 }))["max_clicks"], 3);
    assert_eq!([follow(&town, &code).status, follow(&town, &code).status], [302, 410]);
    town.patch(&code, &json!({ "max_clicks": 1 }));
    assert_eq!(follow(&town, &code).status, 410);
    town.patch(&code, &json!({ "max_clicks": null }));
    assert_eq!(follow(&town, &code).status, 301);
    let none = town.api("GET", &format!("/v1/links/{code}/limit"), &Value::Null);
    assert_eq!((none.status, none.json()["code"].clone()), (404, json!("limit_not_found")));

    // How it ends is the link's to say.
    let elsewhere = json!({ "long_url": TARGET, "max_clicks": 1, "when_ended": { "fallback_url": "https://example.org/over" } });
    let code = town.code(&elsewhere);
    let visited = [follow(&town, &code), follow(&town, &code)];
    let seen = visited.map(|answer| {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        answer.location().to_owned()
    });
    assert_eq!(seen, [TARGET, "https://example.org/over"]);
    for (change, status) in
        [(json!({ "when_ended": { "status": 404 } }), 404), (json!({ "state": "disabled" }), 404)]
    {
        town.patch(&code, &change);
        let hidden = follow(&town, &code);
        assert_eq!((hidden.status, hidden.header("cache-control")), (status, Some("no-store")), "{change}");
    }
    for wrong in [json!(0), json!(-1), json!("5"), json!(1.5), json!(1_000_000_000_001_u64)] {
        let (status, field, _) = town.refused(&json!({ "long_url": TARGET, "max_clicks": wrong }));
        assert_eq!((status, &*field), (422, "max_clicks"), "{wrong}");
    }
}

#[test]
fn who_does_not_mean_to_follow_it_gets_a_button_and_uses_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": TARGET, "max_clicks": 2 }));
    let path = format!("/{code}");
    let head = [town.send("HEAD", &path, &[]), town.send("GET", &path, &[("Sec-Purpose", "prefetch")])];
    let asked = [town.visit_with(&path, &[BOT]), town.visit(&format!("{path}+"))];
    for answer in head.into_iter().chain(asked) {
        assert_eq!((answer.status, answer.header("location")), (200, None), "{answer:?}");
        assert!(!answer.text().contains("example.org"), "{answer:?}");
    }
    let button = town.visit_with(&path, &[BOT]).text();
    assert!(button.contains("<form method=post>"), "{button}");
    // The button of a person who was taken for a bot.
    let pressed = town.send("POST", &path, &[BOT, ("Content-Type", "application/x-www-form-urlencoded")]);
    assert_eq!((pressed.status, pressed.location()), (303, TARGET));
    assert_eq!([follow(&town, &code).status, follow(&town, &code).status], [302, 410]);
    assert_eq!(town.send("POST", &path, &[]).status, 410);
    // No other link can be asked for like that.
    let plain = town.code(&json!({ "long_url": TARGET }));
    let refused = town.send("POST", &format!("/{plain}"), &[]);
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn while_the_writer_is_away_what_is_at_hand_is_spent_and_then_nobody_gets_through() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": TARGET, "max_clicks": 20 }));
    assert_eq!(follow(&town, &code).status, 302);
    town.fleet.must("kill admin 9");
    let mut through = 1;
    let away = loop {
        let answer = town.visit(&format!("/{code}"));
        match answer.status {
            302 => through += 1,
            _ => break answer,
        }
    };
    assert_eq!((away.status, away.header("retry-after")), (503, Some("1")));
    assert_eq!(away.header("cache-control"), Some("no-store"));
    assert!(through <= 20, "{through}");
    town.fleet.must("start admin");
    while follow(&town, &code).status == 302 {
        through += 1;
    }
    assert_eq!(through, 20);
}

#[test]
fn no_proxy_says_that_a_link_has_ended_while_another_has_clicks_of_it_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::several(dir.path(), 3, &[]);
    let code = town.code(&json!({ "long_url": TARGET, "max_clicks": 50 }));
    let (through, over) = town.follow_on_all(&code);
    assert_eq!((through, over.status, over.header("cache-control")), (50, 410, Some("no-store")));
}

#[test]
fn a_proxy_that_is_forgotten_takes_what_it_has_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": TARGET, "max_clicks": 100 }));
    assert_eq!(follow(&town, &code).status, 302);
    // Whatever it has then it cannot give back.
    town.fleet.must("kill proxy-0 9");
    let held = limit(&town, &code);
    let at_hand = held["held"][0]["clicks"].as_u64().unwrap_or(0);
    let forgotten = town.operator(&["proxy", "forget", "proxy-0"]);
    assert!(forgotten.contains(&format!("{at_hand} clicks")) || at_hand == 0, "{forgotten}");
    let after = limit(&town, &code);
    assert_eq!((&after["held"], after["burned"].as_u64()), (&json!([]), Some(at_hand)));
    let sum = ["used", "burned", "left"].map(|name| after[name].as_u64().unwrap()).iter().sum::<u64>();
    assert_eq!(sum, 100, "{after}");
}

#[test]
fn a_link_that_comes_with_clicks_goes_on_counting_from_there_and_has_what_is_left_of_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let visited = |code: &str, visits: u64, max: Value| {
        json!({
            "shortCode": code, "longUrl": TARGET, "meta": { "maxVisits": max },
            "visitsSummary": { "total": visits, "nonBots": visits - 1, "bots": 1 },
        })
    };
    let list =
        [visited("free", 41, Value::Null), visited("last", 9, json!(10)), visited("over", 10, json!(10))];
    let file = dir.path().join("shlink.json");
    std::fs::write(&file, json!({ "shortUrls": { "data": list } }).to_string()).unwrap();
    let ready = town.fleet.ready();
    let client = std::process::Command::new(bin_dir().join("signpost"))
        .args(["import", "--from", "shlink-json"])
        .arg(&file)
        .args(["--url", &ready.admin])
        .env("SIGNPOST_TOKEN", &ready.token)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&client.stdout);
    assert_eq!(said, "3 made, 0 there already, 0 replaced, 0 collide, 0 refused\n", "{client:?}");

    assert_eq!((follow(&town, "last").status, follow(&town, "last").status), (302, 410));
    assert_eq!(town.visit("/over").status, 410, "at once: there is nothing to ask for");
    assert_eq!((town.visit("/free").status, town.visit("/free").status), (302, 302));
    town.all_counted();
    let clicks = town.api("GET", "/v1/links/free/clicks", &Value::Null).json();
    assert_eq!((&clicks["total"], &clicks["imported"]), (&json!(42), &json!(40)), "people only");
    let standing = limit(&town, "over");
    assert_eq!((&standing["used"], &standing["left"]), (&json!(10), &json!(0)));
}

fn max_clicks(options: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let fleet = dir.path().join("fleet");
    let fixed = ["max-clicks", "--dir", fleet.to_str().unwrap(), "--bin-dir"];
    let bin_dir = bin_dir();
    let args = [&fixed[..], &[bin_dir.to_str().unwrap()], options].concat();
    // It compares for itself, and fails if anything is not as it must be.
    assert_eq!(loadtest(dir.path(), &args)["broken"], json!([]));
}

#[test]
fn four_proxies_and_many_clients_use_up_a_link_to_the_last_click() {
    max_clicks(&["--clients", "60", "--limits", "1,2,7,100,1000"]);
}

#[test]
fn no_more_get_through_when_proxies_and_the_writer_are_killed() {
    max_clicks(&["--clients", "40", "--limits", "50,2000", "--kills", "4", "--kill-writer"]);
}

#[test]
fn a_memory_that_is_lost_burns_what_was_in_it_and_no_more_get_through() {
    max_clicks(&["--clients", "40", "--limits", "300,3000", "--kills", "4", "--lose-memory"]);
}

#[test]
fn a_promotion_loses_no_click_and_gives_none_twice() {
    max_clicks(&[
        "--proxies",
        "2",
        "--clients",
        "30",
        "--limits",
        "2000",
        "--rest",
        "50",
        "--promotions",
        "1",
    ]);
}

#[test]
fn a_limit_is_not_lowered_below_what_a_proxy_that_cannot_be_reached_has_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": TARGET, "max_clicks": 1000 }));
    assert_eq!(follow(&town, &code).status, 302);
    let lower = || town.api("PATCH", &format!("/v1/links/{code}"), &json!({ "max_clicks": 1 }));
    town.fleet.must("kill proxy-0 STOP");
    let refused = lower();
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("limit_held")));
    assert!(refused.json()["detail"].as_str().unwrap().contains("proxy-0"), "{refused:?}");
    assert_eq!(limit(&town, &code)["max_clicks"], 1000);
    town.fleet.must("kill proxy-0 CONT");
    eventually("the proxy to give back what it has", || lower().status == 200);
    assert_eq!(follow(&town, &code).status, 410);
}

#[test]
fn a_writer_that_goes_back_to_a_backup_lets_no_click_too_many_through() {
    max_clicks(&["--clients", "40", "--limits", "400,4000", "--rest", "100", "--restore"]);
}

#[test]
fn a_limit_that_is_lowered_holds_from_its_acknowledgement_on() {
    max_clicks(&["--clients", "40", "--limits", "10,1000", "--lower"]);
}
