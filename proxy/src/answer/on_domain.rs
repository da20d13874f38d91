//! What a domain answers besides its links: `/`, robots.txt, files under `/.well-known/`, and where codes lead that do not exist or have ended.
//! Pure.

use std::borrow::Cow;

use linklog::Ended;
use linklog::entity::DomainAnswers;

use super::ASK_AGAIN;
use super::composed::Composed;

/// How long anybody may keep a file of a domain: an hour, since it may be changed.
const FILES_KEPT: &str = "public, max-age=3600";
const WELL_KNOWN: &[u8] = b"/.well-known/";

/// The way somewhere else; no click.
pub fn elsewhere(target: &[u8], is_of_a_link: bool) -> Composed<'_> {
    Composed { is_of_a_link, ..Composed::redirect(302, Cow::Borrowed(target), ASK_AGAIN) }
}

/// The answer to `/robots.txt`.
pub fn robots(answers: &DomainAnswers) -> Option<Composed<'_>> {
    answers.robots.as_ref().map(|text| file("text/plain; charset=utf-8", text))
}

/// The file at a path, if it is one.
pub fn well_known<'a>(answers: &'a DomainAnswers, path: &[u8]) -> Option<Composed<'a>> {
    let name = path.strip_prefix(WELL_KNOWN)?;
    let found = answers.well_known.iter().find(|file| file.name.as_bytes() == name)?;
    Some(file(&found.content_type, &found.body))
}

/// Where the domain sends those who ask for a code that does not exist.
pub fn not_found(answers: &DomainAnswers) -> Option<Composed<'_>> {
    answers.not_found.as_ref().map(|target| elsewhere(target.as_bytes(), false))
}

/// How links of the domain answer that have ended and say nothing about it themselves.
pub fn ended(answers: &DomainAnswers) -> Ended<&[u8]> {
    match &answers.ended {
        None | Some(Ended::Gone) => Ended::Gone,
        Some(Ended::NotFound) => Ended::NotFound,
        Some(Ended::Redirect(target)) => Ended::Redirect(target.as_bytes()),
    }
}

fn file<'a>(content_type: &'a str, body: &'a str) -> Composed<'a> {
    Composed {
        status: 200,
        cache_control: Cow::Borrowed(FILES_KEPT),
        location: None,
        content_type: Some(content_type),
        headers: &[("X-Content-Type-Options", "nosniff")],
        body: Cow::Borrowed(body.as_bytes()),
        is_of_a_link: false,
    }
}
