//! A ring's memory as a file: reserved, mapped, and still there when its process was killed.
//!
//! All of it is allocated before it is mapped, so that writing to it cannot fail for lack of space, which would end the process
//! (SIGBUS, mmap(2)). On tmpfs nothing is ever written to a disk behind a worker's back. Whether a folder is on one is
//! [`super::super::ring_dir`]'s to say.
//!
//! | word | what |
//! |---|---|
//! | 0 | `SPclicks` |
//! | 1 | level of the format, 1 |
//! | 2 | words of data |
//! | 3, 4 | the ring's id, random |
//! | 5 | the ring's secret, random |
//! | 6, 7 | the boot it was made in |
//! | 8 | xxh3 of the above |
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clicklog::ledger::RingId;
use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FallocateFlags, fallocate};
use xxhash_rust::xxh3::xxh3_64;

use super::{CONTROL_WORDS, DATA_WORDS_MIN, Memory};

const MAGIC: u64 = u64::from_le_bytes(*b"SPclicks");
const LEVEL: u64 = 1;
/// Words of the header, its checksum not included.
const HEADER_WORDS: usize = 8;
/// Largest ring that is opened: more is not ours.
const BYTES_MAX: u64 = 1 << 40;

/// A mapped ring.
#[derive(Debug)]
pub struct RingFile {
    map: MmapRaw,
    words: usize,
    header: Header,
    path: PathBuf,
}

/// What tells a ring from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its name.
    pub id: RingId,
    /// What its stamps are hidden by.
    pub secret: u64,
    /// The boot of the machine it was made in.
    pub boot: [u8; 16],
}

impl RingFile {
    /// Makes a ring with `data_words` of room.
    ///
    /// # Errors
    /// The file cannot be made, reserved or mapped.
    ///
    /// # Panics
    /// If `data_words` is no power of two or too small.
    pub fn create(path: &Path, data_words: usize, header: Header) -> io::Result<Arc<RingFile>> {
        assert!(data_words.is_power_of_two() && data_words >= DATA_WORDS_MIN, "{data_words} words");
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let words = CONTROL_WORDS + data_words;
        fallocate(&file, FallocateFlags::empty(), 0, words as i64 * 8)?;
        let ring = RingFile { map: map(&file, words)?, words, header, path: path.to_owned() };
        let fields = header.fields(data_words as u64);
        for (word, field) in ring.words().iter().zip(fields.into_iter().chain([sum(&fields)])) {
            word.store(field, Ordering::Relaxed);
        }
        Ok(Arc::new(ring))
    }

    /// Opens a ring that is there.
    ///
    /// # Errors
    /// It cannot be read or mapped, or is none ([`io::ErrorKind::InvalidData`]).
    pub fn open(path: &Path) -> io::Result<Arc<RingFile>> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a ring of this version");
        let file = File::options().read(true).write(true).open(path)?;
        let bytes = file.metadata()?.len();
        let least = (CONTROL_WORDS + DATA_WORDS_MIN) as u64 * 8;
        if !bytes.is_multiple_of(8) || !(least..=BYTES_MAX).contains(&bytes) {
            return Err(invalid());
        }
        // A file with holes would end the process when it is written to and there is no room.
        fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes as i64)?;
        let words = bytes as usize / 8;
        let mut ring = RingFile {
            map: map(&file, words)?,
            words,
            header: Header { id: [0; 16], secret: 0, boot: [0; 16] },
            path: path.to_owned(),
        };
        let fields: [u64; HEADER_WORDS] = std::array::from_fn(|at| ring.words()[at].load(Ordering::Relaxed));
        let is_sound = ring.words()[HEADER_WORDS].load(Ordering::Relaxed) == sum(&fields);
        let [MAGIC, LEVEL, data_words, id0, id1, secret, boot0, boot1] = fields else {
            return Err(invalid());
        };
        if !is_sound || !data_words.is_power_of_two() || data_words != (words - CONTROL_WORDS) as u64 {
            return Err(invalid());
        }
        ring.header = Header { id: joined(id0, id1), secret, boot: joined(boot0, boot1) };
        Ok(Arc::new(ring))
    }

    /// What tells it from others.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Memory for Arc<RingFile> {
    type Word = AtomicU64;

    #[inline]
    fn words(&self) -> &[AtomicU64] {
        RingFile::words(self)
    }
}

impl RingFile {
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is `words` × 8 bytes long, starts at a page, and lives as long as `self`; an AtomicU64 is laid out as a
        // u64, any bytes are one, and all access by this process is through these atomics. Another process can change the bytes
        // only as it could change any value here: readers take none of them on trust.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.words) }
    }
}

/// Maps a file that is at least that long, its pages present: the first lap costs no page faults.
fn map(file: &File, words: usize) -> io::Result<MmapRaw> {
    MmapOptions::new().len(words * 8).populate().map_raw(file)
}

impl Header {
    fn fields(&self, data_words: u64) -> [u64; HEADER_WORDS] {
        let [id0, id1] = split(self.id);
        let [boot0, boot1] = split(self.boot);
        [MAGIC, LEVEL, data_words, id0, id1, self.secret, boot0, boot1]
    }
}

fn sum(fields: &[u64; HEADER_WORDS]) -> u64 {
    let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

fn split(bytes: [u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(bytes);
    [both as u64, (both >> 64) as u64]
}

fn joined(low: u64, high: u64) -> [u8; 16] {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}
