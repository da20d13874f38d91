//! Numbers for people: thousands separated, durations in the unit that suits them.

/// `1234567` as `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as `850 ns`, `85.1 µs`, `1.25 ms` or `2.50 s`.
#[must_use]
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// `done` in `seconds` as a rate of whole numbers: `12,345/s`.
#[must_use]
pub fn rate(done: u64, seconds: f64) -> String {
    format!("{}/s", count(per_second(done, seconds).round() as u64))
}

/// `done` per second; 0 when no time has passed.
#[must_use]
pub fn per_second(done: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { done as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_separated() {
        let texts = [0, 999, 1000, 123_456, 1_234_567].map(count);
        assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn durations_come_in_the_unit_that_suits_them() {
        let texts = [850, 85_100, 1_250_000, 2_500_000_000].map(duration);
        assert_eq!(texts, ["850 ns", "85.1 µs", "1.25 ms", "2.50 s"]);
        assert_eq!(rate(30_000, 2.0), "15,000/s");
        assert_eq!(rate(5, 0.0), "0/s");
    }
}
