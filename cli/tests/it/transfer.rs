//! Export and import, and the files of other shorteners.

use serde_json::{Value, json};

use super::fixture::{Api, breaking, run};

#[test]
fn what_is_exported_to_a_file_can_be_imported_elsewhere() {
    let api = Api::start();
    let list: String = (0..1500).map(|n| format!("https://example.org/{n} alias-{n}\n")).collect();
    api.run_with(&["create", "--title", "Ä"], &list).ok();
    let file = api.dir().join("links.ndjson").display().to_string();
    assert_eq!(api.run(&["export", "--file", &file]).ok(), "");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 1501);
    assert!(text.lines().last().unwrap().contains("\"links\":1500"), "{}", text.lines().last().unwrap());

    let other = Api::start();
    let foreseen = other.run(&["import", &file, "--dry-run"]).ok();
    assert_eq!(foreseen, "1500 would be made, 0 there already, 0 would be replaced, 0 collide, 0 refused\n");
    assert_eq!(
        other.run(&["import", &file]).ok(),
        "1500 made, 0 there already, 0 replaced, 0 collide, 0 refused\n"
    );
    // Again, now through standard input: nothing is made twice.
    let again = other.run_with(&["import", "-", "-o", "json"], &text).ok();
    let done: Value = serde_json::from_str(again.lines().last().unwrap()).unwrap();
    assert_eq!((&done["done"]["unchanged"], &done["done"]["created"]), (&json!(1500), &json!(0)));
}

/// A file of so many links, a line each.
fn many_links(api: &Api, links: usize) -> String {
    let line = |n| format!("{{\"long_url\":\"https://example.org/{n}\",\"code\":\"code-{n}\"}}\n");
    api.file("many.ndjson", &(0..links).map(line).collect::<String>())
}

#[test]
fn an_import_goes_on_where_its_connection_broke() {
    let api = Api::start();
    let file = many_links(&api, 20_000);
    let url = breaking(&api.url(), &[(300_000, u64::MAX), (400_000, u64::MAX)]);
    let env = [("SIGNPOST_URL", &*url), ("SIGNPOST_TOKEN", api.token())];
    let ran = run(&["import", &file, "-o", "json"], &env, "");
    assert_eq!(ran.err.matches("the connection broke after line ").count(), 2, "{}", ran.err);
    let done: Value = serde_json::from_str(ran.ok().lines().last().unwrap()).unwrap();
    let count = |name: &str| done["done"][name].as_u64().unwrap();
    // What was done and not yet told when it broke is found to be there.
    assert_eq!(
        (count("created") + count("unchanged"), count("collisions"), count("refused")),
        (20_000, 0, 0)
    );
    let exported = api.run(&["export"]).ok();
    assert!(exported.lines().last().unwrap().contains("\"links\":20000"));
}

#[test]
fn an_export_goes_on_where_its_connection_broke() {
    let api = Api::start();
    let file = many_links(&api, 20_000);
    api.run(&["import", &file]).ok();
    let whole = api.run(&["export"]).ok();
    let (third, target) = (whole.len() as u64 / 3, api.dir().join("links.ndjson"));
    let url = breaking(&api.url(), &[(u64::MAX, third), (u64::MAX, 0), (u64::MAX, third)]);
    let env = [("SIGNPOST_URL", &*url), ("SIGNPOST_TOKEN", api.token())];
    run(&["export", "--file", target.to_str().unwrap()], &env, "").ok();
    let links =
        |text: &str| text.lines().filter(|line| line.contains("\"code\"")).map(str::to_owned).collect();
    let (pieced, whole): (Vec<String>, Vec<String>) =
        (links(&std::fs::read_to_string(target).unwrap()), links(&whole));
    assert_eq!(whole.len(), 20_000);
    assert!(pieced == whole, "{} links of {}", pieced.len(), whole.len());
}

#[test]
fn how_far_it_is_is_drawn_on_a_terminal_and_nowhere_else() {
    let api = Api::start();
    let file = many_links(&api, 20_000);
    let client = env!("CARGO_BIN_EXE_signpost");
    // script(1) runs it in a terminal of its own.
    let ran = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &format!("'{client}' import '{file}'"), "/dev/null"])
        .env("TERM", "xterm")
        .env("SIGNPOST_URL", api.url())
        .env("SIGNPOST_TOKEN", api.token())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let drawn = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && drawn.contains("20000 made"), "{drawn}");
    assert!(drawn.contains(" lines, ") && drawn.contains("/s, "), "{drawn}");
    let piped = api.run(&["import", &file]);
    assert_eq!((piped.code, &*piped.err), (0, ""));
}

#[test]
fn what_collides_or_is_refused_is_said_and_makes_the_exit_code() {
    let api = Api::start();
    api.run(&["create", "https://example.org/mine", "--alias", "taken"]).ok();
    let file = api.file(
        "links.ndjson",
        "{\"long_url\":\"https://example.org/theirs\",\"code\":\"taken\"}\n{\"code\":\"bad\"}\n",
    );
    let ran = api.run(&["import", &file]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("line 1: another link has taken"), "{}", ran.err);
    assert!(ran.err.contains("line 2 (bad): long_url: the field is required"), "{}", ran.err);
    assert_eq!(ran.out, "0 made, 0 there already, 0 replaced, 1 collide, 1 refused\n");
    let ran = api.run(&["import", &file, "--collisions", "replace"]);
    assert_eq!(ran.out, "0 made, 0 there already, 1 replaced, 0 collide, 1 refused\n");
}

#[test]
fn the_exports_of_other_shorteners_keep_code_domain_date_clicks_tags_and_expiry() {
    let fixture = |name: &str| format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    for (format, name, code, wanted) in [
        (
            "shlink-csv",
            "shlink.csv",
            "promo",
            json!({ "created_at": "2016-08-21T18:34:16Z", "tags": ["spring", "fair"], "clicks": 48 }),
        ),
        ("shlink-json", "shlink.json", "until", json!({ "expires_at": "2031-01-01T00:00:00Z" })),
        (
            "yourls-csv",
            "yourls.csv",
            "ozh",
            json!({ "created_at": "2011-02-03T04:05:06Z", "title": "planetOzh", "clicks": 123 }),
        ),
        ("yourls-json", "yourls.json", "1f", json!({ "created_at": "2020-12-31T23:59:59Z" })),
        (
            "bitly-json",
            "bitly.json",
            "launch",
            json!({ "created_at": "2022-10-25T00:00:00Z", "tags": ["a", "b"] }),
        ),
        ("kutt-json", "kutt.json", "kutt2", json!({ "state": "disabled" })),
        ("dub-csv", "dub.csv", "plain", json!({ "created_at": "2024-02-01T00:00:00Z" })),
        (
            "dub-json",
            "dub.json",
            "one",
            json!({ "expires_at": "2031-01-01T00:00:00Z", "tags": ["one"], "clicks": 42 }),
        ),
    ] {
        let api = Api::start();
        for host in ["other.test", "bit.ly", "go.test", "kutt.test", "own.test", "dub.test"] {
            api.control("domain.add", json!({ "host": host }));
        }
        let ran = api.run(&["import", "--from", format, &fixture(name)]);
        // A code with a slash is possible at Dub, and not here: it is refused by name.
        let refused = if name == "dub.csv" { 1 } else { 0 };
        assert_eq!(
            ran.out,
            format!("{} made, 0 there already, 0 replaced, 0 collide, {refused} refused\n", 2 - refused),
            "{ran:?}"
        );
        let links = api.run(&["list", "--all", "-o", "json"]).json();
        let link = links.as_array().unwrap().iter().find(|link| link["code"] == code).unwrap();
        for (field, value) in wanted.as_object().unwrap() {
            assert_eq!(&link[field], value, "{format}: {field}");
        }
    }
}

#[test]
fn a_file_can_be_converted_without_an_api() {
    let file = format!("{}/tests/fixtures/yourls.csv", env!("CARGO_MANIFEST_DIR"));
    let ran = super::fixture::run(
        &["import", "--from", "yourls-csv", "--convert-only", "--domain", "s.test", &file],
        &[],
        "",
    );
    let lines: Vec<Value> = ran.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["code"], &lines[0]["domain"]), (&json!("ozh"), &json!("s.test")));
}

#[test]
fn a_file_that_is_something_else_is_refused_and_says_why() {
    let api = Api::start();
    let file = api.file("x.csv", "a,b\n1,2\n");
    let ran = api.run(&["import", "--from", "yourls-csv", &file]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the CSV has no column keyword; it has: a, b. Is --from right?"), "{ran:?}");
    let ran = api.run(&["import", "/nowhere/x.csv"]);
    assert!(ran.err.contains("cannot read /nowhere/x.csv"), "{ran:?}");
}

#[test]
fn a_link_with_a_password_between_two_others_is_refused_alone() {
    let api = Api::start();
    let link = |code: &str, password: bool| json!({ "address": code, "target": "https://example.org/", "password": password });
    let links = json!({ "data": [link("first", false), link("secret", true), link("third", false)] });
    let file = api.file("kutt.json", &links.to_string());
    for (arguments, wanted) in [
        (&["--dry-run"][..], "2 would be made, 0 there already, 0 would be replaced, 0 collide, 1 refused\n"),
        (&[], "2 made, 0 there already, 0 replaced, 0 collide, 1 refused\n"),
    ] {
        let ran = api.run(&[&["import", "--from", "kutt-json", &file], arguments].concat());
        assert_eq!((ran.code, &*ran.out), (1, wanted), "{ran:?}");
        assert!(ran.err.contains("record 2: secret has a password"), "{ran:?}");
        assert!(ran.err.contains("1 records were not imported"), "{ran:?}");
    }
    let ran = api.run(&["import", "--from", "kutt-json", &file, "-o", "json"]);
    let said: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&said[0]["line"], &said[0]["result"]), (&json!(2), &json!("refused")));
    assert_eq!(said.last().unwrap()["done"]["refused"], 1);
    let ran = api.run(&["import", "--from", "kutt-json", &file, "--convert-only"]);
    assert_eq!((ran.code, ran.out.lines().count()), (1, 2), "{ran:?}");
    assert!(ran.err.contains("record 2: secret has a password"), "{ran:?}");
}

#[test]
fn why_a_file_cannot_be_read_is_said_and_not_that_the_connection_broke() {
    let api = Api::start();
    let file =
        api.file("x.json", "{\"data\":[{\"address\":\"a\",\"target\":\"https://e.test/\"}]}\n{\"data\":");
    let ran = api.run(&["import", "--from", "kutt-json", &file]);
    assert!(ran.err.contains("the file is not the JSON it should be"), "{ran:?}");
    assert!(!ran.err.contains("connection"), "{ran:?}");
}

#[test]
fn an_export_from_where_other_users_are_is_imported_without_owners() {
    let api = Api::start();
    let line = "{\"long_url\":\"https://example.org/\",\"code\":\"theirs\",\"owner\":\"0123456789abcdef\"}\n";
    let file = api.file("links.ndjson", line);
    let ran = api.run(&["import", &file]);
    assert!(ran.err.contains("line 1 (theirs): only a token with the scope admin may give links"), "{ran:?}");
    let ran = api.run(&["import", &file, "--owners", "none"]);
    assert_eq!(ran.ok(), "1 made, 0 there already, 0 replaced, 0 collide, 0 refused\n");
}
