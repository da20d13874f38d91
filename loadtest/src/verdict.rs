//! Whether an answer is the redirect it has to be, and the list of those that are not.

use serde::Serialize;

use crate::http1::{Answer, ExchangeError};

/// The failures listed one by one; further ones are only counted.
pub const FAILURES_LISTED_MAX: usize = 100;

/// The longest part of a target that is repeated in a failure, in bytes.
const SHOWN_BYTES_MAX: usize = 200;

/// What a proxy made of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 302 with exactly the target.
    Right,
    /// A redirect, but with another status or to somewhere else.
    Wrong(String),
    /// Something that is no redirect.
    Missing(String),
    /// No answer at all.
    Unanswered(String),
}

/// Judges what came back for a key whose target is `long_url`.
#[must_use]
pub fn judge(exchange: &Result<Answer<'_>, ExchangeError>, long_url: &str) -> Verdict {
    let answer = match exchange {
        Ok(answer) => answer,
        Err(error) => return Verdict::Unanswered(error.to_string()),
    };
    match (answer.status, answer.location) {
        (302, Some(location)) if location == long_url.as_bytes() => Verdict::Right,
        (status @ 300..400, location) => {
            let location =
                location.map_or("no Location".to_owned(), |bytes| shown(&String::from_utf8_lossy(bytes)));
            Verdict::Wrong(format!("{status} {location}"))
        }
        (status, _) => Verdict::Missing(format!("{status}")),
    }
}

/// What was found out about many keys on many proxies.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// Answers with exactly the target.
    pub right: u64,
    /// Redirects to somewhere else, or with another status than 302.
    pub wrong: u64,
    /// Answers that are no redirect.
    pub missing: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// The first [`FAILURES_LISTED_MAX`] of what was not right.
    pub failures: Vec<Failure>,
}

/// One answer that was not right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Failure {
    pub code: String,
    pub proxy: String,
    pub expected: String,
    pub got: String,
}

impl Checked {
    /// Counts one verdict.
    pub fn add(&mut self, verdict: Verdict, code: &str, proxy: &str, long_url: &str) {
        let (count, got) = match verdict {
            Verdict::Right => {
                self.right += 1;
                return;
            }
            Verdict::Wrong(got) => (&mut self.wrong, got),
            Verdict::Missing(got) => (&mut self.missing, got),
            Verdict::Unanswered(got) => (&mut self.unanswered, got),
        };
        *count += 1;
        if self.failures.len() < FAILURES_LISTED_MAX {
            let expected = shown(long_url);
            self.failures.push(Failure { code: code.to_owned(), proxy: proxy.to_owned(), expected, got });
        }
    }

    /// Adds what another thread found out.
    pub fn merge(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.missing += other.missing;
        self.unanswered += other.unanswered;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_LISTED_MAX);
    }

    /// How many answers were not right.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.wrong + self.missing + self.unanswered
    }

    /// The counts, for people.
    #[must_use]
    pub fn line(&self) -> String {
        use crate::figures::count;
        format!(
            "{} right, {} wrong, {} missing, {} unanswered",
            count(self.right),
            count(self.wrong),
            count(self.missing),
            count(self.unanswered)
        )
    }

    /// The listed failures, a line each, for people.
    #[must_use]
    pub fn listing(&self) -> String {
        let line = |failure: &Failure| {
            let Failure { code, proxy, expected, got } = failure;
            format!("  {proxy}/{code}: expected 302 {expected}, got {got}\n")
        };
        self.failures.iter().map(line).collect()
    }
}

fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http1::parse;

    fn verdict(text: &str) -> Verdict {
        judge(&Ok(parse(text.as_bytes()).unwrap().unwrap()), "https://a.example/x")
    }

    #[test]
    fn only_a_302_to_exactly_the_target_is_right() {
        let redirect = |status: u16, location: &str| {
            verdict(&format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
        };
        assert_eq!(redirect(302, "https://a.example/x"), Verdict::Right);
        assert_eq!(redirect(302, "https://a.example/X"), Verdict::Wrong("302 https://a.example/X".into()));
        assert_eq!(redirect(301, "https://a.example/x"), Verdict::Wrong("301 https://a.example/x".into()));
        let bare = |status: u16| verdict(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(bare(302), Verdict::Wrong("302 no Location".into()));
        assert_eq!(bare(404), Verdict::Missing("404".into()));
        assert_eq!(bare(503), Verdict::Missing("503".into()));
        let closed = judge(&Err(ExchangeError::Closed), "https://a.example/x");
        assert!(matches!(closed, Verdict::Unanswered(_)));
    }

    #[test]
    fn failures_are_counted_without_end_but_listed_up_to_a_bound() {
        let mut checked = Checked::default();
        let mut other = Checked::default();
        for _ in 0..FAILURES_LISTED_MAX {
            checked.add(Verdict::Missing("404".into()), "a", "http://p", &"ü".repeat(500));
            other.add(Verdict::Wrong("302 x".into()), "b", "http://p", "https://a.example/");
        }
        other.add(Verdict::Right, "c", "http://p", "https://a.example/");
        checked.merge(other);
        assert_eq!((checked.right, checked.failed(), checked.failures.len()), (1, 200, FAILURES_LISTED_MAX));
        assert!(checked.failures[0].expected.len() <= SHOWN_BYTES_MAX + '…'.len_utf8());
        assert!(checked.listing().starts_with("  http://p/a: expected 302 üü"));
    }
}
