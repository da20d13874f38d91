//! Times as other shorteners write them, brought into RFC 3339 in UTC. Pure.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// Reads a time: RFC 3339, the same with an offset without a colon, or date and time without any zone, which is taken for UTC.
///
/// # Errors
/// It is none of these.
pub(super) fn read(text: &str) -> Result<String, String> {
    let text = text.trim();
    let zoned = text.parse::<Timestamp>().ok();
    let offset = || strtime::parse("%Y-%m-%dT%H:%M:%S%z", text).ok()?.to_timestamp().ok();
    let plain = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let found = zoned.or_else(offset).or_else(plain);
    found.map(|at| at.to_string()).ok_or_else(|| format!("{text:?} is no time"))
}

/// As [`read`], for a time that may be missing.
///
/// # Errors
/// It is there and no time.
pub(super) fn read_any(text: Option<&str>) -> Result<Option<String>, String> {
    text.filter(|text| !text.trim().is_empty()).map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_other_shorteners_are_read() {
        for (text, wanted) in [
            ("2016-08-21T20:34:16+02:00", "2016-08-21T18:34:16Z"),
            ("2022-10-24T10:40:37+0000", "2022-10-24T10:40:37Z"),
            ("2022-10-24T10:40:37.250Z", "2022-10-24T10:40:37.25Z"),
            ("2011-02-03 04:05:06", "2011-02-03T04:05:06Z"),
            ("2011-02-03", "2011-02-03T00:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(wanted), "{text}");
        }
        assert!(read("yesterday").is_err());
        assert_eq!(read_any(Some("")), Ok(None));
    }
}
