//! The TOML file as a tree in which everything knows where it stands: path, line, and how it was written.
//!
//! Deliberately not here: what a value means; see [`ConfigValue`](super::ConfigValue).

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use toml::de::{DeTable, DeValue};

use super::dump::key_text;
use super::problem::Problem;

/// Characters of a value shown in a message: enough to recognise it, little enough for one line.
const SHOWN_CHARS_MAX: usize = 80;

/// One value of the file.
#[derive(Clone, Debug)]
pub struct Item {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) shown: String,
    pub(super) content: Content,
}

/// The entries of one table, by key.
pub(super) type Entries = BTreeMap<String, Rc<Item>>;

#[derive(Clone, Debug)]
pub(super) enum Content {
    Text(String),
    /// Saturated: beyond `i128` it is out of everybody's range, whatever it is.
    Whole(i128),
    Real(f64),
    Truth(bool),
    Moment,
    List(Vec<Item>),
    Table(Entries),
}

impl Item {
    /// The text, if it is a string.
    pub fn text(&self) -> Option<&str> {
        if let Content::Text(text) = &self.content { Some(text) } else { None }
    }

    /// The number, if it is a whole number.
    pub fn whole(&self) -> Option<i128> {
        if let Content::Whole(number) = self.content { Some(number) } else { None }
    }

    /// The number, if it is one, whole or not.
    pub fn number(&self) -> Option<f64> {
        match self.content {
            Content::Whole(number) => Some(number as f64),
            Content::Real(number) => Some(number),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn truth(&self) -> Option<bool> {
        if let Content::Truth(truth) = self.content { Some(truth) } else { None }
    }

    /// The elements, if it is an array.
    pub fn list(&self) -> Option<&[Item]> {
        if let Content::List(items) = &self.content { Some(items) } else { None }
    }

    /// The problem that this value is not what it has to be; `allowed` as in "a whole number from 1 to 9".
    pub fn refused(&self, allowed: &str) -> Problem {
        self.problem(format!("expected {allowed}"))
    }

    pub(super) fn problem(&self, text: String) -> Problem {
        Problem { path: self.path.clone(), line: Some(self.line), found: Some(self.shown.clone()), text }
    }
}

/// Parses a whole file.
///
/// # Errors
/// All syntax errors, at most one a line: the parser goes on after the first, and what it says about the rest of the
/// same line is seldom about a second mistake.
pub(super) fn parse(text: &str) -> Result<Entries, Vec<Problem>> {
    let lines = Lines::of(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(lines.entries("", root.get_ref()));
    }
    let mut problems: Vec<Problem> = errors
        .iter()
        .map(|error| Problem {
            path: String::new(),
            line: error.span().map(|span| lines.line(span.start)),
            found: None,
            text: format!("not TOML: {}", error.message()),
        })
        .collect();
    problems.sort_by_key(|problem| problem.line);
    problems.dedup_by_key(|problem| problem.line);
    Err(problems)
}

/// The text and where its lines begin, so that a byte position becomes a line number.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let after_newlines =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line, from 1, of a byte position.
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    fn entries(&self, path: &str, table: &DeTable<'_>) -> Entries {
        let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            (key.to_string(), Rc::new(self.item(join(path, key), value)))
        };
        table.iter().map(entry).collect()
    }

    fn item(&self, path: String, value: &toml::Spanned<DeValue<'_>>) -> Item {
        let (mut shown, line) = (self.excerpt(value.span()), self.line(value.span().start));
        let content = match value.get_ref() {
            DeValue::String(text) => Content::Text(text.to_string()),
            DeValue::Integer(number) => {
                let saturated = if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
                Content::Whole(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(saturated))
            }
            DeValue::Float(number) => Content::Real(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Content::Truth(*truth),
            DeValue::Datetime(_) => Content::Moment,
            DeValue::Array(items) => {
                let item = |(index, item)| self.item(format!("{path}[{index}]"), item);
                Content::List(items.iter().enumerate().map(item).collect())
            }
            DeValue::Table(table) => {
                shown = "a table".to_owned();
                Content::Table(self.entries(&path, table))
            }
        };
        Item { path, line, shown, content }
    }

    /// What the file says at `span`, on one line and not too long.
    fn excerpt(&self, span: Range<usize>) -> String {
        let words: Vec<&str> = self.text.get(span).unwrap_or_default().split_whitespace().collect();
        let mut shown = words.join(" ");
        if let Some((cut, _)) = shown.char_indices().nth(SHOWN_CHARS_MAX) {
            shown.truncate(cut);
            shown.push('…');
        }
        shown
    }
}

/// The path of `key` in the table at `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key_text(key).into_owned() } else { format!("{path}.{}", key_text(key)) }
}
