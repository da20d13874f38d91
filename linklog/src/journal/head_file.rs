//! The HEAD file: how far the journal had got, kept outside the database.
//!
//! RocksDB's log recovery stops silently at the first record it cannot read. That is right for a torn tail, which nobody was told
//! about, and wrong for damage further up. This file tells them apart: it is written after a group is durable, so a journal that
//! opens below it has lost something that was acknowledged.
//!
//! ```text
//!  0  8 bytes  "SPHEAD" 0 1          24  16 bytes  digest
//!  8  u32      epoch                 40  u64       when, ms since the Unix epoch
//! 12  u32      zero                  48  12 bytes  zero
//! 16  u64      seq                   60  u32       CRC-32C of the 60 bytes before
//! ```
//! Two copies of these 64 bytes, at 0 and 4096, are written in turn: a write torn by a power cut spoils one of them. The file is
//! fsynced lazily, about once a second: after a power cut it may be a little behind, which only makes it less strict.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::codec::Cursor;
use crate::digest::Digest;
use crate::position::{Head, Position};

const MAGIC: [u8; 8] = *b"SPHEAD\0\x01";
const COPY_BYTES: usize = 64;
const COPIES_AT: [u64; 2] = [0, 4096];
const FILE_BYTES: u64 = COPIES_AT[1] + COPY_BYTES as u64;

/// Why a HEAD file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeadFileError {
    /// It cannot be opened, read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Neither copy has a valid checksum.
    #[error(
        "{path} is damaged in both its copies, so it cannot be told whether the journal beside it is complete. Compare the journal's \
         head with what the followers have applied; if none is ahead, remove the file and start again"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
}

/// An open HEAD file.
#[derive(Debug)]
pub struct HeadFile {
    file: Backing,
    path: PathBuf,
    next_copy: usize,
    unsynced: bool,
}

/// What the bytes lie in.
#[derive(Debug)]
enum Backing {
    File(File),
    #[cfg(feature = "simulation")]
    Simulated(crate::simulated::Opened),
}

impl Backing {
    /// Opens the file, making an empty one if there is none, and returns what is in it.
    fn open(path: &Path) -> Result<(Backing, Vec<u8>), HeadFileError> {
        #[cfg(feature = "simulation")]
        if let Some(disk) = crate::simulated::mounted(path) {
            let file = disk.file(path);
            let bytes = file.bytes();
            return Ok((Backing::Simulated(file), bytes));
        }
        let io_error = |action| move |source| HeadFileError::Io { action, path: path.to_owned(), source };
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(io_error("open"))?;
        if is_new && let Some(dir) = path.parent() {
            // Without this a power cut could take the name away and leave the journal without its witness.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("fsync the directory of"))?;
        }
        let len = file.metadata().map_err(io_error("read"))?.len().min(FILE_BYTES);
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).map_err(io_error("read"))?;
        Ok((Backing::File(file), bytes))
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self {
            Backing::File(file) => file.write_all_at(bytes, at),
            #[cfg(feature = "simulation")]
            Backing::Simulated(file) => file
                .write_at(bytes, at as usize)
                .then_some(())
                .ok_or_else(|| io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self {
            Backing::File(file) => file.sync_data(),
            #[cfg(feature = "simulation")]
            Backing::Simulated(file) => {
                file.sync_file().then_some(()).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}

impl HeadFile {
    /// Opens the file, making an empty one if there is none, and returns the furthest head it knows ([`Head::EMPTY`] if none).
    ///
    /// # Errors
    /// I/O errors; a file in which neither copy is valid.
    pub fn open(path: &Path) -> Result<(HeadFile, Head), HeadFileError> {
        let (file, bytes) = Backing::open(path)?;
        let copies = COPIES_AT.map(|at| decode(bytes.get(at as usize..)?.first_chunk()?));
        if !bytes.is_empty() && copies == [None, None] {
            return Err(HeadFileError::Damaged { path: path.to_owned() });
        }
        let seq = |copy: &Option<Head>| copy.map(|head| head.position);
        let newest = usize::from(seq(&copies[1]) > seq(&copies[0]));
        let head = copies[newest].unwrap_or(Head::EMPTY);
        Ok((HeadFile { file, path: path.to_owned(), next_copy: 1 - newest, unsynced: false }, head))
    }

    /// Writes a head that is durable in the journal. Not fsynced.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&mut self, head: &Head, now_ms: u64) -> Result<(), HeadFileError> {
        let written = self.file.write_all_at(&encode(head, now_ms), COPIES_AT[self.next_copy]);
        written.map_err(|source| HeadFileError::Io { action: "write", path: self.path.clone(), source })?;
        self.next_copy = 1 - self.next_copy;
        self.unsynced = true;
        Ok(())
    }

    /// Fsyncs what was written, if anything was.
    ///
    /// # Errors
    /// I/O errors: fatal, like every failed fsync.
    pub fn sync(&mut self) -> Result<(), HeadFileError> {
        if std::mem::take(&mut self.unsynced) {
            let synced = self.file.sync_data();
            synced.map_err(|source| HeadFileError::Io {
                action: "fsync",
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

fn encode(head: &Head, now_ms: u64) -> [u8; COPY_BYTES] {
    let mut bytes = [0u8; COPY_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&head.position.epoch.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.position.seq.0.to_le_bytes());
    bytes[24..40].copy_from_slice(&head.digest.to_bytes());
    bytes[40..48].copy_from_slice(&now_ms.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; COPY_BYTES]) -> Option<Head> {
    let (body, checksum) = bytes.split_at(60);
    if !bytes.starts_with(&MAGIC) || crc32c::crc32c(body).to_le_bytes() != *checksum {
        return None;
    }
    let mut cursor = Cursor::new(&body[8..]);
    let epoch = cursor.u32("epoch").ok()?;
    cursor.u32("zero").ok()?;
    let seq = cursor.u64("seq").ok()?;
    let digest = cursor.array("digest").ok()?;
    Some(Head { position: Position::new(epoch, seq), digest: Digest::from_bytes(digest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64) -> Head {
        Head { position: Position::new(3, seq), digest: Digest::from_bytes([seq as u8; 16]) }
    }

    #[test]
    fn the_last_head_written_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("HEAD");
        for seq in 1..6 {
            let (mut file, before) = HeadFile::open(&path).unwrap();
            assert_eq!(before, if seq == 1 { Head::EMPTY } else { head(seq - 1) });
            file.write(&head(seq), 7).unwrap();
            file.sync().unwrap();
        }
    }

    #[test]
    fn one_torn_copy_leaves_the_other_and_two_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("HEAD");
        let (mut file, _) = HeadFile::open(&path).unwrap();
        file.write(&head(1), 7).unwrap();
        file.write(&head(2), 7).unwrap();
        let newest = COPIES_AT[1 - file.next_copy];
        file.file.write_all_at(b"torn", newest + 20).unwrap();
        assert_eq!(HeadFile::open(&path).unwrap().1, head(1));
        file.file.write_all_at(b"torn", 4096 - newest + 20).unwrap();
        assert!(matches!(HeadFile::open(&path), Err(HeadFileError::Damaged { .. })));
    }
}
