//! What earlier requests with the same key have decided: those orders need neither a code nor the writer.

use linklog::store::{Reader, StoreError};
use linklog::{Position, Seq};

use super::{Made, Work};
use crate::links::ChangeError;
use crate::links::idempotency::IdempotencyKey;
use crate::links::order::Order;

impl Work<'_> {
    /// Settles what earlier requests with the same key have decided, without needing codes or asking the writer.
    pub(super) async fn replay(&mut self) -> Result<(), ChangeError> {
        let Some((key, hash)) = self.request.key else { return Ok(()) };
        let asked =
            |order: &&Order| Asked { alias: order.alias.is_some(), external: order.names_external(1) };
        let asked: Vec<_> = self.request.orders.iter().map(asked).collect();
        let found = self.links.log.read(move |reader| replay_all(reader, &key, hash, &asked)).await??;
        let mut found = found.into_iter();
        let caller = self.request.caller;
        self.open.retain_mut(|open| match found.next() {
            Some(Earlier::Decided { made, position }) => {
                self.made[open.index] = Some(made.seen_by(caller));
                self.last = self.last.max(position);
                false
            }
            Some(Earlier::Undecided { attempt }) => {
                open.attempt = attempt;
                true
            }
            None => true,
        });
        Ok(())
    }
}

/// What names an order asks for.
struct Asked {
    alias: bool,
    external: bool,
}

/// What earlier requests with the same key have decided about an order.
enum Earlier {
    Decided { made: Made, position: Position },
    Undecided { attempt: usize },
}

fn replay_all(
    reader: &Reader,
    key: &IdempotencyKey,
    hash: [u8; 16],
    asked: &[Asked],
) -> Result<Vec<Earlier>, ChangeError> {
    let mut all = Vec::with_capacity(asked.len());
    for (index, asked) in asked.iter().enumerate() {
        let mut attempt = 0;
        all.push(loop {
            let Some(outcome) = reader.outcome(key.command(index, attempt))? else {
                break Earlier::Undecided { attempt };
            };
            if outcome.request_hash != hash {
                return Err(ChangeError::KeyReused);
            }
            let position = outcome.position;
            match outcome.conflict {
                None => break Earlier::Decided { made: made_at(reader, position)?, position },
                Some(1) if asked.external => {
                    break Earlier::Decided { made: Made::ExternalIdTaken, position };
                }
                Some(_) if asked.alias => break Earlier::Decided { made: Made::AliasTaken, position },
                Some(_) => attempt += 1,
            }
        });
    }
    Ok(all)
}

/// Returns the link that a record made, as it is now.
pub(super) fn made_at(reader: &Reader, position: Position) -> Result<Made, StoreError> {
    let after = Seq(position.seq.0 + 1);
    let newest = reader.links_by_age(Some(after), 1)?;
    let Some(row) = newest.first().filter(|row| row.created_seq == position.seq) else {
        return Ok(Made::Gone);
    };
    let link = reader.link(&row.key)?.filter(|link| link.stamp.created == position);
    Ok(link.map_or(Made::Gone, |link| Made::Replayed(Box::new((row.key, link)))))
}
