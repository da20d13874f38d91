//! The rows of the accounts: what is known of a ledger, and what was counted on a link. Pure.
//!
//! ```text
//! ledger   key: 16 bytes ledger id
//!          value: u8 level (1) · varints: watermark, complete until, unseen, thrown away,
//!          thrown away as last told, batches lost, introduced at · u8 length of the name, name
//! link     key: encoded link key · u32 epoch · u64 seq of the creating record (big-endian)
//!          value: u8 level (1) · 4 varints, counts by kind · varint time of the last click
//! ```
//! Integers of keys are big-endian, so that rows of one key lie together; the twelve bytes at the end make every key unambiguous.

use linklog::codec::{Cursor, put_varint};
use linklog::{DecodeError, Epoch, Key, Position, Seq, StateKey};

use crate::batch::BatchNumber;
use crate::cell::{Counts, Kind, Subject};
use crate::entry::{Introduction, MEMBER_BYTES_MAX};

const LEVEL: u8 = 1;
const CREATED_BYTES: usize = 12;

/// How far a ledger has been counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Whose ledger it is.
    pub member: String,
    /// The last batch that was counted or given up.
    pub watermark: BatchNumber,
    /// Every click answered before this time (milliseconds since the Unix epoch, the proxy's clock) is counted or dropped.
    pub complete_until_ms: u64,
    /// Clicks that were dropped before they were in a batch.
    pub unseen: u64,
    /// Clicks in batches that the ledger had to throw away and that were not counted here before.
    pub thrown_away: u64,
    /// What the ledger last said it had thrown away in its whole life, counted here or not.
    pub thrown_away_told: u64,
    /// Batches that were given up.
    pub batches_lost: u64,
    /// When it last introduced itself with something new, milliseconds since the Unix epoch, the writer's clock.
    pub introduced_at_ms: u64,
}

/// What to do with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the next one.
    Count,
    /// It was counted, or given up, before.
    Duplicate,
    /// Something is missing before it.
    Gap {
        /// What should come next.
        expected: BatchNumber,
    },
}

impl Account {
    /// Decides about a batch by its number.
    pub fn judge(&self, number: BatchNumber) -> Verdict {
        match number {
            number if number <= self.watermark => Verdict::Duplicate,
            number if number == self.watermark.next() => Verdict::Count,
            _ => Verdict::Gap { expected: self.watermark.next() },
        }
    }

    /// Takes an introduction over; says whether it told anything new.
    pub fn introduce(&mut self, introduction: &Introduction, now_ms: u64) -> bool {
        let newly_thrown = introduction.thrown_away.saturating_sub(self.thrown_away_told);
        let lost = introduction.given_up.0.saturating_sub(self.watermark.0);
        let is_new = self.introduced_at_ms == 0;
        let is_news = newly_thrown > 0 || lost > 0 || self.member != introduction.member || is_new;
        if lost > 0 || is_new {
            self.watermark = self.watermark.max(introduction.given_up);
            self.batches_lost = self.batches_lost.saturating_add(lost);
            // What it threw away after we had counted it is not lost: only the acknowledgement was.
            self.thrown_away = self.thrown_away.saturating_add(newly_thrown);
        }
        if is_news {
            self.thrown_away_told = self.thrown_away_told.max(introduction.thrown_away);
            self.member.clone_from(&introduction.member);
            self.introduced_at_ms = now_ms;
        }
        is_news
    }

    /// Notes up to when the ledger is complete; a proxy whose clock is ahead cannot vouch for what is yet to come.
    pub fn completed(&mut self, until_ms: u64, now_ms: u64) {
        self.complete_until_ms = self.complete_until_ms.max(until_ms.min(now_ms));
    }

    /// Returns how many clicks of this ledger are in nobody's count.
    pub const fn dropped(&self) -> u64 {
        self.unseen.saturating_add(self.thrown_away)
    }

    /// Writes the row's value down.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(LEVEL);
        let numbers = [
            self.watermark.0,
            self.complete_until_ms,
            self.unseen,
            self.thrown_away,
            self.thrown_away_told,
            self.batches_lost,
            self.introduced_at_ms,
        ];
        numbers.into_iter().for_each(|number| put_varint(&mut out, number));
        out.push(self.member.len() as u8);
        out.extend_from_slice(self.member.as_bytes());
        out
    }

    /// Reads a row's value.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn decode(bytes: &[u8]) -> Result<Account, DecodeError> {
        let mut cursor = level(bytes)?;
        let mut account = Account {
            watermark: BatchNumber(cursor.varint("watermark")?),
            complete_until_ms: cursor.varint("time")?,
            unseen: cursor.varint("unseen clicks")?,
            thrown_away: cursor.varint("clicks thrown away")?,
            thrown_away_told: cursor.varint("clicks thrown away")?,
            batches_lost: cursor.varint("batches lost")?,
            introduced_at_ms: cursor.varint("time of the introduction")?,
            member: String::new(),
        };
        let offset = cursor.offset();
        let length = cursor.u8("length of a name")?;
        if usize::from(length) > MEMBER_BYTES_MAX {
            return Err(DecodeError::invalid(offset, "length of a name"));
        }
        account.member = cursor.text(u64::from(length), "name")?;
        cursor.finish("ledger")?;
        Ok(account)
    }
}

/// Everything counted on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// How many of each kind.
    pub counts: Counts,
    /// When a person last clicked, milliseconds since the Unix epoch by a proxy's clock; 0: nobody did.
    pub last_click_ms: u64,
}

impl Totals {
    /// Adds more.
    pub fn add(&mut self, counts: &Counts, last_click_ms: u64) {
        self.counts.merge(counts);
        self.last_click_ms = self.last_click_ms.max(last_click_ms);
    }

    /// Returns how many people clicked, which is what is meant by "clicks".
    pub const fn clicks(&self) -> u64 {
        self.counts.of(Kind::Person)
    }

    /// Writes the row's value down.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.push(LEVEL);
        Kind::ALL.into_iter().for_each(|kind| put_varint(&mut out, self.counts.of(kind)));
        put_varint(&mut out, self.last_click_ms);
        out
    }

    /// Reads a row's value.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn decode(bytes: &[u8]) -> Result<Totals, DecodeError> {
        let mut cursor = level(bytes)?;
        let mut totals = Totals::default();
        for kind in Kind::ALL {
            totals.counts.add(kind, cursor.varint("count")?);
        }
        totals.last_click_ms = cursor.varint("time of the last click")?;
        cursor.finish("totals")?;
        Ok(totals)
    }
}

fn level(bytes: &[u8]) -> Result<Cursor<'_>, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    match cursor.u8("level of the row")? {
        LEVEL => Ok(cursor),
        _ => Err(DecodeError::invalid(0, "level of the row")),
    }
}

/// Writes the key of a link's row.
pub fn row_of(subject: &Subject) -> Vec<u8> {
    let mut row = Vec::with_capacity(20);
    row.extend_from_slice(&subject.key.encode());
    row.extend_from_slice(&subject.created.epoch.0.to_be_bytes());
    row.extend_from_slice(&subject.created.seq.0.to_be_bytes());
    row
}

/// Reads the key of a link's row; `None` if it is none.
pub fn subject_of(row: &[u8]) -> Option<Subject> {
    let (key, created) = row.split_last_chunk::<CREATED_BYTES>()?;
    let key: Key = match StateKey::decode(key).ok()? {
        StateKey::Link(key) => key,
        _ => return None,
    };
    let (epoch, seq) = created.split_first_chunk::<4>()?;
    let seq = u64::from_be_bytes(seq.try_into().ok()?);
    Some(Subject { key, created: Position { epoch: Epoch(u32::from_be_bytes(*epoch)), seq: Seq(seq) } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::batch::LedgerId;
    use linklog::DomainId;
    use proptest::prelude::*;

    #[test]
    fn only_the_next_batch_is_counted() {
        let account = Account { watermark: BatchNumber(7), ..Account::default() };
        let verdicts: Vec<_> = [1, 7, 8, 9].map(|number| account.judge(BatchNumber(number))).into();
        let gap = Verdict::Gap { expected: BatchNumber(8) };
        assert_eq!(verdicts, [Verdict::Duplicate, Verdict::Duplicate, Verdict::Count, gap]);
    }

    #[test]
    fn an_introduction_moves_the_watermark_only_over_what_was_given_up() {
        let mut account = Account::default();
        let introduction = |given_up, thrown_away| Introduction {
            ledger: LedgerId([1; 16]),
            member: "proxy-0".into(),
            given_up: BatchNumber(given_up),
            thrown_away,
        };
        assert!(account.introduce(&introduction(0, 0), 5));
        let mut begun_anew = Account::default();
        begun_anew.introduce(&introduction(0, 8), 5);
        assert_eq!(begun_anew.dropped(), 8, "dropped before the first stream");
        assert!(!account.introduce(&introduction(0, 0), 6), "nothing new");
        account.watermark = BatchNumber(9);
        assert!(account.introduce(&introduction(4, 20), 7));
        assert_eq!((account.watermark, account.dropped()), (BatchNumber(9), 0), "they were counted before");
        assert!(account.introduce(&introduction(12, 50), 8));
        assert_eq!((account.watermark, account.dropped(), account.batches_lost), (BatchNumber(12), 30, 3));
        assert!(account.introduce(&Introduction { member: "b".into(), ..introduction(0, 0) }, 9));
        assert_eq!((account.member.as_str(), account.introduced_at_ms, account.thrown_away), ("b", 9, 30));
    }

    proptest! {
        #[test]
        fn rows_survive(counts: [u64; 4], last: u64, numbers: [u64; 7], member in "[a-z0-9-]{0,63}", code in "[A-Za-z0-9_-]{1,64}", domain: u16, epoch: u32, seq: u64) {
            let totals = Totals { counts: Counts::new(counts), last_click_ms: last };
            prop_assert_eq!(Totals::decode(&totals.encode()), Ok(totals));
            let [watermark, complete_until_ms, unseen, thrown_away, thrown_away_told, batches_lost, introduced_at_ms] = numbers;
            let watermark = BatchNumber(watermark);
            let account = Account { member, watermark, complete_until_ms, unseen, thrown_away, thrown_away_told, batches_lost, introduced_at_ms };
            prop_assert_eq!(Account::decode(&account.encode()), Ok(account));
            let key = Key::new(DomainId(domain), code.parse().unwrap());
            let subject = Subject { key, created: Position::new(epoch, seq) };
            prop_assert_eq!(subject_of(&row_of(&subject)), Some(subject));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (Totals::decode(&bytes), Account::decode(&bytes), subject_of(&bytes));
        }
    }
}
