//! The bytes of an entry of the writer's click journal.
//!
//! | first byte | what follows |
//! |---|---|
//! | 1 | a batch ([`crate::batch`]) that was counted |
//! | 2 | an introduction: 16 bytes ledger id · varint number of the last batch given up · varint clicks in batches given up · u8 length of the member's name, name |
//!
//! An entry is in the journal if and only if it had an effect, so whoever replays the journal arrives at the same accounts.

use linklog::DecodeError;
use linklog::codec::{Cursor, put_varint};

use crate::batch::{Batch, BatchNumber, LedgerId};

/// Longest name of a member, in bytes.
pub const MEMBER_BYTES_MAX: usize = 63;

/// The level of the records' format that entries are written at: nothing about them has changed since the first.
pub(crate) const ENTRY_LEVEL: u8 = 1;
const BATCH: u8 = 1;
const INTRODUCTION: u8 = 2;

/// What a ledger says about itself when its stream begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    /// Which ledger.
    pub ledger: LedgerId,
    /// Whose it is.
    pub member: String,
    /// The last batch that the ledger does not have any more and that may be missing here; 0: none.
    pub given_up: BatchNumber,
    /// Clicks in batches it had to throw away unacknowledged, over its whole life.
    pub thrown_away: u64,
}

/// One thing that happened to the accounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A batch was counted.
    Batch(Batch),
    /// A ledger appeared, moved to another member, or gave batches up.
    Introduction(Introduction),
}

impl Introduction {
    /// Writes the entry down.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.push(INTRODUCTION);
        out.extend_from_slice(&self.ledger.0);
        put_varint(&mut out, self.given_up.0);
        put_varint(&mut out, self.thrown_away);
        debug_assert!(self.member.len() <= MEMBER_BYTES_MAX, "names are checked where they come from");
        out.push(self.member.len() as u8);
        out.extend_from_slice(self.member.as_bytes());
        out
    }
}

/// Writes down the entry of a batch from the batch's own bytes.
pub fn encode_batch(batch: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + batch.len());
    out.push(BATCH);
    out.extend_from_slice(batch);
    out
}

/// Reads an entry.
///
/// # Errors
/// What is wrong and where.
pub fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    match cursor.u8("kind of entry")? {
        BATCH => Batch::decode(cursor.rest()).map(Entry::Batch),
        INTRODUCTION => {
            let ledger = LedgerId(cursor.array("ledger id")?);
            let given_up = BatchNumber(cursor.varint("batch given up")?);
            let thrown_away = cursor.varint("clicks thrown away")?;
            let offset = cursor.offset();
            let length = cursor.u8("length of a name")?;
            if usize::from(length) > MEMBER_BYTES_MAX {
                return Err(DecodeError::invalid(offset, "length of a name"));
            }
            let member = cursor.text(u64::from(length), "name")?;
            cursor.finish("introduction")?;
            Ok(Entry::Introduction(Introduction { ledger, member, given_up, thrown_away }))
        }
        _ => Err(DecodeError::invalid(0, "kind of entry")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_reads_what_it_writes() {
        let introduction = Introduction {
            ledger: LedgerId([3; 16]),
            member: "proxy-0".to_owned(),
            given_up: BatchNumber(300),
            thrown_away: 5,
        };
        assert_eq!(decode(&introduction.encode()), Ok(Entry::Introduction(introduction.clone())));
        let batch = Batch::new(LedgerId([3; 16]), BatchNumber(1), 5, 0, Vec::new());
        assert_eq!(decode(&encode_batch(&batch.encode())), Ok(Entry::Batch(batch)));
        let mut expected = vec![2];
        expected.extend([3; 16]);
        expected.extend([0xac, 0x02, 5, 7]);
        expected.extend(b"proxy-0");
        assert_eq!(introduction.encode(), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), kind in 0..4u8) {
            bytes.insert(0, kind);
            if let Ok(Entry::Introduction(introduction)) = decode(&bytes) {
                prop_assert_eq!(introduction.encode(), bytes);
            }
        }
    }
}
