//! Wrong histories, each with one thing wrong, and right ones that look odd.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::fault::history::{Answer, Call, Replica, Request, Server};

/// A history in which things happen one after the other, 10 µs each, unless said otherwise.
#[derive(Default)]
struct Story {
    entries: Vec<Entry>,
    now_us: u64,
}

impl Story {
    fn call(mut self, request: Request, answer: Answer) -> Story {
        let begin_us = self.now_us + 1;
        self.now_us += 10;
        self.entries.push(Entry::Call(Call { begin_us, end_us: self.now_us, request, answer }));
        self
    }

    /// The last call was still going on when so much more time had passed.
    fn lasting(mut self, more_us: u64) -> Story {
        if let Some(Entry::Call(call)) = self.entries.last_mut() {
            call.end_us += more_us;
        }
        self
    }

    fn entry(mut self, entry: Entry) -> Story {
        self.entries.push(entry);
        self
    }

    fn create(self, alias: &str, target: &str, answer: Answer) -> Story {
        let request = Request::Create { alias: Some(alias.into()), target: target.into(), max_clicks: None };
        self.call(request, answer)
    }

    fn generated(self, target: &str, code: &str) -> Story {
        let request = Request::Create { alias: None, target: target.into(), max_clicks: None };
        self.call(request, done(code, 1, &[]))
    }

    fn limited(self, code: &str, max_clicks: u64) -> Story {
        let request = Request::Create { alias: None, target: "limited".into(), max_clicks: Some(max_clicks) };
        self.call(request, done(code, 1, &[]))
    }

    fn update(self, code: &str, target: &str, answer: Answer) -> Story {
        self.call(Request::Update { code: code.into(), target: target.into() }, answer)
    }

    fn delete(self, code: &str, answer: Answer) -> Story {
        self.call(Request::Delete { code: code.into() }, answer)
    }

    fn get(self, code: &str, answer: Answer) -> Story {
        self.call(Request::Get { code: code.into() }, answer)
    }

    fn follow(self, code: &str, answer: Answer) -> Story {
        self.call(Request::Follow { proxy: 0, code: code.into() }, answer)
    }

    fn away(self, begin_us: u64, end_us: u64) -> Story {
        self.entry(Entry::Away { proxy: 0, begin_us, end_us })
    }

    fn quiet(self, replicas: Vec<Replica>) -> Story {
        let at_us = self.now_us;
        self.entry(Entry::Quiet { at_us, head_seq: 7, replicas, servers: Vec::new() })
    }

    fn quiet_with(self, replicas: Vec<Replica>, servers: Vec<Server>) -> Story {
        let at_us = self.now_us;
        self.entry(Entry::Quiet { at_us, head_seq: 7, replicas, servers })
    }

    fn later(mut self, by_us: u64) -> Story {
        self.now_us += by_us;
        self
    }

    /// Proxy 0 loses its power now.
    fn power_lost(self) -> Story {
        let (begin_us, end_us) = (self.now_us, self.now_us + 10);
        self.later(10).entry(Entry::PowerLost { proxy: 0, begin_us, end_us })
    }

    #[track_caller]
    fn passes(self) {
        assert_eq!(check(&self.entries), []);
    }

    #[track_caller]
    fn breaks(self, rule: &str) {
        let rules: Vec<&str> = check(&self.entries).into_iter().map(|objection| objection.rule).collect();
        assert_eq!(rules, [rule]);
    }
}

fn done(code: &str, version: u64, missing: &[u16]) -> Answer {
    Answer::Done { code: code.into(), version, missing: missing.into() }
}

fn to(target: &str) -> Answer {
    Answer::Target { target: target.into(), version: None }
}

fn at_version(target: &str, version: u64) -> Answer {
    Answer::Target { target: target.into(), version: Some(version) }
}

fn status(status: u16) -> Answer {
    Answer::Refused { status, problem: String::new() }
}

fn unknown() -> Answer {
    Answer::Unknown { why: "timeout".into() }
}

fn replica(seq: u64, digest: &str) -> Replica {
    Replica { seq, digest: digest.into(), keys: 3, sum: "s".into(), state: "following".into() }
}

fn story() -> Story {
    Story::default()
}

#[test]
fn a_life_of_a_link_passes() {
    story()
        .create("a", "1", done("a", 1, &[]))
        .follow("a", to("1"))
        .update("a", "2", done("a", 2, &[]))
        .follow("a", to("2"))
        .get("a", at_version("2", 2))
        .delete("a", Answer::Deleted)
        .get("a", status(404))
        .create("a", "3", done("a", 4, &[]))
        .follow("a", to("3"))
        .passes();
}

#[test]
fn a_create_that_was_acknowledged_and_is_not_there_is_lost() {
    story().create("a", "1", done("a", 1, &[])).get("a", status(404)).breaks("lost");
    story().create("a", "1", done("a", 1, &[])).follow("a", status(404)).breaks("lost");
    story().create("a", "1", done("a", 1, &[])).entry(Entry::Listing { links: Vec::new() }).breaks("lost");
}

#[test]
fn an_update_that_was_acknowledged_and_is_not_there_is_stale() {
    let updated = || story().create("a", "1", done("a", 1, &[])).update("a", "2", done("a", 2, &[]));
    updated().get("a", to("1")).breaks("stale");
    updated().follow("a", to("1")).breaks("stale");
}

#[test]
fn a_proxy_that_was_said_to_miss_an_update_may_be_stale_until_it_is_seen_to_have_it() {
    let missed = || story().create("a", "1", done("a", 1, &[])).update("a", "2", done("a", 2, &[0]));
    missed().follow("a", to("1")).passes();
    missed().get("a", to("1")).breaks("stale");
    missed().quiet(vec![replica(7, "x")]).follow("a", to("1")).breaks("stale");
}

#[test]
fn a_proxy_that_was_killed_may_be_stale_until_it_is_back() {
    let updated = || story().create("a", "1", done("a", 1, &[])).update("a", "2", done("a", 2, &[]));
    updated().follow("a", to("2")).away(30, 45).follow("a", to("1")).passes();
    updated().away(21, 25).follow("a", status(503)).follow("a", to("1")).breaks("stale");
}

#[test]
fn a_proxy_that_goes_back_to_what_it_showed_before_is_noticed_though_nothing_was_promised() {
    story()
        .create("a", "1", done("a", 1, &[0]))
        .update("a", "2", done("a", 2, &[0]))
        .follow("a", to("2"))
        .follow("a", to("1"))
        .breaks("went back");
}

#[test]
fn a_deleted_link_that_is_still_there_is_stale() {
    let deleted = || story().create("a", "1", done("a", 1, &[])).delete("a", Answer::Deleted);
    deleted().get("a", to("1")).breaks("stale");
    deleted().quiet(vec![replica(7, "x")]).follow("a", to("1")).breaks("stale");
}

#[test]
fn a_target_that_was_never_the_links_is_noticed() {
    let two = || story().create("a", "1", done("a", 1, &[])).create("b", "2", done("b", 1, &[]));
    two().follow("a", to("2")).breaks("never its target");
    two().follow("a", to("3")).breaks("never its target");
    let early = story().create("a", "1", done("a", 1, &[])).get("a", to("2"));
    early.update("a", "2", done("a", 2, &[])).breaks("never its target");
}

#[test]
fn what_has_no_answer_may_have_happened_or_not_or_happen_yet() {
    let asked = || story().create("a", "1", done("a", 1, &[])).update("a", "2", unknown());
    asked().get("a", to("1")).passes();
    asked().get("a", to("2")).passes();
    asked().get("a", to("1")).get("a", to("2")).passes();
    asked().get("a", at_version("2", 2)).get("a", at_version("1", 1)).breaks("went back");
    story().create("a", "1", done("a", 1, &[])).delete("a", unknown()).get("a", status(404)).passes();
    // What was not sent did not happen.
    let unsent = story().create("a", "1", done("a", 1, &[])).update("a", "2", Answer::Unsent);
    unsent.get("a", to("2")).breaks("never its target");
}

#[test]
fn an_alias_has_one_owner() {
    story().create("a", "1", done("a", 1, &[])).create("a", "2", status(409)).passes();
    story().create("a", "1", done("a", 1, &[])).create("a", "2", done("a", 2, &[])).breaks("two owners");
    // At the same time, too.
    let both = story().create("a", "1", done("a", 1, &[])).lasting(90);
    both.create("a", "2", done("a", 2, &[])).breaks("two owners");
    story().create("a", "1", status(409)).breaks("refused though free");
    story().create("a", "1", unknown()).create("a", "2", status(409)).passes();
}

#[test]
fn a_code_is_given_out_once_and_a_request_takes_effect_once() {
    // Its second owner hides the first one, which is a second objection to the same fault.
    let twice = story().generated("1", "x").generated("2", "x");
    let rules: Vec<_> = check(&twice.entries).into_iter().map(|objection| objection.rule).collect();
    assert_eq!(rules, ["code twice", "two owners"]);
    let listing = |links: &[(&str, &str)]| Entry::Listing {
        links: links.iter().map(|(code, target)| ((*code).into(), (*target).into())).collect(),
    };
    let request = || Request::Create { alias: None, target: "1".into(), max_clicks: None };
    story().call(request(), unknown()).entry(listing(&[("x", "1")])).passes();
    story().call(request(), unknown()).entry(listing(&[("x", "1"), ("y", "1")])).breaks("effect twice");
    story().generated("1", "x").entry(listing(&[("x", "1"), ("y", "2")])).breaks("never its target");
}

#[test]
fn replicas_at_one_place_are_equal_and_follow() {
    story().quiet(vec![replica(7, "x"), replica(7, "x")]).passes();
    story().quiet(vec![replica(7, "x"), replica(7, "y")]).breaks("replicas differ");
    story().quiet(vec![replica(6, "x")]).breaks("not following");
    let diverged = Replica { state: "diverged".into(), ..replica(7, "x") };
    story().quiet(vec![diverged]).breaks("not following");
}

#[test]
fn proxies_and_standbys_make_of_the_records_what_the_writer_made_of_them() {
    let server = |name: &str, sum: &str, state: &str| Server {
        name: name.into(),
        seq: 7,
        digest: "x".into(),
        sum: sum.into(),
        state: state.into(),
    };
    let writer = || server("admin", "s", "writer");
    let with = |other: Server| story().quiet_with(vec![replica(7, "x")], vec![writer(), other]);
    with(server("standby-0", "s", "following")).passes();
    with(server("standby-0", "another", "following")).breaks("replicas differ");
    with(server("standby-0", "s", "diverged")).breaks("not following");
    with(Server { seq: 6, ..server("standby-0", "s", "following") }).breaks("not following");
    let wrong = Replica { sum: "another".into(), ..replica(7, "x") };
    story().quiet_with(vec![wrong], vec![writer()]).breaks("replicas differ");
}

#[test]
fn one_visit_more_than_the_limit_is_noticed_and_an_end_that_comes_early() {
    let visits =
        |count| (0..count).fold(story().limited("x", 2), |story, _| story.follow("x", to("limited")));
    let standing = |used, burned| Entry::Standing { code: "x".into(), used, burned };
    visits(2).follow("x", status(410)).entry(standing(2, 0)).passes();
    visits(3).breaks("over the limit");
    visits(1).follow("x", status(410)).breaks("ended early");
    visits(2).entry(standing(1, 0)).breaks("over the limit");
    visits(1).entry(standing(1, 1)).breaks("over the limit");
    let damaged = || visits(2).entry(Entry::Damaged { at_us: 0, proxy: 0 });
    damaged().entry(standing(1, 1)).passes();
    damaged().entry(standing(1, 0)).breaks("over the limit");
    damaged().entry(standing(2, 1)).breaks("over the limit");
    let early = || visits(1).entry(Entry::Damaged { at_us: 0, proxy: 0 }).follow("x", status(410));
    early().entry(standing(1, 1)).passes();
    early().entry(standing(1, 0)).breaks("ended early");
    visits(1).follow("x", unknown()).follow("x", status(410)).entry(standing(2, 0)).passes();
}

#[test]
fn clicks_are_counted_between_received_and_attempted() {
    let visits = || story().generated("1", "x").follow("x", to("1")).follow("x", unknown());
    let clicks = |counted| Entry::Clicks { code: "x".into(), counted };
    visits().entry(clicks(1)).passes();
    visits().entry(clicks(2)).passes();
    visits().entry(clicks(0)).breaks("clicks");
    visits().entry(clicks(3)).breaks("clicks");
}

#[test]
fn a_loss_of_power_takes_the_clicks_of_the_last_moment_before_it_and_no_others() {
    let clicks = |counted| Entry::Clicks { code: "x".into(), counted };
    let visit = |story: Story| story.follow("x", to("1"));
    let early = || visit(story().generated("1", "x")).later(3_000_000);
    let lost = || visit(early()).power_lost();
    lost().entry(clicks(1)).passes();
    lost().entry(clicks(2)).passes();
    lost().entry(clicks(0)).breaks("clicks");
    visit(lost()).entry(clicks(1)).breaks("clicks");
    visit(lost()).entry(clicks(2)).passes();
    // Another proxy's power is no excuse.
    let others =
        |proxy| visit(early()).entry(Entry::PowerLost { proxy, begin_us: 3_000_030, end_us: 3_000_040 });
    others(0).entry(clicks(1)).passes();
    others(1).entry(clicks(1)).breaks("clicks");
}

#[test]
fn a_loss_of_power_burns_clicks_of_a_limited_link_and_gives_none_back() {
    let standing = |used, burned| Entry::Standing { code: "x".into(), used, burned };
    let visits = |count| {
        (0..count).fold(story().limited("x", 2), |story, _| story.follow("x", to("limited"))).power_lost()
    };
    visits(1).entry(standing(0, 1)).passes();
    visits(1).entry(standing(0, 0)).breaks("over the limit");
    visits(2).follow("x", to("limited")).breaks("over the limit");
}
