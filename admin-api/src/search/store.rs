//! The index on disk: opened, written, committed with its mark, thrown away.
//!
//! It is never the truth. A folder that cannot be used, for whatever reason, is emptied.

use std::path::Path;

use tantivy::directory::MmapDirectory;
use tantivy::error::DataCorruption;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::store::Compressor;
use tantivy::{
    Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError,
};

use super::document::{Fields, schema};
use super::mark::Mark;

/// From so many links on a segment is not merged with others: a merge writes so many, times eight, at most.
const MERGED_LINKS_MAX: usize = 500_000;
/// From this share of links on that were taken out of it a segment is written anew.
const TAKEN_OUT_MAX: f32 = 0.3;
/// Bytes of a block of keys: one is read for each link that is shown.
const BLOCK_BYTES: usize = 4096;
/// Blocks of keys that a segment keeps at hand.
const BLOCKS_CACHED: usize = 64;

/// An index that is open.
pub struct Store {
    /// Its fields.
    pub fields: Fields,
    /// How far it has come, as of what was written, committed or not.
    pub mark: Mark,
    writer: IndexWriter,
    reader: IndexReader,
}

impl Store {
    /// Opens what is in a folder, or makes an empty index with this mark if there is none or it is of another version.
    ///
    /// # Errors
    /// The folder cannot be used; whoever is told so empties it.
    pub fn open(dir: &Path, memory_bytes: usize, or: Mark) -> Result<Store, TantivyError> {
        std::fs::create_dir_all(dir).map_err(|error| TantivyError::IoError(std::sync::Arc::new(error)))?;
        let (schema, fields) = schema();
        let directory = MmapDirectory::open(dir)?;
        let settings = IndexSettings {
            docstore_compression: Compressor::None,
            docstore_compress_dedicated_thread: false,
            docstore_blocksize: BLOCK_BYTES,
            ..IndexSettings::default()
        };
        let index = match Index::exists(&directory)? {
            true => Index::open(directory)?,
            false => Index::create(directory, schema.clone(), settings)?,
        };
        // What is read later comes from mapped memory, unchecked.
        if let Some(file) = index.validate_checksum()?.iter().next() {
            let what = format!("{} has a wrong checksum", file.display());
            return Err(TantivyError::DataCorruption(DataCorruption::comment_only(what)));
        }
        let payload = index.load_metas()?.payload;
        let mark = match payload.map(|payload| payload.parse::<Mark>()) {
            None => or,
            Some(Ok(mark)) if index.schema() == schema => mark,
            Some(_) => {
                return Err(TantivyError::SchemaError("the index is of another version".to_owned()));
            }
        };
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(memory_bytes)
            .build();
        let writer = index.writer_with_options(options)?;
        let mut policy = LogMergePolicy::default();
        policy.set_max_docs_before_merge(MERGED_LINKS_MAX);
        policy.set_del_docs_ratio_before_merge(TAKEN_OUT_MAX);
        writer.set_merge_policy(Box::new(policy));
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(BLOCKS_CACHED)
            .try_into()?;
        Ok(Store { fields, mark, writer, reader })
    }

    /// Adds a link that is not there.
    ///
    /// # Errors
    /// The index has failed.
    pub fn add(&self, document: TantivyDocument) -> Result<(), TantivyError> {
        self.writer.add_document(document).map(drop)
    }

    /// Takes a link out, if it is there.
    pub fn take_out(&self, key: &linklog::Key) {
        self.writer.delete_term(super::terms::id(&self.fields, key));
    }

    /// Makes everything durable, with the mark, and visible to [`Store::searcher`].
    ///
    /// # Errors
    /// The index has failed.
    pub fn commit(&mut self) -> Result<(), TantivyError> {
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&self.mark.to_string());
        commit.commit()?;
        self.reader.reload()
    }

    /// Returns what was committed last.
    pub fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }
}
