//! What went wrong with a call, and what to do about it. What to do about a refusal is what the reference of problems says.

use std::fmt::Write as _;
use std::time::Duration;

use daemon::exit::Exit;
use serde::Deserialize;

/// The reference, as the repository has it; a test of the API keeps it equal to what the API serves.
const REFERENCE: &str = include_str!("../../docs/problems.md");

/// A problem as the API tells it (RFC 9457).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Problem {
    /// A few words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong this time.
    #[serde(default)]
    pub detail: String,
    /// A stable word.
    #[serde(default)]
    pub code: String,
    /// Every field that is wrong.
    #[serde(default)]
    pub errors: Vec<Finding>,
}

/// A field that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Finding {
    /// Which one.
    #[serde(default)]
    pub field: String,
    /// What is allowed.
    #[serde(default)]
    pub detail: String,
}

/// Why a call did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API said no.
    #[error("{}", .problem.text())]
    Refused {
        /// Why.
        problem: Problem,
        /// When to try again, if that would help.
        retry_after: Option<Duration>,
    },
    /// Something answered that is not the API.
    #[error(
        "the answer (status {status}) is not one of the Signpost API: check the address (--url, SIGNPOST_URL, or url in the configuration) and what \
         stands in front of the API"
    )]
    NotTheApi {
        /// The status it had.
        status: u16,
    },
    /// Nobody is there.
    #[error(
        "cannot reach the API at {address}: {cause}; check the address (--url) and that signpost-admin runs"
    )]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to the API broke: {cause}")]
    Lost {
        /// How.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came for too long.
    #[error("the API did not answer within {} s", crate::client::ANSWER_MAX.as_secs())]
    Silent,
    /// The answer has no end.
    #[error("the answer has more than {max} bytes")]
    TooMuch {
        /// The limit.
        max: usize,
    },
    /// There are no certificates to trust.
    #[error(
        "this machine has no certificates of authorities to check the API's with: install ca-certificates"
    )]
    NoRoots,
    /// The token cannot be sent.
    #[error("the token holds characters that no token has: check it")]
    BadToken,
    /// The request cannot be sent.
    #[error("{what} of the request cannot be sent: it holds characters that are not allowed there")]
    BadRequest {
        /// Which part.
        what: &'static str,
    },
}

impl CallError {
    /// Returns when to ask again, if the API put the request off before it did anything.
    pub fn put_off(&self) -> Option<Duration> {
        match self {
            CallError::Refused { problem, retry_after } if problem.code != "outcome_unknown" => {
                retry_after.filter(|_| matches!(problem.status, 429 | 503))
            }
            _ => None,
        }
    }

    /// Returns how long to pause before a transfer that ended so goes on, if that makes sense: 1, 2, 4, … s, or as the API says.
    pub fn pause(&self, tries: u32) -> Option<Duration> {
        match self {
            CallError::Lost { .. } | CallError::Silent | CallError::Connect { .. } => {
                Some(Duration::from_secs(1 << tries.min(4)))
            }
            error => error.put_off().filter(|after| *after <= crate::client::WAIT_MAX),
        }
    }
}

impl From<CallError> for Exit {
    fn from(error: CallError) -> Exit {
        Exit::failure(error)
    }
}

impl Problem {
    /// Returns what is wrong and what to do, in a few lines.
    pub fn text(&self) -> String {
        let mut text = if self.detail.is_empty() { self.title.clone() } else { self.detail.clone() };
        if self.errors.len() > 1 {
            for Finding { field, detail } in &self.errors {
                write!(text, "\n  {field}: {detail}").expect("memory takes every text");
            }
        }
        if let Some(remedy) = remedy(&self.code) {
            write!(text, "\n  What to do: {remedy}").expect("memory takes every text");
        }
        text
    }
}

/// Returns what to do about a kind of problem.
pub fn remedy(code: &str) -> Option<&'static str> {
    let row = REFERENCE
        .lines()
        .find(|line| line.strip_prefix("| `").is_some_and(|rest| rest.split('`').next() == Some(code)))?;
    row.trim_end_matches(['|', ' ']).rsplit(" | ").next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_problem_says_what_to_do() {
        let codes: Vec<_> =
            REFERENCE.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert!(codes.len() > 20, "{codes:?}");
        for code in codes {
            assert!(remedy(code).unwrap().ends_with('.'), "{code}");
        }
        assert_eq!(remedy("nothing_of_the_kind"), None);
    }

    #[test]
    fn a_transfer_pauses_longer_each_time_and_gives_up_on_a_long_wait() {
        let lost = CallError::Lost { cause: "x".into() };
        assert_eq!([0, 1, 2].map(|tries| lost.pause(tries).unwrap().as_secs()), [1, 2, 4]);
        let refused = |status, code: &str, after| CallError::Refused {
            problem: serde_json::from_value(
                serde_json::json!({ "title": "x", "status": status, "code": code }),
            )
            .unwrap(),
            retry_after: Some(Duration::from_secs(after)),
        };
        assert_eq!(refused(503, "transfers_busy", 1).pause(3), Some(Duration::from_secs(1)));
        assert_eq!(refused(429, "quota_used_up", 3600).pause(0), None);
        assert_eq!(refused(503, "outcome_unknown", 1).pause(0), None);
        assert_eq!(refused(409, "contended", 1).pause(0), None);
    }

    #[test]
    fn a_refusal_names_every_field_and_what_to_do() {
        let problem: Problem = serde_json::from_str(
            r#"{"title": "The request is not valid", "status": 422, "detail": "2 fields are not valid", "code": "validation_failed",
                "errors": [{"field": "a", "code": "x", "detail": "one"}, {"field": "b", "code": "y", "detail": "two"}]}"#,
        )
        .unwrap();
        assert_eq!(
            problem.text(),
            "2 fields are not valid\n  a: one\n  b: two\n  What to do: Mend the fields that `errors` names."
        );
    }
}
