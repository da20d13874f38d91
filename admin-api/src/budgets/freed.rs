//! Budgets of a link that is deleted: gone with it, in the same record.

use linklog::{Allowance, Key, Operation, Part};

use super::{Budgets, Turn, part};
use crate::links::ChangeError;

/// Budgets that one record takes along with a link; it has 8 parts, and what the link's name claims needs some of them. What other members
/// have is deleted when they report it.
const TAKEN_ALONG_MAX: usize = 4;

/// What goes with a link; nobody grants any of it until this is dropped.
pub(crate) struct Freed<'a> {
    /// What belongs into the change that deletes the link.
    pub(crate) parts: Vec<Part>,
    of: Allowance,
    budgets: &'a Budgets,
    _turn: Turn<'a>,
}

impl Budgets {
    /// Prepares that a link with a limit is deleted.
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub(crate) async fn freed_with(&self, key: Key) -> Result<Freed<'_>, ChangeError> {
        let of = Allowance::Link(key);
        let turn = self.turn(&of).await;
        let book = self.book(of).await?;
        let rows = book.all.iter().take(TAKEN_ALONG_MAX);
        let parts = rows.map(|row| part(&of, &row.member, Some(row), Operation::Delete)).collect();
        Ok(Freed { parts, of, budgets: self, _turn: turn })
    }
}

impl Freed<'_> {
    /// The link is deleted: nobody holds anything of it any more.
    pub(crate) fn done(self) {
        let mut state = self.budgets.0.state.lock();
        state.wishes.remove(&self.of);
        for of in state.at_large.values_mut() {
            of.remove(&self.of);
        }
    }
}
