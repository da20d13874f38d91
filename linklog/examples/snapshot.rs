//! Measures snapshots by themselves: cutting one out of a writer's log, making a replica of it, and the scrub of both.
//!
//! `cargo run --release -p linklog --example snapshot -- DIR [LINKS]` prints one line per measurement; 10,000,000 links take some 8 GB of
//! disk. The network is not in it: a snapshot crosses it at `[feed] snapshot_bytes_per_s`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use linklog::replica::Replica;
use linklog::scrub::{self, Verdict};
use linklog::snapshot::{self, Cut, Source};
use linklog::store::{Contents, StoreOptions};
use linklog::writer::{Writer, WriterOptions};
use linklog::{Change, Code7, DomainId, Key, Link, LinkManage, Operation, Part, Precondition, StateKey};

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().expect("usage: snapshot DIR [LINKS]"));
    let links: u64 = args.next().map_or(1_000_000, |n| n.parse().unwrap());
    let writer = open(&dir.join("writer"));
    for batch in 0..links / 1_000 {
        let changes = (0..1_000).map(|n| create(batch * 1_000 + n)).collect();
        writer.handle().propose_and_wait(changes).unwrap();
    }
    let source = Source::from(&writer.reader());
    let begun = Instant::now();
    for (name, contents) in [("serve", Contents::Serve), ("full", Contents::Full)] {
        let (cut_out, into) = (dir.join(name), dir.join(format!("{name}-db")));
        let (manifest, wrote) =
            timed(|| snapshot::write(&source, &Cut::new(contents, [7; 16]), &cut_out).unwrap());
        let bytes = manifest.bytes();
        report(&format!("{name}: written, {} parts", manifest.parts.len()), links, bytes, wrote);
        let install =
            || snapshot::install(&cut_out, contents, &into, &StoreOptions::default(), &|| true).unwrap();
        let (_, installed) = timed(install);
        report(&format!("{name}: checked, taken in, read back and compared"), links, bytes, installed);
        report(&format!("{name}: both"), links, bytes, wrote + installed);
    }
    println!("both snapshots from nothing: {:.1} s", begun.elapsed().as_secs_f64());
    let replica = Replica::open(&dir.join("serve-db"), Contents::Serve, &StoreOptions::default()).unwrap();
    for (name, source) in [("replica", Source::from(&replica.reader())), ("writer", source)] {
        let (verdict, took) = timed(|| scrub::pass(&source, &dir.join("scrub"), &|_| true).unwrap());
        let Verdict::Sound { rows, bytes } = verdict else { panic!("{verdict:?}") };
        report(&format!("{name}: scrub"), rows, bytes, took);
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

fn report(what: &str, rows: u64, bytes: u64, took: Duration) {
    let (seconds, megabytes) = (took.as_secs_f64(), bytes as f64 / 1e6);
    println!(
        "{what}: {rows} rows, {megabytes:.1} MB in {seconds:.2} s: {:.0} rows/s, {:.0} MB/s",
        rows as f64 / seconds,
        megabytes / seconds
    );
}

fn open(dir: &Path) -> Writer {
    let mut nonce = 0u128;
    let options = WriterOptions {
        store: StoreOptions::default(),
        journal_bytes_kept: 64 << 20,
        queue_max: 1_000,
        clock_us: Box::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64),
        nonce: Box::new(move || {
            nonce = nonce.wrapping_mul(0x2d99_787e_0000_0001_0000_0000_0000_0001).wrapping_add(1);
            nonce.to_le_bytes()
        }),
        on_commit: Box::new(|_| {}),
        on_fatal: Box::new(|error| panic!("{error}")),
    };
    Writer::open(dir, options).unwrap()
}

/// A target of 84 bytes under a code that looks like a generated one.
fn create(n: u64) -> Change {
    let code = Code7::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % Code7::COUNT).unwrap().to_code();
    let link = Link {
        target: format!(
            "https://shop-{:04}.example.com/catalogue/items/{n:012}?utm_source=mail&c=7",
            n % 5_000
        ),
        ..Link::default()
    };
    let manage = LinkManage {
        created_at_ms: 1_700_000_000_000 + n,
        updated_at_ms: 1_700_000_000_000 + n,
        created_by: "measure".into(),
        ..LinkManage::default()
    };
    let operation = Operation::Put { serve: link.encode(), manage: manage.encode() };
    let key = StateKey::Link(Key::new(DomainId::DEFAULT, code));
    Change::new("measure", vec![Part { key, precondition: Precondition::Any, operation }])
}
