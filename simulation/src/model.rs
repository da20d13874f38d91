//! The state as a plain map: what a journal leads to, worked out a second time and in another way.

use std::collections::BTreeMap;

use linklog::codec::{record, value};
use linklog::journal::Entry;
use linklog::store::Reader;
use linklog::{Position, Precondition};

/// Served bodies of live keys, by their encoded key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Served(pub BTreeMap<Vec<u8>, (Position, u64, Vec<u8>)>);

impl Served {
    /// Replays records, the first one first.
    ///
    /// # Errors
    /// What contradicts itself in them.
    pub fn of_records<'a>(records: impl Iterator<Item = &'a Entry>) -> Result<Served, String> {
        let mut live: BTreeMap<Vec<u8>, (Position, u64, Vec<u8>)> = BTreeMap::new();
        let mut versions: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for entry in records.filter(|entry| !entry.conflict) {
            let view = entry.view().map_err(|error| error.to_string())?;
            let serve = record::read_serve(view.header, view.serve).map_err(|error| error.to_string())?;
            for part in serve.parts {
                let versions = versions.entry(part.key.to_vec()).or_default();
                let holds = match part.precondition {
                    Precondition::Any => true,
                    Precondition::Absent => !live.contains_key(part.key),
                    Precondition::NeverUsed => *versions == 0,
                    Precondition::Version(version) => live.contains_key(part.key) && *versions == version,
                };
                if !holds {
                    return Err(format!(
                        "record {} took effect although a condition of it failed",
                        view.position
                    ));
                }
                match (part.is_put, live.get_mut(part.key)) {
                    (true, Some((_, at, body))) => {
                        *versions += 1;
                        (*at, *body) = (*versions, part.body.to_vec());
                    }
                    (true, None) => {
                        *versions += 1;
                        live.insert(part.key.to_vec(), (view.position, *versions, part.body.to_vec()));
                    }
                    (false, Some(_)) => {
                        *versions += 1;
                        live.remove(part.key);
                    }
                    (false, None) => {}
                }
            }
        }
        Ok(Served(live))
    }

    /// Reads what a replica has.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn of_replica(reader: &Reader) -> Result<Served, String> {
        let mut live = BTreeMap::new();
        let mut bad = None;
        let scanned = reader.scan_served(&[], |key, stored| {
            match value::split(stored) {
                Ok((stamp, _)) if !stamp.live => {}
                Ok((stamp, body)) => {
                    live.insert(key.to_vec(), (stamp.created, stamp.version, body.rest().to_vec()));
                }
                Err(error) => bad = Some(error.to_string()),
            }
            bad.is_none()
        });
        scanned.map_err(|error| error.to_string())?;
        bad.map_or(Ok(Served(live)), Err)
    }
}
