//! The rows of one part, on their way into a file: a sorted table of RocksDB, or on a disk in memory what stands for one.

use std::path::Path;

use rocksdb::{Options, SstFileWriter};

#[cfg(feature = "simulation")]
use crate::simulated::PartRows;

/// A part that is being written.
pub(super) enum PartWriter<'o> {
    Sorted(SstFileWriter<'o>),
    #[cfg(feature = "simulation")]
    Simulated(PartRows),
}

impl<'o> PartWriter<'o> {
    pub(super) fn open(options: &'o Options, path: &Path) -> Result<PartWriter<'o>, rocksdb::Error> {
        #[cfg(feature = "simulation")]
        if let Some(disk) = crate::simulated::mounted(path) {
            return Ok(PartWriter::Simulated(PartRows::new(disk, path)));
        }
        let writer = SstFileWriter::create(options);
        writer.open(path)?;
        Ok(PartWriter::Sorted(writer))
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), rocksdb::Error> {
        match self {
            PartWriter::Sorted(writer) => writer.put(key, value),
            #[cfg(feature = "simulation")]
            PartWriter::Simulated(rows) => {
                rows.put(key, value);
                Ok(())
            }
        }
    }

    pub(super) fn file_size(&mut self) -> u64 {
        match self {
            PartWriter::Sorted(writer) => writer.file_size(),
            #[cfg(feature = "simulation")]
            PartWriter::Simulated(rows) => rows.bytes(),
        }
    }

    /// Ends the file; its bytes are durable.
    pub(super) fn finish(self) -> Result<(), rocksdb::Error> {
        match self {
            PartWriter::Sorted(mut writer) => writer.finish(),
            #[cfg(feature = "simulation")]
            PartWriter::Simulated(rows) => rows.finish(),
        }
    }
}
