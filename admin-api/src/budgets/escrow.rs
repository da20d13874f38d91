//! What becomes of a member's budget when it gets clicks, says what it did with them, or loses the memory they were in. Pure.

use linklog::Position;
use linklog::entity::Budget;
use linklog::link::extras::Limit;

/// What a member's report makes of its budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reported {
    /// The report is of another budget, or of another memory: nothing changes.
    Other,
    /// More is gone than was granted: it cannot be.
    Impossible,
    /// The budget from now on, which may be as before.
    Known(Budget),
}

/// Clicks that are spent, burned, or in somebody's hands.
pub fn taken<'a>(limit: &Limit, budgets: impl Iterator<Item = &'a Budget>) -> u64 {
    let granted = budgets.map(|budget| budget.granted - budget.returned).sum::<u64>();
    limit.used.saturating_add(limit.burned).saturating_add(granted)
}

/// A member's budget with so many more clicks; `None`: it has as many at hand, or what another memory held is to be burned first.
pub fn granted(old: Option<Budget>, created: Position, holder: [u8; 16], clicks: u64) -> Option<Budget> {
    let own = old.filter(|old| old.created == created).unwrap_or_else(|| Budget::none(created, holder));
    if own.at_hand() >= clicks || own.holder != holder && own.at_hand() > 0 {
        return None;
    }
    Some(Budget { holder, granted: own.granted + clicks, ..own })
}

/// Takes note of what a memory has spent and given back. Both only ever grow, so a late or repeated report changes nothing.
pub fn reported(budget: &Budget, created: Position, holder: [u8; 16], spent: u64, returned: u64) -> Reported {
    if budget.created != created || budget.holder != holder {
        return Reported::Other;
    }
    let new = Budget { spent: budget.spent.max(spent), returned: budget.returned.max(returned), ..*budget };
    let gone = new.spent.checked_add(new.returned).and_then(|gone| gone.checked_add(new.burned));
    if gone.is_none_or(|gone| gone > new.granted) { Reported::Impossible } else { Reported::Known(new) }
}

/// A budget after all that is at hand of it is burned; from then on it is in the memory `holder`, if one is named.
pub fn burned(budget: &Budget, holder: Option<[u8; 16]>) -> Budget {
    let holder = holder.unwrap_or(budget.holder);
    Budget { burned: budget.burned + budget.at_hand(), holder, ..*budget }
}

/// How many clicks to grant at once: half an even share of what is left, so that what one member holds and does not need is never
/// most of it, and at least one.
pub fn share(left: u64, members: u64) -> u64 {
    (left / (2 * members.max(1))).max(1).min(left)
}
