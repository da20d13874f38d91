//! Whether a history keeps the contract. Pure: entries in, objections out.
//!
//! | rule | objection |
//! |---|---|
//! | an acknowledged change is in every later state, on the writer and on every proxy that is known to have it | *lost*, *stale* |
//! | a place shows a target only if it was the link's, and not before somebody asked for it | *never its target* |
//! | a place that showed a version shows no earlier one afterwards; a proxy that was killed may until it has caught up | *went back* |
//! | of all who claim an alias exactly one gets it | *two owners*, *refused though free* |
//! | no generated code is given out twice, no request takes effect on two links | *code twice*, *effect twice* |
//! | replicas at one place of the log are equal, to the writer and its standbys too, and none has given up | *replicas differ*, *not following* |
//! | a limited link is followed at most as often as it may be, and ends only when it is used up | *over the limit*, *ended early* |
//! | received ≤ counted ≤ attempted; of what was received in the last moment before a proxy lost its power less may be counted | *clicks* |
//!
//! What is not known is allowed: a request without an answer may have happened, may not have, and may yet.

mod aliases;
mod index;
mod places;
mod sums;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::history::Entry;
use index::Index;

/// Something that contradicts the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Objection {
    /// The rule, as in the table.
    pub rule: &'static str,
    /// What was seen, with everything needed to find it in the history.
    pub seen: String,
}

/// Returns everything in a history that contradicts the contract.
pub fn check(entries: &[Entry]) -> Vec<Objection> {
    let index = Index::of(entries);
    let mut objections = Vec::new();
    places::check(&index, &mut objections);
    aliases::check(&index, &mut objections);
    sums::check(&index, &mut objections);
    objections
}

fn object(objections: &mut Vec<Objection>, rule: &'static str, seen: String) {
    objections.push(Objection { rule, seen });
}
