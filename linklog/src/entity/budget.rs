//! What a member may spend of a link that ends with a number of clicks.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};
use crate::position::{Epoch, Position, Seq};

/// A member's share of a link's clicks. Every number only ever grows; what is at hand is what was granted less all the others.
///
/// `serve` body, with format level 2: 1 created (u32 epoch, u64 seq, big-endian) · 2 holder (16 bytes) · 3 granted · 4 spent · 5 returned ·
/// 6 burned (varints).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Where the link was made that it belongs to: another link under the same code has nothing to do with it.
    pub created: Position,
    /// Which memory holds it: a member that has lost its own is another holder.
    pub holder: [u8; 16],
    /// How many clicks it ever got.
    pub granted: u64,
    /// How many redirects it is known to have answered, or to have been about to.
    pub spent: u64,
    /// How many it gave back.
    pub returned: u64,
    /// How many went with a memory that was lost.
    pub burned: u64,
}

impl Budget {
    /// A share of nothing.
    pub const fn none(created: Position, holder: [u8; 16]) -> Budget {
        Budget { created, holder, granted: 0, spent: 0, returned: 0, burned: 0 }
    }

    /// What may still be spent of it, as far as it is known here.
    pub const fn at_hand(&self) -> u64 {
        self.granted - self.spent - self.returned - self.burned
    }

    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut fields = FieldWriter::new(&mut out);
        let mut created = [0; 12];
        created[..4].copy_from_slice(&self.created.epoch.0.to_be_bytes());
        created[4..].copy_from_slice(&self.created.seq.0.to_be_bytes());
        fields.bytes(1, &created);
        fields.bytes(2, &self.holder);
        fields.varint(3, self.granted);
        fields.varint(4, self.spent);
        fields.varint(5, self.returned);
        fields.varint(6, self.burned);
        out
    }

    /// Reads a `serve` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Budget, DecodeError> {
        let at = body.offset();
        let mut fields = FieldReader::new(body);
        let created = fields.array::<12>(1, "created")?;
        let (epoch, seq) = created.split_first_chunk::<4>().ok_or(DecodeError::invalid(at, "created"))?;
        let seq = <[u8; 8]>::try_from(seq).map_err(|_| DecodeError::invalid(at, "created"))?;
        let created =
            Position { epoch: Epoch(u32::from_be_bytes(*epoch)), seq: Seq(u64::from_be_bytes(seq)) };
        let budget = Budget {
            created,
            holder: fields.array::<16>(2, "holder")?,
            granted: fields.varint(3, "granted")?,
            spent: fields.varint(4, "spent")?,
            returned: fields.varint(5, "returned")?,
            burned: fields.varint(6, "burned")?,
        };
        fields.finish()?;
        let gone = budget.spent.checked_add(budget.returned).and_then(|gone| gone.checked_add(budget.burned));
        match gone {
            Some(gone) if gone <= budget.granted => Ok(budget),
            _ => Err(DecodeError::invalid(at, "budget")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_budget_is_read_back_and_more_gone_than_granted_is_refused() {
        let budget = Budget {
            granted: 9,
            spent: 4,
            returned: 2,
            burned: 1,
            ..Budget::none(Position::new(3, 7), [5; 16])
        };
        assert_eq!(Budget::decode(Cursor::new(&budget.encode())).unwrap(), budget);
        assert_eq!(budget.at_hand(), 2);
        for wrong in [Budget { granted: 6, ..budget }, Budget { spent: u64::MAX, ..budget }] {
            assert!(Budget::decode(Cursor::new(&wrong.encode())).is_err());
        }
    }
}
