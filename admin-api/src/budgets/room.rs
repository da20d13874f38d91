//! Lowering a limit, or taking it off: nothing is granted meanwhile, and members give back what they have at hand.

use std::time::{Duration, Instant};

use linklog::{Allowance, Key};

use super::{Budgets, RECALL_EVERY, Turn};
use crate::links::ChangeError;

/// How long lowering a limit waits for members to give back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(3);

impl Budgets {
    /// Makes sure that no more than `max` clicks of a link are used or in anybody's hands, or at least that none is in anybody's hands:
    /// whoever then lowers its limit in the turn that is returned knows that it holds.
    ///
    /// # Errors
    /// Members do not give back in time, or the log cannot be read.
    pub(crate) async fn make_room(&self, key: Key, max: u64) -> Result<Turn<'_>, ChangeError> {
        let until = Instant::now() + GIVEN_BACK_WITHIN;
        let of = Allowance::Link(key);
        self.0.state.lock().paused.insert(of);
        let _paused = Paused { budgets: self, of };
        loop {
            let turn = self.turn(&of).await;
            let book = self.book(of).await?;
            if book.at_large() == 0 || book.taken() <= max {
                return Ok(turn);
            }
            if Instant::now() >= until {
                let held = book.rows().filter(|row| row.budget.at_hand() > 0);
                return Err(ChangeError::LimitHeld(held.map(|row| row.member.clone()).collect()));
            }
            self.recall(&book, &of, None);
            drop(turn);
            tokio::time::sleep(RECALL_EVERY).await;
        }
    }

    /// As [`Budgets::make_room`], for a limit that is taken off: nobody has any click, and no budget is left.
    ///
    /// # Errors
    /// As [`Budgets::make_room`].
    pub(crate) async fn clear(&self, key: Key) -> Result<Turn<'_>, ChangeError> {
        let turn = self.make_room(key, 0).await?;
        self.close(Allowance::Link(key)).await?;
        Ok(turn)
    }
}

/// Takes the pause back, whatever becomes of the request.
struct Paused<'a> {
    budgets: &'a Budgets,
    of: Allowance,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.budgets.0.state.lock().paused.remove(&self.of);
    }
}
