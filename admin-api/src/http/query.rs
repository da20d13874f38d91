//! Parameters of the query. A parameter nobody knows is refused: a misspelt `cursor` would otherwise list from the start for ever.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use http::Uri;
use jiff::Timestamp;
use linklog::entity::PersonId;
use linklog::store::{Within, target_host};
use linklog::{Code, DomainId, Key, LinkState};
use url::form_urlencoded;

use crate::auth::Caller;
use crate::domains::DomainTable;
use crate::links::fields::TAG_CHARS_MAX;
use crate::links::keeping::{EXTERNAL_ID_RULE, is_external_id};
use crate::links::list::{self, Cursor, CursorInvalid, LIMIT_DEFAULT, LIMIT_MAX, Wanted};
use crate::links::order::{domain_named, lower_case};
use crate::problem::Problem;
use crate::search::rank::Sort;
use crate::search::words::Words;

/// The parameters of a query.
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Longest `q`, in characters.
const QUESTION_CHARS_MAX: usize = 200;
/// Most parameters that are looked at.
const PARAMETERS_MAX: usize = 32;

impl<'a> Query<'a> {
    /// Reads a query in which only `known` parameters may be, each once.
    ///
    /// # Errors
    /// An unknown or repeated parameter.
    pub fn read(uri: &'a Uri, known: &[&str]) -> Result<Query<'a>, Problem> {
        Query::read_with(uri, known, &[])
    }

    /// As [`Query::read`], but those of `repeatable` may be there several times.
    ///
    /// # Errors
    /// As [`Query::read`]; more parameters than are looked at.
    pub fn read_with(uri: &'a Uri, known: &[&str], repeatable: &[&str]) -> Result<Query<'a>, Problem> {
        let mut found: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).take(PARAMETERS_MAX + 1)
        {
            if found.len() == PARAMETERS_MAX {
                let detail = format!("a query has at most {PARAMETERS_MAX} parameters");
                return Err(Problem::parameter(&name, "too_many_parameters", detail));
            }
            if !known.contains(&&*name) {
                let detail = match known {
                    [] => "this resource has no parameters".to_owned(),
                    known => format!("there is no such parameter, there is {}", known.join(", ")),
                };
                return Err(Problem::parameter(&name, "unknown_parameter", detail));
            }
            if found.iter().any(|(before, _)| *before == name) && !repeatable.contains(&&*name) {
                return Err(Problem::parameter(&name, "duplicate_parameter", "the parameter is there twice"));
            }
            found.push((name, value));
        }
        Ok(Query(found))
    }

    /// Returns a parameter that is one of some words; the first of them, if it is not there.
    ///
    /// # Errors
    /// It is another word.
    pub fn word<'w>(&self, name: &str, words: &[&'w str]) -> Result<&'w str, Problem> {
        let Some(found) = self.get(name) else { return Ok(words.first().copied().unwrap_or_default()) };
        let known = words.iter().find(|word| **word == found).copied();
        known.ok_or_else(|| Problem::parameter(name, "not_allowed", format!("one of: {}", words.join(", "))))
    }

    /// Returns a parameter that is a number.
    ///
    /// # Errors
    /// It is none, or out of range.
    pub fn number(&self, name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let detail = || format!("a number from {} to {}", range.start(), range.end());
        number.ok_or_else(|| Problem::parameter(name, "out_of_range", detail()))
    }

    /// Returns a parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    }

    /// Returns the domain asked for, or the default one.
    ///
    /// # Errors
    /// Nobody declared it.
    pub fn domain(&self, domains: &DomainTable) -> Result<DomainId, Problem> {
        domain_named(self.get("domain"), domains).map_err(|name| Problem::no_domain(&name))
    }

    /// Returns how many links a page has.
    ///
    /// # Errors
    /// It is no number in range.
    pub fn limit(&self) -> Result<usize, Problem> {
        self.whole("limit", LIMIT_DEFAULT, LIMIT_MAX)
    }

    /// Returns a limit from 1 to `max`.
    ///
    /// # Errors
    /// It is no number in range.
    pub fn whole(&self, name: &str, default: usize, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=max).contains(number));
        let detail = || Problem::parameter(name, "limit_out_of_range", format!("a number from 1 to {max}"));
        number.ok_or_else(detail)
    }

    /// Returns what a list is asked for.
    ///
    /// # Errors
    /// The first parameter that makes no sense.
    pub fn wanted(&self, domains: &DomainTable, caller: Caller) -> Result<Wanted, Problem> {
        let invalid = |name: &str, code, detail: &str| Err(Problem::parameter(name, code, detail));
        let sort = match self.get("sort") {
            None | Some("-created_at") => Sort::NewestFirst,
            Some("created_at") => Sort::OldestFirst,
            Some("-clicks") => Sort::MostClicked,
            Some("clicks") => Sort::LeastClicked,
            Some(_) => {
                let detail = "-created_at (newest first, the default), created_at (oldest first), -clicks (most clicked first) or clicks (least \
                              clicked first)";
                return invalid("sort", "sort_not_allowed", detail);
            }
        };
        let words = match self.get("q") {
            None => None,
            Some(text) if text.chars().count() > QUESTION_CHARS_MAX => {
                return invalid("q", "q_too_long", &format!("at most {QUESTION_CHARS_MAX} characters"));
            }
            Some(text) => match Words::read(text) {
                Ok(words) => Some(words),
                Err(error) => return invalid("q", "q_not_allowed", &error.to_string()),
            },
        };
        Ok(Wanted { words, ..self.wanted_in(sort, domains, caller)? })
    }

    /// Returns what an export is asked for: what a list would be, but for its order.
    ///
    /// # Errors
    /// The first parameter that makes no sense.
    pub fn wanted_oldest_first(&self, domains: &DomainTable, caller: Caller) -> Result<Wanted, Problem> {
        // An export is of everything, what is put aside included.
        Ok(Wanted { archived: None, ..self.wanted_in(Sort::OldestFirst, domains, caller)? })
    }

    fn wanted_in(&self, sort: Sort, domains: &DomainTable, caller: Caller) -> Result<Wanted, Problem> {
        let invalid = |name: &str, code, detail: &str| Err(Problem::parameter(name, code, detail));
        let domain = self.get("domain").map(|_| self.domain(domains)).transpose()?;
        let state = match self.get("state") {
            None => None,
            Some("active") => Some(LinkState::Active),
            Some("disabled") => Some(LinkState::Disabled),
            Some("banned") => Some(LinkState::Banned),
            Some("reserved") => Some(LinkState::Reserved),
            Some(_) => {
                return invalid("state", "state_not_allowed", "active, disabled, banned or reserved");
            }
        };
        let total = match self.get("total") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return invalid("total", "total_not_allowed", "true or false"),
        };
        let tags: Vec<_> = self
            .0
            .iter()
            .filter(|(name, _)| name == "tag")
            .map(|(_, tag)| tag.clone().into_owned())
            .collect();
        if tags.len() > list::TAGS_MAX {
            return invalid("tag", "too_many_tags", &format!("at most {} tags", list::TAGS_MAX));
        }
        if tags.iter().any(|tag| tag.is_empty() || tag.chars().count() > TAG_CHARS_MAX) {
            return invalid("tag", "tag_length", &format!("a tag has 1 to {TAG_CHARS_MAX} characters"));
        }
        let host = match self.get("host") {
            None => None,
            Some(text) => match host_of_target(text) {
                None => return invalid("host", "host_invalid", "the host of targets, such as example.com"),
                host => host,
            },
        };
        let cursor = self.get("cursor").map(Cursor::decode).transpose();
        let cursor = cursor.and_then(|cursor| match cursor {
            Some(cursor) if cursor.sort != sort => Err(CursorInvalid),
            cursor => Ok(cursor),
        });
        let cursor =
            cursor.map_err(|error| Problem::parameter("cursor", "cursor_invalid", error.to_string()))?;
        let owner = match self.get("owner").map(str::parse::<PersonId>) {
            None => None,
            Some(Ok(owner)) => Some(owner),
            Some(Err(error)) => return invalid("owner", "id_not_valid", &error.to_string()),
        };
        let archived = match self.get("archived") {
            None | Some("false") => Some(false),
            Some("true") => Some(true),
            Some("any") => None,
            Some(_) => {
                return invalid("archived", "archived_not_allowed", "true, false (the default) or any");
            }
        };
        let external_id = self.get("external_id").map(str::to_owned);
        if external_id.as_deref().is_some_and(|id| !is_external_id(id)) {
            return invalid("external_id", "external_id_not_allowed", EXTERNAL_ID_RULE);
        }
        Ok(Wanted {
            sees_only: caller.sees_only(),
            within: Within::default(),
            owner,
            archived,
            external_id: external_id.map(|id| (owner.or(caller.user), id)),
            domain,
            state,
            host,
            tags,
            created_from_ms: self.time("created_from")?,
            created_before_ms: self.time("created_before")?,
            words: None,
            sort,
            cursor,
            limit: self.limit()?,
            total,
        })
    }

    fn time(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let at = text.parse::<Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
        let expected = "a time as in RFC 3339 after 1970, such as 2030-01-31T12:00:00Z (+ in a query is %2B)";
        at.map(Some).ok_or_else(|| Problem::parameter(name, "not_a_time", expected))
    }
}

/// Returns the host of targets as the index has it: in the form a target with that host would be kept.
fn host_of_target(text: &str) -> Option<String> {
    let plain = !text.is_empty() && !text.contains(['/', '?', '#', '@', '\\']) && text.len() <= 253;
    let url = plain.then(|| url::Url::parse(&format!("http://{text}/")).ok()).flatten()?;
    target_host(url.as_str().as_bytes())
}

/// Returns the key of a link named by a path and the domain of a query. A text that is no code names no link.
///
/// # Errors
/// There is no such domain, or no link can have this code.
pub fn key_of(code: &str, uri: &Uri, domains: &DomainTable) -> Result<Key, Problem> {
    key_in(code, &Query::read(uri, &["domain"])?, domains)
}

/// As [`key_of`], for a query that is read already.
///
/// # Errors
/// There is no such domain, or no link can have this code.
pub fn key_in(code: &str, query: &Query<'_>, domains: &DomainTable) -> Result<Key, Problem> {
    key_in_domain(code, query.domain(domains)?, domains)
}

/// Returns the key of a code in a domain.
///
/// # Errors
/// No link can have this code.
pub fn key_in_domain(code: &str, domain: DomainId, domains: &DomainTable) -> Result<Key, Problem> {
    let mut code = Code::from_bytes(code.as_bytes()).map_err(|_| Problem::no_link())?;
    // What cannot be a generated code is an alias, and those are kept in lower case there. What could be one is looked for: `Links::key_as_kept`.
    if code.as_code7().is_none() && domains.get(domain).is_some_and(|known| known.answers.folded) {
        code = lower_case(&code);
    }
    Ok(Key::new(domain, code))
}
