//! Measures the log by itself: batches through the writer, single changes from many threads, and a replica that applies them.
//!
//! `cargo run --release -p linklog --example write_and_apply -- DIR [LINKS]` prints one line per measurement. CPU time is the process's.
//! Bytes on disk are those of the files at the end, RocksDB's log and whatever it has not compacted yet included.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "shared/a_writer.rs"]
mod a_writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use linklog::codec::frame::{FrameRecord, FrameWriter, Section};
use linklog::digest::SectionHash;
use linklog::journal::JournalRead;
use linklog::limits::FRAME_BYTES_MAX;
use linklog::replica::Replica;
use linklog::store::{Contents, StoreOptions};
use linklog::{Change, Seq};

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().expect("usage: write_and_apply DIR [LINKS]"));
    let links: u64 = args.next().map_or(1_000_000, |n| n.parse().unwrap());
    let writer = a_writer::open(&dir.join("writer"), 10 << 30);
    report("batches of 1,000, fsynced", links, || {
        for batch in 0..links / 1_000 {
            let changes = (0..1_000).map(|n| create(batch * 1_000 + n)).collect();
            writer.handle().propose_and_wait(changes).unwrap();
        }
    });
    let single = links / 20;
    report("single creates from 16 threads, fsynced", single, || {
        let next = AtomicU64::new(links);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while next.load(Ordering::Relaxed) < links + single {
                        let change = create(next.fetch_add(1, Ordering::Relaxed));
                        writer.handle().propose_and_wait(vec![change]).unwrap();
                    }
                });
            }
        });
    });
    let head = writer.handle().commit().head.position.seq;
    let mut replica = Replica::open(&dir.join("replica"), Contents::Serve, &StoreOptions::default()).unwrap();
    report("replica, frames of up to 4 MiB, reading the journal included", head.0, || {
        let journal = writer.journal();
        let mut next = Seq(1);
        while next <= head {
            let frame = frame(&journal, next);
            next = replica.apply(&frame).unwrap().head.position.seq.next();
        }
    });
    let commit = writer.handle().commit();
    replica.check(commit.head.position, commit.head.digest, Some(commit.serve_sum)).unwrap();
    drop((writer, replica));
    let links = links + single;
    for (what, part) in [("writer, its whole journal kept", "writer"), ("replica", "replica")] {
        let bytes = bytes_in(&dir.join(part));
        println!("{what}: {bytes} bytes on disk, {:.1} a link", bytes as f64 / links as f64);
    }
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(
            |entry| {
                if entry.path().is_dir() { bytes_in(&entry.path()) } else { entry.metadata().unwrap().len() }
            },
        )
        .sum()
}

fn create(n: u64) -> Change {
    a_writer::create(n, format!("https://www.example.org/articles/{n}/a-title-of-common-length?ref=feed"))
}

fn frame(journal: &dyn JournalRead, from: Seq) -> Vec<u8> {
    let entries = journal.read(from, FRAME_BYTES_MAX).unwrap();
    let mut frame = FrameWriter::new();
    for entry in &entries {
        let record = entry.view().unwrap();
        frame.push(&FrameRecord {
            header: record.header,
            position: record.position,
            conflict: entry.conflict,
            serve: Section::Full(record.serve),
            manage: Section::Hash(SectionHash::of(record.manage)),
        });
    }
    frame.finish(entries.last().unwrap().digest)
}

fn report(what: &str, count: u64, work: impl FnOnce()) {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    work();
    let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let (rate, each) = (count as f64 / wall, cpu * 1e6 / count as f64);
    println!("{what}: {count} in {wall:.2} s, {rate:.0}/s, {each:.2} µs CPU each");
}

/// User and system time of the process so far, from `/proc/self/stat` (proc(5): fields 14 and 15, in clock ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
