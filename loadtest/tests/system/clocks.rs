//! Wall clocks that are stepped while a part runs: links end by the clock of the proxy, and everything else goes on.

use std::path::Path;

use serde_json::{Value, json};
use signpost_loadtest::fault::reins::Reins;
use signpost_loadtest::fleet::{Fleet, Options};

use super::web::Town;
use super::{bin_dir, eventually, health};

const DAY_MS: i64 = 86_400_000;

/// A fleet with one proxy whose clocks can be set.
fn town(dir: &Path) -> (Town, Reins) {
    let mut options = Options::new(dir.join("fleet"), 1).unwrap();
    options.bin_dir = bin_dir();
    let parts = ["admin", "keypool-0", "proxy-0"].map(str::to_owned);
    let reins = Reins::put_on(dir, parts.into_iter(), &mut options).unwrap();
    (Town { fleet: Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}")) }, reins)
}

fn skew_ms(town: &Town) -> i64 {
    health(&town.fleet.ready().proxy_health[0], "/readyz")["feed"]["clock_skew_ms"].as_i64().unwrap_or(0)
}

#[test]
fn a_link_ends_by_the_clock_of_the_proxy_and_a_wrong_clock_is_told_until_it_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let (town, reins) = town(dir.path());
    let code = town.code(&json!({ "long_url": "https://example.org/there", "ttl": 3600 }));
    let path = format!("/{code}");
    let log = || std::fs::read_to_string(town.fleet.dir().join("logs/proxy-0.log")).unwrap();
    assert_eq!(town.visit(&path).status, 302);

    reins.step_clock("proxy-0", 2 * 3_600_000).unwrap();
    eventually("the end of the link", || town.visit(&path).status == 410);
    eventually("the alarm", || {
        skew_ms(&town) > 7_000_000 && log().contains("this clock and the writer's differ")
    });
    // Two seconds are enough for it; a day back is as wrong as two hours forward.
    for wrong_ms in [2_000, -DAY_MS] {
        reins.step_clock("proxy-0", wrong_ms).unwrap();
        eventually("the link again", || town.visit(&path).status == 302);
        eventually("the alarm", || (skew_ms(&town) - wrong_ms).abs() < 1_000);
    }

    reins.step_clock("proxy-0", 0).unwrap();
    eventually("the end of the alarm", || {
        skew_ms(&town).abs() < 1_000 && log().contains("this clock and the writer's agree again")
    });
    assert_eq!(town.visit(&path).status, 302);
}

#[test]
fn a_reserved_alias_is_free_again_after_thirty_days_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let (town, reins) = town(dir.path());
    let order = json!({ "long_url": "https://example.org/theirs", "alias": "big-day" });
    let create = || town.api("POST", "/v1/links", &order).status;
    town.link(&json!({ "alias": "big-day", "reserve": true }));
    reins.step_clock("admin", 29 * DAY_MS).unwrap();
    assert_eq!((create(), town.visit("/big-day").status), (409, 404));
    reins.step_clock("admin", 31 * DAY_MS).unwrap();
    assert_eq!(create(), 201);
    assert_eq!(town.visit("/big-day").location(), "https://example.org/theirs");
}

#[test]
fn a_writer_whose_clock_is_stepped_by_a_day_either_way_loses_nothing_and_lists_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    let (town, reins) = town(dir.path());
    let mut made = Vec::new();
    for step_ms in [0, DAY_MS, 0, -DAY_MS, 1_000, -1_000, 0] {
        for part in ["admin", "keypool-0"] {
            reins.step_clock(part, step_ms).unwrap();
        }
        for number in 0..4 {
            let target = format!("https://example.org/{}/{number}", made.len());
            let link = town.link(&json!({ "long_url": target }));
            let code = link["code"].as_str().unwrap().to_owned();
            assert_eq!(town.visit(&format!("/{code}")).location(), target);
            made.push(code);
        }
    }
    // In pages, so that the place where one ends and the next begins is among links of several days.
    for sort in ["created_at", "-created_at"] {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let page =
                town.api("GET", &format!("/v1/links?sort={sort}&limit=3{cursor}"), &Value::Null).json();
            let codes = page["data"].as_array().unwrap().iter();
            listed.extend(codes.map(|link| link["code"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        listed.sort();
        let mut all = made.clone();
        all.sort();
        assert_eq!(listed, all, "{sort}");
    }
    // Clicks of every day are counted.
    town.all_counted();
    assert!(made.iter().all(|code| town.clicks(code) == 1));
    // And what is on disk is right after a start with the right time.
    for line in ["kill admin 9", "start admin"] {
        town.fleet.must(line);
    }
    for code in &made {
        assert_eq!(town.api("GET", &format!("/v1/links/{code}"), &Value::Null).status, 200, "{code}");
    }
}
