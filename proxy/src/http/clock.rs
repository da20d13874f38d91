//! The time as a redirect needs it: milliseconds for expiry, and the `Date` header once a second.
//!
//! The clock is the kernel's coarse one: 4 ms steps at worst, read without entering the kernel and without the time stamp counter.

use nix::time::{ClockId, clock_gettime};

/// Returns the wall clock in milliseconds since the Unix epoch, up to 4 ms late.
pub fn now_ms() -> u64 {
    // The clock exists since Linux 2.6.32 (clock_gettime(2)); before 1970 is not.
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE)
        .map_or(0, |now| now.tv_sec() as u64 * 1_000 + now.tv_nsec() as u64 / 1_000_000)
}

/// Bytes of a date as RFC 9110 §5.6.7 prefers it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub const DATE_BYTES: usize = 29;

/// The end of a response's head, formatted once a second.
#[derive(Clone, Copy, Debug)]
pub struct DateTail {
    second: u64,
    bytes: [u8; BEFORE.len() + DATE_BYTES + AFTER.len()],
}

const BEFORE: &[u8; 8] = b"\r\nDate: ";
const AFTER: &[u8; 4] = b"\r\n\r\n";

impl Default for DateTail {
    fn default() -> Self {
        let mut bytes = [0; BEFORE.len() + DATE_BYTES + AFTER.len()];
        bytes[..BEFORE.len()].copy_from_slice(BEFORE);
        bytes[BEFORE.len() + DATE_BYTES..].copy_from_slice(AFTER);
        let mut tail = DateTail { second: u64::MAX, bytes };
        tail.set(0);
        tail
    }
}

impl DateTail {
    /// Moves to the second of `now_ms`; formats only if it is another one.
    pub fn set(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        if second != self.second {
            self.second = second;
            self.bytes[BEFORE.len()..BEFORE.len() + DATE_BYTES].copy_from_slice(&date(second));
        }
    }

    /// The line end of the header before, the `Date` header, and the empty line.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Formats a second since the Unix epoch, up to the year 9999.
pub fn date(second: u64) -> [u8; DATE_BYTES] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    const LAST: u64 = 253_402_300_799;
    let second = second.min(LAST);
    let (day, of_day) = (second / 86_400, second % 86_400);
    let (year, month, of_month) = civil(day);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let name = |names: &[u8], index: u64| {
        let at = index as usize * 3;
        [names[at], names[at + 1], names[at + 2]]
    };
    text[..3].copy_from_slice(&name(DAYS, day % 7));
    text[5..7].copy_from_slice(&two(of_month));
    text[8..11].copy_from_slice(&name(MONTHS, month - 1));
    text[12..14].copy_from_slice(&two(year / 100));
    text[14..16].copy_from_slice(&two(year % 100));
    text[17..19].copy_from_slice(&two(of_day / 3_600));
    text[20..22].copy_from_slice(&two(of_day / 60 % 60));
    text[23..25].copy_from_slice(&two(of_day % 60));
    text
}

const fn two(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// Year, month and day of a day since the Unix epoch, in the Gregorian calendar: years are counted from March of a leap cycle,
/// so that the leap day is the last of its year.
const fn civil(day: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097;
    let from_march_0000 = day + 719_468;
    let (cycle, of_cycle) = (from_march_0000 / CYCLE, from_march_0000 % CYCLE);
    let of_era = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * of_era + of_era / 4 - of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    let year = cycle * 400 + of_era + if month <= 2 { 1 } else { 0 };
    (year, month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(second: u64) -> String {
        String::from_utf8(date(second).to_vec()).unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (second, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(second), expected);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for n in 0..146_097 {
            assert_eq!(civil(n), (year, month, day), "day {n}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == last => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn the_tail_ends_the_head() {
        let mut tail = DateTail::default();
        tail.set(784_111_777_999);
        assert_eq!(tail.bytes(), b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n");
    }

    #[test]
    fn the_coarse_clock_is_the_wall_clock() {
        let fine =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(now_ms().abs_diff(fine) < 1_000);
    }
}
