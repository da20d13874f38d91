//! What is left after the process ends at any instant: codes may be lost, none may come twice.
//!
//! A copy of the directory is what `kill -9` leaves behind at that instant. Cutting bytes off the end of the copy's log is
//! what a power cut can do to writes that were not acknowledged yet.

use rocksdb::WriteBatch;

use super::*;
use crate::codeset::Place;

/// Copies a pool's directory.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("pool")).unwrap();
    for part in ["", "pool"] {
        for entry in fs::read_dir(from.join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() && entry.file_name() != "LOCK" {
                fs::copy(entry.path(), to.path().join(part).join(entry.file_name())).unwrap();
            }
        }
    }
    to
}

/// The log that is being written, and its length.
fn log(dir: &Path) -> (std::path::PathBuf, u64) {
    let files = fs::read_dir(dir.join("pool")).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let log = logs.max_by_key(|path| path.file_name().map(ToOwned::to_owned)).unwrap();
    let length = fs::metadata(&log).unwrap().len();
    (log, length)
}

fn cut(dir: &Path, length: u64) {
    fs::File::options().write(true).open(log(dir).0).unwrap().set_len(length).unwrap();
}

fn overwrite(dir: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(log(dir).0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
}

/// Opens what is left and checks that it is in order; returns the codes it would lease.
fn what_is_left(dir: &Path) -> Vec<Code7> {
    let supply = open(dir);
    let waiting = supply.pool.lock().waiting();
    let stock: Vec<Code7> = supply.store().stock(waiting).collect();
    let mut places: Vec<Place> = stock.iter().map(|code| Place::of(*code)).collect();
    places.sort_unstable();
    let mut taken = Vec::new();
    supply.store().sweep_taken().find(&places, &mut taken).unwrap();
    assert_eq!(taken, places, "every waiting code is taken");
    for lease in supply.store().leases().unwrap() {
        assert!(lease.serials.end <= supply.pool.lock().waiting().start, "what was leased does not wait");
    }
    add(&supply, 1_000);
    lease_all(&supply, 1 << 50)
}

#[test]
fn a_kill_between_any_two_operations_loses_no_lease_and_repeats_no_code() {
    let (dir, supply) = new_pool();
    let mut leased: Vec<Code7> = Vec::new();
    let mut marked: Vec<Code7> = Vec::new();
    for step in 0..12 {
        match step % 4 {
            0 => drop(add(&supply, 5_000)),
            2 => {
                let soon: Vec<Code7> =
                    supply.store().stock(supply.pool.lock().waiting()).step_by(400).collect();
                supply.mark_used(&soon).unwrap();
                marked.extend(soon);
            }
            _ => leased.extend(lease(&supply, step, 1_700)),
        }
        let left = copy(dir.path());
        let after = what_is_left(left.path());
        assert!(distinct(&[leased.clone(), after.clone()].concat()), "step {step}");
        assert!(after.iter().all(|code| !marked.contains(code)), "step {step}");
        let again = open(copy(left.path()).path());
        if let Some(codes) = leased.get(..1_700) {
            assert_eq!(lease(&again, 1, 1_700), codes, "the first lease is remembered at step {step}");
        }
    }
}

#[test]
fn codes_that_were_taken_and_not_stocked_are_burned() {
    let (dir, supply) = new_pool();
    add(&supply, 1_000);
    // The first half of adding a batch, and then the end.
    let codes: Vec<Code7> = (1..2_000).map(|value| Code7::new(value * 7_777_777).unwrap()).collect();
    let refused = supply.take(&mut supply.adding.lock(), &codes).unwrap();
    let left = copy(dir.path());
    let supply = open(left.path());
    let burned = codes.len() as u64 - refused.len() as u64;
    assert_eq!((supply.unused(), supply.stats().used), (1_000, burned));
    assert_eq!(supply.mark_used(&codes).unwrap(), 0, "they are taken");
    assert!(lease_all(&supply, 1).iter().all(|code| !codes.contains(code)));
}

#[test]
fn a_log_cut_anywhere_leaves_a_pool_in_order() {
    let (dir, supply) = new_pool();
    add(&supply, 300);
    let first = lease(&supply, 1, 100);
    let (_, acknowledged) = log(dir.path());
    supply.mark_used(&[supply.store().stock(200..201).next().unwrap()]).unwrap();
    lease(&supply, 2, 120);
    add(&supply, 300);
    let (_, end) = log(dir.path());
    drop(supply);
    let whole = copy(dir.path());
    assert!(end > acknowledged);
    for length in (acknowledged..=end).step_by(97).chain([acknowledged, end]) {
        let left = copy(whole.path());
        cut(left.path(), length);
        assert_eq!(
            lease(&open(left.path()), 1, 100),
            first,
            "cut at {length}: what was acknowledged is there"
        );
        assert!(distinct(&[first.clone(), what_is_left(left.path())].concat()), "cut at {length}");
    }
}

#[test]
fn holes_in_what_was_not_synced_are_where_the_log_ends() {
    let (dir, supply) = new_pool();
    add(&supply, 300);
    let first = lease(&supply, 1, 100);
    supply.put_head().unwrap();
    let (_, acknowledged) = log(dir.path());
    add(&supply, 20_000);
    let (_, end) = log(dir.path());
    // Pages reach the disk in any order: one of them is missing, the ones behind it are there.
    for page in (acknowledged.next_multiple_of(4_096)..end - 4_096).step_by(4_096) {
        let left = copy(dir.path());
        overwrite(left.path(), page, &[0; 4_096]);
        assert_eq!(
            lease(&open(left.path()), 1, 100),
            first,
            "page at {page}: what was acknowledged is there"
        );
        assert!(distinct(&[first.clone(), what_is_left(left.path())].concat()), "page at {page}");
    }
}

#[test]
fn a_database_that_has_lost_leases_is_refused_and_can_be_restored() {
    let (dir, supply) = new_pool();
    add(&supply, 300);
    let leased = lease(&supply, 1, 100);
    let (_, middle) = log(dir.path());
    let lost = lease(&supply, 2, 100);
    add(&supply, 300);
    supply.put_head().unwrap();
    let left = copy(dir.path());
    drop(supply);
    overwrite(left.path(), middle + 20, &[0xff]);
    let error = open_as(left.path(), &config("0-4095", 0)).unwrap_err().to_string();
    assert!(error.contains("is older than it was: lease 2 was given, and it knows 1"), "{error}");
    assert!(error.contains("signpost-keypool restored"), "{error}");
    restore(left.path()).unwrap();
    let supply = open(left.path());
    assert_eq!(supply.unused(), 0);
    add(&supply, 1_000);
    let after = lease_all(&supply, 3);
    assert!(
        distinct(&[leased, lost, after].concat()),
        "what was leased after the damage is not leased again"
    );
}

#[test]
fn an_older_copy_put_in_place_of_the_database_is_refused() {
    let (dir, supply) = new_pool();
    add(&supply, 300);
    lease(&supply, 1, 100);
    let older = copy(dir.path());
    lease(&supply, 2, 100);
    supply.put_head().unwrap();
    drop(supply);
    fs::copy(dir.path().join("head"), older.path().join("head")).unwrap();
    let error = open_as(older.path(), &config("0-4095", 0)).unwrap_err().to_string();
    assert!(error.contains("lease 2 was given, and it knows 1"), "{error}");
    fs::write(older.path().join("head"), "nonsense").unwrap();
    let error = open_as(older.path(), &config("0-4095", 0)).unwrap_err().to_string();
    assert!(error.contains("is damaged: it is no head file"), "{error}");
    restore(older.path()).unwrap();
    assert_eq!(open(older.path()).unused(), 0);
}

#[test]
fn a_failed_write_stops_the_pool_for_good() {
    let (_dir, supply) = new_pool();
    add(&supply, 100);
    // A batch that RocksDB refuses: its family is unknown to this database.
    let other_dir = tempfile::tempdir().unwrap();
    let other = open(other_dir.path());
    drop(other);
    let mut bytes = WriteBatch::default().data().to_vec();
    // One record: put into family 200, key and value empty (write_batch.cc).
    bytes[8] = 1;
    bytes.extend_from_slice(&[0x5, 200, 1, 0, 0]);
    assert!(supply.commit(WriteBatch::from_data(&bytes)).is_err());
    assert!(supply.failed().is_cancelled());
    assert!(supply.failure().unwrap().contains("cannot write to the database"));
    assert!(supply.metrics().is_stopped());
    assert!(matches!(supply.lease(&request(1, 1)), Err(LeaseError::Stopped(Stopped))));
    assert!(matches!(supply.mark_used(&[Code7::new(1).unwrap()]), Err(MarkError::Stopped(Stopped))));
    assert!(matches!(supply.add(1, 0, &mut SystemEntropy), Err(AddError::Stopped(Stopped))));
}
