//! What is a finding, and how it is told.

use super::cases::{Case, Expected, Then};
use super::exchange::Outcome;

/// Findings of one kind that are told for a case; the rest is counted.
const TOLD_MAX: usize = 3;

/// Answers that are told one by one.
const WORDS_MAX: usize = 8;

/// What a peer answered.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Who.
    pub peer: &'static str,
    /// What.
    pub answers: Vec<Expected>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The case.
    pub name: String,
    /// How many connections it took.
    pub exchanges: usize,
    /// What is not as it must be.
    pub findings: Vec<String>,
    whole: Outcome,
    peers: Vec<Seen>,
    /// All that is asked of a case whose outcome is a matter of time: to see no more requests than this.
    at_most: Option<usize>,
    differing: usize,
}

impl Verdict {
    /// Judges what came of the bytes in one piece.
    #[must_use]
    pub fn new(case: &Case, whole: Outcome, peers: Vec<Seen>) -> Verdict {
        let mut findings = Vec::new();
        if case.then == Then::Either {
            findings.extend(too_many(case.undisputed, &whole));
        } else if whole.answers != case.answers || whole.then != Some(case.then) {
            let expected = Outcome { answers: case.answers.clone(), then: Some(case.then) };
            findings.push(format!("expected {}, got {}", told(&expected), told(&whole)));
        }
        let ours = seen(&whole.answers);
        for peer in &peers {
            let theirs = seen(&peer.answers);
            if theirs >= case.undisputed && ours > theirs {
                findings.push(format!("{} sees {theirs} requests, Signpost {ours}", peer.peer));
            }
        }
        let exchanges = 1 + peers.len();
        let at_most = (case.then == Then::Either).then_some(case.undisputed);
        Verdict { name: case.name.clone(), exchanges, findings, whole, peers, at_most, differing: 0 }
    }

    /// Whether so much is not as it must be that more of it would say nothing new.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.differing > TOLD_MAX || self.whole.then.is_none() && self.at_most.is_none()
    }

    /// Judges what came of the same bytes in pieces.
    pub fn compare(&mut self, how: &str, outcome: Outcome) {
        self.exchanges += 1;
        if let Some(at_most) = self.at_most {
            self.findings.extend(too_many(at_most, &outcome).map(|finding| format!("{how}: {finding}")));
            return;
        }
        if outcome == self.whole {
            return;
        }
        self.differing += 1;
        if self.differing <= TOLD_MAX {
            self.findings.push(format!("{how}: {}, not {}", told(&outcome), told(&self.whole)));
        } else if self.differing == TOLD_MAX + 1 {
            self.findings.push("and more like this".to_owned());
        }
    }
}

fn too_many(at_most: usize, outcome: &Outcome) -> Option<String> {
    (seen(&outcome.answers) > at_most)
        .then(|| format!("more than {at_most} requests seen: {}", told(outcome)))
}

/// How many requests were read as such.
fn seen(answers: &[Expected]) -> usize {
    answers.iter().filter(|answer| answer.is_seen()).count()
}

fn told(outcome: &Outcome) -> String {
    let then = match outcome.then {
        Some(Then::Open) => "open",
        Some(Then::Closed) => "closed",
        Some(Then::Waits) => "waits",
        Some(Then::Either) => "open or closed",
        None => "neither closed nor good for another request",
    };
    format!("{}, {then}", words(&outcome.answers))
}

/// `one 405 2×two 400`.
fn words(answers: &[Expected]) -> String {
    let runs = answers.chunk_by(|a, b| a == b).map(|run| {
        let word = match &run[0] {
            Expected::Link(name) => name.clone(),
            Expected::Status(status) => status.to_string(),
            Expected::Stream(stream, status) => format!("{stream}:{status}"),
            Expected::Refused(how) => how.clone(),
        };
        if run.len() == 1 { word } else { format!("{}×{word}", run.len()) }
    });
    let mut words: Vec<String> = runs.collect();
    if words.is_empty() {
        return "–".to_owned();
    }
    if words.len() > WORDS_MAX {
        let more = words.len() - WORDS_MAX;
        words.truncate(WORDS_MAX);
        words.push(format!("and {more} more"));
    }
    words.join(" ")
}

/// The table as text: every case, or those with a finding.
#[must_use]
pub fn table(verdicts: &[Verdict], all: bool) -> String {
    let shown: Vec<&Verdict> =
        verdicts.iter().filter(|verdict| all || !verdict.findings.is_empty()).collect();
    let Some(first) = shown.first() else { return String::new() };
    let mut rows = vec![vec!["case".to_owned(), "Signpost".to_owned()]];
    rows[0].extend(first.peers.iter().map(|peer| peer.peer.to_owned()));
    rows.extend(shown.iter().map(|verdict| {
        let mut row = vec![verdict.name.clone(), told(&verdict.whole)];
        row.extend(verdict.peers.iter().map(|peer| words(&peer.answers)));
        row
    }));
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
        for finding in index.checked_sub(1).map_or(&[][..], |index| &shown[index].findings) {
            text.push_str(&format!("    FINDING: {finding}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn case(undisputed: usize, answers: &[&str], then: Then) -> Case {
        Case { name: "x".into(), undisputed, answers: list(answers), then, bytes: Vec::new() }
    }

    fn list(words: &[&str]) -> Vec<Expected> {
        let answer =
            |word: &&str| word.parse().map_or_else(|_| Expected::Link((*word).into()), Expected::Status);
        words.iter().map(answer).collect()
    }

    fn outcome(words: &[&str], then: Then) -> Outcome {
        Outcome { answers: list(words), then: Some(then) }
    }

    #[test]
    fn more_requests_than_the_strictest_peer_sees_are_a_finding() {
        let findings = |undisputed, peer: &[&str]| {
            let case = case(undisputed, &["one", "two"], Then::Open);
            let peers = vec![Seen { peer: "strict", answers: list(peer) }];
            Verdict::new(&case, outcome(&["one", "two"], Then::Open), peers).findings
        };
        assert_eq!(findings(1, &["200", "400"]), ["strict sees 1 requests, Signpost 2"]);
        assert_eq!(findings(1, &["200", "200"]), [""; 0]);
        // Who does not even answer what nobody disputes is no measure.
        assert_eq!(findings(1, &["400"]), [""; 0]);
    }

    #[test]
    fn what_is_not_as_the_table_says_or_depends_on_the_cut_is_a_finding() {
        let case = case(0, &["400"], Then::Closed);
        let mut verdict = Verdict::new(&case, outcome(&["400"], Then::Closed), Vec::new());
        assert!(verdict.findings.is_empty());
        for cut in 1..=9 {
            verdict.compare(&format!("cut at {cut}"), outcome(&["one"], Then::Closed));
        }
        assert_eq!((verdict.findings.len(), verdict.exchanges), (4, 10));
        assert!(table(&[verdict], false).contains("FINDING: cut at 1: one, closed, not 400, closed"));
        assert_eq!(Verdict::new(&case, outcome(&["400"], Then::Open), Vec::new()).findings.len(), 1);
    }
}
