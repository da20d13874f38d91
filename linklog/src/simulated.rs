//! A disk in memory that forgets what was not synced: what a log stands on when it is run on virtual time.
//!
//! A directory under [`mount`] holds no files. Databases and HEAD files opened there are tables and bytes in memory, with the order of writes
//! that a disk keeps: a synced write makes everything before it in the same database durable, [`Disk::crash`] takes back any number of
//! the last writes that are not. Everything above — codec, digests, apply, writer, standby, replica — is what ships.
//!
//! Invariants: a batch is there whole or not at all, as RocksDB's log gives it; what was opened before a crash reads and writes nothing
//! afterwards, like a process that is gone.
//!
//! `folders`: names, and files that are written as a whole. Deliberately not here: lists and the cache of blocks, which go around the tables.

mod folders;
mod rows;

pub(crate) use rows::{PartRows, put_rows};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

use parking_lot::{Mutex, RwLock};
use rocksdb::{ColumnFamily, DB, Env, Options, WriteBatch, WriteBatchIteratorCf};

/// Keys and values of one table.
type Table = BTreeMap<Vec<u8>, Vec<u8>>;
/// Keys and values, copied.
type Rows = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Disks by the directory they are mounted at.
static MOUNTED: LazyLock<RwLock<BTreeMap<PathBuf, Disk>>> = LazyLock::new(RwLock::default);

/// Mounts an empty disk at a directory, in the place of one that is there.
pub fn mount(dir: &Path) -> Disk {
    let disk = Disk::default();
    MOUNTED.write().insert(dir.to_owned(), disk.clone());
    disk
}

/// Forgets the disk at a directory.
pub fn unmount(dir: &Path) {
    MOUNTED.write().remove(dir);
}

/// Finds the disk that a path lies on.
pub(crate) fn mounted(path: &Path) -> Option<Disk> {
    let mounted = MOUNTED.read();
    path.ancestors().find_map(|dir| mounted.get(dir)).cloned()
}

/// A disk in memory; clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    databases: BTreeMap<PathBuf, Database>,
    files: BTreeMap<PathBuf, Bytes>,
    /// Rises with every crash: what was opened before is gone.
    life: u64,
    /// Writes that still succeed; `None`: all of them.
    writes_left: Option<u64>,
    /// Nothing is ever durable.
    lies: bool,
}

#[derive(Default)]
struct Database {
    tables: BTreeMap<u32, Table>,
    /// How to take back the writes that are not durable, the oldest first.
    unsynced: Vec<Vec<Undo>>,
}

struct Undo {
    table: u32,
    key: Vec<u8>,
    before: Option<Vec<u8>>,
}

#[derive(Default)]
struct Bytes {
    now: Vec<u8>,
    /// What there was before each write that is not durable. A file grows with its bytes, never before them.
    unsynced: Vec<Vec<u8>>,
}

impl Disk {
    /// Ends everything that has this disk open and takes back writes that were not synced: `choose(n)` says how many of the last `n` writes
    /// of a database or a file are lost, 0 to `n`. A process that is killed loses none.
    pub fn crash(&self, mut choose: impl FnMut(usize) -> usize) {
        let mut contents = self.0.lock();
        contents.life += 1;
        contents.writes_left = None;
        for database in contents.databases.values_mut() {
            let lost = choose(database.unsynced.len()).min(database.unsynced.len());
            let kept = database.unsynced.len() - lost;
            for undo in
                database.unsynced.split_off(kept).into_iter().rev().flat_map(|batch| batch.into_iter().rev())
            {
                let table = database.tables.entry(undo.table).or_default();
                match undo.before {
                    Some(before) => drop(table.insert(undo.key, before)),
                    None => drop(table.remove(&undo.key)),
                }
            }
            database.unsynced.clear();
        }
        for file in contents.files.values_mut() {
            let lost = choose(file.unsynced.len()).min(file.unsynced.len());
            let kept = file.unsynced.len() - lost;
            if let Some(before) = file.unsynced.split_off(kept).into_iter().next() {
                file.now = before;
            }
            file.unsynced.clear();
        }
    }

    /// Lets so many more writes succeed and fails all that follow, until the next crash.
    pub fn fail_after(&self, writes: u64) {
        self.0.lock().writes_left = Some(writes);
    }

    /// Forgets everything: a new disk in the place of this one.
    pub fn wipe(&self) {
        let mut contents = self.0.lock();
        let life = contents.life + 1;
        *contents = Contents { life, ..Contents::default() };
    }

    /// Has every fsync from now on return at once with nothing done.
    pub fn lie_about_sync(&self) {
        self.0.lock().lies = true;
    }

    /// Loses a row of a table of the database in `dir`, as no disk should.
    pub fn lose_row(&self, dir: &Path, table: &'static str, key: &[u8]) {
        if let Some(database) = self.0.lock().databases.get_mut(dir)
            && let Some(rows) = database.tables.get_mut(&id_of(table))
        {
            rows.remove(key);
        }
    }

    /// Says whether a write may take place.
    fn allow(contents: &mut Contents, life: u64) -> bool {
        if contents.life != life {
            return false;
        }
        match &mut contents.writes_left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    pub(crate) fn has_database(&self, path: &Path) -> bool {
        self.0.lock().databases.contains_key(path)
    }

    pub(crate) fn database(&self, path: &Path) -> Opened {
        let mut contents = self.0.lock();
        contents.databases.entry(path.to_owned()).or_default();
        Opened { disk: self.clone(), path: path.to_owned(), life: contents.life }
    }

    pub(crate) fn file(&self, path: &Path) -> Opened {
        let mut contents = self.0.lock();
        contents.files.entry(path.to_owned()).or_default();
        Opened { disk: self.clone(), path: path.to_owned(), life: contents.life }
    }
}

/// An open database or file.
#[derive(Clone)]
pub(crate) struct Opened {
    disk: Disk,
    path: PathBuf,
    life: u64,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "simulated {}", self.path.display())
    }
}

impl Opened {
    fn with<T>(&self, read: impl FnOnce(&Database) -> T) -> Result<T, rocksdb::Error> {
        let contents = self.disk.0.lock();
        match contents.databases.get(&self.path) {
            Some(database) if contents.life == self.life => Ok(read(database)),
            _ => Err(gone()),
        }
    }

    pub(crate) fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        self.with(|database| database.tables.get(&id_of(table)).and_then(|table| table.get(key).cloned()))
    }

    /// Returns the rows from `from` to below `below`.
    pub(crate) fn rows(
        &self,
        table: &str,
        from: &[u8],
        below: Option<&[u8]>,
    ) -> Result<Rows, rocksdb::Error> {
        self.with(|database| {
            let rows = database.tables.get(&id_of(table)).map(|table| table.range(from.to_vec()..));
            let rows = rows
                .into_iter()
                .flatten()
                .take_while(|(key, _)| below.is_none_or(|below| key.as_slice() < below));
            rows.map(|(key, value)| (key.as_slice().into(), value.as_slice().into())).collect()
        })
    }

    pub(crate) fn write(&self, batch: &WriteBatch, sync: bool) -> Result<(), rocksdb::Error> {
        let mut contents = self.disk.0.lock();
        if !Disk::allow(&mut contents, self.life) {
            return Err(gone());
        }
        let lies = contents.lies;
        let database = contents.databases.get_mut(&self.path).ok_or_else(gone)?;
        let mut applying = Applying { database, undo: Vec::new() };
        batch.iterate_cf(&mut applying);
        let undo = applying.undo;
        database.unsynced.push(undo);
        if sync && !lies {
            database.unsynced.clear();
        }
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), rocksdb::Error> {
        self.write(&WriteBatch::default(), true)
    }

    /// Reads all of a file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.disk.0.lock().files.get(&self.path).map(|file| file.now.clone()).unwrap_or_default()
    }

    /// Writes into a file; false: the disk is gone.
    pub(crate) fn write_at(&self, bytes: &[u8], at: usize) -> bool {
        let mut contents = self.disk.0.lock();
        if !Disk::allow(&mut contents, self.life) {
            return false;
        }
        let Some(file) = contents.files.get_mut(&self.path) else { return false };
        file.unsynced.push(file.now.clone());
        if file.now.len() < at + bytes.len() {
            file.now.resize(at + bytes.len(), 0);
        }
        file.now[at..at + bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Makes what was written into a file durable; false: the disk is gone.
    pub(crate) fn sync_file(&self) -> bool {
        let mut contents = self.disk.0.lock();
        if !Disk::allow(&mut contents, self.life) {
            return false;
        }
        let lies = contents.lies;
        contents.files.get_mut(&self.path).is_some_and(|file| {
            if !lies {
                file.unsynced.clear();
            }
            true
        })
    }
}

struct Applying<'a> {
    database: &'a mut Database,
    undo: Vec<Undo>,
}

impl Applying<'_> {
    fn set(&mut self, id: u32, key: &[u8], value: Option<&[u8]>) {
        let table = self.database.tables.entry(id).or_default();
        let before = match value {
            Some(value) => table.insert(key.to_vec(), value.to_vec()),
            None => table.remove(key),
        };
        self.undo.push(Undo { table: id, key: key.to_vec(), before });
    }
}

impl WriteBatchIteratorCf for Applying<'_> {
    fn put_cf(&mut self, id: u32, key: &[u8], value: &[u8]) {
        self.set(id, key, Some(value));
    }

    fn delete_cf(&mut self, id: u32, key: &[u8]) {
        self.set(id, key, None);
    }

    fn merge_cf(&mut self, _: u32, _: &[u8], _: &[u8]) {
        debug_assert!(false, "no table merges");
    }
}

/// One empty database that lends its tables' names to batches: a batch knows a table by the number it has in some database.
struct Names {
    database: DB,
    ids: BTreeMap<&'static str, u32>,
}

fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| {
        let env = Env::mem_env().expect("memory is there");
        let mut options = Options::default();
        options.set_env(&env);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        let tables = crate::store::every_table();
        let database = DB::open_cf(&options, "/names", &tables).expect("a database in memory opens");
        let id_of = |name: &&'static str| (*name, probe(database.cf_handle(name).expect("opened with it")));
        let ids = tables.iter().map(id_of).collect();
        Names { database, ids }
    })
}

/// Finds a table's number by what a batch says of it.
fn probe(table: &ColumnFamily) -> u32 {
    struct Found(u32);
    impl WriteBatchIteratorCf for Found {
        fn put_cf(&mut self, id: u32, _: &[u8], _: &[u8]) {
            self.0 = id;
        }
        fn delete_cf(&mut self, _: u32, _: &[u8]) {}
        fn merge_cf(&mut self, _: u32, _: &[u8], _: &[u8]) {}
    }
    let mut batch = WriteBatch::default();
    batch.put_cf(table, [], []);
    let mut found = Found(0);
    batch.iterate_cf(&mut found);
    found.0
}

fn id_of(table: &str) -> u32 {
    names().ids.get(table).copied().expect("every table has a number")
}

/// The database that has nothing in it but the names of tables.
pub(crate) fn nameless() -> &'static DB {
    &names().database
}

/// What a process reads that is gone.
fn gone() -> rocksdb::Error {
    static GONE: OnceLock<rocksdb::Error> = OnceLock::new();
    let provoke = || DB::open_for_read_only(&Options::default(), "/dev/null/at/all", false).err();
    GONE.get_or_init(|| provoke().expect("nothing can be there or be made there")).clone()
}
