//! The one rule that decides what a change does.
//!
//! The writer, every replica, the tests and the simulator call [`evaluate`]; it reads no clock, no configuration and no disk. It
//! looks at stamps only, so a member that holds a part of the keys can evaluate the conditions on what it holds.

use crate::change::{Operation, Part, Precondition};
use crate::limits::PARTS_MAX;
use crate::position::Position;
use crate::stamp::Stamp;

/// What a part does to its key, without the bodies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It lives.
    Put,
    /// It becomes a tombstone.
    Delete,
}

/// What [`evaluate`] needs to know of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The condition on the key.
    pub precondition: Precondition,
    /// What happens to it.
    pub effect: Effect,
}

impl From<&Part> for Rule {
    fn from(part: &Part) -> Rule {
        let effect = match part.operation {
            Operation::Put { .. } => Effect::Put,
            Operation::Delete => Effect::Delete,
        };
        Rule { precondition: part.precondition, effect }
    }
}

/// A precondition did not hold: the change does nothing at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The first part whose condition failed, from 0.
    pub part: usize,
    /// What its key looks like instead.
    pub found: Option<Stamp>,
}

/// The stamps after a change, by part; `None` where nothing changes (deleting what is not live).
pub type NewStamps = [Option<Stamp>; PARTS_MAX];

/// Decides a change at position `at`, given what its keys look like now.
///
/// # Errors
/// The first part whose precondition fails.
///
/// # Panics
/// If `rules` and `current` differ in length or have more than 8 entries: both come from one decoded change.
pub fn evaluate(rules: &[Rule], current: &[Option<Stamp>], at: Position) -> Result<NewStamps, Conflict> {
    assert_eq!(rules.len(), current.len(), "one current stamp per part");
    let failed = rules.iter().zip(current).position(|(rule, stamp)| !holds(rule.precondition, *stamp));
    if let Some(part) = failed {
        return Err(Conflict { part, found: current[part] });
    }
    let mut new = NewStamps::default();
    for ((rule, stamp), new) in rules.iter().zip(current).zip(&mut new) {
        *new = after(rule.effect, *stamp, at);
    }
    Ok(new)
}

fn holds(precondition: Precondition, current: Option<Stamp>) -> bool {
    match precondition {
        Precondition::Any => true,
        Precondition::Absent => current.is_none_or(|stamp| !stamp.live),
        Precondition::NeverUsed => current.is_none(),
        Precondition::Version(version) => current.is_some_and(|stamp| stamp.live && stamp.version == version),
    }
}

fn after(effect: Effect, current: Option<Stamp>, at: Position) -> Option<Stamp> {
    let version = current.map_or(0, |stamp| stamp.version) + 1;
    let living = current.filter(|stamp| stamp.live);
    match effect {
        Effect::Put => Some(Stamp { live: true, version, created: living.map_or(at, |stamp| stamp.created) }),
        Effect::Delete => living.map(|stamp| Stamp { live: false, version, created: stamp.created }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position::new(2, 9);
    const BORN: Position = Position::new(1, 3);
    const LIVE: Option<Stamp> = Some(Stamp { live: true, version: 4, created: BORN });
    const TOMB: Option<Stamp> = Some(Stamp { live: false, version: 5, created: BORN });

    fn put(precondition: Precondition) -> Rule {
        Rule { precondition, effect: Effect::Put }
    }
    fn delete(precondition: Precondition) -> Rule {
        Rule { precondition, effect: Effect::Delete }
    }

    #[test]
    fn preconditions_hold_exactly_where_the_table_says() {
        use Precondition::{Absent, Any, NeverUsed, Version};
        for (precondition, on_nothing, on_tombstone, on_live) in [
            (Any, true, true, true),
            (Absent, true, true, false),
            (NeverUsed, true, false, false),
            (Version(4), false, false, true),
            (Version(5), false, false, false),
        ] {
            let got =
                [None, TOMB, LIVE].map(|current| evaluate(&[put(precondition)], &[current], AT).is_ok());
            assert_eq!(got, [on_nothing, on_tombstone, on_live], "{precondition:?}");
        }
    }

    #[test]
    fn a_put_creates_or_keeps_the_identity_and_always_raises_the_version() {
        let stamp = |current| evaluate(&[put(Precondition::Any)], &[current], AT).unwrap()[0];
        assert_eq!(stamp(None), Some(Stamp { live: true, version: 1, created: AT }));
        assert_eq!(stamp(LIVE), Some(Stamp { live: true, version: 5, created: BORN }));
        assert_eq!(stamp(TOMB), Some(Stamp { live: true, version: 6, created: AT }));
    }

    #[test]
    fn a_delete_leaves_a_tombstone_and_touches_nothing_that_is_not_live() {
        let stamp = |current| evaluate(&[delete(Precondition::Any)], &[current], AT).unwrap()[0];
        assert_eq!(stamp(LIVE), Some(Stamp { live: false, version: 5, created: BORN }));
        assert_eq!(stamp(TOMB), None);
        assert_eq!(stamp(None), None);
    }

    #[test]
    fn one_failed_part_stops_all_and_is_named() {
        let rules = [put(Precondition::Any), put(Precondition::Absent), put(Precondition::Version(9))];
        assert_eq!(evaluate(&rules, &[None, LIVE, LIVE], AT), Err(Conflict { part: 1, found: LIVE }));
    }
}
