//! What stands for a sorted table on a disk in memory: `u32 length · key · u32 length · value`, row by row.

use std::path::{Path, PathBuf};

use rocksdb::WriteBatch;

use super::{Disk, gone, nameless};
use crate::codec::{Cursor, DecodeError};

/// Rows that are being written into a file.
pub(crate) struct PartRows {
    disk: Disk,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl PartRows {
    pub(crate) fn new(disk: Disk, path: &Path) -> PartRows {
        PartRows { disk, path: path.to_owned(), bytes: Vec::new() }
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        for field in [key, value] {
            self.bytes.extend_from_slice(&(field.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(field);
        }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn finish(self) -> Result<(), rocksdb::Error> {
        self.disk.write_file(&self.path, &self.bytes).map_err(|_| gone())
    }
}

/// Puts the rows of a file into a batch, as rows of a table.
pub(crate) fn put_rows(batch: &mut WriteBatch, table: &str, bytes: &[u8]) -> Result<(), DecodeError> {
    let table = nameless().cf_handle(table).expect("every table has a name");
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_empty() {
        let mut field = || {
            let length = cursor.u32("length of a field")?;
            cursor.bytes(length as usize, "field of a row")
        };
        let (key, value) = (field()?, field()?);
        batch.put_cf(table, key, value);
    }
    Ok(())
}
