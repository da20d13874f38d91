//! A standby that is new when the writer's journals no longer begin at the beginning.

use std::path::Path;
use std::process::Command;

use clicklog::{Batch, BatchNumber, Cell, Counts, LedgerId, Subject};
use linklog::standby::StandbyOptions;
use linklog::store::StoreOptions;
use linklog::{DomainId, Epoch, Key, Position};
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

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// The highest epoch that a log which is not in use has promised, after `epoch` was promised too.
fn promise(log: &Path, epoch: Epoch) -> Epoch {
    let options = StandbyOptions { store: StoreOptions::default(), journal_bytes_kept: u64::MAX };
    let mut log = linklog::standby::Standby::open(log, &options).unwrap();
    log.fence(epoch).unwrap();
    log.highest_epoch()
}

#[test]
fn a_log_that_was_fetched_lacks_nothing_that_the_old_one_has_acknowledged_or_promised() {
    let writer = Admin::start(&[]);
    assert_eq!(alias(&writer.client(), "one").0, 201);
    let mut standby = Standby::of(&writer, "standby-0", &[], "");
    let data = standby.dir.path().join("data");
    let (log, next, before) = (data.join("log"), data.join("log-next"), data.join("log-before"));
    let marks_old = || std::fs::write(log.join("old"), "").unwrap();
    standby.stop();
    copy(&log, &data.join("fetched"));
    standby.start();
    assert_eq!(alias(&writer.client(), "two").0, 201);
    standby.caught_up(&writer);
    standby.stop();
    std::fs::rename(data.join("fetched"), &next).unwrap();
    marks_old();
    standby.start();
    assert!(!log.join("old").exists() && !next.exists(), "it has taken the place");
    assert_eq!(standby.client().get("/v1/links/two").status, 200, "out of the old one's journal");

    // A shorter one that is not the beginning of ours.
    let mut other = Standby::of(&Admin::start(&[]), "standby-0", &[], "");
    other.stop();
    standby.stop();
    copy(&other.dir.path().join("data/log"), &next);
    marks_old();
    standby.start();
    assert!(log.join("old").exists() && !next.exists(), "nobody starts with it later");
    assert_eq!(standby.client().get("/v1/links/two").status, 200);

    std::fs::remove_file(log.join("old")).unwrap();
    standby.stop();
    copy(&log, &next);
    assert_eq!(promise(&log, Epoch(7)), Epoch(7));
    marks_old();
    standby.start();
    standby.stop();
    assert!(!log.join("old").exists() && !next.exists() && !before.exists(), "it has taken the place");
    assert_eq!(promise(&log, Epoch(0)), Epoch(7));

    // Killed between the two renames.
    std::fs::rename(&log, &before).unwrap();
    copy(&before, &next);
    standby.start();
    assert_eq!(standby.client().get("/v1/links/two").status, 200);
    assert!(log.exists() && !next.exists() && !before.exists());
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
    let last = SMALL + 300;
    for number in SMALL + 1..=last {
        reporter.send(&of_many(number));
        reporter.counted(number);
    }
    let mut standby = Standby::of(&writer, "standby-0", &[], "");
    standby.renewed();
    let left = ["bootstrap-clicks", "clicks-made", "clicks-next", "clicks-before", "clicks-copied.json"];
    assert!(left.iter().all(|name| !standby.dir.path().join("data").join(name).exists()));
    // It goes on from there, and notes where it is, once a second at most.
    let mut more = 0;
    until("the copy has gone on", || {
        more += 1;
        reporter.send(&batch(1, last + more, link, [1, 0, 0, 0]));
        reporter.counted(last + more);
        standby.dir.path().join("data/clicks-copied.json").exists().then_some(())
    });
    let last = last + more;
    standby.caught_up(&writer);
    standby.promote(false).unwrap();
    let feed = standby.writing.as_ref().unwrap().addresses().feed;
    let (mut reporter, watermark) = Reporter::welcomed(feed, hello(1, last));
    assert!((last - more..=last).contains(&watermark), "{watermark} of {last}, {more} of them later");
    for number in watermark + 1..=last + 1 {
        reporter.send(&batch(1, number, link, [1, 0, 0, 0]));
        reporter.counted(number);
    }
    assert_eq!(standby.client().get("/v1/links/link/clicks").json["total"], SMALL + more + 1);
}
