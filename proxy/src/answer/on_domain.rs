//! What a domain answers besides its links: `/`, robots.txt, files under `/.well-known/`, and where codes lead that do not exist or have ended.
//! Pure.

use std::borrow::Cow;

use bytes::Bytes;
use linklog::Ended;
use linklog::entity::{DomainAnswers, WellKnown};

use super::ASK_AGAIN;
use super::composed::Composed;

/// How long anybody may keep a file of a domain: an hour, since it may be changed.
const FILES_KEPT: &str = "public, max-age=3600";
const WELL_KNOWN: &[u8] = b"/.well-known/";

/// What a domain answers, its files where every answer shares them: a visitor who reads slowly holds a reference and no copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnDomain {
    /// Where `/` leads.
    pub root: Option<String>,
    not_found: Option<String>,
    /// Whether an alias is found whatever the case of its letters.
    pub folded: bool,
    ended: Option<Ended>,
    robots: Option<Bytes>,
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct File {
    name: String,
    content_type: String,
    body: Bytes,
}

impl From<DomainAnswers> for OnDomain {
    fn from(answers: DomainAnswers) -> OnDomain {
        let DomainAnswers { root, not_found, folded, ended, robots, well_known } = answers;
        let file = |WellKnown { name, content_type, body }| File { name, content_type, body: body.into() };
        let files = well_known.into_iter().map(file).collect();
        OnDomain { root, not_found, folded, ended, robots: robots.map(Bytes::from), files }
    }
}

/// The way somewhere else; no click.
pub fn elsewhere(target: &[u8], is_of_a_link: bool) -> Composed<'_> {
    Composed { is_of_a_link, ..Composed::redirect(302, Cow::Borrowed(target), ASK_AGAIN) }
}

/// The answer to `/robots.txt`.
pub fn robots(answers: &OnDomain) -> Option<Composed<'_>> {
    answers.robots.as_ref().map(|text| file("text/plain; charset=utf-8", text))
}

/// The file at a path, if it is one.
pub fn well_known<'a>(answers: &'a OnDomain, path: &[u8]) -> Option<Composed<'a>> {
    let name = path.strip_prefix(WELL_KNOWN)?;
    let found = answers.files.iter().find(|file| file.name.as_bytes() == name)?;
    Some(file(&found.content_type, &found.body))
}

/// Where the domain sends those who ask for a code that does not exist.
pub fn not_found(answers: &OnDomain) -> Option<Composed<'_>> {
    answers.not_found.as_ref().map(|target| elsewhere(target.as_bytes(), false))
}

/// How links of the domain answer that have ended and say nothing about it themselves.
pub fn ended(answers: &OnDomain) -> Ended<&[u8]> {
    match &answers.ended {
        None | Some(Ended::Gone) => Ended::Gone,
        Some(Ended::NotFound) => Ended::NotFound,
        Some(Ended::Redirect(target)) => Ended::Redirect(target.as_bytes()),
    }
}

fn file<'a>(content_type: &'a str, body: &Bytes) -> Composed<'a> {
    Composed {
        status: 200,
        cache_control: Cow::Borrowed(FILES_KEPT),
        location: None,
        content_type: Some(content_type),
        headers: &[("X-Content-Type-Options", "nosniff")],
        set_cookie: None,
        body: body.clone(),
        is_of_a_link: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_with_a_file_shares_its_bytes() {
        let file = |name: &str| WellKnown {
            name: name.into(),
            content_type: "text/plain".into(),
            body: "x".repeat(100_000),
        };
        let answers = DomainAnswers {
            robots: Some("User-agent: *".into()),
            well_known: vec![file("a"), file("b")],
            ..DomainAnswers::default()
        };
        let answers = OnDomain::from(answers);
        let of = |path: &str| well_known(&answers, path.as_bytes()).map(|file| file.body.as_ptr());
        assert_eq!(of("/.well-known/b"), Some(answers.files[1].body.as_ptr()));
        assert_eq!(robots(&answers).map(|file| file.body), answers.robots);
        assert_eq!((of("/.well-known/c"), of("/a")), (None, None));
    }
}
