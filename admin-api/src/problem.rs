//! Errors as HTTP tells them: problem details (RFC 9457). The one file that knows which error is which status.
//!
//! Owned here: what a client is told and what is logged are two things. A problem made from a failure of ours says that it is one and
//! nothing else; the cause goes to the log, once, here.

mod from;
pub mod kind;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Serialize, Serializer};

use crate::auth::allow::Denied;
use crate::links::fields::Finding;
use kind::Kind;

/// The content type of problem details.
pub const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

/// When a client should try again after something that passes by itself.
const SOON: Duration = Duration::from_secs(1);

/// A problem. Boxed: it is the other half of nearly every result here.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, PartialEq, Debug)]
struct Parts {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<Finding>,
    suggestions: Vec<String>,
    retry_after: Option<Duration>,
    challenge: Option<String>,
    close: bool,
}

impl Problem {
    fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem(Box::new(Parts {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            suggestions: Vec::new(),
            retry_after: None,
            challenge: None,
            close: false,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Problem {
        change(&mut self.0);
        self
    }

    /// Returns its status.
    pub fn status(&self) -> u16 {
        self.0.kind.status
    }

    /// Returns its stable word.
    pub fn code(&self) -> &'static str {
        self.0.kind.code
    }

    /// Returns its sentence for people.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns what is wrong with which field.
    pub fn errors(&self) -> &[Finding] {
        &self.0.errors
    }

    /// Calls fields as another API does: pairs of our name and theirs.
    #[must_use]
    pub fn with_fields(self, names: &[(&'static str, &'static str)]) -> Problem {
        self.with(|parts| {
            // A name nobody knows is the client's own.
            for finding in parts.errors.iter_mut().filter(|finding| finding.code != "unknown_field") {
                if let Some((_, theirs)) = names.iter().find(|(ours, _)| finding.field == *ours) {
                    finding.field = Cow::Borrowed(theirs);
                }
            }
            if let [only] = &*parts.errors
                && parts.kind == kind::VALIDATION_FAILED
            {
                parts.detail = format!("{}: {}", only.field, only.detail).into();
            }
        })
    }

    /// Puts its headers on an answer that tells it in another API's words.
    pub fn with_head_on(&self, mut response: Response) -> Response {
        self.write_head(response.headers_mut());
        response
    }

    fn retry_after(self, after: Duration) -> Problem {
        self.with(|parts| parts.retry_after = Some(after))
    }

    fn internal(cause: &(dyn std::error::Error + 'static)) -> Problem {
        tracing::error!(error = wire::channel::reason(cause), "a request failed");
        let detail = "the request failed for a reason of the server's own; it is in its log";
        Problem::new(kind::INTERNAL, detail)
    }

    /// No such path.
    pub fn no_route() -> Problem {
        let detail = "there is no such resource; links are under /v1/links";
        Problem::new(kind::NOT_FOUND, detail)
    }

    /// Not with this method; the router adds those it may have.
    pub fn method() -> Problem {
        let detail = "the resource does not have this method";
        Problem::new(kind::METHOD_NOT_ALLOWED, detail)
    }

    /// Not here but on the writer.
    pub fn standby(writer: &str) -> Problem {
        Problem::new(
            kind::STANDBY,
            format!("this server is a standby and changes nothing; the writer is {writer}"),
        )
    }

    /// No such link.
    pub fn no_link() -> Problem {
        Problem::new(kind::LINK_NOT_FOUND, "there is no link with this code on this domain")
    }

    /// Nobody declared the domain.
    pub fn no_domain(name: &str) -> Problem {
        let detail =
            format!("{name:?} is not a domain of this fleet; `signpost-admin domain add` declares one");
        let finding =
            Finding { field: "domain".into(), code: "domain_not_found", detail: "no such domain".to_owned() };
        let problem = Problem::new(kind::DOMAIN_NOT_FOUND, detail);
        problem.with(|parts| parts.errors = vec![finding])
    }

    /// The body, or a query parameter, is well-formed and wrong.
    pub fn invalid(errors: Vec<Finding>) -> Problem {
        let detail = match &*errors {
            [only] => format!("{}: {}", only.field, only.detail),
            several => format!("{} fields are not valid", several.len()),
        };
        let problem = Problem::new(kind::VALIDATION_FAILED, detail);
        problem.with(|parts| parts.errors = errors)
    }

    /// One field is wrong.
    pub fn field(field: &'static str, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::invalid(vec![Finding { field: field.into(), code, detail: detail.into() }])
    }

    /// The body is no JSON.
    pub fn malformed(error: &serde_json::Error) -> Problem {
        // The message names a line and a column and never repeats what is there.
        let detail = format!("the body is not valid JSON: {error}");
        Problem::new(kind::MALFORMED_JSON, detail)
    }

    /// The body is JSON of another shape.
    pub fn wrong_shape(detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        let errors = vec![Finding { field: "".into(), code: "wrong_type", detail: detail.clone() }];
        Problem::invalid(errors).with(|parts| parts.detail = detail.into())
    }

    /// Somebody has the alias; `free` are others that nobody has.
    pub fn alias_taken(free: Vec<String>) -> Problem {
        let detail = "the alias belongs to another link";
        let finding = Finding { field: "alias".into(), code: "alias_taken", detail: detail.to_owned() };
        let problem = Problem::new(kind::ALIAS_TAKEN, detail);
        problem.with(|parts| (parts.errors, parts.suggestions) = (vec![finding], free))
    }

    /// Somebody else changed the domain meanwhile.
    pub fn domain_contended() -> Problem {
        let detail = "the domain was changed by somebody else meanwhile: read it and try again";
        Problem::new(kind::CONTENDED, detail).retry_after(SOON)
    }

    /// The domain is not at the version that If-Match names.
    pub fn domain_version_mismatch(found: u64) -> Problem {
        let detail = format!("the domain is at version {found}, which is not what If-Match asks for");
        Problem::new(kind::VERSION_MISMATCH, detail)
    }

    /// A QR code does not hold the URL.
    pub fn no_picture() -> Problem {
        let detail = "the short URL is too long for a QR code with this error correction";
        Problem::field("error_correction", "url_too_long", detail)
    }

    /// Another link of the owner has the external id.
    pub fn external_id_taken() -> Problem {
        let detail = "another link of the same owner has this external_id";
        let finding =
            Finding { field: "external_id".into(), code: "external_id_taken", detail: detail.to_owned() };
        Problem::new(kind::EXTERNAL_ID_TAKEN, detail).with(|parts| parts.errors = vec![finding])
    }

    /// The token may not make or change a link.
    pub fn denied(denied: &Denied) -> Problem {
        let detail = denied.to_string();
        let kind = match denied {
            Denied::Domain => kind::DOMAIN_NOT_ALLOWED,
            Denied::Prefix { .. } => kind::ALIAS_PREFIX_MISSING,
            Denied::Owner => kind::OWNER_NOT_ALLOWED,
            Denied::NoSuchUser | Denied::NobodyAllowed { .. } => {
                return Problem::field(denied.field(), denied.code(), detail);
            }
        };
        let finding = Finding { field: denied.field().into(), code: denied.code(), detail: detail.clone() };
        Problem::new(kind, detail).with(|parts| parts.errors = vec![finding])
    }

    /// No such user.
    pub fn no_user() -> Problem {
        Problem::new(kind::USER_NOT_FOUND, "there is no user with this id")
    }

    /// No such group.
    pub fn no_group() -> Problem {
        Problem::new(kind::GROUP_NOT_FOUND, "there is no group with this id")
    }

    /// No such signing key.
    pub fn no_signing_key() -> Problem {
        Problem::new(kind::SIGNING_KEY_NOT_FOUND, "there is no signing key with this id")
    }

    /// The link is for everybody.
    pub fn not_private() -> Problem {
        Problem::new(
            kind::LINK_NOT_PRIVATE,
            "the link is public: whoever has it follows it without a signature",
        )
    }

    /// No such token.
    pub fn no_token() -> Problem {
        Problem::new(kind::TOKEN_NOT_FOUND, "there is no token with this id")
    }

    /// A link that does not end with a number of clicks.
    pub fn no_limit() -> Problem {
        Problem::new(kind::LIMIT_NOT_FOUND, "the link has no max_clicks")
    }

    /// A group that users are in.
    pub fn group_in_use() -> Problem {
        Problem::new(kind::GROUP_IN_USE, "there are users in this group: take them out of it first")
    }

    /// No more of something are kept.
    pub fn too_many(what: &str, max: usize) -> Problem {
        let detail = format!("there are {max} {what} already, which is the most there may be");
        Problem::new(kind::TOO_MANY, detail)
    }

    /// Others were faster.
    pub fn contended() -> Problem {
        let detail = "it was changed by others meanwhile: look at it again";
        Problem::new(kind::CONTENDED, detail).retry_after(SOON)
    }

    /// There are no codes left.
    pub fn no_codes() -> Problem {
        let detail = "the supply of generated codes is used up and no key pool answers; links with an alias can be made";
        Problem::new(kind::NO_CODES_AVAILABLE, detail).retry_after(SOON)
    }

    /// As many exports or imports run as may.
    pub fn transfers_busy(max: usize) -> Problem {
        Problem::new(
            kind::TRANSFERS_BUSY,
            format!("{max} of this kind run already, which is the most there may be"),
        )
        .retry_after(SOON)
    }

    /// A line of an import is too long.
    pub fn line_too_large(max: usize) -> Problem {
        Problem::new(kind::BODY_TOO_LARGE, format!("the line has more than {max} bytes"))
    }

    /// Only operators may do this.
    pub fn operators_only(detail: &'static str) -> Problem {
        Problem::new(kind::SCOPE_MISSING, detail)
    }

    /// A link's life would have ended already.
    pub fn already_expired() -> Problem {
        Problem::field("expires_at", "expires_at_in_the_past", "expires_at is not in the future")
    }

    /// A link's life would end before it begins.
    pub fn ends_first() -> Problem {
        Problem::field("not_before", "not_before_after_end", "not_before is not before expires_at")
    }

    /// What an idempotent request made was deleted since.
    pub fn gone() -> Problem {
        let detail = "the link that this Idempotency-Key made was deleted since";
        Problem::new(kind::LINK_DELETED_SINCE, detail)
    }

    /// The database could not be read for something that is no change.
    pub fn of_failure(cause: &(dyn std::error::Error + 'static)) -> Problem {
        Problem::internal(cause)
    }

    /// A parameter of the query that nobody knows, or that came twice.
    pub fn parameter(name: &str, code: &'static str, detail: impl Into<String>) -> Problem {
        let field = Cow::Owned(name.chars().take(64).collect());
        Problem::invalid(vec![Finding { field, code, detail: detail.into() }])
    }
}

#[derive(Serialize)]
struct FindingView<'a> {
    field: &'a str,
    code: &'a str,
    detail: &'a str,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            errors: Vec<FindingView<'a>>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            suggestions: &'a [String],
        }
        let errors =
            self.0.errors.iter().map(|Finding { field, code, detail }| FindingView { field, code, detail });
        View {
            r#type: self.0.kind.uri(),
            title: self.0.kind.title,
            status: self.0.kind.status,
            detail: &self.0.detail,
            code: self.0.kind.code,
            errors: errors.collect(),
            suggestions: &self.0.suggestions,
        }
        .serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem is strings and numbers");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.0.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROBLEM));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.write_head(headers);
        response
    }
}

impl Problem {
    /// What a problem says in headers, whatever it says in the body.
    fn write_head(&self, headers: &mut HeaderMap) {
        if let Some(after) = self.0.retry_after {
            // Whole seconds, rounded up: too early is worse than too late.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(challenge) = self.0.challenge.as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if self.0.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}
