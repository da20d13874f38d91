//! How many guesses of passwords ended how: of the process, of all links together.

use daemon::metrics::Counter;

/// The counts. Shared by the pool and whoever shows them.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) right: Counter,
    pub(super) wrong: Counter,
    pub(super) too_many: Counter,
    pub(super) pool_full: Counter,
    pub(super) late: Counter,
}

impl Counts {
    /// Returns every outcome with how many ended so.
    pub fn all(&self) -> [(&'static str, u64); 5] {
        [
            ("right", self.right.get()),
            ("wrong", self.wrong.get()),
            ("too_many", self.too_many.get()),
            ("pool_full", self.pool_full.get()),
            ("late", self.late.get()),
        ]
    }
}
