//! Lists by words and by clicks, and the index they come from: what is found, who sees it, and what becomes of it when it is damaged.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::fixture::{Admin, Client, Reply, Reporter, batch, hello, subject_of_newest, until};

/// Commits and refreshes as often as can be.
const QUICK: &str = "[search]\ncommit_every_ms = 100\nclicks_every_ms = 100\n";

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

fn as_of_ms(page: &Value) -> u128 {
    let at: jiff::Timestamp = page["as_of"].as_str().unwrap().parse().unwrap();
    at.as_millisecond().try_into().unwrap()
}

/// Asks until the answer has everything that was done before.
fn fresh(client: &Client, query: &str) -> Value {
    let asked_ms = now_ms();
    until("an answer that is up to date", || {
        let reply = client.get(&format!("/v1/links?{query}"));
        if reply.status == 503 {
            assert_eq!(reply.problem().1, "search_not_ready");
            assert!(reply.header("retry-after").is_some());
            return None;
        }
        assert_eq!(reply.status, 200, "{query} {reply:?}");
        (as_of_ms(&reply.json) > asked_ms).then_some(reply.json)
    })
}

fn codes(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|link| link["code"].as_str().unwrap().to_owned()).collect()
}

/// Follows the cursors to the end.
fn all(client: &Client, query: &str) -> Vec<String> {
    let mut page = fresh(client, query);
    let mut found = codes(&page);
    while let Some(cursor) = page["next_cursor"].as_str() {
        page = client.get(&format!("/v1/links?{query}&cursor={cursor}")).json;
        found.extend(codes(&page));
    }
    found
}

fn fill(client: &Client) {
    for (alias, url, more) in [
        ("spring-sale", "https://shop.example/garden/tools", json!({ "title": "Everything for Spring" })),
        ("autumn", "https://shop.example/garden/leaves?spring", json!({ "tags": ["spring cleaning"] })),
        (
            "menu",
            "https://eat.example/card",
            json!({ "title": "Café Menü", "notes": "ask Ada about springs" }),
        ),
        ("xyZ-12", "https://other.test/garden", json!({ "tags": ["red"] })),
    ] {
        let mut body = json!({ "long_url": url, "alias": alias });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.create(&body);
    }
}

#[test]
fn links_are_found_by_the_words_they_have() {
    let mut admin = Admin::with(&[], QUICK);
    let client = admin.client();
    fill(&client);
    let check = |client: &Client| {
        for (query, expected) in [
            ("q=spring", &["menu", "autumn", "spring-sale"][..]),
            ("q=spring&sort=created_at", &["spring-sale", "autumn", "menu"]),
            ("q=SPRING%20sale", &["spring-sale"]),
            ("q=spring+garden", &["autumn", "spring-sale"]),
            ("q=garden+spr", &["autumn", "spring-sale"]),
            ("q=spr+garden", &[]),
            ("q=spring&tag=spring+cleaning", &["autumn"]),
            ("q=garden&host=other.test", &["xyZ-12"]),
            ("q=garden&tag=red&state=active&domain=s.test", &["xyZ-12"]),
            ("q=garden&state=disabled", &[]),
            ("q=garden&archived=true", &[]),
            ("q=garden&archived=any", &["xyZ-12", "autumn", "spring-sale"]),
            ("q=garden&created_from=2999-01-01T00:00:00Z", &[]),
            ("q=garden&created_before=2999-01-01T00:00:00Z", &["xyZ-12", "autumn", "spring-sale"]),
            ("q=cafe+menu", &["menu"]),
            ("q=Caf%C3%A9", &["menu"]),
            ("q=ada", &["menu"]),
            ("q=xyz-12", &["xyZ-12"]),
            ("q=shop.example", &["autumn", "spring-sale"]),
            ("q=https://shop.example/garden/tools", &["spring-sale"]),
            ("q=tool", &["spring-sale"]),
            ("q=t", &[]),
            ("q=nowhere", &[]),
        ] {
            for limit in ["limit=1", "limit=100"] {
                assert_eq!(all(client, &format!("{query}&{limit}")), expected, "{query} {limit}");
            }
        }
        let page = fresh(client, "q=garden&limit=1&total=true");
        assert_eq!(
            (&page["total"], &page["is_complete"]),
            (&json!({ "count": 3, "is_exact": true }), &json!(true))
        );
    };
    check(&client);
    admin.restart();
    check(&admin.client());
    let client = admin.client();
    client.patch("/v1/links/autumn", &json!({ "tags": [], "title": "Winter" }));
    client.patch("/v1/links/menu", &json!({ "archived": true }));
    client.delete("/v1/links/spring-sale");
    for (query, expected) in
        [("q=spring", &[][..]), ("q=winter", &["autumn"]), ("q=spring&archived=true", &["menu"])]
    {
        assert_eq!(all(&client, query), expected, "{query}");
    }
    client.create(&json!({ "long_url": "https://new.example/", "alias": "spring-sale" }));
    assert_eq!(all(&client, "q=spring"), ["spring-sale"]);
    assert_eq!(all(&client, "q=garden"), ["xyZ-12", "autumn"]);
    assert_eq!(
        client.get("/v1/links").json.get("as_of"),
        None,
        "a list from the log's own index is never behind"
    );
}

#[test]
fn what_is_gone_or_somebody_elses_is_not_shown_even_before_the_index_knows() {
    // So slow that nothing of what comes after the first commit is in it.
    let mut admin = Admin::with(&[], QUICK);
    let operator = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    let made = |reply: Reply| {
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json
    };
    let user = |name: &str| {
        made(operator.post("/v1/users", &json!({ "name": name })))["id"].as_str().unwrap().to_owned()
    };
    let token = |user: &str| {
        let body = json!({ "name": "t", "scopes": ["links:read", "links:write"], "user": user });
        made(operator.post("/v1/tokens", &body))["token"].as_str().unwrap().to_owned()
    };
    let (ada, bob) = (user("Ada"), user("Bob"));
    let (adas, bobs) = (token(&ada), token(&bob));
    let client = |admin: &Admin, token: &str| Client::new(admin.addresses().http, token);
    for (token, alias) in [(&adas, "ada-1"), (&adas, "ada-2"), (&adas, "ada-3"), (&bobs, "bob-1")] {
        let body = json!({ "long_url": "https://a.example/", "alias": alias, "title": "Treasure" });
        client(&admin, token).create(&body);
    }
    for sort in ["-created_at", "created_at", "-clicks", "clicks"] {
        let of = |token: &str| {
            let mut found = all(&client(&admin, token), &format!("q=treasure&sort={sort}"));
            found.sort();
            found
        };
        assert_eq!(of(&adas), ["ada-1", "ada-2", "ada-3"], "{sort}");
        assert_eq!(of(&bobs), ["bob-1"], "{sort}");
    }
    assert_eq!(fresh(&client(&admin, &bobs), "q=treasure&total=true")["total"]["count"], 1);
    assert_eq!(all(&client(&admin, &bobs), &format!("q=treasure&owner={ada}")), [""; 0]);
    admin.set_config(|text| text.replace("commit_every_ms = 100", "commit_every_ms = 30000"));
    admin.restart();
    let before = fresh(&client(&admin, &adas), "q=treasure");
    assert_eq!(codes(&before).len(), 3);
    let operator = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    assert_eq!(operator.patch("/v1/links/ada-1", &json!({ "owner": bob })).status, 200);
    client(&admin, &adas).delete("/v1/links/ada-2");
    let at_once = client(&admin, &adas).get("/v1/links?q=treasure").json;
    assert_eq!(codes(&at_once), ["ada-3"]);
    assert!(as_of_ms(&at_once) <= now_ms());
}

#[test]
fn an_index_that_is_missing_damaged_or_of_another_log_is_made_anew_and_other_lists_do_not_wait() {
    let mut admin = Admin::with(&[], QUICK);
    let links: Vec<_> = (0..2500)
        .map(|n| json!({ "long_url": format!("https://a.example/{n}"), "alias": format!("alias-{n}"), "tags": ["t"] }))
        .collect();
    for links in links.chunks(1000) {
        assert_eq!(admin.client().post("/v1/links/batch", &json!({ "links": links })).status, 200);
    }
    let dir = admin.dir().join("data/search");
    let mut other = Admin::with(&[], QUICK);
    other.client().create(&json!({ "long_url": "https://b.example/", "alias": "other" }));
    assert_eq!(all(&other.client(), "q=other"), ["other"]);
    other.stop();
    type Damage<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let files = || std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let damages: [Damage<'_>; 6] = [
        ("nothing", Box::new(|| ())),
        ("missing", Box::new(|| std::fs::remove_dir_all(&dir).unwrap())),
        (
            "cut",
            Box::new(|| {
                for file in files().iter().filter(|file| file.extension().is_some_and(|kind| kind != "lock"))
                {
                    std::fs::File::options().write(true).open(file).unwrap().set_len(9).unwrap();
                }
            }),
        ),
        (
            "a flipped bit",
            Box::new(|| {
                let kind = |file: &std::path::PathBuf| file.extension().is_some_and(|kind| kind == "idx");
                let file = files().into_iter().find(kind).unwrap();
                let mut bytes = std::fs::read(&file).unwrap();
                let middle = bytes.len() / 3;
                bytes[middle] ^= 4;
                std::fs::write(&file, bytes).unwrap();
            }),
        ),
        (
            "version",
            Box::new(|| {
                let meta = dir.join("meta.json");
                let text = std::fs::read_to_string(&meta).unwrap();
                assert!(text.contains("signpost-search 1 following"), "{text}");
                std::fs::write(&meta, text.replace("signpost-search 1 ", "signpost-search 0 ")).unwrap();
            }),
        ),
        (
            "another log's",
            Box::new(|| {
                std::fs::remove_dir_all(&dir).unwrap();
                std::fs::create_dir(&dir).unwrap();
                for file in std::fs::read_dir(other.dir().join("data/search")).unwrap() {
                    let file = file.unwrap();
                    std::fs::copy(file.path(), dir.join(file.file_name())).unwrap();
                }
            }),
        ),
    ];
    for (what, damage) in &damages {
        assert_eq!(all(&admin.client(), "q=alias+17").len(), 1 + 10 + 100, "{what}");
        admin.stop();
        damage();
        admin.restart();
        let page = admin.client().get("/v1/links?limit=3&tag=t");
        assert_eq!((page.status, codes(&page.json).len()), (200, 3), "{what}");
    }
    let client = admin.client();
    let page = fresh(&client, "q=alias&total=true&limit=1000&sort=created_at");
    assert_eq!(page["total"], json!({ "count": 2500, "is_exact": true }), "each once");
    let expected: Vec<_> = (0..2500).map(|n| format!("alias-{n}")).collect();
    assert_eq!(all(&client, "q=alias&sort=created_at&limit=700"), expected);
    assert_eq!(all(&client, "q=other"), [""; 0]);
}

#[test]
fn links_are_listed_in_the_order_of_their_clicks() {
    let admin = Admin::with(&[], QUICK);
    admin.control("proxy.add", json!({ "name": "proxy-0" })).unwrap();
    let client = admin.client();
    let mut subjects = Vec::new();
    for n in 0..6 {
        let tags = if n % 2 == 0 { json!(["even"]) } else { json!([]) };
        client
            .create(&json!({ "long_url": "https://a.example/", "alias": format!("link-{n}"), "tags": tags }));
        subjects.push(subject_of_newest(&client, &format!("link-{n}")));
    }
    let (mut reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    let mut number = 0;
    let mut click = |link: usize, persons: u64| {
        number += 1;
        reporter.send(&batch(1, number, subjects[link], [persons, 100, 0, 0]));
        reporter.counted(number);
    };
    for (link, clicks) in [(2, 5), (4, 5), (1, 9), (0, 0)] {
        click(link, clicks);
    }
    for limit in ["limit=1", "limit=2", "limit=100"] {
        for (query, expected) in [
            ("sort=-clicks", &["link-1", "link-4", "link-2", "link-5", "link-3", "link-0"][..]),
            ("sort=clicks", &["link-0", "link-3", "link-5", "link-2", "link-4", "link-1"]),
            ("sort=-clicks&tag=even", &["link-4", "link-2", "link-0"]),
            ("sort=-clicks&q=link+even&archived=any", &["link-4", "link-2", "link-0"]),
            ("sort=-clicks&host=b.example", &[]),
        ] {
            assert_eq!(all(&client, &format!("{query}&{limit}")), expected, "{query} {limit}");
        }
    }
    click(2, 5);
    click(5, 7);
    let page = fresh(&client, "sort=-clicks&limit=3&total=true");
    assert_eq!(
        (codes(&page), &page["total"]["count"]),
        (vec!["link-2".into(), "link-1".into(), "link-5".into()], &json!(6))
    );
    assert_eq!(page["data"][0]["clicks"], 10);
    // A code that is made again begins at zero.
    client.delete("/v1/links/link-2");
    client.create(&json!({ "long_url": "https://a.example/", "alias": "link-2" }));
    assert_eq!(all(&client, "sort=-clicks"), ["link-1", "link-5", "link-4", "link-2", "link-3", "link-0"]);
    // Those that an imported link had before count, too.
    let line = json!({ "code": "was-there", "long_url": "https://a.example/", "clicks": 8 }).to_string();
    let header = [("content-type", "application/x-ndjson")];
    assert_eq!(client.send(reqwest::Method::POST, "/v1/import", &header, Some(line)).status, 200);
    assert_eq!(all(&client, "sort=-clicks")[..3], ["link-1", "was-there", "link-5"]);
    let cursor =
        client.get("/v1/links?sort=-clicks&limit=1").json["next_cursor"].as_str().unwrap().to_owned();
    let mixed = client.get(&format!("/v1/links?sort=clicks&cursor={cursor}"));
    assert_eq!((mixed.problem().0, mixed.errors()), (422, vec![("cursor", "cursor_invalid")]));
}

#[test]
fn questions_that_make_no_sense_are_422_and_hostile_ones_are_only_words() {
    let admin = Admin::with(&[], QUICK);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "plain" }));
    for (query, error) in [
        ("q=", ("q", "q_not_allowed")),
        ("q=%20-%2F", ("q", "q_not_allowed")),
        ("q=1+2+3+4+5+6+7+8+9", ("q", "q_not_allowed")),
        (&format!("q={}", "a".repeat(201)), ("q", "q_too_long")),
        ("q=a&q=b", ("q", "duplicate_parameter")),
        ("q=a&sort=relevance", ("sort", "sort_not_allowed")),
    ] {
        let reply = client.get(&format!("/v1/links?{query}"));
        assert_eq!((reply.problem().0, reply.errors()), (422, vec![error]), "{query}");
    }
    for query in [
        "q=plain+OR+b",
        "q=code:plain+*",
        "q=%28%28%28plain%5B%5D",
        "q=%F0%9F%92%A9a",
        "q=%00plain%FF",
        "q=plain~9%5E2",
    ] {
        let page = fresh(&client, query);
        assert!(codes(&page).len() <= 1, "{query} {page}");
    }
    let reply = client.get("/v1/export?q=plain");
    assert_eq!((reply.problem().0, reply.errors()), (422, vec![("q", "unknown_parameter")]));
}

#[test]
fn without_an_index_words_and_clicks_are_refused_and_nothing_else() {
    let admin = Admin::with(&[], "[search]\nenabled = false\n");
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "plain" }));
    for query in ["q=plain", "sort=clicks", "sort=-clicks"] {
        assert_eq!(client.get(&format!("/v1/links?{query}")).problem(), (501, "search_off"));
    }
    assert_eq!(codes(&client.get("/v1/links").json), ["plain"]);
    assert!(!admin.dir().join("data/search").exists());
}
