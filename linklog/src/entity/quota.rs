//! How many redirects the links of a token may answer in a period.

use std::fmt;

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};
use crate::position::Position;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const DAY_S: u64 = 24 * 3600;
/// So that an id is no other hash of the same bytes.
const SEED: u64 = u64::from_le_bytes(*b"quota-id");

/// Names a quota where proxies see it: derived from the id of its token, which they do not learn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaId(pub [u8; 8]);

impl QuotaId {
    /// Returns the id of the quota of a token.
    pub fn of_token(token: [u8; 8]) -> QuotaId {
        QuotaId(xxh3_64_with_seed(&token, SEED).to_be_bytes())
    }
}

impl fmt::Debug for QuotaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuotaId({:016x})", u64::from_be_bytes(self.0))
    }
}

/// How long a quota lasts before it begins anew, by the calendar of UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

impl Period {
    /// Returns when the period begins that `now_ms` (milliseconds since the Unix epoch) lies in, in seconds since then.
    pub const fn start_s(self, now_ms: u64) -> u64 {
        let day = now_ms / 1_000 / DAY_S;
        match self {
            Period::Day => day * DAY_S,
            Period::Month => (day - day_of_month(day)) * DAY_S,
        }
    }

    /// Returns when the period ends that `now_ms` lies in, in seconds since the Unix epoch.
    pub const fn end_s(self, now_ms: u64) -> u64 {
        let start_s = self.start_s(now_ms);
        match self {
            Period::Day => start_s + DAY_S,
            // No month has more than 31 days, and none fewer than 28.
            Period::Month => self.start_s((start_s + 31 * DAY_S) * 1_000),
        }
    }

    /// Returns what tells the period that `now_ms` lies in from all others, where a link's budgets name its creation.
    pub const fn label(self, now_ms: u64) -> Position {
        Position::new(0, self.start_s(now_ms))
    }

    pub(super) const fn number(self) -> u64 {
        match self {
            Period::Day => 1,
            Period::Month => 2,
        }
    }

    pub(super) const fn of_number(number: u64) -> Option<Period> {
        match number {
            1 => Some(Period::Day),
            2 => Some(Period::Month),
            _ => None,
        }
    }
}

/// Returns the day of the month, from 0, of a day since the Unix epoch. Years are counted from March: then a month's days follow from its
/// place in the year alone, and the day that leap years add is the last one.
const fn day_of_month(day: u64) -> u64 {
    const ERA_DAYS: u64 = 146_097;
    // 0000-03-01 lies so many days before the epoch.
    let of_era = (day + 719_468) % ERA_DAYS;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA_DAYS - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    of_year - (153 * month + 2) / 5
}

/// A quota's record. `serve` body, with format level 2: 1 max · 2 period (1 day · 2 month) · 3 start · 4 used · 5 burned (varints).
///
/// `used` and `burned` are of the period that began at `start_s`, as far as nobody holds a budget of it any more; in any other period they
/// are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// How many redirects in a period.
    pub max: u64,
    /// Which periods.
    pub period: Period,
    /// Of which period the following is: when it began, seconds since the Unix epoch.
    pub start_s: u64,
    /// How many were answered.
    pub used: u64,
    /// How many were lost with the memory of a member.
    pub burned: u64,
}

impl Quota {
    /// A quota of which nothing is used.
    pub const fn new(max: u64, period: Period) -> Quota {
        Quota { max, period, start_s: 0, used: 0, burned: 0 }
    }

    /// Returns what tells the period at `now_ms` from all others; never one before that which the record has come to.
    pub const fn label(&self, now_ms: u64) -> Position {
        let start_s = self.period.start_s(now_ms);
        Position::new(0, if start_s > self.start_s { start_s } else { self.start_s })
    }

    /// Returns how many are used and burned in the period of a label.
    pub const fn gone(&self, label: Position) -> (u64, u64) {
        if label.seq.0 == self.start_s { (self.used, self.burned) } else { (0, 0) }
    }

    /// Says whether nothing is left in the period of a label.
    pub const fn is_used_up(&self, label: Position) -> bool {
        let (used, burned) = self.gone(label);
        used.saturating_add(burned) >= self.max
    }

    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let mut fields = FieldWriter::new(&mut out);
        fields.varint(1, self.max);
        fields.varint(2, self.period.number());
        fields.varint(3, self.start_s);
        fields.varint(4, self.used);
        fields.varint(5, self.burned);
        out
    }

    /// Reads a `serve` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Quota, DecodeError> {
        let mut fields = FieldReader::new(body);
        let max = fields.varint(1, "max")?;
        let at = fields.offset();
        let period = fields.varint(2, "period")?;
        let period = Period::of_number(period).ok_or(DecodeError::invalid(at, "period"))?;
        let start_s = fields.varint(3, "start")?;
        let (used, burned) = (fields.varint(4, "used")?, fields.varint(5, "burned")?);
        fields.finish()?;
        Ok(Quota { max, period, start_s, used, burned })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn months_begin_and_end_with_the_calendar() {
        // Seconds of 00:00:00 UTC, by `date -u -d DATE +%s`.
        for (at, start, end) in [
            (0, 0, 2_678_400),                             // 1970-01-01
            (951_782_400, 949_363_200, 951_868_800),       // 2000-02-29
            (1_709_164_800, 1_706_745_600, 1_709_251_200), // 2024-02-29
            (1_740_787_199, 1_738_368_000, 1_740_787_200), // 2025-02-28 23:59:59
            (1_740_787_200, 1_740_787_200, 1_743_465_600), // 2025-03-01
            (1_798_761_599, 1_796_083_200, 1_798_761_600), // 2026-12-31 23:59:59
            (4_107_542_399, 4_105_123_200, 4_107_542_400), // 2100-02-28 23:59:59: no leap year
        ] {
            assert_eq!(
                (Period::Month.start_s(at * 1_000), Period::Month.end_s(at * 1_000)),
                (start, end),
                "{at}"
            );
        }
        assert_eq!(Period::Day.start_s(86_400_999), 86_400);
        assert_eq!(Period::Day.end_s(86_399_999), 86_400);
    }

    #[test]
    fn what_is_used_in_one_period_is_free_again_in_the_next_and_no_clock_goes_back() {
        let quota = Quota { start_s: 86_400, used: 5, burned: 1, ..Quota::new(6, Period::Day) };
        let (before, now, after) = (quota.label(0), quota.label(90_000_000), quota.label(180_000_000));
        assert_eq!((before, now), (now, Position::new(0, 86_400)));
        assert!(quota.is_used_up(now) && !quota.is_used_up(after));
        assert!(Quota::new(0, Period::Day).is_used_up(now));
        assert_eq!(Quota::decode(Cursor::new(&quota.encode())).unwrap(), quota);
        let mut wrong = quota.encode();
        wrong[5] = 3;
        assert!(Quota::decode(Cursor::new(&wrong)).is_err());
    }
}
