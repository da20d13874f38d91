//! What was spent and given back of each budget, in memory that outlives the process: a file on tmpfs, reserved and mapped.
//!
//! Owned here: each step changes one word, so whenever the process is killed the file says what had happened. What it does not outlive is the
//! machine's restart, not even where it lies on a disk, which may hold an older state of it: its name, the holder, is another one then, and
//! the writer burns what the old one had.
//!
//! | word | header | slot |
//! |---|---|---|
//! | 0 | `SPbudget` | length of the key; 0: the slot is free |
//! | 1 | level of the format, 1 | epoch and |
//! | 2 | slots | seq of the link's creation |
//! | 3, 4 | the holder, random | spent, returned |
//! | 5 | xxh3 of the above | from here on the key, 9 words |
//! | 6, 7 | the boot it was made in; 0: unknown | |
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use linklog::Position;
use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FallocateFlags, fallocate};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: u64 = u64::from_le_bytes(*b"SPbudget");
const LEVEL: u64 = 1;
/// Words of the header and of a slot.
const SLOT_WORDS: usize = 16;
const HEADER_FIELDS: usize = 5;
const SPENT: usize = 3;
const RETURNED: usize = 4;
const KEY: usize = 5;
/// Where the header has the boot.
const BOOT: [usize; 2] = [6, 7];
/// Longest key: a domain, a kind and a code of 64 bytes fit.
const KEY_BYTES_MAX: usize = 72;
/// Links whose clicks can be at hand at once: 8 MiB. What is idle is given back within a second.
pub(super) const SLOTS: usize = 65_536;

/// A slot in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    /// Which.
    pub(super) place: usize,
    /// The link's key in the log's encoding.
    pub(super) key: Box<[u8]>,
    /// Where the link was made.
    pub(super) created: Position,
    /// Redirects recorded, ever.
    pub(super) spent: u64,
    /// Clicks given back, ever.
    pub(super) returned: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Slots {
    map: MmapRaw,
    slots: usize,
    holder: Mutex<[u8; 16]>,
    free: Mutex<Vec<usize>>,
}

impl Slots {
    /// Opens the file, or makes a new one with another holder where there is none, none of ours, or one of another boot than `boot`, if both are
    /// known; returns what is in it.
    ///
    /// # Errors
    /// It cannot be made, reserved or mapped.
    pub(super) fn open(path: &Path, slots: usize, boot: [u8; 16]) -> io::Result<(Slots, Vec<Kept>)> {
        match Slots::open_there(path, boot) {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "what was left of limited links' clicks here is lost and will be burned");
            }
        }
        // Under another name first: a file that is there is whole.
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
        let words = (slots + 1) * SLOT_WORDS;
        fallocate(&file, FallocateFlags::empty(), 0, words as i64 * 8)?;
        let holder: [u8; 16] = rand::random();
        let made = Slots::mapped(&file, slots, holder)?;
        let fields = fields_of(slots, holder);
        for (at, field) in fields.into_iter().chain([sum(&fields)]).enumerate() {
            made.word(at).store(field, Ordering::Relaxed);
        }
        made.set_boot(boot);
        fs::rename(&new, path)?;
        Ok((made, Vec::new()))
    }

    fn open_there(path: &Path, boot: [u8; 16]) -> io::Result<Option<(Slots, Vec<Kept>)>> {
        let file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a file of budgets of this version");
        let bytes = file.metadata()?.len();
        let slots = (bytes as usize / (8 * SLOT_WORDS)).checked_sub(1).ok_or_else(invalid)?;
        if bytes != ((slots + 1) * SLOT_WORDS * 8) as u64 || slots > SLOTS {
            return Err(invalid());
        }
        // A file with holes would end the process when it is written to and there is no room.
        fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes as i64)?;
        let mut opened = Slots::mapped(&file, slots, [0; 16])?;
        let fields: [u64; HEADER_FIELDS] = std::array::from_fn(|at| opened.word(at).load(Ordering::Relaxed));
        let [_, _, _, low, high] = fields;
        let holder = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        *opened.holder.get_mut() = holder;
        let is_sound = opened.word(HEADER_FIELDS).load(Ordering::Relaxed) == sum(&fields);
        if !is_sound || fields != fields_of(slots, holder) {
            return Err(invalid());
        }
        let made_in = opened.boot();
        if made_in != boot && made_in != [0; 16] && boot != [0; 16] {
            tracing::warn!(path = %path.display(), "the machine was restarted: what was at hand here of limited links' clicks will be burned");
            return Ok(None);
        }
        opened.set_boot(boot);
        let kept: Vec<Kept> = (0..slots).filter_map(|place| opened.kept(place)).collect();
        opened.free.get_mut().retain(|place| !kept.iter().any(|kept| kept.place == *place));
        Ok(Some((opened, kept)))
    }

    fn mapped(file: &File, slots: usize, holder: [u8; 16]) -> io::Result<Slots> {
        let map = MmapOptions::new().len((slots + 1) * SLOT_WORDS * 8).map_raw(file)?;
        Ok(Slots { map, slots, holder: Mutex::new(holder), free: Mutex::new((0..slots).rev().collect()) })
    }

    fn boot(&self) -> [u8; 16] {
        let [low, high] = BOOT.map(|at| u128::from(self.word(at).load(Ordering::Relaxed)));
        (low | high << 64).to_le_bytes()
    }

    fn set_boot(&self, boot: [u8; 16]) {
        let both = u128::from_le_bytes(boot);
        self.word(BOOT[0]).store(both as u64, Ordering::Relaxed);
        self.word(BOOT[1]).store((both >> 64) as u64, Ordering::Relaxed);
    }

    /// Whose memory it is.
    pub(super) fn holder(&self) -> [u8; 16] {
        *self.holder.lock()
    }

    /// Makes it the memory of somebody else: what was at hand is lost, and the writer burns it. Killed in the middle, it is no file of ours
    /// and the next start makes another one.
    pub(super) fn renew_holder(&self) {
        let mut holder = self.holder.lock();
        *holder = rand::random();
        let fields = fields_of(self.slots, *holder);
        self.word(HEADER_FIELDS).store(0, Ordering::SeqCst);
        for (at, field) in fields.into_iter().chain([sum(&fields)]).enumerate() {
            self.word(at).store(field, Ordering::SeqCst);
        }
    }

    /// Takes a slot for a budget; `None`: there is no room.
    pub(super) fn take(&self, key: &[u8], created: Position, spent: u64, returned: u64) -> Option<usize> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return None;
        }
        let place = self.free.lock().pop()?;
        let set = |at, value| self.slot(place, at).store(value, Ordering::Relaxed);
        set(1, u64::from(created.epoch.0));
        set(2, created.seq.0);
        set(SPENT, spent);
        set(RETURNED, returned);
        for (at, piece) in key.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            set(KEY + at, u64::from_le_bytes(word));
        }
        // From here on it is in use.
        self.slot(place, 0).store(key.len() as u64, Ordering::Release);
        Some(place)
    }

    /// Gives a slot back of which nothing is at hand and everything is told.
    pub(super) fn release(&self, place: usize) {
        self.slot(place, 0).store(0, Ordering::Release);
        self.free.lock().push(place);
    }

    /// Records how much is spent; to be called before a redirect is written.
    pub(super) fn set_spent(&self, place: usize, spent: u64) {
        self.slot(place, SPENT).store(spent, Ordering::Release);
    }

    /// Records how much is given back; to be called before anybody is told.
    pub(super) fn set_returned(&self, place: usize, returned: u64) {
        self.slot(place, RETURNED).store(returned, Ordering::Release);
    }

    fn kept(&self, place: usize) -> Option<Kept> {
        let load = |at| self.slot(place, at).load(Ordering::Acquire);
        let len = usize::try_from(load(0)).ok().filter(|len| (1..=KEY_BYTES_MAX).contains(len))?;
        let key: Vec<u8> =
            (0..len.div_ceil(8)).flat_map(|at| load(KEY + at).to_le_bytes()).take(len).collect();
        let created = Position::new(u32::try_from(load(1)).ok()?, load(2));
        Some(Kept { place, key: key.into(), created, spent: load(SPENT), returned: load(RETURNED) })
    }

    fn slot(&self, place: usize, at: usize) -> &AtomicU64 {
        self.word((place + 1) * SLOT_WORDS + at)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the mapping is (slots + 1) × SLOT_WORDS × 8 bytes long, starts at a page, and lives as long as `self`; an AtomicU64 is
        // laid out as a u64, any bytes are one, and all access by this process is through these atomics. The slice checks `at`.
        let words = unsafe {
            std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), (self.slots + 1) * SLOT_WORDS)
        };
        &words[at]
    }
}

fn fields_of(slots: usize, holder: [u8; 16]) -> [u64; HEADER_FIELDS] {
    let both = u128::from_le_bytes(holder);
    [MAGIC, LEVEL, slots as u64, both as u64, (both >> 64) as u64]
}

fn sum(fields: &[u64; HEADER_FIELDS]) -> u64 {
    let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT_A: [u8; 16] = [1; 16];

    #[test]
    fn what_was_recorded_is_there_when_the_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("budgets");
        let (slots, kept) = Slots::open(&path, 4, BOOT_A).unwrap();
        assert!(kept.is_empty());
        let created = Position::new(3, 1 << 40);
        let long = [7; KEY_BYTES_MAX];
        let (a, b) = (slots.take(b"one", created, 2, 1).unwrap(), slots.take(&long, created, 0, 0).unwrap());
        slots.set_spent(a, 9);
        slots.set_returned(b, 5);
        let gone = slots.take(b"gone", created, 0, 0).unwrap();
        slots.release(gone);
        let holder = slots.holder();
        drop(slots);

        let (slots, mut kept) = Slots::open(&path, 4, BOOT_A).unwrap();
        kept.sort_by_key(|kept| kept.place);
        let one = Kept { place: a, key: b"one"[..].into(), created, spent: 9, returned: 1 };
        let other = Kept { place: b, key: long.into(), created, spent: 0, returned: 5 };
        assert_eq!((slots.holder(), kept), (holder, vec![one, other]));
        // What is in use is not given out again.
        let more = [
            slots.take(b"x", created, 0, 0),
            slots.take(b"y", created, 0, 0),
            slots.take(b"z", created, 0, 0),
        ];
        assert!(more[0].is_some() && more[1].is_some() && more[2].is_none());
        assert!(!more.contains(&Some(a)) && !more.contains(&Some(b)));
    }

    #[test]
    fn a_file_that_is_not_ours_is_replaced_and_has_another_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("budgets");
        let (slots, _) = Slots::open(&path, 4, BOOT_A).unwrap();
        let before = slots.holder();
        slots.word(3).store(1, Ordering::Relaxed);
        drop(slots);
        let (slots, kept) = Slots::open(&path, 4, BOOT_A).unwrap();
        assert!(kept.is_empty() && slots.holder() != before);
    }

    #[test]
    fn a_file_from_before_a_restart_of_the_machine_has_another_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("budgets");
        let open = |boot| {
            let (slots, kept) = Slots::open(&path, 4, boot).unwrap();
            if kept.is_empty() {
                slots.take(b"one", Position::new(1, 7), 2, 1).unwrap();
            }
            (slots.holder(), kept.len())
        };
        // A machine that does not say which boot it is has rings on tmpfs alone.
        let (unknown, _) = open([0; 16]);
        assert_eq!(open([0; 16]), (unknown, 1));
        assert_eq!(open(BOOT_A), (unknown, 1));
        assert_eq!(open(BOOT_A), (unknown, 1));
        let (other, kept) = open([2; 16]);
        assert!(other != unknown && kept == 0);
        assert_eq!(open([2; 16]), (other, 1));
    }
}
