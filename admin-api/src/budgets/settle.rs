//! What comes back from members: clicks that were spent, given back or lost with a memory, and the end of a budget of which nothing is left.

use std::time::Duration;

use linklog::entity::{Budget, Quota};
use linklog::{Allowance, Operation, Part, Position, Precondition};

use super::book::{Book, Record, Row};
use super::escrow::{self, Reported};
use super::{Budgets, CLOSED_AT_ONCE, Of, TRIES_MAX, Told, part};
use crate::clock;
use crate::links::ChangeError;

/// How long a wish is remembered: whoever still wants it says so again.
const WISH_KEPT: Duration = Duration::from_secs(1);

impl Budgets {
    /// Takes note of what a member has spent and given back; false: it cannot have.
    pub(super) async fn report(
        &self,
        of: &Of,
        holder: [u8; 16],
        spent: u64,
        returned: u64,
    ) -> Result<bool, ChangeError> {
        let _turn = self.turn(&of.what).await;
        for _ in 0..TRIES_MAX {
            let book = self.book(of.what).await?;
            let Some(row) = book.row(&of.member) else { return Ok(true) };
            let new = match escrow::reported(&row.budget, of.created, holder, spent, returned) {
                Reported::Other => return Ok(true),
                Reported::Impossible => return Ok(false),
                Reported::Known(new) => new,
            };
            if book.label != Some(of.created) {
                // The link is gone, or the period over: so is the budget.
                if self.propose(vec![part(&of.what, &of.member, Some(row), Operation::Delete)]).await? {
                    self.note(&of.what, &of.member, 0);
                    return Ok(true);
                }
            } else if self.keeps_in_mind(of, &book, row, &new) {
                return Ok(true);
            } else if new == row.written || self.put(&of.what, &of.member, Some(row), new).await? {
                self.serve_wishes(of.what, of.created).await?;
                return Ok(true);
            }
        }
        Err(ChangeError::Contended)
    }

    /// Takes note of what a member has spent of a quota without a record; false: it takes one, because something can be granted again or
    /// all of it is used up.
    fn keeps_in_mind(&self, of: &Of, book: &Book, row: &Row, new: &Budget) -> bool {
        let Allowance::Quota(_) = of.what else { return false };
        let told = Told { label: of.created, holder: new.holder, spent: new.spent };
        self.0.state.lock().told.insert((of.what, of.member.clone()), told);
        new.returned == row.budget.returned && (new.at_hand() > 0 || book.left() > 0)
    }

    /// Grants what members want of a link, now that something has come back. In its turn.
    async fn serve_wishes(&self, what: Allowance, created: Position) -> Result<(), ChangeError> {
        let wishes = self.0.state.lock().wishes.remove(&what).unwrap_or_default();
        for (member, at) in wishes {
            if at.elapsed() < WISH_KEPT {
                self.grant(&Of { what, created, member }).await?;
            }
        }
        let book = self.book(what).await?;
        if book.limit().is_some() && book.left() == 0 && book.at_large() == 0 {
            self.close(what).await?;
        }
        Ok(())
    }

    /// Adds budgets of which nothing is at hand to the link itself or to the quota, and removes them: from then on it says by itself that it
    /// is used up. In its turn.
    pub(super) async fn close(&self, of: Allowance) -> Result<(), ChangeError> {
        for _ in 0..TRIES_MAX {
            let book = self.book(of).await?;
            let (Some(record), Some(mut limit)) = (&book.record, book.limit()) else { return Ok(()) };
            let closed: Vec<&Row> =
                book.rows().filter(|row| row.budget.at_hand() == 0).take(CLOSED_AT_ONCE).collect();
            if closed.is_empty() {
                return Ok(());
            }
            for row in &closed {
                limit.used += row.budget.spent;
                limit.burned += row.budget.burned;
            }
            let (serve, manage, version) = match record {
                Record::Link(stored) => {
                    let mut link = stored.link.clone();
                    link.extras.limit = Some(limit.noticed(clock::now_ms()));
                    (link.encode(), stored.manage.encode(), stored.stamp.version)
                }
                Record::Quota { quota, version } => {
                    let start_s = book.label.map_or(quota.start_s, |label| label.seq.0);
                    let quota = Quota { start_s, used: limit.used, burned: limit.burned, ..*quota };
                    (quota.encode(), Vec::new(), *version)
                }
            };
            let operation = Operation::Put { serve, manage };
            let mut parts =
                vec![Part { key: of.state_key(), precondition: Precondition::Version(version), operation }];
            parts.extend(closed.iter().map(|row| part(&of, &row.member, Some(row), Operation::Delete)));
            self.propose(parts).await?;
        }
        Ok(())
    }

    /// Burns what other memories of a member than `holder` have at hand, or all of it; returns how much.
    pub(super) async fn burn(&self, member: &str, holder: Option<[u8; 16]>) -> Result<u64, ChangeError> {
        let links: Vec<Allowance> =
            self.0.state.lock().at_large.get(member).into_iter().flatten().copied().collect();
        let mut burned = 0;
        for what in links {
            let _turn = self.turn(&what).await;
            for _ in 0..TRIES_MAX {
                let book = self.book(what).await?;
                let Some(row) = book.row(member).filter(|row| Some(row.budget.holder) != holder) else {
                    break;
                };
                let at_hand = row.budget.at_hand();
                let new = escrow::burned(&row.budget, holder);
                if matches!(what, Allowance::Quota(_)) && book.label != Some(row.budget.created) {
                    // Its period is over: nobody misses it.
                    self.note(&what, member, 0);
                    break;
                }
                if at_hand == 0 || self.put(&what, member, Some(row), new).await? {
                    burned += at_hand;
                    self.serve_wishes(what, row.budget.created).await?;
                    break;
                }
            }
        }
        self.0.counts.burned.inc_by(burned);
        Ok(burned)
    }

    /// Burns whatever a member that was forgotten has at hand; returns how much.
    ///
    /// # Errors
    /// The log cannot be read or written.
    pub async fn burn_all(&self, member: &str) -> Result<u64, ChangeError> {
        self.burn(member, None).await
    }
}
