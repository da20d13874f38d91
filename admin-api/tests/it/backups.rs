//! Backups: what is put away, and what comes back.

use std::path::Path;

use linklog::Seq;
use serde_json::{Value, json};
use signpost_admin::restore::{Done, RestoreError, RestoreOptions, Until, restore};

use super::fixture::{Admin, Client, FakePool, Reporter, batch, hello, subject_of_newest, until};

/// A service whose backups are in `place`, and come only when asked for; records are archived within a second.
fn admin(place: &Path) -> Admin {
    Admin::with(&[], &format!("[backup]\nurl = \"{}\"\narchive_every_s = 1\n", place.display()))
}

fn link(client: &Client, alias: &str) {
    client.create(&json!({ "long_url": format!("https://a.example/{alias}"), "alias": alias }));
}

fn head(admin: &Admin) -> u64 {
    admin.control("status", Value::Null).unwrap()["head"]["seq"].as_u64().unwrap()
}

/// Waits until everything written so far is in the archive.
fn archived(admin: &Admin) -> u64 {
    let head = head(admin);
    until("the archive to be up to date", || {
        let status = admin.control("backup.status", Value::Null).unwrap();
        (status["archived"]["head"]["seq"].as_u64() >= Some(head)).then_some(())
    });
    head
}

fn try_restore(admin: &Admin, place: &Path, until: Until) -> Result<Done, RestoreError> {
    let options = RestoreOptions {
        from: place.to_str().unwrap().to_owned(),
        fleet: None,
        until,
        epoch: None,
        keep_limits: false,
        data_dir: admin.config().data_dir,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(restore(&options, &|_| ()))
}

fn is_there(client: &Client, alias: &str) -> bool {
    client.get(&format!("/v1/links/{alias}")).status == 200
}

#[test]
fn what_was_archived_comes_back_to_the_last_record_or_to_any_before() {
    let place = tempfile::tempdir().unwrap();
    let mut admin = admin(place.path());
    let client = admin.client();
    link(&client, "in-snapshot");
    let made = admin.control("backup.now", Value::Null).unwrap();
    assert_eq!(made["head"]["seq"], head(&admin));
    link(&client, "in-archive");
    client.patch("/v1/links/in-snapshot", &json!({ "long_url": "https://b.example/", "title": "changed" }));
    let middle = archived(&admin);
    link(&client, "too-late");
    client.delete("/v1/links/in-archive");
    let end = archived(&admin);
    assert!(matches!(try_restore(&admin, place.path(), Until::End), Err(RestoreError::Occupied { .. })));

    admin.forget_data();
    let done = try_restore(&admin, place.path(), Until::Seq(Seq(middle))).unwrap();
    assert_eq!((done.to.seq.0, done.epoch.0, done.discarded.map(|last| last.seq.0)), (middle, 2, Some(end)));
    assert_eq!(done.records, middle - done.snapshot.seq.0);
    admin.restart();
    let client = admin.client();
    let status = admin.control("status", Value::Null).unwrap();
    assert_eq!(status["head"]["epoch"], 2);
    let restored =
        json!({ "to": { "epoch": 1, "seq": middle }, "epoch": 2, "discarded": { "epoch": 1, "seq": end } });
    assert_eq!(status["restored"], restored);
    let changed = client.get("/v1/links/in-snapshot").json;
    assert_eq!((&changed["long_url"], &changed["title"]), (&json!("https://b.example/"), &json!("changed")));
    assert!(is_there(&client, "in-archive") && !is_there(&client, "too-late"));
    // It goes on from there, and so does its archive.
    link(&client, "second-life");
    archived(&admin);

    admin.forget_data();
    let done = try_restore(&admin, place.path(), Until::End).unwrap();
    assert_eq!((done.epoch.0, done.discarded), (3, None));
    admin.restart();
    let client = admin.client();
    assert!(is_there(&client, "in-archive") && is_there(&client, "second-life"));
    assert!(!is_there(&client, "too-late"), "that record is of a history that ended");
}

fn now_ms() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

#[test]
fn a_restore_to_a_time_has_what_was_there_then_and_nothing_later() {
    let place = tempfile::tempdir().unwrap();
    let mut admin = admin(place.path());
    let client = admin.client();
    link(&client, "in-snapshot");
    admin.control("backup.now", Value::Null).unwrap();
    let mut times = Vec::new();
    for alias in ["first", "second", "third"] {
        link(&client, alias);
        let made = now_ms();
        times.push(made);
        until("the clock to go on", || (now_ms() > made).then_some(()));
    }
    let end = archived(&admin);
    admin.forget_data();

    let refused = try_restore(&admin, place.path(), Until::Time(times[0] - 24 * 3_600_000)).unwrap_err();
    assert!(matches!(refused, RestoreError::TooOld { .. }), "{refused}");
    assert!(refused.to_string().contains("no snapshot from before the point asked for"), "{refused}");
    assert!(!admin.config().data_dir.join("log").exists());

    for (time, there, discarded) in [
        (times[0], ["first"].as_slice(), Some(end)),
        (times[1], &["first", "second"], Some(end)),
        (times[2], &["first", "second", "third"], None),
        (times[2] + 24 * 3_600_000, &["first", "second", "third"], None),
    ] {
        let done = try_restore(&admin, place.path(), Until::Time(time)).unwrap();
        assert_eq!(done.discarded.map(|last| last.seq.0), discarded, "{time}");
        // Without the place, so that every restore finds the same in it.
        admin.set_config(|text| text.split("[backup]").next().unwrap().to_owned());
        admin.restart();
        let client = admin.client();
        assert!(is_there(&client, "in-snapshot"));
        for alias in ["first", "second", "third"] {
            assert_eq!(is_there(&client, alias), there.contains(&alias), "{alias} at {time}");
        }
        admin.forget_data();
    }
}

#[test]
fn codes_given_out_after_the_backup_are_not_given_out_again_however_often_it_is_restored() {
    let place = tempfile::tempdir().unwrap();
    let pool = FakePool::start(1, 0);
    let settings = "[codes]\nblock = 10\nlow_watermark = 5\n";
    let backup = format!("[backup]\nurl = \"{}\"\narchive_every_s = 1\n", place.path().display());
    let mut admin = Admin::with(&[&pool], &format!("{settings}{backup}"));
    admin.wait_for_codes(10);
    let generated = |admin: &Admin, count: usize| -> Vec<String> {
        let client = admin.client();
        let made = |_| client.create(&json!({ "long_url": "https://a.example/" }));
        (0..count).map(made).map(|made| made["code"].as_str().unwrap().to_owned()).collect()
    };
    let mut codes = generated(&admin, 3);
    let to = admin.control("backup.now", Value::Null).unwrap()["head"]["seq"].as_u64().unwrap();
    codes.extend(generated(&admin, 13));
    archived(&admin);
    // What the restored writers write is archived nowhere: each of them begins the same epoch.
    admin.set_config(|text| text.split("[backup]").next().unwrap().to_owned());
    for _ in 0..3 {
        admin.stop();
        for folder in ["log", "clicks"] {
            std::fs::remove_dir_all(admin.config().data_dir.join(folder)).unwrap();
        }
        let done = try_restore(&admin, place.path(), Until::Seq(Seq(to))).unwrap();
        assert_eq!(done.epoch.0, 2);
        admin.restart();
        let client = admin.client();
        assert!(is_there(&client, &codes[0]) && !is_there(&client, &codes[3]));
        codes.extend(generated(&admin, 13));
    }
    let distinct: std::collections::HashSet<_> = codes.iter().collect();
    assert_eq!(distinct.len(), codes.len(), "{codes:?}");
}

#[test]
fn counts_come_back_as_of_the_snapshot_and_limited_links_have_ended() {
    let place = tempfile::tempdir().unwrap();
    let mut admin = admin(place.path());
    admin.control("proxy.add", json!({ "name": "proxy-0" })).unwrap();
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "limited", "max_clicks": 7 }));
    link(&client, "counted");
    let (mut reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    reporter.send(&batch(1, 1, subject_of_newest(&client, "counted"), [5, 0, 0, 0]));
    reporter.counted(1);
    drop(reporter);
    admin.control("backup.now", Value::Null).unwrap();

    admin.forget_data();
    let done = try_restore(&admin, place.path(), Until::End).unwrap();
    assert_eq!(done.burned, (1, 7));
    admin.restart();
    let client = admin.client();
    assert_eq!(client.get("/v1/links/counted/clicks").json["total"], 5);
    let limit = client.get("/v1/links/limited/limit").json;
    assert_eq!(
        (&limit["used"], &limit["burned"], &limit["left"]),
        (&json!(0), &json!(7), &json!(0)),
        "{limit}"
    );
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let mut admin = admin(place.path());
    link(&admin.client(), "one");
    admin.control("backup.now", Value::Null).unwrap();
    admin.forget_data();
    // One is made at the start, too, of whatever was there then; what is wanted is the newest alone.
    let mut snapshots: Vec<_> = snapshots(place.path());
    let newest = snapshots.pop().unwrap();
    for older in snapshots {
        std::fs::remove_dir_all(older).unwrap();
    }
    let parts: Vec<_> =
        walk(&newest).into_iter().filter(|path| path.extension().is_some_and(|e| e == "sst")).collect();
    assert!(!parts.is_empty());
    for part in parts {
        let whole = std::fs::read(&part).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        std::fs::write(&part, damaged).unwrap();
        let refused = try_restore(&admin, place.path(), Until::End).unwrap_err();
        assert!(matches!(refused, RestoreError::Snapshot(_)), "{refused}");
        assert!(!admin.config().data_dir.join("log").exists());
        std::fs::write(&part, whole).unwrap();
    }
    assert!(matches!(
        try_restore(&admin, place.path(), Until::Seq(Seq(1))),
        Err(RestoreError::TooOld { .. })
    ));
    assert!(matches!(
        try_restore(&admin, place.path(), Until::Seq(Seq(1_000))),
        Err(RestoreError::Short { .. })
    ));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(try_restore(&admin, empty.path(), Until::End), Err(RestoreError::Nothing { .. })));
    try_restore(&admin, place.path(), Until::End).unwrap();
}

/// The folders of the snapshots in a place, the oldest first.
fn snapshots(place: &Path) -> Vec<std::path::PathBuf> {
    let complete = |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name == "COMPLETE");
    let mut found: Vec<_> = walk(place)
        .iter()
        .filter(|path| complete(path))
        .map(|path| path.parent().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
