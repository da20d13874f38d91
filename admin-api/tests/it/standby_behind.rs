//! A standby that is new when the writer's journals no longer begin at the beginning.

use clicklog::{Batch, BatchNumber, Cell, Counts, LedgerId, Subject};
use linklog::{DomainId, Key, Position};
use serde_json::json;

use crate::fixture::{Admin, Reporter, batch, hello, subject_of_newest, until};
use crate::standby::{Standby, alias};

/// A batch of one click for each of many links.
fn of_many(number: u64) -> Batch {
    let cell = |n: u64| {
        let key = Key::new(DomainId::DEFAULT, format!("x{n:06}").parse().unwrap());
        let subject = Subject { key, created: Position::new(1, 1_000 + n) };
        Cell { subject, counts: Counts::new([1, 0, 0, 0]), last_click_ms: 1_700_000_000_000 + number }
    };
    let cells = (0..4_096).map(cell).collect();
    Batch::new(LedgerId([1; 16]), BatchNumber(number), 1_700_000_000_000 + number, 0, cells)
}

#[test]
fn counts_whose_journal_was_trimmed_come_out_of_a_snapshot_and_are_counted_on() {
    const SMALL: u64 = 3;
    let writer = Admin::with(&[], "[clicks]\nretention_bytes = 16777216");
    writer.control("proxy.add", json!({ "name": "proxy-0" })).unwrap();
    assert_eq!(alias(&writer.client(), "link").0, 201);
    let link = subject_of_newest(&writer.client(), "link");
    let (mut reporter, _) = Reporter::welcomed(writer.addresses().feed, hello(1, 0));
    for number in 1..=SMALL {
        reporter.send(&batch(1, number, link, [1, 0, 0, 0]));
        reporter.counted(number);
    }
    // More than is kept, however small it is written.
    let last = SMALL + 400;
    for number in SMALL + 1..=last {
        reporter.send(&of_many(number));
        reporter.counted(number);
    }
    let mut standby = Standby::of(&writer, "standby-0", &[], "");
    standby.renewed();
    let left = ["bootstrap-clicks", "clicks-made", "clicks-next", "clicks-before", "clicks-copied.json"];
    assert!(left.iter().all(|name| !standby.dir.path().join("data").join(name).exists()));
    // It goes on from there.
    reporter.send(&batch(1, last + 1, link, [1, 0, 0, 0]));
    reporter.counted(last + 1);
    until("the copy has gone on", || {
        standby.dir.path().join("data/clicks-copied.json").exists().then_some(())
    });
    standby.caught_up(&writer);
    standby.promote(false).unwrap();
    let feed = standby.writing.as_ref().unwrap().addresses().feed;
    let (mut reporter, watermark) = Reporter::welcomed(feed, hello(1, last + 1));
    assert!((last..=last + 1).contains(&watermark), "{watermark} of {}", last + 1);
    for number in watermark + 1..=last + 2 {
        reporter.send(&batch(1, number, link, [1, 0, 0, 0]));
        reporter.counted(number);
    }
    assert_eq!(standby.client().get("/v1/links/link/clicks").json["total"], SMALL + 2);
}
