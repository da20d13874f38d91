//! Batches of which the next is prepared, and waits with the writer, while the one before is written: each has its turn.
//!
//! Invariant: what is proposed in a turn is in the log behind what was proposed in the turns before, and nothing is proposed in a turn behind
//! one that ended without having been passed.

use tokio::sync::watch;

/// Turns, one behind the other.
#[derive(Default)]
pub struct Row {
    last: Option<watch::Receiver<bool>>,
}

/// A turn. Dropped before it is passed, it breaks the row: those behind it never come.
pub struct Turn {
    before: Option<watch::Receiver<bool>>,
    passed: watch::Sender<bool>,
}

impl Row {
    /// Returns the turn behind all others.
    pub fn turn(&mut self) -> Turn {
        let (passed, last) = watch::channel(false);
        Turn { before: self.last.replace(last), passed }
    }
}

impl Turn {
    /// Waits until the turn has come; false: it never will.
    pub async fn comes(&self) -> bool {
        match self.before.clone() {
            None => true,
            Some(mut before) => before.wait_for(|passed| *passed).await.is_ok(),
        }
    }

    /// Lets the next one have its turn. To be called when nothing that is proposed in it later has to be before what the next one proposes.
    pub fn pass(&self) {
        self.passed.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_turn_comes_when_the_one_before_was_passed_and_never_behind_one_that_was_not() {
        let mut row = Row::default();
        let (first, second, third, fourth) = (row.turn(), row.turn(), row.turn(), row.turn());
        assert_eq!(first.comes().now_or_never(), Some(true));
        assert_eq!(second.comes().now_or_never(), None);
        first.pass();
        drop(first);
        assert_eq!(second.comes().now_or_never(), Some(true));
        drop(second);
        assert_eq!(third.comes().now_or_never(), Some(false));
        drop(third);
        assert_eq!(fourth.comes().now_or_never(), Some(false));
    }
}
