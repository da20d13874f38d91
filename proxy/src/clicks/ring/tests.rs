//! The ring under `shuttle`, which tries the interleavings, and against a queue; and arbitrary words in its place.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use shuttle::sync::atomic::AtomicU64 as ModelledU64;

use super::*;

const SECRET: u64 = 0x8000_5eed_0000_1234;

struct Words<W>(Vec<W>);

impl<W: Word> Memory for Arc<Words<W>> {
    type Word = W;

    fn words(&self) -> &[W] {
        &self.0
    }
}

impl Word for ModelledU64 {
    fn get(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    fn set(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }
}

fn memory(data_words: usize) -> Arc<Words<AtomicU64>> {
    Arc::new(Words((0..CONTROL_WORDS + data_words).map(|_| AtomicU64::new(0)).collect()))
}

/// The `n`th content: its number first, and a length of its own.
fn content(n: u64, words: usize) -> Vec<u8> {
    let mut content = vec![n as u8; 8 * words.clamp(1, RECORD_BYTES_MAX / 8)];
    content[..8].copy_from_slice(&n.to_le_bytes());
    content
}

fn read_all<M: Memory>(reader: &mut Reader<M>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut room = [0; RECORD_BYTES_MAX];
    loop {
        match reader.read(&mut room) {
            Found::Record(content) => all.push(content.to_vec()),
            Found::Nothing => return all,
            other => panic!("{other:?} after {} records", all.len()),
        }
    }
}

/// What a schedule of writing and reading comes to: everything that was appended is read, in order, and nothing else.
fn write_and_read<W: Word + Send + Sync + 'static>(memory: Arc<Words<W>>, records: u64) {
    let (writing, reading) = (Arc::clone(&memory), Arc::clone(&memory));
    let writer = shuttle::thread::spawn(move || {
        let writer = Writer::new(writing, SECRET);
        (0..records)
            .filter(|n| writer.append(&content(*n, RECORD_BYTES_MAX / 8 - (*n % 3) as usize)))
            .collect()
    });
    let mut reader = Reader::new(reading, SECRET, 0);
    let mut read = Vec::new();
    for pass in 0..4 {
        read.extend(read_all(&mut reader));
        // Now and then what was read is not taken over yet, as when a commit fails.
        if pass != 1 {
            reader.take_over(reader.place());
        }
        shuttle::thread::yield_now();
    }
    let appended: Vec<u64> = writer.join().unwrap();
    read.extend(read_all(&mut reader));
    let numbers: Vec<u64> =
        read.iter().map(|content| u64::from_le_bytes(*content.first_chunk().unwrap())).collect();
    assert_eq!(numbers, appended);
    assert_eq!(reader.dropped(), records - appended.len() as u64);
    for (content_read, n) in read.iter().zip(&appended) {
        assert_eq!(*content_read, content(*n, RECORD_BYTES_MAX / 8 - (*n % 3) as usize));
    }
}

/// Words of which only a few are tried in all orders: the stamps and the control words decide, the rest is what they guard.
#[test]
fn whatever_the_interleaving_all_that_was_appended_is_read_in_order() {
    let run = || {
        let words = (0..CONTROL_WORDS + DATA_WORDS_MIN).map(|_| ModelledU64::new(0)).collect();
        // More than the ring holds, so that it wraps and is full at times.
        write_and_read(Arc::new(Words(words)), 16);
    };
    shuttle::check_pct(run, 1_500, 3);
    shuttle::check_random(run, 1_500);
}

#[test]
fn a_full_ring_drops_and_counts_and_goes_on_when_there_is_room() {
    let memory = memory(DATA_WORDS_MIN);
    let writer = Writer::new(Arc::clone(&memory), SECRET);
    let mut reader = Reader::new(memory, SECRET, 0);
    let appended = (0..100).filter(|n| writer.append(&content(*n, 64))).count();
    assert_eq!(appended, DATA_WORDS_MIN / 66);
    assert_eq!(reader.dropped(), 100 - appended as u64);
    assert!(reader.is_half_full());
    assert_eq!(read_all(&mut reader).len(), appended);
    // Read is not taken over.
    assert!(!writer.append(&content(100, 64)));
    reader.take_over(reader.place());
    assert!(writer.append(&content(101, 64)) && !reader.is_half_full());
    assert_eq!(read_all(&mut reader), [content(101, 64)]);
}

#[test]
fn what_was_read_and_not_taken_over_is_read_again() {
    let memory = memory(DATA_WORDS_MIN);
    let writer = Writer::new(Arc::clone(&memory), SECRET);
    assert!((0..5).all(|n| writer.append(&content(n, 3))));
    let mut reader = Reader::new(Arc::clone(&memory), SECRET, 0);
    assert_eq!(read_all(&mut reader).len(), 5);
    let mut again = Reader::new(Arc::clone(&memory), SECRET, 0);
    assert_eq!(read_all(&mut again).len(), 5);
    again.take_over(again.place());
    // A cursor that is behind what was taken over comes from an old copy of a ledger.
    assert_eq!(read_all(&mut Reader::new(memory, SECRET, 0)).len(), 0);
}

#[test]
fn a_record_that_was_not_finished_is_not_there_and_a_damaged_one_is_passed_over() {
    let memory = memory(DATA_WORDS_MIN);
    let writer = Writer::new(Arc::clone(&memory), SECRET);
    assert!((0..3).all(|n| writer.append(&content(n, 4))));
    let data = data_words(&memory.0);
    data[6 + 3].fetch_xor(1, Ordering::Relaxed);
    data[12].store(0, Ordering::Relaxed);
    let mut reader = Reader::new(Arc::clone(&memory), SECRET, 0);
    let mut room = [0; RECORD_BYTES_MAX];
    assert_eq!(reader.read(&mut room), Found::Record(&content(0, 4)));
    assert_eq!(reader.read(&mut room), Found::Damaged);
    assert_eq!(reader.read(&mut room), Found::Nothing);
    data[12].store(stamp(12, 1, SECRET), Ordering::Relaxed);
    assert_eq!(reader.read(&mut room), Found::Broken);
    assert!(reader.skip_to_written());
    assert_eq!((reader.place(), reader.read(&mut room)), (18, Found::Nothing));
    assert!(!reader.skip_to_written());
}

#[test]
fn bytes_that_look_like_a_record_of_another_place_or_without_the_secret_are_none() {
    let memory = memory(DATA_WORDS_MIN);
    let content = content(7, 4);
    for (stamp, checksum) in [
        (stamp(DATA_WORDS_MIN as u64, 6, SECRET), checksum(&content, DATA_WORDS_MIN as u64, SECRET)),
        (stamp(0, 6, 0), checksum(&content, 0, 0)),
        (0, 0),
    ] {
        let data = data_words(&memory.0);
        data[0].store(stamp, Ordering::Relaxed);
        data[1].store(checksum, Ordering::Relaxed);
        for (word, bytes) in data[2..].iter().zip(content.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        let mut reader = Reader::new(Arc::clone(&memory), SECRET, 0);
        assert_eq!(reader.read(&mut [0; RECORD_BYTES_MAX]), Found::Nothing);
    }
}

#[test]
fn a_ring_in_a_file_is_found_again_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ring");
    let header = file::Header { id: [5; 16], secret: SECRET, boot: [6; 16] };
    let ring = file::RingFile::create(&path, DATA_WORDS_MIN, header).unwrap();
    let writer = Writer::new(ring, SECRET);
    assert!((0..9).all(|n| writer.append(&content(n, 5))));
    // Nothing is closed or flushed before it is opened again, as after a kill.
    let ring = file::RingFile::open(&path).unwrap();
    assert_eq!(ring.header(), header);
    let mut reader = Reader::new(Arc::clone(&ring), ring.header().secret, 7);
    assert_eq!(read_all(&mut reader), (1..9).map(|n| content(n, 5)).collect::<Vec<_>>());
    assert_eq!(
        file::RingFile::create(&path, DATA_WORDS_MIN, header).unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_ring_is_a_bounded_queue(steps in proptest::collection::vec((0..6u8, 1..90usize), 1..200)) {
        let memory = memory(DATA_WORDS_MIN);
        let writer = Writer::new(Arc::clone(&memory), SECRET);
        let mut reader = Reader::new(Arc::clone(&memory), SECRET, 0);
        let (mut queue, mut n, mut dropped) = (VecDeque::new(), 0, 0);
        let mut room = [0; RECORD_BYTES_MAX];
        for (step, words) in steps {
            match step {
                0..4 => {
                    n += 1;
                    if writer.append(&content(n, words)) {
                        queue.push_back(content(n, words));
                    } else {
                        dropped += 1;
                    }
                }
                4 => match queue.pop_front() {
                    Some(expected) => prop_assert_eq!(reader.read(&mut room), Found::Record(&expected)),
                    None => prop_assert_eq!(reader.read(&mut room), Found::Nothing),
                },
                _ => reader.take_over(reader.place()),
            }
        }
        prop_assert_eq!(reader.dropped(), dropped);
        prop_assert_eq!(read_all(&mut reader), Vec::from(queue));
    }

    #[test]
    fn any_words_are_read_without_harm(
        noise in proptest::collection::vec((0..DATA_WORDS_MIN, any::<u64>(), 0..4u8), 0..60),
        records in 0..40u64, place: u64, near in 0..3u64,
    ) {
        let memory = memory(DATA_WORDS_MIN);
        let writer = Writer::new(Arc::clone(&memory), SECRET);
        for n in 0..records {
            writer.append(&content(n, 9));
        }
        for (at, value, kind) in noise {
            // Noise that gets past the first checks: the right place with any kind and length.
            let value = if kind > 0 { stamp(at as u64, value & 0xff, SECRET) | (value & IS_FILLER) } else { value };
            data_words(&memory.0)[at].store(value, Ordering::Relaxed);
        }
        let place = if near > 0 { place % DATA_WORDS_MIN as u64 } else { place };
        let mut reader = Reader::new(Arc::clone(&memory), SECRET, place);
        let mut room = [0; RECORD_BYTES_MAX];
        for _ in 0..10_000 {
            match reader.read(&mut room) {
                Found::Record(content) => drop(super::super::record::Click::decode(content)),
                Found::Damaged => {}
                Found::Broken if reader.skip_to_written() => {}
                Found::Broken | Found::Nothing => return Ok(()),
            }
        }
        prop_assert!(false, "no end");
    }

    #[test]
    fn any_file_is_opened_or_refused(
        words in proptest::collection::vec((0..12usize, any::<u64>()), 0..6), bytes in 0..20_000u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ring");
        let header = file::Header { id: [5; 16], secret: SECRET, boot: [6; 16] };
        let ring = file::RingFile::create(&path, DATA_WORDS_MIN, header).unwrap();
        for (at, value) in &words {
            ring.words()[*at].store(*value, Ordering::Relaxed);
        }
        drop(ring);
        if bytes % 2 == 0 {
            std::fs::File::options().write(true).open(&path).unwrap().set_len(bytes).unwrap();
        }
        if let Ok(ring) = file::RingFile::open(&path) {
            read_all(&mut Reader::new(Arc::clone(&ring), ring.header().secret, 0));
        }
    }
}
