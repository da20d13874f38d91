//! Reads the exports of other shorteners and writes the lines of an import (`docs/import.md`).
//!
//! Owned here: what a file says is kept (code, domain, dates, title, tags), and what it cannot say here is not guessed. A code goes
//! over as it is; whether it is possible is for the API to judge, line by line. A record that cannot be taken over is named and refused
//! alone, the others go on. Each record becomes one line, an empty one if there is nothing to send, so that the API numbers lines as the file
//! has records. Files are read as streams; the formats that are one JSON document are read an element at a time.

mod bitly;
mod bounded;
mod dub;
mod elements;
mod kutt;
mod shlink;
mod time;
mod yourls;

use std::collections::HashMap;
use std::io::{self, BufRead};

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use url::Url;

use bounded::{bounded_line, metered};

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// Lines of JSON, as `signpost export` writes them
    Signpost,
    /// CSV as the Shlink web client exports it, and as Shlink imports it
    ShlinkCsv,
    /// JSON as Shlink's REST API lists short URLs (v1 to v3), one answer or several after each other
    ShlinkJson,
    /// CSV of a YOURLS database or export plugin: keyword,url,title,timestamp,ip,clicks
    YourlsCsv,
    /// JSON as YOURLS' API lists links (action=stats&filter=last&limit=…)
    YourlsJson,
    /// JSON as Bitly's API lists the bitlinks of a group
    BitlyJson,
    /// JSON as Kutt's API lists links
    KuttJson,
    /// CSV as Dub exports links
    DubCsv,
    /// JSON as Dub's API lists links
    DubJson,
}

/// Longest line that is read, in bytes: more than the API takes.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Longest row of a CSV file, in bytes.
const ROW_BYTES_MAX: u64 = 16 << 20;
/// The line of a record that has nothing to send.
pub const NOTHING: &[u8] = b"\n";

impl Format {
    /// What the numbers in reports count.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Format::Signpost => "line",
            _ => "record",
        }
    }
}

/// What is done to every link.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The domain they get; without it the one in the file.
    pub domain: Option<String>,
    /// Hosts in the file whose links are taken; none: all.
    pub only: Vec<String>,
    /// Tags they get besides.
    pub tags: Vec<String>,
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file system.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no CSV.
    #[error("the file is not the CSV it should be: {0}; is --from right?")]
    Csv(#[from] csv::Error),
    /// It is no JSON, or another one.
    #[error("the file is not the JSON it should be: {0}; is --from right?")]
    Json(#[from] serde_json::Error),
    /// A column is missing.
    #[error("the CSV has no column {column}; it has: {found}. Is --from right?")]
    NoColumn {
        /// Which one, and what it may be called.
        column: &'static str,
        /// What there is.
        found: String,
    },
    /// There are no links where they should be.
    #[error("there is no list of links (at {lists}); is --from right?")]
    NoList {
        /// Where they should be.
        lists: String,
    },
    /// A record cannot be taken over; the ones behind it can be read.
    #[error("record {number}: {what}")]
    Record {
        /// Which one, from 1.
        number: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// A link as another shortener has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Foreign {
    pub long_url: String,
    pub code: Option<String>,
    /// The host, without a scheme.
    pub domain: Option<String>,
    pub title: Option<String>,
    pub tags: Vec<String>,
    /// As RFC 3339.
    pub created_at: Option<String>,
    /// As RFC 3339.
    pub expires_at: Option<String>,
    /// How many people have followed it.
    pub clicks: Option<u64>,
    /// After how many clicks it ends.
    pub max_clicks: Option<u64>,
    /// How many of those are used; as many as `clicks`, if it is not said.
    pub max_clicks_used: Option<u64>,
    /// As RFC 3339.
    pub not_before: Option<String>,
    pub is_disabled: bool,
    pub archived: bool,
    pub forward_query: bool,
    pub notes: Option<String>,
    pub external_id: Option<String>,
}

impl Foreign {
    /// Returns the line of an import; empty, if it is on a host that is not wanted.
    fn line(self, options: &Options) -> Vec<u8> {
        let host = self.domain.as_deref().unwrap_or_default();
        if !options.only.is_empty() && !options.only.iter().any(|only| only.eq_ignore_ascii_case(host)) {
            return NOTHING.to_vec();
        }
        let mut line = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                line.insert(name.to_owned(), value);
            }
        };
        put("long_url", Some(self.long_url.into()));
        put("code", self.code.map(Value::from));
        put("domain", options.domain.clone().or(self.domain).map(Value::from));
        put("title", self.title.filter(|title| !title.is_empty()).map(Value::from));
        let tags: Vec<_> =
            self.tags.into_iter().chain(options.tags.iter().cloned()).filter(|tag| !tag.is_empty()).collect();
        put("tags", (!tags.is_empty()).then(|| json!(tags)));
        put("created_at", self.created_at.map(Value::from));
        put("expires_at", self.expires_at.map(Value::from));
        put("clicks", self.clicks.filter(|clicks| *clicks > 0).map(Value::from));
        put("max_clicks", self.max_clicks.map(Value::from));
        put("max_clicks_used", self.max_clicks_used.map(Value::from));
        put("not_before", self.not_before.map(Value::from));
        put("state", self.is_disabled.then(|| "disabled".into()));
        put("archived", self.archived.then_some(true.into()));
        put("forward_query", self.forward_query.then_some(true.into()));
        put("notes", self.notes.map(Value::from));
        put("external_id", self.external_id.map(Value::from));
        let mut line = Value::Object(line).to_string().into_bytes();
        line.push(b'\n');
        line
    }
}

/// Lines of an import, each with its end.
pub type Lines = Box<dyn Iterator<Item = Result<Vec<u8>, ConvertError>> + Send>;

/// Reads a file as lines of an import.
///
/// # Errors
/// Its beginning shows that it is something else.
pub fn lines(
    format: Format,
    input: impl BufRead + Send + 'static,
    options: Options,
) -> Result<Lines, ConvertError> {
    let plain = options.domain.is_none() && options.only.is_empty() && options.tags.is_empty();
    Ok(match format {
        Format::Signpost if plain => Box::new(split(input)),
        Format::Signpost => Box::new(split(input).map(move |line| Ok(rewritten(line?, &options)))),
        Format::ShlinkCsv => of_csv(input, shlink::COLUMNS, shlink::of_row, options)?,
        Format::ShlinkJson => of_json(input, shlink::LISTS, |link| vec![shlink::of_json(link)], options),
        Format::YourlsCsv => of_csv(input, yourls::COLUMNS, yourls::of_row, options)?,
        Format::YourlsJson => of_json(input, yourls::LISTS, |link| vec![yourls::of_json(link)], options),
        Format::BitlyJson => {
            of_documents(elements::elements(input, bitly::LISTS, bitly::add_clicks), bitly::of_json, options)
        }
        Format::KuttJson => of_json(input, kutt::LISTS, |link| vec![kutt::of_json(link)], options),
        Format::DubCsv => of_csv(input, dub::COLUMNS, dub::of_row, options)?,
        Format::DubJson => of_json(input, dub::LISTS, |link| vec![dub::of_json(link)], options),
    })
}

fn split(mut input: impl BufRead) -> impl Iterator<Item = Result<Vec<u8>, ConvertError>> {
    let mut number = 0;
    std::iter::from_fn(move || {
        number += 1;
        match bounded_line(&mut input, LINE_BYTES_MAX) {
            Ok(None) => None,
            Ok(Some(Some(line))) => Some(Ok(line)),
            Ok(Some(None)) => {
                let what = format!("the line has more than {LINE_BYTES_MAX} bytes");
                Some(Err(ConvertError::Record { number, what }))
            }
            Err(error) => Some(Err(error.into())),
        }
    })
}

/// Changes a line of our own as the options say.
fn rewritten(line: Vec<u8>, options: &Options) -> Vec<u8> {
    let Ok(Value::Object(mut link)) = serde_json::from_slice(&line) else { return line };
    if !link.contains_key("long_url") {
        return line;
    }
    let host = link.get("domain").and_then(Value::as_str).unwrap_or_default();
    if !options.only.is_empty() && !options.only.iter().any(|only| only.eq_ignore_ascii_case(host)) {
        return NOTHING.to_vec();
    }
    if let Some(domain) = &options.domain {
        link.insert("domain".to_owned(), domain.as_str().into());
    }
    if !options.tags.is_empty()
        && let Value::Array(tags) = link.entry("tags").or_insert_with(|| json!([]))
    {
        tags.extend(options.tags.iter().map(|tag| Value::from(tag.as_str())));
    }
    let mut line = Value::Object(link).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// A column: what it may be called, without spaces and in lower case, and whether it has to be there.
pub(crate) struct Column {
    pub names: &'static [&'static str],
    pub required: bool,
}

/// A row of a CSV file, its values by the first name of their column.
pub(crate) struct Row<'a> {
    record: &'a csv::StringRecord,
    places: &'a HashMap<&'static str, usize>,
}

impl Row<'_> {
    /// Returns a value; `None` if it is empty or there is no such column.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.record.get(*self.places.get(name)?)?.trim();
        (!value.is_empty()).then_some(value)
    }
}

type OfRow = fn(&Row<'_>) -> Result<Foreign, String>;
/// Nearly always one; some shorteners have several links in a record.
type OfJson = fn(&Value) -> Vec<Result<Foreign, String>>;

fn of_csv(
    input: impl BufRead + Send + 'static,
    columns: &'static [Column],
    read: OfRow,
    options: Options,
) -> Result<Lines, ConvertError> {
    let (input, meter) = metered(input, ROW_BYTES_MAX, "a row of it");
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let header = reader.headers()?.clone();
    let plain = |name: &str| -> String {
        let letters = name.trim_start_matches('\u{feff}').chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let mut places = HashMap::new();
    for column in columns {
        let place = header.iter().position(|found| column.names.contains(&plain(found).as_str()));
        match place {
            Some(place) => drop(places.insert(column.names[0], place)),
            None if column.required => {
                let found = header.iter().collect::<Vec<_>>().join(", ");
                return Err(ConvertError::NoColumn { column: column.names[0], found });
            }
            None => {}
        }
    }
    let records = reader.into_records().zip(1..).map(move |(record, number)| {
        meter.reset();
        let refused = |what| ConvertError::Record { number, what };
        let record = match record {
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                return Err(refused("the row is not UTF-8".to_owned()));
            }
            record => record?,
        };
        let foreign = read(&Row { record: &record, places: &places }).map_err(refused)?;
        Ok(foreign.line(&options))
    });
    Ok(Box::new(records))
}

fn of_json(
    input: impl BufRead + Send + 'static,
    lists: &'static [&'static str],
    read: OfJson,
    options: Options,
) -> Lines {
    of_documents(elements::elements(input, lists, |_| ()), read, options)
}

fn of_documents(
    elements: impl Iterator<Item = Result<Value, ConvertError>> + Send + 'static,
    read: OfJson,
    options: Options,
) -> Lines {
    let links = elements.flat_map(move |element| match element {
        Ok(element) => read(&element).into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    });
    Box::new(links.zip(1..).map(move |(foreign, number)| {
        let foreign = foreign?.map_err(|what| ConvertError::Record { number, what })?;
        Ok(foreign.line(&options))
    }))
}

/// Takes a short URL apart into host and code; one without a scheme will do.
pub(crate) fn short_url(text: &str) -> Result<(String, String), String> {
    let none = || format!("{text:?} is no short URL: that is a host and a path");
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url =
        Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(none)?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(none)?;
    let code = url.path().trim_matches('/');
    if code.is_empty() {
        return Err(none());
    }
    Ok((host.to_owned(), code.to_owned()))
}

/// Reads a number of clicks, as a number or in digits; what is missing or empty is none.
///
/// # Errors
/// It is something else.
pub(crate) fn count(value: &Value) -> Result<Option<u64>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => count_in(Some(text)),
        number => number.as_u64().map(Some).ok_or_else(|| format!("{number} is no number of clicks")),
    }
}

/// As [`count`], of a CSV file.
///
/// # Errors
/// It is something else.
pub(crate) fn count_in(text: Option<&str>) -> Result<Option<u64>, String> {
    let digits = text.map(str::trim).filter(|text| !text.is_empty());
    digits.map(|digits| digits.parse().map_err(|_| format!("{digits:?} is no number of clicks"))).transpose()
}

/// Returns a text that is there and not empty.
pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
