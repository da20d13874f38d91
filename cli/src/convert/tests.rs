#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn converted(format: Format, text: &str) -> Vec<Value> {
    let lines = lines(format, std::io::Cursor::new(text.to_owned()), Options::default()).unwrap();
    lines.map(|line| serde_json::from_slice(&line.unwrap()).unwrap()).collect()
}

fn refusal(format: Format, text: &str) -> String {
    match lines(format, std::io::Cursor::new(text.to_owned()), Options::default()) {
        Err(error) => error.to_string(),
        Ok(mut lines) => lines.find_map(Result::err).unwrap().to_string(),
    }
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../tests/fixtures/", $name))
    };
}

#[test]
fn shlink_as_csv_and_as_json() {
    let mut promo = json!({
        "long_url": "https://example.org/spring?a=1", "code": "promo", "domain": "s.test", "title": "Spring, and more",
        "tags": ["spring", "fair"], "created_at": "2016-08-21T18:34:16Z", "clicks": 48
    });
    let csv = converted(Format::ShlinkCsv, fixture!("shlink.csv"));
    assert_eq!(csv[0], promo);
    assert_eq!(
        csv[1],
        json!({ "long_url": "https://example.org/plain", "code": "12C18", "domain": "other.test", "created_at": "2023-01-02T03:04:05Z" })
    );
    let json = converted(Format::ShlinkJson, fixture!("shlink.json"));
    promo["forward_query"] = true.into();
    promo["clicks"] = 40.into();
    assert_eq!(json[0], promo, "people are told apart");
    assert_eq!(json[1]["expires_at"], "2031-01-01T00:00:00Z");
    assert_eq!(json.len(), 2);
    for (visits, wanted) in [
        (
            json!({ "visitsSummary": { "total": 5, "nonBots": 2, "bots": 3 } }),
            json!({ "clicks": 2, "max_clicks": 5, "max_clicks_used": 5 }),
        ),
        (json!({ "visitsCount": 4 }), json!({ "clicks": 4, "max_clicks": 5, "max_clicks_used": 4 })),
        (json!({}), json!({ "max_clicks": 5 })),
    ] {
        let mut link = json!({ "shortCode": "x", "longUrl": "https://e.test/", "meta": { "maxVisits": 5 } });
        link.as_object_mut().unwrap().extend(visits.as_object().unwrap().clone());
        let mut line = json!({ "long_url": "https://e.test/", "code": "x" });
        line.as_object_mut().unwrap().extend(wanted.as_object().unwrap().clone());
        let list = json!({ "shortUrls": { "data": [link] } }).to_string();
        assert_eq!(converted(Format::ShlinkJson, &list), [line]);
    }
    let ruled = r#"{"shortUrls":{"data":[{"shortCode":"x","longUrl":"https://e.test/","meta":{},"hasRedirectRules":true}]}}"#;
    assert!(refusal(Format::ShlinkJson, ruled).contains("x has redirect rules"));
    let later = r#"{"shortUrls":{"data":[{"shortCode":"x","longUrl":"https://e.test/","meta":{"validSince":"2031-01-01T00:00:00+01:00"},"forwardQuery":false}]}}"#;
    assert_eq!(
        converted(Format::ShlinkJson, later),
        [json!({ "long_url": "https://e.test/", "code": "x", "not_before": "2030-12-31T23:00:00Z" })]
    );
}

#[test]
fn shlink_csv_in_the_spelling_of_its_own_importer() {
    let text = "Long URL;Short code\n";
    assert!(refusal(Format::ShlinkCsv, text).contains("no column longurl"));
    let text = "Short URL,Long URL,Tags\nhttps://s.test/a/b,https://example.org/,\"x,y\"\n";
    assert_eq!(
        converted(Format::ShlinkCsv, text),
        [
            json!({ "long_url": "https://example.org/", "code": "a/b", "domain": "s.test", "tags": ["x", "y"] })
        ]
    );
}

#[test]
fn yourls_as_csv_and_as_json() {
    let ozh = json!({ "long_url": "https://ozh.org/", "code": "ozh", "title": "planetOzh", "created_at": "2011-02-03T04:05:06Z", "clicks": 123 });
    assert_eq!(converted(Format::YourlsCsv, fixture!("yourls.csv"))[0], ozh);
    let json = converted(Format::YourlsJson, fixture!("yourls.json"));
    assert_eq!(json[0]["domain"], "s.test");
    for field in ["code", "created_at", "clicks"] {
        assert_eq!(json[0][field], ozh[field], "{field}");
    }
}

#[test]
fn bitly_takes_the_custom_back_halves_and_the_archive() {
    let links = converted(Format::BitlyJson, fixture!("bitly.json"));
    assert_eq!(
        links,
        [
            json!({ "long_url": "https://example.org/a", "code": "3SD8bAQ", "domain": "bit.ly", "created_at": "2022-10-24T10:40:37Z" }),
            json!({ "long_url": "https://example.org/b", "code": "launch", "domain": "go.test", "title": "Launch", "tags": ["a", "b"],
                "created_at": "2022-10-25T00:00:00Z" }),
        ]
    );
    let several = r#"{"links":[{"link":"https://bit.ly/3","long_url":"https://e.test/","archived":true,
        "custom_bitlinks":["https://go.test/a","https://bit.ly/b"]}]}"#;
    let found = converted(Format::BitlyJson, several);
    assert_eq!(
        found,
        [("go.test", "a"), ("bit.ly", "b")]
            .map(|(host, code)| json!({ "long_url": "https://e.test/", "code": code, "domain": host, "archived": true }))
    );
    // The sorted list has the clicks, of all names of a link together.
    let sorted = r#"{"sorted_links":[{"id":"bit.ly/3","clicks":17},{"id":"bit.ly/4","clicks":9}],"links":[
        {"id":"bit.ly/3","long_url":"https://e.test/","custom_bitlinks":["https://go.test/a","https://bit.ly/b"]},
        {"id":"bit.ly/4","long_url":"https://e.test/"}]}"#;
    let clicks: Vec<_> =
        converted(Format::BitlyJson, sorted).iter().map(|link| link["clicks"].clone()).collect();
    assert_eq!(clicks, [json!(17), json!(null), json!(9)]);
}

#[test]
fn kutt_keeps_expiry_and_what_is_banned_and_refuses_passwords() {
    let links = converted(Format::KuttJson, fixture!("kutt.json"));
    assert_eq!(links[0]["expires_at"], "2031-05-06T07:08:09Z");
    assert_eq!((&links[0]["clicks"], &links[1]["clicks"]), (&json!(7), &json!(null)));
    assert_eq!((&links[0]["domain"], &links[0]["title"]), (&json!("kutt.test"), &json!("a note")));
    assert_eq!(links[1]["state"], "disabled");
    let secret = r#"{"data":[{"address":"x","target":"https://e.test/","password":true}]}"#;
    assert!(refusal(Format::KuttJson, secret).contains("has a password"));
}

#[test]
fn dub_as_csv_and_as_json() {
    let csv = converted(Format::DubCsv, fixture!("dub.csv"));
    assert_eq!(
        csv[0],
        json!({ "long_url": "https://example.org/dub", "code": "launch/now", "domain": "dub.test", "tags": ["one", "two"],
            "created_at": "2024-01-15T10:00:00Z", "clicks": 42 })
    );
    let json = converted(Format::DubJson, fixture!("dub.json"));
    assert_eq!((&json[0]["tags"], &json[0]["expires_at"]), (&json!(["one"]), &json!("2031-01-01T00:00:00Z")));
    assert_eq!(json[0]["clicks"], 42);
    assert_eq!((&json[1]["state"], &json[1]["archived"]), (&json!("disabled"), &json!(true)));
    let link = |more: Value| {
        let mut link = json!({ "key": "x", "url": "https://e.test/", "geo": {}, "ios": null });
        link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([link]).to_string()
    };
    let kept = converted(Format::DubJson, &link(json!({ "comments": "for later", "externalId": "crm-7" })));
    assert_eq!((&kept[0]["notes"], &kept[0]["external_id"]), (&json!("for later"), &json!("crm-7")));
    for targets in [json!({ "ios": "https://i.test/" }), json!({ "geo": { "FR": "https://fr.test/" } })] {
        assert!(refusal(Format::DubJson, &link(targets)).contains("x has targets of its own"));
    }
    let csv = "Short link,Destination URL,Archived,Comments\nhttps://d.test/a,https://e.test/,true,kept\n";
    let csv = converted(Format::DubCsv, csv);
    assert_eq!((&csv[0]["archived"], &csv[0]["notes"]), (&json!(true), &json!("kept")));
}

#[test]
fn options_choose_a_host_and_change_what_every_link_has() {
    let options = Options {
        domain: Some("new.test".to_owned()),
        only: vec!["OTHER.test".to_owned()],
        tags: vec!["moved".to_owned()],
    };
    let lines = |format, text: &str| -> Vec<Value> {
        let lines = super::lines(format, std::io::Cursor::new(text.to_owned()), options.clone()).unwrap();
        lines.map(|line| serde_json::from_slice(&line.unwrap()).unwrap_or_default()).collect()
    };
    let mut found = lines(Format::ShlinkCsv, fixture!("shlink.csv"));
    assert_eq!((found.len(), found.remove(0)), (2, Value::Null), "the record that is left out is counted");
    assert_eq!((&found[0]["domain"], &found[0]["tags"]), (&json!("new.test"), &json!(["moved"])));
    let own = "{\"long_url\":\"https://e.test/\",\"code\":\"a\",\"domain\":\"other.test\",\"tags\":[\"x\"]}\n{\"end\":true}\n";
    let found = lines(Format::Signpost, own);
    assert_eq!((&found[0]["domain"], &found[0]["tags"]), (&json!("new.test"), &json!(["x", "moved"])));
}

#[test]
fn what_is_something_else_is_refused_and_says_so() {
    for (format, text) in [
        (Format::ShlinkJson, "code,url\n"),
        (Format::DubJson, "{\"error\": 1}"),
        (Format::YourlsCsv, "{\"links\": []}"),
    ] {
        assert!(refusal(format, text).contains("--from"), "{format:?}");
    }
}

#[test]
fn a_record_that_cannot_be_taken_over_stops_none_of_the_others() {
    let text = "keyword,url,timestamp\na,https://e.test/,2011-02-03 04:05:06\nb,https://e.test/,yesterday\nc,https://e.test/,\n";
    let lines = lines(Format::YourlsCsv, std::io::Cursor::new(text), Options::default()).unwrap();
    let found: Vec<_> = lines.map(|line| line.map(|_| ()).map_err(|error| error.to_string())).collect();
    assert_eq!(found, [Ok(()), Err("record 2: \"yesterday\" is no time".to_owned()), Ok(())]);
    let mut latin = b"keyword,url,title\na,https://e.test/,\xe4\n".to_vec();
    latin.extend_from_slice(b"b,https://e.test/,x\n");
    let lines = super::lines(Format::YourlsCsv, std::io::Cursor::new(latin), Options::default()).unwrap();
    assert_eq!(lines.map(|line| line.is_ok()).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn short_urls_are_read_as_urls() {
    let read = |text: &str| short_url(text).ok();
    let found = |host: &str, code: &str| Some((host.to_owned(), code.to_owned()));
    assert_eq!(read("https://S.test/a/b/?x=1#y"), found("s.test", "a/b"));
    assert_eq!(read("s.test:8080/a"), found("s.test", "a"));
    assert_eq!(read("http://me:secret@s.test/a"), found("s.test", "a"));
    for text in ["", "s.test", "https://s.test/", "ftp://s.test/a", "https://[/a", "https:///"] {
        assert_eq!(read(text), None, "{text}");
    }
}

/// A file that has no end, as far as its reader can tell.
struct Endless {
    begin: &'static [u8],
    more: u8,
    read: u64,
}

impl io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(self.read < 1 << 30, "it is read on and on");
        let from_begin = self.begin.len().min(buffer.len());
        buffer[..from_begin].copy_from_slice(&self.begin[..from_begin]);
        self.begin = &self.begin[from_begin..];
        buffer[from_begin..].fill(self.more);
        self.read += buffer.len() as u64;
        Ok(buffer.len())
    }
}

#[test]
fn a_row_or_a_document_without_an_end_is_refused_before_it_fills_the_memory() {
    for (format, begin, what) in [
        (
            Format::YourlsCsv,
            &b"keyword,url\na,\"https://e.test/"[..],
            "a row of it has more than 16777216 bytes",
        ),
        (Format::KuttJson, b"{\"data\":[\"", "a JSON document in it has more than 67108864 bytes"),
    ] {
        let input = io::BufReader::new(Endless { begin, more: b'a', read: 0 });
        let error =
            lines(format, input, Options::default()).unwrap().find_map(Result::err).unwrap().to_string();
        assert!(error.contains(what) && error.contains("save it in smaller pieces"), "{error}");
    }
    let rows: String =
        (0..40_000).map(|n| format!("code-{n},https://e.test/{}\n", "x".repeat(500))).collect();
    let file = format!("keyword,url\n{rows}");
    assert!(file.len() as u64 > ROW_BYTES_MAX, "it is the row that counts");
    assert_eq!(converted(Format::YourlsCsv, &file).len(), 40_000);
}

#[test]
fn what_is_no_number_of_clicks_is_refused() {
    let csv = "keyword,url,clicks\na,https://e.test/,many\n";
    assert!(refusal(Format::YourlsCsv, csv).contains("\"many\" is no number of clicks"));
    let json = r#"{"data":[{"address":"x","target":"https://e.test/","visit_count":-1}]}"#;
    assert!(refusal(Format::KuttJson, json).contains("-1 is no number of clicks"));
}
