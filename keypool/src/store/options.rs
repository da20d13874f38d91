//! How RocksDB is set up for this pool, and why.
//!
//! Packed sets and random codes do not compress, so nothing is compressed. There are few, large entries, so no filters
//! either. What competes is the fsync of a lease with the writes of a refill; the sizes keep each of those short.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, MergeOperands,
    Options,
};

use super::{Family, Recovery};
use crate::codeset;

/// Memory for blocks read singly, in bytes: indexes, and the buckets that `MarkUsed` asks for.
const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// Memory in which additions to `taken` gather, in bytes: about 15 million codes.
const TAKEN_BUFFER_BYTES: usize = 64 << 20;
/// The same of `stock`: a refill of 2 million codes.
const STOCK_BUFFER_BYTES: usize = 16 << 20;
/// The same of each small family.
const SMALL_BUFFER_BYTES: usize = 4 << 20;
/// Most bytes in logs, which is what a start after a crash has to read again.
const WAL_BYTES_MAX: u64 = 128 << 20;
/// How much a refill leaves to the kernel before it is asked to begin writing.
const WAL_BYTES_PER_SYNC: u64 = 256 << 10;
/// A block of `taken` holds several buckets: they are read in a sweep.
const TAKEN_BLOCK_BYTES: usize = 32 << 10;
/// RocksDB's own log: pieces, and bytes of each.
const INFO_LOGS_KEPT: usize = 4;
const INFO_LOG_BYTES_MAX: usize = 4 << 20;

pub(super) fn database(recovery: Recovery) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(recovery == Recovery::Strict);
    // A power cut can leave holes in what was not fsynced, and whole records behind them.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_background_jobs(2);
    // Written gradually, so that a lease's fsync never has to wait for the megabytes of a flush or a refill.
    options.set_bytes_per_sync(1 << 20);
    options.set_wal_bytes_per_sync(WAL_BYTES_PER_SYNC);
    options.set_keep_log_file_num(INFO_LOGS_KEPT);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options
}

pub(super) fn families() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), of_family(family, &cache))).into()
}

fn of_family(family: Family, cache: &Cache) -> Options {
    let mut options = Options::default();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    options.set_compression_type(DBCompressionType::None);
    match family {
        Family::Taken => {
            options.set_write_buffer_size(TAKEN_BUFFER_BYTES);
            options.set_merge_operator_associative("signpost.codeset.union", unite);
            table.set_block_size(TAKEN_BLOCK_BYTES);
        }
        Family::Stock => options.set_write_buffer_size(STOCK_BUFFER_BYTES),
        Family::Meta | Family::Leases | Family::Skipped | Family::Quarantine => {
            options.set_write_buffer_size(SMALL_BUFFER_BYTES);
        }
    }
    options.set_block_based_table_factory(&table);
    options
}

/// A damaged value fails the merge: RocksDB then refuses the read, or stops writing.
fn unite(_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    codeset::merge(existing.into_iter().chain(operands)).ok()
}
