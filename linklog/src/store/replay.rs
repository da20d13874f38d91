//! One record's effect on the state: the only way state ever changes.
//!
//! The writer replays what it has just encoded, followers what they received. Both therefore read the bytes before they trust them.

use super::outcome::{self, Outcome};
use super::state::{Bodies, StateBatch};
use super::{Store, StoreError};
use crate::apply::{self, Conflict, Effect, NewStamps, Rule};
use crate::codec::record::{ManageSection, PartView, ServeSection};
use crate::key::StateKey;
use crate::limits::PARTS_MAX;
use crate::position::Position;

impl From<&PartView<'_>> for Rule {
    fn from(part: &PartView<'_>) -> Rule {
        Rule {
            precondition: part.precondition,
            effect: if part.is_put { Effect::Put } else { Effect::Delete },
        }
    }
}

/// Applies the record at `position` to `batch`. Without a manage section only the served parts are looked at.
///
/// The inner result is the outcome: on a conflict nothing but the outcome itself is recorded.
pub(crate) fn replay(
    store: &Store,
    batch: &mut StateBatch<'_>,
    position: Position,
    serve: &ServeSection<'_>,
    manage: Option<&ManageSection<'_>>,
) -> Result<Result<NewStamps, Conflict>, StoreError> {
    let parts = manage.map_or(&serve.parts, |manage| &manage.parts);
    let keys = decoded_keys(parts)?;
    let mut current = [None; PARTS_MAX];
    for ((part, key), current) in parts.iter().zip(&keys).zip(&mut current) {
        *current = batch.stamp(part.key, key.visibility())?;
    }
    let rules: Vec<Rule> = parts.iter().map(Rule::from).collect();
    let result = apply::evaluate(&rules, &current[..parts.len()], position);
    if let Ok(stamps) = &result {
        for ((part, key), stamp) in parts.iter().zip(&keys).zip(stamps) {
            if let Some(stamp) = stamp {
                let served = serve.parts.iter().find(|served| served.index == part.index);
                let bodies = Bodies {
                    serve: served.map_or(&[], |served| served.body),
                    manage: if manage.is_some() { part.body } else { &[] },
                };
                batch.set(key, part.key, position, stamp, bodies)?;
            }
        }
    }
    if let Some((manage, id)) = manage.and_then(|manage| Some((manage, manage.command?))) {
        let conflict = result.err().map(|conflict| conflict.part as u8);
        let outcome = Outcome { position, conflict, request_hash: manage.request_hash, at_ms: serve.at_ms };
        outcome::put(store, &mut batch.batch, id, &outcome);
    }
    Ok(result)
}

fn decoded_keys(parts: &[PartView<'_>]) -> Result<Vec<StateKey>, StoreError> {
    let decode = |part: &PartView<'_>| {
        StateKey::decode(part.key).map_err(|_| StoreError::Damaged {
            what: "key in a record",
            source: crate::DecodeError::invalid(0, "key"),
        })
    };
    parts.iter().map(decode).collect()
}
