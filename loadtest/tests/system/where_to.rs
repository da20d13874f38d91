//! Rules and variants: where a link leads other than to its target.

use std::collections::HashMap;

use serde_json::json;

use super::bin_dir;
use super::mmdb::database;
use super::web::Town;

const IPHONE: &str =
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1";
const LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

#[test]
fn the_first_rule_that_holds_says_where_to() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let to = |name: &str| format!("https://example.org/{name}");
    let rules = json!([
        { "device": ["ios", "android"], "language": "de", "long_url": to("app-de") },
        { "device": "mobile", "long_url": to("app") },
        { "query": { "name": "src", "value": "mail" }, "long_url": to("mail") },
        { "until": "2001-01-01T00:00:00Z", "long_url": to("past") },
        { "language": ["fr", "it"], "from": "2001-01-01T00:00:00Z", "long_url": to("latin") },
    ]);
    let link = town.link(&json!({ "long_url": to("usual"), "rules": rules, "status": 301 }));
    assert_eq!(link["rules"][0]["device"], json!(["ios", "android"]), "{link}");
    let code = link["code"].as_str().unwrap();
    let follow = |path: &str, agent: &str, language: &str| {
        let answer = town.visit_with(path, &[("User-Agent", agent), ("Accept-Language", language)]);
        assert_eq!((answer.status, answer.header("cache-control")), (301, Some("private, no-cache")));
        answer.location().to_owned()
    };
    for (query, agent, language, expected) in [
        ("", IPHONE, "de-AT,en;q=0.5", "app-de"),
        ("", IPHONE, "en,de;q=0.5", "app"),
        ("", LINUX, "de", "usual"),
        ("?src=mail", LINUX, "de", "mail"),
        ("?src=web", LINUX, "it-IT", "latin"),
    ] {
        assert_eq!(
            follow(&format!("/{code}{query}"), agent, language),
            to(expected),
            "{query} {agent} {language}"
        );
    }
    let preview = town.visit(&format!("/{code}+")).text();
    assert!(preview.contains("may lead elsewhere"), "{preview}");
    for place in ["usual", "app-de", "app", "mail", "past", "latin"] {
        assert!(preview.contains(&format!("<code>{}</code>", to(place))), "{place}: {preview}");
    }
    town.all_counted();
    assert_eq!(town.clicks(code), 5, "every one a click, and the preview none");
    // What is shown can be sent back, and cleared.
    town.patch(code, &json!({ "rules": link["rules"] }));
    town.patch(code, &json!({ "rules": null }));
    assert_eq!(town.visit_with(&format!("/{code}"), &[("User-Agent", IPHONE)]).location(), to("usual"));
    for (rule, code) in [
        (json!({ "long_url": to("x") }), "rule_without_condition"),
        (json!({ "device": "phone", "long_url": to("x") }), "rule_device"),
        (json!({ "device": "ios" }), "rule_without_target"),
        (json!({ "language": "d e", "long_url": to("x") }), "rule_language"),
        (json!({ "query": {}, "long_url": to("x") }), "rule_query"),
        (json!({ "from": "noon", "long_url": to("x") }), "rule_time"),
        (json!({ "country": "Germany", "long_url": to("x") }), "rule_country"),
        (json!({ "country": [], "long_url": to("x") }), "rule_without_condition"),
        (json!({ "continent": "EU", "long_url": to("x") }), "unknown_member"),
        (json!({ "device": "ios", "long_url": "ftp://example.org/" }), "url_scheme"),
    ] {
        let refused = town.refused(&json!({ "long_url": to("usual"), "rules": [rule] }));
        assert_eq!((refused.0, &*refused.1, &*refused.2), (422, "rules", code), "{rule}");
    }
}

#[test]
fn a_country_leads_elsewhere_as_the_database_in_use_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("countries.mmdb");
    std::fs::write(&path, database(&[("127.0.0.0", 8, "DE")])).unwrap();
    let setting = format!("proxy.geo.country_database={}", path.display());
    let town = Town::known(&dir.path().join("fleet"), &[&setting]);
    let to = |name: &str| format!("https://example.org/{name}");
    let rules = json!([
        { "country": ["FR", "it"], "long_url": to("latin") },
        { "country": "de", "device": "linux", "long_url": to("de") },
    ]);
    let link = town.link(&json!({ "long_url": to("usual"), "rules": rules }));
    assert_eq!(
        (&link["rules"][0]["country"], &link["rules"][1]["country"]),
        (&json!(["FR", "IT"]), &json!(["DE"]))
    );
    let code = link["code"].as_str().unwrap();
    let leads = || town.visit_with(&format!("/{code}"), &[("User-Agent", LINUX)]).location().to_owned();
    assert_eq!(leads(), to("de"));
    // What is in use changes only for something that can be used.
    let reload = || {
        let config = town.fleet.dir().join("proxy-0/config.toml");
        let mut proxy = std::process::Command::new(bin_dir().join("signpost-proxy"));
        let ran = proxy.args(["reload", "--config"]).arg(config).output().unwrap();
        let said =
            [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (ran.status.success(), said)
    };
    let whole = database(&[("127.0.0.0", 8, "IT")]);
    std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let (done, refused) = reload();
    assert!(!done && refused.contains("the database before is still in use"), "{refused}");
    assert_eq!(leads(), to("de"));
    std::fs::write(&path, &whole).unwrap();
    let (done, said) = reload();
    assert!(done && said.contains("Signpost-Test-Country"), "{said}");
    assert_eq!(leads(), to("latin"));
    std::fs::write(&path, database(&[("127.0.0.0", 8, "JP")])).unwrap();
    assert!(reload().0);
    assert_eq!(leads(), to("usual"));
    town.patch(code, &json!({ "rules": link["rules"] }));
}

#[test]
fn without_a_database_no_rule_by_country_holds() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::known(dir.path(), &[]);
    let rules = json!([{ "country": "DE", "long_url": "https://example.org/de" }]);
    let code = town.code(&json!({ "long_url": "https://example.org/usual", "rules": rules }));
    assert_eq!(town.visit(&format!("/{code}")).location(), "https://example.org/usual");
}

#[test]
fn variants_share_visitors_out_by_weight_and_each_keeps_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let (a, b) = ("https://example.org/a", "https://example.org/b");
    let variants = json!([{ "weight": 1, "long_url": a }, { "weight": 3, "long_url": b }]);
    let code = town.code(&json!({ "long_url": "https://example.org/usual", "variants": variants }));
    let of = |n: usize| {
        let agent = format!("browser-{n}");
        town.visit_with(&format!("/{code}"), &[("User-Agent", &agent)]).location().to_owned()
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let first: Vec<String> = (0..400).map(of).collect();
    first.iter().for_each(|target| *seen.entry(target.clone()).or_default() += 1);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!((60..140).contains(&seen[a]), "a quarter of 400 should see a: {seen:?}");
    // The same visitor again, after a restart of the proxy too.
    town.fleet.must("kill proxy-0 9");
    town.fleet.must("start proxy-0");
    assert!((0..50).all(|n| of(n) == first[n]));
    let refused = town.refused(&json!({ "long_url": a, "variants": [{ "weight": 0, "long_url": b }] }));
    assert_eq!(&*refused.2, "variant_weight");
}
