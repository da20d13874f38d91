//! In which order links are shown, and where one stands in it. Pure.

/// In which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    /// The latest first.
    #[default]
    NewestFirst,
    /// The earliest first.
    OldestFirst,
    /// The most clicked first; among equals the latest.
    MostClicked,
    /// The least clicked first; among equals the earliest.
    LeastClicked,
}

impl Sort {
    /// Every order, at the place of its number in cursors.
    pub const ALL: [Sort; 4] = [Sort::NewestFirst, Sort::OldestFirst, Sort::MostClicked, Sort::LeastClicked];

    /// Says whether clicks matter.
    pub const fn is_by_clicks(self) -> bool {
        matches!(self, Sort::MostClicked | Sort::LeastClicked)
    }

    /// Returns the rank of a link with so many clicks at this place.
    pub const fn rank(self, clicks: u64, place: u128) -> Rank {
        match self {
            Sort::NewestFirst => Rank { clicks: 0, place },
            Sort::OldestFirst => Rank { clicks: 0, place: !place },
            Sort::MostClicked => Rank { clicks, place },
            Sort::LeastClicked => Rank { clicks: !clicks, place: !place },
        }
    }
}

/// Where a link stands in an order: the greater, the earlier it is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    /// By clicks, if they matter.
    pub clicks: u64,
    /// By creation.
    pub place: u128,
}

impl Rank {
    /// Returns the next higher rank there can be.
    pub const fn next_higher(self) -> Rank {
        match self.place.checked_add(1) {
            Some(place) => Rank { place, ..self },
            None => Rank { clicks: self.clicks.saturating_add(1), place: 0 },
        }
    }
}

/// Returns a link's place in the order of creation: the later it was created, the greater.
pub const fn place(created_at_ms: u64, seq: u64) -> u128 {
    (created_at_ms as u128) << 64 | seq as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_first_has_the_greatest_rank() {
        // Clicks and place.
        let links = [(0, place(1, 1)), (9, place(1, 2)), (9, place(2, 3)), (1, place(0, 4))];
        for (sort, expected) in
            Sort::ALL.into_iter().zip([[2, 1, 0, 3], [3, 0, 1, 2], [2, 1, 3, 0], [0, 3, 1, 2]])
        {
            let mut order = [0, 1, 2, 3];
            order.sort_by_key(|at: &usize| std::cmp::Reverse(sort.rank(links[*at].0, links[*at].1)));
            assert_eq!(order, expected, "{sort:?}");
        }
    }
}
