//! The writer goes back to a backup: proxies that were further follow it there, and count on; no code comes twice.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use signpost_loadtest::fleet::{Fleet, Options, Variable};

use super::bucket::Bucket;
use super::web::ask;
use super::{all_in_sync, bin_dir, eventually, health};

/// A visitor who is taken for a person.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

fn admin(fleet: &Fleet, arguments: &[&str]) -> String {
    admin_with(fleet, &[], arguments)
}

fn admin_with(fleet: &Fleet, environment: &[Variable], arguments: &[&str]) -> String {
    let config = fleet.dir().join("admin/config.toml");
    let mut command = Command::new(bin_dir().join("signpost-admin"));
    command.envs(environment.iter().map(|variable| (&variable.name, &variable.value)));
    let output = command.args(arguments).arg("--config").arg(config).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn move_away(fleet: &Fleet, folders: &[&str], to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for folder in folders {
        std::fs::rename(fleet.dir().join("admin/data").join(folder), to.join(folder)).unwrap();
    }
}

#[test]
fn proxies_go_back_with_a_restored_writer_and_send_it_the_clicks_it_does_not_have() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("backups");
    let mut options = Options::new(dir.path().join("fleet"), 3).unwrap();
    options.bin_dir = bin_dir();
    let setting = format!("admin.backup.url={}", place.display());
    options.settings = vec![setting.parse().unwrap()];
    let fleet = Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let (ready, token) = (fleet.ready().clone(), format!("Bearer {}", fleet.ready().token));
    let api = |method: &str, path: &str, body: &Value| {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let headers = [("Authorization", &*token), ("Content-Type", kind)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(&ready.admin, method, path, &headers, &body)
    };
    let total =
        |alias: &str| api("GET", &format!("/v1/links/{alias}/clicks"), &Value::Null).json()["total"].as_u64();
    let location = |alias: &str| -> Vec<(u16, Option<String>)> {
        let visit = |proxy: &String| {
            let answer = ask(proxy, "GET", &format!("/{alias}"), &[("User-Agent", BROWSER)], "");
            (answer.status, answer.header("location").map(str::to_owned))
        };
        ready.proxies.iter().map(visit).collect()
    };
    let everywhere = |target: &str| vec![(302, Some(target.to_owned())); ready.proxies.len()];
    let link = |alias: &str| json!({ "long_url": format!("https://example.org/{alias}"), "alias": alias });

    let generated = |count: usize| -> Vec<String> {
        let made = |_| api("POST", "/v1/links", &json!({ "long_url": "https://example.org/generated" }));
        (0..count).map(made).map(|made| made.json()["code"].as_str().unwrap().to_owned()).collect()
    };

    assert_eq!(api("POST", "/v1/links", &link("kept")).status, 201);
    let mut codes = generated(20);
    for _ in 0..20 {
        assert_eq!(location("kept"), everywhere("https://example.org/kept"));
    }
    eventually("visits before the backup are counted", || total("kept") == Some(60));
    admin(&fleet, &["backup", "now"]);

    // What comes after it never was, visits of what stays were.
    let moved = json!({ "long_url": "https://example.org/moved" });
    assert_eq!(api("PATCH", "/v1/links/kept", &moved).status, 200);
    for n in 0..50 {
        assert_eq!(api("POST", "/v1/links", &link(&format!("late-{n}"))).status, 201);
    }
    let late_code = codes.len();
    codes.extend(generated(50));
    for _ in 0..20 {
        assert_eq!(location("kept"), everywhere("https://example.org/moved"));
    }
    eventually("visits after the backup are counted", || total("kept") == Some(120));

    fleet.must("stop admin");
    move_away(&fleet, &["log", "clicks"], &dir.path().join("lost"));
    // Not to the end of the archive of records, but to the snapshot.
    let list = admin(&fleet, &["backup", "list"]);
    let snapshots = list.lines().filter(|line| line.trim_start().starts_with("snapshot"));
    let seq = snapshots.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).max();
    admin(&fleet, &["restore", "--to-seq", &seq.expect("a snapshot in the list").to_string()]);
    fleet.must("start admin");

    eventually("every proxy follows the new history", || {
        all_in_sync(&fleet)
            && ready.proxy_health.iter().all(|address| health(address, "/readyz")["replica"]["epoch"] == 2)
    });
    assert_eq!(location("kept"), everywhere("https://example.org/kept"));
    let gone = vec![(404, None); ready.proxies.len()];
    assert_eq!((location("late-0"), location("late-49")), (gone.clone(), gone.clone()));
    // Somebody may have printed those codes: they lead nowhere, and never elsewhere.
    assert_eq!(location(&codes[0]), everywhere("https://example.org/generated"));
    assert_eq!(location(&codes[late_code]), gone);
    codes.extend(generated(300));
    assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len(), "a code was given out twice");
    eventually("no visit is missing, and none is counted twice", || total("kept") == Some(123));
    assert_eq!(api("POST", "/v1/links", &link("second-life")).status, 201);
    assert_eq!(location("second-life"), everywhere("https://example.org/second-life"));
}

#[test]
fn a_fleet_comes_back_from_a_bucket_with_everything_that_was_archived() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::start();
    let mut options = Options::new(dir.path().join("fleet"), 1).unwrap();
    options.bin_dir = bin_dir();
    options.environment = bucket.environment("admin");
    let settings =
        [format!("admin.backup.url={}", bucket.url("of/mine")), "admin.backup.archive_every_s=1".into()];
    options.settings = settings.iter().map(|setting| setting.parse().unwrap()).collect();
    let fleet = Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let (ready, token) = (fleet.ready().clone(), format!("Bearer {}", fleet.ready().token));
    let create = |alias: &str| {
        let body = json!({ "long_url": format!("https://example.org/{alias}"), "alias": alias }).to_string();
        let headers = [("Authorization", &*token), ("Content-Type", "application/json")];
        assert_eq!(ask(&ready.admin, "POST", "/v1/links", &headers, &body).status, 201);
    };
    let on_bucket = |arguments: &[&str]| admin_with(&fleet, &bucket.environment("admin"), arguments);
    create("in-snapshot");
    on_bucket(&["backup", "now"]);
    create("in-archive");
    let written = health(&ready.proxy_health[0], "/readyz")["replica"]["seq"].as_u64();
    eventually("what came after the snapshot is archived", || {
        let status: Value = serde_json::from_str(&on_bucket(&["backup", "status"])).unwrap();
        status["archived"]["head"]["seq"].as_u64() >= written
    });
    assert!(bucket.names().iter().all(|name| name.starts_with("of/mine/fleet-")), "{:?}", bucket.names());

    fleet.must("stop admin");
    move_away(&fleet, &["log", "clicks"], &dir.path().join("lost"));
    on_bucket(&["restore"]);
    fleet.must("start admin");
    for alias in ["in-snapshot", "in-archive"] {
        let found =
            ask(&ready.admin, "GET", &format!("/v1/links/{alias}"), &[("Authorization", &*token)], "");
        assert_eq!(found.status, 200, "{alias}");
    }
    create("second-life");
    eventually("the proxy follows the new history", || {
        ask(&ready.proxies[0], "GET", "/second-life", &[("User-Agent", BROWSER)], "").status == 302
    });
}
