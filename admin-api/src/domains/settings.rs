//! What an operator says about a domain, judged. Pure.

use linklog::entity::{Domain, DomainAnswers, WellKnown};
use linklog::limits::{BODY_BYTES_MAX, CODE_BYTES_MAX};

use super::{DomainTable, KnownDomain};
use crate::json::{Json, Name};
use crate::links::Rules;
use crate::links::extras::{TTL_S_MAX, members, target_in, when_ended};
use crate::links::fields::{Finding, Judge, twice, unknown};

/// Longest robots.txt, in bytes: search engines read no more than 500 KiB of one, and nobody writes that.
pub const ROBOTS_BYTES_MAX: usize = 16 << 10;
/// Most files under `/.well-known/`.
pub const FILES_MAX: usize = 16;
/// Longest of them in bytes: Apple reads 128 KiB of an association file.
pub const FILE_BYTES_MAX: usize = 128 << 10;
/// All of them together, in bytes; a record has room for no more.
pub const FILES_BYTES_MAX: usize = 192 << 10;

/// A request about a domain, its members not judged.
#[derive(Default)]
pub struct SettingsFields<'j, 'a> {
    host: Option<&'j Json<'a>>,
    short_url_base: Option<&'j Json<'a>>,
    case: Option<&'j Json<'a>>,
    settings: [Option<&'j Json<'a>>; SETTINGS.len()],
    stray: Vec<Finding>,
}

const SETTINGS: [&str; 7] =
    ["root_url", "not_found_url", "when_ended", "robots_txt", "well_known", "default_ttl", "alias_length"];

impl<'j, 'a> SettingsFields<'j, 'a> {
    /// Takes the body of a request apart.
    ///
    /// # Errors
    /// What it is, if it is no object.
    pub fn of(body: &'j Json<'a>) -> Result<SettingsFields<'j, 'a>, &'static str> {
        let Json::Object(found, count) = body else { return Err(body.kind()) };
        let mut fields = SettingsFields::default();
        if *count > found.len() {
            let detail = format!("there are {count} fields, more than a domain has");
            fields.stray.push(Finding { field: "".into(), code: "too_many", detail });
        }
        for (Name(name), value) in found {
            let place = match &**name {
                "host" => &mut fields.host,
                "short_url_base" => &mut fields.short_url_base,
                "case" => &mut fields.case,
                name => match SETTINGS.iter().position(|known| *known == name) {
                    Some(at) => &mut fields.settings[at],
                    None => {
                        fields.stray.push(unknown(name));
                        continue;
                    }
                },
            };
            if place.replace(value).is_some() {
                fields.stray.push(twice(name));
            }
        }
        Ok(fields)
    }
}

/// A domain to be declared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewDomain {
    /// Its host, as it was written.
    pub host: String,
    /// What its short URLs are to begin with, as it was written.
    pub short_url_base: Option<String>,
    /// What its owner keeps with it, but for what follows from the above.
    pub manage: Domain,
    /// What proxies answer on it.
    pub answers: DomainAnswers,
}

/// Judges a request for a new domain.
///
/// # Errors
/// Everything that is wrong with it.
pub fn new(
    mut fields: SettingsFields<'_, '_>,
    rules: &Rules,
    domains: &DomainTable,
) -> Result<NewDomain, Vec<Finding>> {
    let mut judge = Judge::new(std::mem::take(&mut fields.stray));
    let host = judge.text("host", fields.host).map(str::to_owned);
    if host.is_none() {
        judge.find("host", "required", "the field is required");
    }
    let short_url_base = judge.text("short_url_base", fields.short_url_base).map(str::to_owned);
    let folded = match judge.text("case", fields.case) {
        None | Some("sensitive") => false,
        Some("folded") => true,
        Some(_) => {
            judge.find("case", "case_not_allowed", "the case of aliases is sensitive or folded");
            false
        }
    };
    let (mut manage, mut answers) = (Domain::default(), DomainAnswers { folded, ..DomainAnswers::default() });
    settings(&mut judge, &fields, rules, domains, &mut manage, &mut answers);
    judge.end(Some(NewDomain { host: host.unwrap_or_default(), short_url_base, manage, answers }))
}

/// Judges a merge patch of a domain's settings; returns what they are afterwards.
///
/// # Errors
/// Everything that is wrong with it.
pub fn patched(
    mut fields: SettingsFields<'_, '_>,
    known: &KnownDomain,
    rules: &Rules,
    domains: &DomainTable,
) -> Result<(Domain, DomainAnswers), Vec<Finding>> {
    let mut judge = Judge::new(std::mem::take(&mut fields.stray));
    judge.not_here("host", fields.host, "a domain's host cannot be changed");
    judge.not_here("short_url_base", fields.short_url_base, "what short URLs begin with cannot be changed");
    judge.not_here("case", fields.case, "the case of aliases is fixed when a domain is made");
    let (mut manage, mut answers) = (known.manage.clone(), known.answers.clone());
    settings(&mut judge, &fields, rules, domains, &mut manage, &mut answers);
    judge.end(Some((manage, answers)))
}

fn settings(
    judge: &mut Judge,
    fields: &SettingsFields<'_, '_>,
    rules: &Rules,
    domains: &DomainTable,
    manage: &mut Domain,
    answers: &mut DomainAnswers,
) {
    let [root, not_found, ended, robots, files, ttl, lengths] = fields.settings;
    let target = |judge: &mut Judge, field, json: Option<&Json<'_>>, place: &mut Option<String>| match json {
        None => {}
        Some(Json::Null) => *place = None,
        Some(json) => *place = target_in(judge, field, json, rules, domains),
    };
    target(judge, "root_url", root, &mut answers.root);
    target(judge, "not_found_url", not_found, &mut answers.not_found);
    if let Some(json) = ended {
        answers.ended = when_ended(judge, json, rules, domains);
    }
    if let Some(json) = robots {
        answers.robots = judge.text("robots_txt", Some(json)).map(str::to_owned);
        if answers.robots.as_ref().is_some_and(|text| text.len() > ROBOTS_BYTES_MAX || text.is_empty()) {
            judge.find("robots_txt", "robots_txt_length", format!("it has 1 to {ROBOTS_BYTES_MAX} bytes"));
        }
    }
    if let Some(json) = files {
        answers.well_known = well_known(judge, json);
    }
    // Of what is within the bounds above, only targets longer than usual, which an operator has to allow, can make this true.
    if judge.is_content() && answers.encode().len() > BODY_BYTES_MAX {
        let detail = format!("what a domain answers has at most {BODY_BYTES_MAX} bytes together");
        judge.find("well_known", "settings_too_long", detail);
    }
    match ttl {
        None => {}
        Some(Json::Null) => manage.default_ttl_s = None,
        Some(Json::Whole(seconds)) if (1..=TTL_S_MAX).contains(seconds) => {
            manage.default_ttl_s = Some(*seconds)
        }
        Some(_) => {
            let expected = format!("expected a whole number of seconds from 1 to {TTL_S_MAX}, or null");
            judge.find("default_ttl", "ttl_out_of_range", expected);
        }
    }
    if let Some(json) = lengths {
        manage.alias_lengths = alias_lengths(judge, json);
    }
}

fn alias_lengths(judge: &mut Judge, json: &Json<'_>) -> Option<(u8, u8)> {
    const FIELD: &str = "alias_length";
    if matches!(json, Json::Null) {
        return None;
    }
    let found = members(judge, FIELD, json, ["min", "max"])?;
    let read = |json: Option<&Json<'_>>| match json {
        Some(Json::Whole(length)) if *length <= CODE_BYTES_MAX as u64 => Some(*length as u8),
        _ => None,
    };
    match (read(found[0]), read(found[1])) {
        (Some(min), Some(max)) if 1 <= min && min <= max => Some((min, max)),
        _ => {
            let expected = format!("expected {{\"min\": ..., \"max\": ...}} within 1 to {CODE_BYTES_MAX}");
            judge.find(FIELD, "alias_length_range", expected);
            None
        }
    }
}

fn well_known(judge: &mut Judge, json: &Json<'_>) -> Vec<WellKnown> {
    const FIELD: &str = "well_known";
    let list = match json {
        Json::Null => return Vec::new(),
        Json::List(list, len) if *len <= FILES_MAX => list,
        Json::List(..) => {
            judge.find(FIELD, "too_many_files", format!("a domain has at most {FILES_MAX} files"));
            return Vec::new();
        }
        other => {
            judge.wrong_type(FIELD, "a list of files", other);
            return Vec::new();
        }
    };
    let mut files: Vec<WellKnown> = Vec::with_capacity(list.len());
    for json in list {
        let Some([name, content_type, body]) = members(judge, FIELD, json, ["name", "content_type", "body"])
        else {
            return Vec::new();
        };
        let text = |json: Option<&Json<'_>>| match json {
            Some(Json::Text(text)) => Some(text.to_string()),
            _ => None,
        };
        let content_type =
            if content_type.is_none() { Some("application/json".to_owned()) } else { text(content_type) };
        let (Some(name), Some(content_type), Some(body)) = (text(name), content_type, text(body)) else {
            judge.find(
                FIELD,
                "file",
                "a file has a name, a body and perhaps a content_type, all of them strings",
            );
            return Vec::new();
        };
        let segment = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let is_type = content_type.contains('/') && content_type.bytes().all(|b| (0x20..0x7f).contains(&b));
        if name.len() > 100 || !name.split('/').all(segment) {
            judge.find(
                FIELD,
                "file_name",
                "a name is what follows /.well-known/: letters, digits, . _ - and slashes",
            );
        } else if files.iter().any(|file| file.name == name) {
            judge.find(FIELD, "file_name", format!("{name} is there twice"));
        } else if content_type.len() > 100 || !is_type {
            judge.find(FIELD, "file_content_type", "a content_type is one such as application/json");
        } else if body.len() > FILE_BYTES_MAX {
            judge.find(FIELD, "file_too_long", format!("{name} is longer than {FILE_BYTES_MAX} bytes"));
        } else {
            files.push(WellKnown { name, content_type, body });
        }
    }
    let bytes: usize = files.iter().map(|file| file.body.len() + file.name.len() + 100).sum();
    if bytes > FILES_BYTES_MAX {
        judge.find(
            FIELD,
            "files_too_long",
            format!("all files together have at most {FILES_BYTES_MAX} bytes"),
        );
    }
    files
}
