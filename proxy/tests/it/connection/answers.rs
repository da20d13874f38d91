//! What a link answers, by its kind, its host and its time.

use linklog::Extras;
use linklog::entity::DomainAnswers;
use linklog::link::rules::{Rule, Variant};

use super::*;

#[test]
fn every_kind_of_link_gets_its_answer_from_the_database_and_again_from_memory() {
    let site = Site::new(&some_links());
    let mut visitor = Visitor::new(site.address);
    for _ in 0..2 {
        for (path, status, location, cache_control) in [
            ("/Ab3xY9z", 302, Some("https://a.example/?q=%20x&y=\"'<>"), "private, no-cache"),
            ("/spring-sale?ignored=1", 302, Some("https://b.example/spring"), "private, no-cache"),
            ("/moved", 301, Some("https://moved.example/"), "private, max-age=300"),
            ("/kept307", 307, Some("https://kept307.example/"), "private, no-cache"),
            ("/kept308", 308, Some("https://kept308.example/"), "private, max-age=300"),
            ("/ending", 302, Some("https://ending.example/"), "private, no-cache"),
            ("/off", 404, None, "private, no-cache"),
            ("/banned", 451, None, "private, no-cache"),
            ("/ended", 410, None, "private, no-cache"),
            ("/deleted", 404, None, "private, no-cache"),
            ("/unknown", 404, None, "private, no-cache"),
            ("/Ab3xY9z/x", 404, None, "private, no-cache"),
            ("/ab3xy9z", 404, None, "private, no-cache"),
        ] {
            let answer = visitor.get(path);
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert_eq!(answer.header("location"), location, "{path}");
            assert_eq!(answer.header("cache-control"), Some(cache_control), "{path}");
            assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{path}");
        }
    }
    use signpost_proxy::lookup::Tier;
    assert!(site.events(Event::LookedUp(Tier::Hot)) >= 9);
    assert_eq!(site.events(Event::Session), 0);
}

#[test]
fn a_link_ends_on_time_although_it_is_in_the_hot_map() {
    let mut author = Author::new();
    let end = now_ms() + 1_500;
    let link = Link { target: "https://a/".into(), expires_at_ms: Some(end), ..Link::default() };
    author.link_on(0, "moment1", &Link { status: RedirectStatus::MovedPermanently, ..link });
    let site = Site::new(&author);
    let mut visitor = Visitor::new(site.address);
    let first = visitor.get("/moment1");
    assert_eq!(first.status, 301);
    assert!(["private, max-age=0", "private, max-age=1"].contains(&first.header("cache-control").unwrap()));
    eventually("the end of the link", || (visitor.get("/moment1").status == 410).then_some(()));
    assert!(now_ms() >= end);
}

#[test]
fn the_host_picks_the_domain_and_an_undeclared_one_is_the_default() {
    let site = Site::new(&some_links());
    let mut visitor = Visitor::new(site.address);
    for (host, location) in [
        ("other.example", "https://seven.example/"),
        ("OTHER.example.:8080", "https://seven.example/"),
        ("nobody.example", "https://a.example/?q=%20x&y=\"'<>"),
        ("", "https://a.example/?q=%20x&y=\"'<>"),
    ] {
        visitor.send(format!("GET /Ab3xY9z HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(visitor.answer().location(), location, "{host}");
        if !host.is_empty() {
            visitor.send(format!("GET http://{host}/Ab3xY9z HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(visitor.answer().location(), location, "{host}");
        }
    }
    visitor.send("GET http://other.example/Ab3xY9z HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(visitor.answer().location(), "https://seven.example/");
    for (target, host) in [
        ("http://other.example", "nobody.example"),
        ("http://", "other.example"),
        ("http://user@other.example", "other.example"),
        ("http://other.example:x", "other.example"),
    ] {
        let mut visitor = Visitor::new(site.address);
        visitor.send(format!("GET {target}/Ab3xY9z HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.header("server")), (400, None), "{target} for {host}");
        assert!(visitor.is_closed());
    }
}

#[test]
fn a_link_as_texts_and_programs_write_it_leads_to_the_same_place() {
    let site = Site::new(&some_links());
    let mut visitor = Visitor::new(site.address);
    for path in [
        "/spring-sale",
        "//spring-sale",
        "/spring-sale/",
        "/spring-sale.",
        "/spring-sale),?utm_source=mail",
        "/spring-sale?",
        "/spring%2Dsale",
        "/%73pring-sal%65",
        "/spring-sale%20",
        "/spring-sale%22%3E",
        "/spring-sale%E2%80%9D",
        "/spring-sale%E3%80%82",
        "//spring%2Dsale%2F",
    ] {
        assert_eq!(visitor.get(path).location(), "https://b.example/spring", "{path}");
        visitor.send(format!("GET http://go.example{path} HTTP/1.1\r\nHost: go.example\r\n\r\n"));
        assert_eq!(visitor.answer().location(), "https://b.example/spring", "absolute {path}");
        let mut old = Visitor::new(site.address);
        old.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert_eq!(old.answer().location(), "https://b.example/spring", "HTTP/1.0 {path}");
    }
    for path in ["/Spring-sale", "/spring-sale-", "/spring-sale%00", "/.spring-sale"] {
        assert_eq!(visitor.get(path).status, 404, "{path}");
    }
    for path in ["/%", "/%zz", "/spring-sale%2"] {
        assert_eq!(Visitor::new(site.address).get(path).status, 400, "{path}");
    }
    for target in ["http://go.example", "http://go.example?x=1", "http://go.example/", "//", "/?/spring-sale"]
    {
        visitor.send(format!("GET {target} HTTP/1.1\r\nHost: go.example\r\n\r\n"));
        assert_eq!(visitor.answer().status, 200, "{target}");
    }
}

#[test]
fn our_own_pages_are_served() {
    let site = Site::new(&Author::new());
    let mut visitor = Visitor::new(site.address);
    let root = visitor.get("/");
    assert_eq!((root.status, root.body.contains("Signpost")), (200, true));
    let robots = visitor.get("/robots.txt");
    assert_eq!((robots.status, &*robots.body), (200, "User-agent: *\nDisallow: /\n"));
    assert_eq!(visitor.get("/favicon.ico").status, 404);
    let elsewhere = Site::with(&Author::new(), Limits::default(), Some("https://www.example/"));
    assert_eq!(Visitor::new(elsewhere.address).get("/").location(), "https://www.example/");
}

#[test]
fn a_preview_shows_where_its_reader_is_led_and_where_others_are() {
    let mut author = Author::new();
    let to = |name: &str| format!("https://{name}.example/");
    let variant = |name: &str| Variant { weight: 1, target: to(name) };
    let rule = Rule { parameter: Some(("src".into(), None)), target: to("mail"), ..Rule::default() };
    let extras = Extras {
        rules: vec![rule],
        variants: vec![variant("one"), variant("two"), variant("three")],
        ..Extras::default()
    };
    author.link_on(0, "shared", &Link { target: to("nobody-goes-here"), extras, ..Link::default() });
    let site = Site::new(&author);
    let mut visitor = Visitor::new(site.address);
    for agent in ["a", "b", "c", "d", "e", "f"] {
        let mut get = |path: &str| {
            visitor.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n"));
            visitor.answer()
        };
        let (followed, preview) = (get("/shared"), get("/shared+"));
        let (first, others) = preview.body.split_once("<ul>").unwrap();
        assert!(first.contains(followed.location()), "{agent}: {first}");
        for name in ["mail", "one", "two", "three"] {
            assert_eq!(others.contains(&to(name)), followed.location() != to(name), "{name}: {others}");
        }
        assert!(!preview.body.contains("nobody-goes-here"), "{}", preview.body);
    }
}

#[test]
fn a_link_that_has_not_begun_answers_as_a_code_does_that_does_not_exist() {
    let mut author = Author::new();
    let extras = Extras { not_before_ms: Some(now_ms() + 3_600_000), ..Extras::default() };
    let later = Link { target: "https://later.example/".into(), extras, ..Link::default() };
    author.host("go.example", 7);
    let lost = DomainAnswers { not_found: Some("https://lost.example/".into()), ..DomainAnswers::default() };
    author.answers(7, lost.encode());
    author.link_on(7, "later", &later);
    author.link_on(0, "later", &later);
    let site = Site::new(&author);
    let mut visitor = Visitor::new(site.address);
    let mut on = |host: &str, path: &str| {
        visitor.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        visitor.answer()
    };
    for path in ["/later", "/nobody"] {
        assert_eq!(on("go.example", path).location(), "https://lost.example/", "{path}");
    }
    let elsewhere = on("other.example", "/later");
    assert_eq!((elsewhere.status, elsewhere.header("cache-control")), (404, Some("no-store")));
}
