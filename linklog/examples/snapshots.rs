//! Measures snapshots by themselves: cutting one out of a writer's log, making a replica of it, and the scrub of both.
//!
//! `cargo run --release -p linklog --example snapshots -- DIR [LINKS]` prints one line per measurement; 10,000,000 links take some 8 GB of
//! disk. The network is not in it: a snapshot crosses it at `[feed] snapshot_bytes_per_s`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "shared/a_writer.rs"]
mod a_writer;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use linklog::Change;
use linklog::replica::Replica;
use linklog::scrub::{self, Verdict};
use linklog::snapshot::{self, Cut, Source};
use linklog::store::{Contents, StoreOptions};

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().expect("usage: snapshots DIR [LINKS]"));
    let links: u64 = args.next().map_or(1_000_000, |n| n.parse().unwrap());
    let writer = a_writer::open(&dir.join("writer"), 64 << 20);
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

/// A target of 84 bytes.
fn create(n: u64) -> Change {
    let shop = n % 5_000;
    let path = format!("catalogue/items/{n:012}?utm_source=mail&c=7");
    a_writer::create(n, format!("https://shop-{shop:04}.example.com/{path}"))
}
