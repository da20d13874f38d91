//! Names and options of the tables.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, DataBlockIndexType,
    Options,
};

use super::{Contents, StoreOptions};

/// Encoded state key → value with the `serve` body (`crate::codec::value`).
pub(crate) const SERVE: &str = "serve";
/// Encoded state key → value with the `manage` body.
pub(crate) const MANAGE: &str = "manage";
/// Seq (u64, big-endian) → outcome, digest, record (`crate::journal`).
pub(crate) const JOURNAL: &str = "journal";
/// Command id → outcome of the command.
pub(crate) const OUTCOMES: &str = "outcomes";
/// Time (u64 ms, big-endian) ‖ command id → nothing: which outcomes are old.
pub(crate) const OUTCOME_TIMES: &str = "outcome_times";
/// Seq of creation (u64, big-endian) ‖ encoded link key → nothing: links by age.
pub(crate) const CREATED: &str = "created";
/// What links are found by, rows without values (`super::index`).
pub(crate) const INDEX: &str = "index";
/// Rows of a journal's owner that are asked for one by one ([`super::RowTable::Points`]).
pub(super) const POINTS: &str = "points";
/// Rows of a journal's owner of which there are few ([`super::RowTable::Few`]).
pub(super) const FEW: &str = "few";
/// Head, epoch, slot sums, journal bounds (`super::meta`).
pub(crate) const META: &str = "meta";

pub(super) fn database_options(options: &StoreOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_max_background_jobs(i32::from(options.background_threads.max(1)));
    db.set_max_open_files(-1);
    db.set_bytes_per_sync(1 << 20);
    db.set_wal_bytes_per_sync(0);
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db.set_track_and_verify_wals_in_manifest(true);
    db.set_paranoid_checks(true);
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(16 << 20);
    db.set_max_total_wal_size(256 << 20);
    db
}

/// The tables of a database, besides `default`, which stays empty.
pub(super) const fn names(contents: Contents) -> &'static [&'static str] {
    match contents {
        Contents::Serve => &[META, SERVE],
        Contents::Journal => &[META, JOURNAL, POINTS, FEW],
        Contents::Full => &[META, SERVE, MANAGE, JOURNAL, OUTCOMES, OUTCOME_TIMES, CREATED, INDEX],
    }
}

pub(super) fn descriptors(contents: Contents, options: &StoreOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_hyper_clock_cache(options.block_cache_bytes, 4096);
    let mut tables = vec![ColumnFamilyDescriptor::new("default", small(&cache))];
    let named = names(contents).iter();
    tables.extend(named.map(|name| ColumnFamilyDescriptor::new(*name, table_options(name, &cache, options))));
    tables
}

/// Returns the options of one table, as files for it are written too.
pub(super) fn table_options(name: &str, cache: &Cache, options: &StoreOptions) -> Options {
    match name {
        SERVE | MANAGE | OUTCOMES | POINTS => point_lookups(cache, options),
        JOURNAL | CREATED => append_only(cache, options),
        INDEX => sorted(cache, options),
        _ => small(cache),
    }
}

/// Random reads of small values, most of them of keys that exist or of keys that never did: whole-key filters for the latter,
/// a hash index in the blocks for the former.
fn point_lookups(cache: &Cache, options: &StoreOptions) -> Options {
    let mut blocks = blocks(cache, 4 << 10);
    // As selective as a Bloom filter of 14 bits a key, in 10: of a flood of unknown keys one in a thousand passes the filter of a
    // file, so that with several levels still fewer than one in a hundred have to be looked for on the disk.
    blocks.set_ribbon_filter(14.0);
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    blocks.set_data_block_hash_ratio(0.75);
    let mut table = Options::default();
    table.set_block_based_table_factory(&blocks);
    table.set_compression_type(DBCompressionType::Lz4);
    table.set_write_buffer_size(options.memtable_bytes);
    table.set_memtable_whole_key_filtering(true);
    table.set_memtable_prefix_bloom_ratio(0.02);
    table.set_level_compaction_dynamic_level_bytes(true);
    table
}

/// Keys only ever rise, reads are scans: files move down whole and are dropped whole.
fn append_only(cache: &Cache, options: &StoreOptions) -> Options {
    let mut table = Options::default();
    table.set_block_based_table_factory(&blocks(cache, 32 << 10));
    table.set_compression_type(DBCompressionType::Lz4);
    table.set_write_buffer_size(options.memtable_bytes);
    table
}

/// Keys anywhere, reads are seeks and short runs.
fn sorted(cache: &Cache, options: &StoreOptions) -> Options {
    let mut table = Options::default();
    table.set_block_based_table_factory(&blocks(cache, 8 << 10));
    table.set_compression_type(DBCompressionType::Lz4);
    table.set_write_buffer_size(options.memtable_bytes);
    table.set_level_compaction_dynamic_level_bytes(true);
    table
}

fn small(cache: &Cache) -> Options {
    let mut table = Options::default();
    table.set_block_based_table_factory(&blocks(cache, 4 << 10));
    table.set_write_buffer_size(8 << 20);
    table
}

fn blocks(cache: &Cache, block_bytes: usize) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(block_bytes);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks
}
