//! APIs of other shorteners, as their clients use them; and none of them is there unless it is switched on.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool, Reply, until};

const ALL: &str = "[drop_in]\nshlink = true\nyourls = true\nbitly = true\nshorten = true\n";

struct Site {
    admin: Admin,
    _pool: FakePool,
    /// Sends no Authorization of its own.
    client: Client,
}

fn site() -> Site {
    let pool = FakePool::start(1, 0);
    let admin = Admin::with(&[&pool], ALL);
    admin.wait_for_codes(1);
    let client = Client::new(admin.addresses().http, "");
    Site { admin, _pool: pool, client }
}

impl Site {
    fn shlink(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let body = body.map(|body| body.to_string());
        self.client.send(method, &format!("/rest/v3{path}"), &[("X-Api-Key", &self.admin.token)], body)
    }

    fn yourls(&self, query: &str) -> Reply {
        self.client.get(&format!("/yourls-api.php?signature={}&{query}", self.admin.token))
    }

    fn bitly(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let bearer = format!("Bearer {}", self.admin.token);
        let body = body.map(|body| body.to_string());
        self.client.send(method, path, &[("Authorization", &bearer)], body)
    }

    /// As our own API shows it.
    fn link(&self, code: &str) -> Value {
        self.admin.client().get(&format!("/v1/links/{code}")).json
    }
}

#[test]
fn none_of_them_is_there_unless_it_is_switched_on() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    for path in [
        "/rest/v3/short-urls",
        "/rest/health",
        "/yourls-api.php?action=stats",
        "/v4/bitlinks/s.test/x",
        "/shorten",
    ] {
        assert_eq!(client.get(path).problem(), (404, "not_found"), "{path}");
    }
}

#[test]
fn a_client_of_shlink_makes_lists_changes_and_deletes_short_urls() {
    let site = site();
    let whole = json!({
        "longUrl": "https://a.example/x", "customSlug": "my-slug", "tags": ["one", "two"], "title": "A title",
        "validUntil": "2040-01-02T03:04:05+01:00", "crawlable": false, "forwardQuery": true, "maxVisits": 9,
    });
    let made = site.shlink(Method::POST, "/short-urls", Some(whole.clone()));
    assert_eq!(made.status, 200, "{made:?}");
    let expected = json!({
        "shortCode": "my-slug", "shortUrl": "http://s.test/my-slug", "longUrl": "https://a.example/x",
        "dateCreated": made.json["dateCreated"], "visitsSummary": { "total": 0, "nonBots": 0, "bots": 0 },
        "tags": ["one", "two"], "meta": { "validSince": null, "validUntil": "2040-01-02T02:04:05+00:00", "maxVisits": 9 },
        "domain": null, "title": "A title", "crawlable": false, "forwardQuery": true, "hasRedirectRules": false, "enabled": true,
    });
    assert_eq!(made.json, expected);
    assert!(made.json["dateCreated"].as_str().unwrap().ends_with("+00:00"));
    let generated = site.shlink(
        Method::POST,
        "/short-urls",
        Some(json!({ "longUrl": "https://b.example/", "tags": ["two"] })),
    );
    let code = generated.json["shortCode"].as_str().unwrap().to_owned();
    assert_eq!((code.len(), site.link(&code)["long_url"].clone()), (7, json!("https://b.example/")));

    let found = site.shlink(
        Method::POST,
        "/short-urls",
        Some(json!({ "longUrl": "https://b.example/", "findIfExists": true })),
    );
    assert_eq!((found.status, &found.json["shortCode"]), (200, &json!(code)), "{found:?}");

    let list = site.shlink(Method::GET, "/short-urls?page=2&itemsPerPage=1", None).json["shortUrls"].clone();
    assert_eq!(list["data"], json!([expected]));
    let pagination = json!({ "currentPage": 2, "pagesCount": 2, "itemsPerPage": 1, "itemsInCurrentPage": 1, "totalItems": 2 });
    assert_eq!(list["pagination"], pagination);
    until("the search index to have both", || {
        let found = site.admin.client().get("/v1/links?q=example&total=true").json;
        (found["total"]["count"] == 2).then_some(())
    });
    for (query, total) in [
        ("searchTerm=titl", 1),
        ("searchTerm=none", 0),
        ("searchTerm=%2F%2F", 2),
        ("tags%5B%5D=two", 2),
        ("tags%5B%5D=one&tags%5B%5D=two&tagsMode=all", 1),
        ("searchTerm=A.EXAMPLE", 1),
        ("searchTerm=title", 1),
        ("domain=DEFAULT", 2),
        ("itemsPerPage=-1", 2),
    ] {
        let list = site.shlink(Method::GET, &format!("/short-urls?{query}"), None).json;
        assert_eq!(list["shortUrls"]["pagination"]["totalItems"], total, "{query}");
    }
    let slugs = |query: &str| {
        let list = site.shlink(Method::GET, &format!("/short-urls?{query}"), None);
        let data = list.json["shortUrls"]["data"].as_array().unwrap_or_else(|| panic!("{list:?}")).clone();
        data.iter().map(|link| link["shortCode"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(slugs("orderBy=dateCreated-ASC"), ["my-slug", &code]);
    assert_eq!(slugs("orderBy=dateCreated-DESC"), [&code, "my-slug"]);
    let order = site.shlink(Method::GET, "/short-urls?orderBy=title-ASC", None);
    assert_eq!((order.status, &order.json["invalidElements"]), (400, &json!(["orderBy"])));
    let tags = site.shlink(Method::GET, "/tags/stats", None).json["tags"]["data"].clone();
    assert_eq!((&tags[1]["tag"], &tags[1]["shortUrlsCount"]), (&json!("two"), &json!(2)));
    assert_eq!(site.shlink(Method::GET, "/tags", None).json["tags"]["data"], json!(["one", "two"]));
    assert_eq!(site.shlink(Method::GET, "/visits", None).json["visits"]["nonOrphanVisits"]["total"], 0);
    assert_eq!(site.client.get("/rest/health").json["status"], "pass");

    let changed = site.shlink(
        Method::PATCH,
        "/short-urls/my-slug",
        Some(json!({ "longUrl": "https://c.example/", "validUntil": null })),
    );
    assert_eq!(
        (&changed.json["longUrl"], &changed.json["meta"]["validUntil"]),
        (&json!("https://c.example/"), &Value::Null)
    );
    assert_eq!(changed.json["title"], "A title");
    assert_eq!(site.shlink(Method::DELETE, "/short-urls/my-slug", None).status, 204);

    let kind = |reply: &Reply| {
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        let kind = reply.json["type"].as_str().unwrap().strip_prefix("https://shlink.io/api/error/").unwrap();
        (reply.status, kind.to_owned())
    };
    let gone = site.shlink(Method::GET, "/short-urls/my-slug", None);
    assert_eq!(
        (kind(&gone), &gone.json["shortCode"]),
        ((404, "short-url-not-found".into()), &json!("my-slug"))
    );
    let wrong = site.shlink(
        Method::POST,
        "/short-urls",
        Some(json!({ "longUrl": "nothing", "pathPrefix": "x", "maxVisits": 0 })),
    );
    assert_eq!(kind(&wrong), (400, "invalid-data".into()));
    assert_eq!(wrong.json["invalidElements"], json!(["pathPrefix", "longUrl", "maxVisits"]));
    assert_eq!(kind(&site.client.get("/rest/v3/short-urls")), (401, "missing-authentication".into()));
    let other = site.client.send(Method::GET, "/rest/v3/short-urls", &[("X-Api-Key", "nonsense")], None);
    assert_eq!(kind(&other), (401, "invalid-api-key".into()));
}

#[test]
fn a_taken_slug_is_told_to_a_client_of_shlink_as_shlink_does() {
    let site = site();
    let make = || {
        site.shlink(
            Method::POST,
            "/short-urls",
            Some(json!({ "longUrl": "https://a.example/", "customSlug": "taken" })),
        )
    };
    assert_eq!(make().status, 200);
    let again = make();
    assert_eq!((again.status, &again.json["title"]), (400, &json!("Invalid custom slug")), "{again:?}");
    assert_eq!(again.json["type"], "https://shlink.io/api/error/non-unique-slug");
}

#[test]
fn a_client_of_yourls_shortens_expands_and_reads_statistics() {
    let site = site();
    let made = site.yourls("action=shorturl&url=https%3A%2F%2Fa.example%2Fx&keyword=abc&title=A&format=json");
    assert_eq!((made.status, &made.json["shorturl"]), (200, &json!("http://s.test/abc")), "{made:?}");
    assert_eq!((&made.json["status"], &made.json["url"]["keyword"]), (&json!("success"), &json!("abc")));
    let form = format!("signature={}&action=shorturl&url=https://b.example/&format=simple", site.admin.token);
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let posted = site.client.send(Method::POST, "/yourls-api.php", &headers, Some(form));
    assert!(posted.text.starts_with("http://s.test/"), "{posted:?}");

    let taken = site.yourls("action=shorturl&url=https://c.example/&keyword=abc&format=json");
    assert_eq!((taken.status, &taken.json["code"]), (400, &json!("error:keyword")));
    let wrong = site.yourls("action=shorturl&url=javascript:x&format=json");
    assert_eq!((wrong.status, &wrong.json["code"]), (400, &json!("error:url")));
    for name in ["abc", "http://s.test/abc", "s.test/abc"] {
        let expanded = site.yourls(&format!("action=expand&shorturl={name}&format=json"));
        assert_eq!(expanded.json["longurl"], "https://a.example/x", "{name}");
    }
    assert_eq!(site.yourls("action=expand&shorturl=abc&format=simple").text, "https://a.example/x");
    let missing = site.yourls("action=expand&shorturl=none&format=json");
    assert_eq!((missing.status, &missing.json["errorCode"]), (404, &json!("404")));
    assert_eq!(site.yourls("action=url-stats&shorturl=abc&format=json").json["link"]["clicks"], "0");
    let stats = site.yourls("action=stats&filter=top&limit=1&format=json").json;
    assert_eq!((stats["links"].as_object().unwrap().len(), &stats["stats"]["total_links"]), (1, &json!("2")));
    assert_eq!(site.yourls("action=db-stats&format=json").json["db-stats"]["total_links"], "2");
    let xml = site.yourls("action=expand&shorturl=abc");
    assert_eq!(xml.header("content-type"), Some("application/xml; charset=utf-8"));
    assert!(xml.text.contains("<longurl>https://a.example/x</longurl>"), "{xml:?}");
    let jsonp = site.yourls("action=expand&shorturl=abc&format=jsonp&callback=alert(1)");
    assert!(jsonp.text.starts_with("yourls({"), "{jsonp:?}");
    let stranger = site.client.get("/yourls-api.php?action=stats&format=json");
    assert_eq!((stranger.status, &stranger.json["errorCode"]), (403, &json!("403")));
    assert_eq!(site.yourls("action=dance&format=json").status, 400);
}

#[test]
fn a_client_of_bitly_shortens_expands_and_changes_bitlinks() {
    let site = site();
    let body = json!({ "long_url": "https://a.example/x", "domain": "bit.ly", "group_guid": "Ba1bc23dE4F" });
    let made = site.bitly(Method::POST, "/v4/shorten", Some(body));
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json["link"], format!("http://{id}"));
    assert_eq!(
        (&made.json["long_url"], &made.json["references"]["group"]),
        (&json!("https://a.example/x"), &json!("Ba1bc23dE4F"))
    );
    assert!(made.json["created_at"].as_str().unwrap().ends_with("+0000"));
    let titled = site.bitly(
        Method::POST,
        "/v4/bitlinks",
        Some(json!({ "long_url": "https://b.example/", "title": "B", "tags": ["x"], "keyword": "bee" })),
    );
    assert_eq!((&titled.json["id"], &titled.json["tags"]), (&json!("s.test/bee"), &json!(["x"])));
    let expanded = site.bitly(Method::POST, "/v4/expand", Some(json!({ "bitlink_id": id })));
    assert_eq!((expanded.status, &expanded.json["long_url"]), (200, &json!("https://a.example/x")));
    assert_eq!(site.bitly(Method::GET, "/v4/bitlinks/s.test/bee", None).json["title"], "B");
    let changed = site.bitly(Method::PATCH, "/v4/bitlinks/s.test/bee", Some(json!({ "title": "C" })));
    assert_eq!((&changed.json["title"], &site.link("bee")["title"]), (&json!("C"), &json!("C")));

    let clicks = |query: &str| {
        site.bitly(Method::GET, &format!("/v4/bitlinks/s.test/bee/clicks/summary{query}"), None)
    };
    for query in ["", "?unit=month&units=-1&size=10"] {
        let summary = clicks(query);
        assert_eq!((summary.status, &summary.json["total_clicks"]), (200, &json!(0)), "{summary:?}");
        assert_eq!(summary.json["units"], -1);
    }

    for (reply, status, message) in [
        (clicks("?units=7"), 400, "INVALID_ARG_UNITS"),
        (clicks("?unit=year"), 400, "INVALID_ARG_UNIT"),
        (
            site.bitly(Method::POST, "/v4/shorten", Some(json!({ "long_url": "nothing" }))),
            400,
            "INVALID_ARG_LONG_URL",
        ),
        (
            site.bitly(Method::POST, "/v4/shorten", Some(json!({ "long_url": "http://s.test/bee" }))),
            400,
            "ALREADY_A_BITLY_LINK",
        ),
        (
            site.bitly(
                Method::POST,
                "/v4/bitlinks",
                Some(json!({ "long_url": "https://b.example/", "keyword": "bee" })),
            ),
            400,
            "KEYWORD_ALREADY_EXISTS",
        ),
        (site.bitly(Method::GET, "/v4/bitlinks/s.test/none", None), 404, "NOT_FOUND"),
        (site.client.send(Method::POST, "/v4/shorten", &[], Some("{}".into())), 403, "FORBIDDEN"),
    ] {
        assert_eq!((reply.status, reply.json["message"].as_str().unwrap()), (status, message), "{reply:?}");
    }
}

#[test]
fn the_plain_request_to_shorten_knows_an_alias_and_a_day() {
    let site = site();
    let made = site.bitly(
        Method::POST,
        "/shorten",
        Some(
            json!({ "long_url": "https://a.example/", "custom_alias": "plain", "expiry_date": "2040-12-31" }),
        ),
    );
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        (&made.json["short_url"], &made.json["expiry_date"]),
        (&json!("http://s.test/plain"), &json!("2040-12-31T23:59:59Z"))
    );
    let least = site.bitly(
        Method::POST,
        "/shorten",
        Some(json!({ "long_url": "https://a.example/", "custom_alias": "" })),
    );
    assert_eq!((least.status, least.json["code"].as_str().unwrap().len()), (201, 7));
    let wrong = site.bitly(
        Method::POST,
        "/shorten",
        Some(json!({ "custom_alias": "a b", "expiry_date": "soon", "alias": 1 })),
    );
    assert_eq!(
        wrong.errors().iter().map(|(field, _)| *field).collect::<Vec<_>>(),
        ["alias", "long_url", "custom_alias", "expiry_date"]
    );
    assert_eq!(
        site.client.send(Method::POST, "/shorten", &[], Some("{}".into())).problem(),
        (401, "token_missing")
    );
}

#[test]
fn visits_of_every_api_include_those_before_the_import() {
    let site = site();
    let line = json!({ "code": "abc", "long_url": "https://example.org/", "tags": ["x"], "clicks": 48 });
    let body = Some(format!("{line}\n"));
    let bearer = format!("Bearer {}", site.admin.token);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/x-ndjson")];
    assert_eq!(site.client.send(Method::POST, "/v1/import", &headers, body).status, 200);
    let summary = json!({ "total": 48, "nonBots": 48, "bots": 0 });
    assert_eq!(site.shlink(Method::GET, "/short-urls/abc", None).json["visitsSummary"], summary);
    assert_eq!(site.shlink(Method::GET, "/visits", None).json["visits"]["nonOrphanVisits"], summary);
    assert_eq!(
        site.shlink(Method::GET, "/tags/stats", None).json["tags"]["data"][0]["visitsSummary"],
        summary
    );
    assert_eq!(site.yourls("action=url-stats&shorturl=abc&format=json").json["link"]["clicks"], "48");
    let clicks = site.bitly(Method::GET, "/v4/bitlinks/s.test/abc/clicks/summary?unit=day&units=-1", None);
    assert_eq!(clicks.json["total_clicks"], 48);
    site.admin.client().create(&json!({ "long_url": "https://b.example/", "alias": "def" }));
    for (order, slugs) in [("visits-DESC", ["abc", "def"]), ("nonBotVisits-ASC", ["def", "abc"])] {
        let listed = || {
            let list = site.shlink(Method::GET, &format!("/short-urls?orderBy={order}"), None).json;
            let data = list["shortUrls"]["data"].as_array().cloned().unwrap_or_default();
            data.iter().map(|link| link["shortCode"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        until("both are listed by their visits", || (listed() == slugs).then_some(()));
    }
    for (filter, first) in [("top", "abc"), ("bottom", "def"), ("last", "def")] {
        let stats = site.yourls(&format!("action=stats&filter={filter}&format=json")).json;
        assert_eq!(stats["links"]["link_1"]["shorturl"], format!("http://s.test/{first}"), "{filter}");
    }
    assert_eq!(site.yourls("action=db-stats&format=json").json["db-stats"]["total_clicks"], "48");
}
