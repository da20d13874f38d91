//! Which call fails: the words that the library in the part and this program share.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Mode;

/// The source of the library that makes calls fail.
pub(super) const SOURCE: &str = include_str!("../../shim/fail_nth.c");
/// Bytes of a plan: at, mode, seen, failed.
const PLAN_BYTES: usize = 32;

/// Which call fails.
#[derive(Debug)]
pub(super) struct Plan {
    path: PathBuf,
    file: File,
    mode: u64,
    seen: Cell<u64>,
}

impl Plan {
    /// A plan in which nothing fails.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn make(path: &Path, mode: Mode) -> anyhow::Result<Plan> {
        let made = File::options().create(true).truncate(true).read(true).write(true).open(path);
        let file = made.with_context(|| format!("cannot write {}", path.display()))?;
        let mode = match mode {
            Mode::Eio => 1,
            Mode::Full => 2,
            Mode::Short => 3,
            Mode::Kill => 4,
        };
        let plan = Plan { path: path.canonicalize()?, file, mode, seen: Cell::new(0) };
        plan.file.set_len(PLAN_BYTES as u64)?;
        plan.set(0);
        Ok(plan)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next process's call number `at` fails.
    pub(super) fn fail(&self, at: u64) {
        self.set(at);
    }

    /// Nothing fails any more; what was counted so far stays until the next fault.
    pub(super) fn heal(&self) {
        self.write(0, 0);
        // A process that is started now goes on counting: what belongs to the fault is kept apart.
        self.seen.set(self.read(2));
    }

    /// Calls that counted while the last fault was planned.
    pub(super) fn seen_with_fault(&self) -> u64 {
        self.seen.get()
    }

    /// Calls that the last fault made fail.
    pub(super) fn failed(&self) -> u64 {
        self.read(3)
    }

    fn set(&self, at: u64) {
        for (word, value) in [at, self.mode, 0, 0].into_iter().enumerate() {
            self.write(word as u64, value);
        }
    }

    fn write(&self, word: u64, value: u64) {
        self.file
            .write_all_at(&value.to_ne_bytes(), word * 8)
            .expect("the file is there and as long as that");
    }

    fn read(&self, word: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, word * 8).expect("the file is there and as long as that");
        u64::from_ne_bytes(bytes)
    }
}
