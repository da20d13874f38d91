//! The table of cases; its own head says how it is written.

use anyhow::Context;

use super::bytes::{Names, bytes};
use super::frames::frames;

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// How many requests at the start of the bytes nobody can read in two ways.
    pub undisputed: usize,
    /// What Signpost answers.
    pub answers: Vec<Expected>,
    /// What becomes of the connection.
    pub then: Then,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A 302 to the link of this name.
    Link(String),
    /// Another status.
    Status(u16),
    /// The status of a stream of HTTP/2.
    Stream(u32, u16),
    /// A stream or a connection of HTTP/2 that was refused: `3:rst1`, `goaway1`.
    Refused(String),
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It answers the next request.
    Open,
    /// The server closes it.
    Closed,
    /// The server waits for more bytes.
    Waits,
    /// One or the other, and perhaps fewer answers than there are undisputed requests: a matter of time.
    Either,
}

impl Expected {
    fn from_word(word: &str) -> Expected {
        let stream = word
            .split_once(':')
            .and_then(|(stream, status)| Some((stream.parse().ok()?, status.parse().ok()?)));
        match (word.parse(), stream) {
            (Ok(status), _) => Expected::Status(status),
            (_, Some((stream, status))) => Expected::Stream(stream, status),
            _ if word.contains(":rst") || word.starts_with("goaway") => Expected::Refused(word.to_owned()),
            _ => Expected::Link(word.to_owned()),
        }
    }

    /// Whether the request was read as one, whatever the answer.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        match self {
            Expected::Link(_) => true,
            Expected::Status(status) | Expected::Stream(_, status) => is_seen(*status),
            Expected::Refused(_) => false,
        }
    }
}

/// Whether an answer of this status is one to a request that was read as one, and no refusal to read it.
#[must_use]
pub fn is_seen(status: u16) -> bool {
    !matches!(status, 400 | 408 | 411 | 413 | 414 | 417 | 421 | 431 | 500 | 501 | 503 | 505)
}

/// The cases for HTTP/1.
///
/// # Errors
/// What is wrong with the table, and in which line.
pub fn http1() -> anyhow::Result<Vec<Case>> {
    read(include_str!("../../framing/http1.txt"), bytes)
}

/// The cases for HTTP/2.
///
/// # Errors
/// What is wrong with the table, and in which line.
pub fn http2() -> anyhow::Result<Vec<Case>> {
    read(include_str!("../../framing/http2.txt"), frames)
}

/// How a line of bytes is written.
type Line = fn(&str, &Names) -> Result<Vec<u8>, String>;

fn read(text: &str, as_bytes: Line) -> anyhow::Result<Vec<Case>> {
    let mut names = Names::new();
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        read_line(line, as_bytes, &mut names, &mut cases)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("line {number}"))?;
    }
    Ok(cases)
}

fn read_line(line: &str, as_bytes: Line, names: &mut Names, cases: &mut Vec<Case>) -> Result<(), String> {
    if let Some(more) = line.strip_prefix("  ") {
        let case = cases.last_mut().ok_or("bytes before the first case")?;
        case.bytes.extend(as_bytes(more, names)?);
    } else if let Some(case) = line.strip_prefix("case ") {
        let case = read_case(case, names)?;
        if cases.iter().any(|other| other.name == case.name) {
            return Err(format!("{} is there twice", case.name));
        }
        cases.push(case);
    } else if let Some(named) = line.strip_prefix("let ") {
        let (name, text) = named.split_once(" = ").ok_or("write let NAME = BYTES")?;
        let value = bytes(text, names)?;
        names.insert(name.to_owned(), value);
    } else if !line.is_empty() && !line.starts_with('#') {
        return Err("no case, no let, no bytes, no comment".to_owned());
    }
    Ok(())
}

fn read_case(text: &str, names: &Names) -> Result<Case, String> {
    let fields: Vec<&str> = text.split('|').map(str::trim).collect();
    let [name, undisputed, answers, then] = fields[..] else {
        return Err("write case NAME | undisputed | answers | then".to_owned());
    };
    let answers = String::from_utf8(bytes(answers, names)?).map_err(|_| "answers are words")?;
    Ok(Case {
        name: name.to_owned(),
        undisputed: undisputed.parse().map_err(|_| format!("{undisputed} is no number of requests"))?,
        answers: answers.split_whitespace().map(Expected::from_word).collect(),
        then: match then {
            "open" => Then::Open,
            "closed" => Then::Closed,
            "waits" => Then::Waits,
            "either" => Then::Either,
            other => return Err(format!("{other} is not open, closed, waits or either")),
        },
        bytes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table_is_well_formed_and_large_enough() {
        let cases = http1().unwrap();
        assert!(cases.len() >= 150, "{}", cases.len());
        for case in &cases {
            let refusals = case.answers.iter().filter(|answer| !answer.is_seen()).count();
            let last_is_one = case.answers.last().is_some_and(|answer| !answer.is_seen());
            assert_eq!(refusals, usize::from(last_is_one), "{}: nothing comes after a refusal", case.name);
            assert!(
                !last_is_one || case.then == Then::Closed,
                "{}: a refusal ends the connection",
                case.name
            );
            assert!(!case.answers.contains(&Expected::Link("evil".into())), "{}", case.name);
        }
    }

    #[test]
    fn the_table_of_frames_is_well_formed() {
        let cases = http2().unwrap();
        assert!(cases.len() >= 80, "{}", cases.len());
        assert!(cases.iter().all(|case| case.name.starts_with("h2 ") && !case.bytes.is_empty()));
    }

    #[test]
    fn a_case_is_read_as_it_is_written() {
        let text = "# x\nlet A = a\\r\ncase two | 1 | one {2*404 }400 | closed\n  {A}\n   b\n";
        let [case] = &read(text, bytes).unwrap()[..] else { panic!() };
        let status = |status| Expected::Status(status);
        assert_eq!(case.answers, [Expected::Link("one".into()), status(404), status(404), status(400)]);
        assert_eq!((case.name.as_str(), case.undisputed, case.then), ("two", 1, Then::Closed));
        assert_eq!(case.bytes, b"a\r b");
        for wrong in [
            "  x",
            "case a | 1 | x",
            "case a | x | x | open",
            "case a | 1 | x | shut",
            "let a",
            "x",
            "let a = {b}",
        ] {
            assert!(read(wrong, bytes).is_err(), "{wrong}");
        }
    }
}
