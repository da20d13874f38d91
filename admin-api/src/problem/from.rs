//! Which problem every error of the service is.

use std::time::Duration;

use linklog::writer::ProposeError;

use super::{Problem, SOON, kind};
use crate::abuse::Refused;
use crate::auth::AuthError;
use crate::http::body::BodyError;
use crate::links::ChangeError;
use crate::links::condition::ConditionInvalid;
use crate::links::domains::DeclareError;
use crate::links::idempotency::KeyInvalid;
use crate::links::order::Refusal;
use crate::links::targets::RefusedTarget;

/// When to ask again for what a full disk prevents: somebody has to make room first.
const UNTIL_THERE_IS_ROOM: Duration = Duration::from_secs(30);

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Problem {
        let detail = error.to_string();
        match error {
            AuthError::Missing => {
                let problem = Problem::new(kind::TOKEN_MISSING, detail);
                problem.with(|parts| parts.challenge = Some("Bearer realm=\"signpost\"".to_owned()))
            }
            AuthError::Invalid => {
                let problem = Problem::new(kind::TOKEN_INVALID, detail);
                let challenge = "Bearer realm=\"signpost\", error=\"invalid_token\"".to_owned();
                problem.with(|parts| parts.challenge = Some(challenge))
            }
            AuthError::Scope { needed, .. } => {
                let problem = Problem::new(kind::SCOPE_MISSING, detail);
                let challenge =
                    format!("Bearer realm=\"signpost\", error=\"insufficient_scope\", scope=\"{needed}\"");
                problem.with(|parts| parts.challenge = Some(challenge))
            }
            AuthError::TooMany { retry_after, .. } => {
                Problem::new(kind::RATE_LIMITED, detail).retry_after(retry_after)
            }
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Problem {
        let detail = error.to_string();
        let new = |kind| Problem::new(kind, detail);
        match error {
            BodyError::Empty => new(kind::EMPTY_BODY),
            BodyError::ContentType { .. } => new(kind::UNSUPPORTED_MEDIA_TYPE),
            BodyError::TooLarge { .. } => new(kind::BODY_TOO_LARGE).with(|parts| parts.close = true),
            BodyError::TooSlow => new(kind::BODY_TOO_SLOW).with(|parts| parts.close = true),
            BodyError::Broken => new(kind::BODY_BROKEN).with(|parts| parts.close = true),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Problem {
        let detail = error.to_string();
        let new = |kind| Problem::new(kind, detail);
        match error {
            ChangeError::NotFound => Problem::no_link(),
            ChangeError::VersionMismatch { .. } | ChangeError::NothingToMatch => new(kind::VERSION_MISMATCH),
            ChangeError::Denied(denied) => Problem::denied(&denied),
            ChangeError::QuotaUsedUp(error) => new(kind::QUOTA_USED_UP).retry_after(error.retry_after),
            ChangeError::ExternalIdTaken => Problem::external_id_taken(),
            ChangeError::Taken => Problem::alias_taken(Vec::new()),
            ChangeError::Banned => new(kind::LINK_BANNED),
            ChangeError::MayNotBan(token) => AuthError::Scope { needed: "admin", token }.into(),
            ChangeError::Target(refused) => refused.into(),
            ChangeError::KeyInFlight => new(kind::IDEMPOTENCY_KEY_IN_FLIGHT).retry_after(SOON),
            ChangeError::Alias(error) => Problem::field("code", error.code(), error.to_string()),
            ChangeError::LimitHeld(_) => new(kind::LIMIT_HELD).retry_after(SOON),
            ChangeError::Contended => new(kind::CONTENDED).retry_after(SOON),
            ChangeError::AlreadyExpired => Problem::already_expired(),
            ChangeError::EndsFirst => Problem::ends_first(),
            ChangeError::TooLong => Problem::field("rules", "targets_too_long", error.to_string()),
            ChangeError::NoTarget => Problem::field("long_url", "required", error.to_string()),
            ChangeError::Level(_) => new(kind::FORMAT_LEVEL_TOO_LOW),
            ChangeError::KeyReused => new(kind::IDEMPOTENCY_KEY_REUSED),
            ChangeError::Propose(ProposeError::Busy) => new(kind::BUSY).retry_after(SOON),
            ChangeError::Propose(ProposeError::Fenced) => new(kind::WRITER_REPLACED).retry_after(SOON),
            ChangeError::Propose(ProposeError::NoRoom) => {
                new(kind::DISK_NEARLY_FULL).retry_after(UNTIL_THERE_IS_ROOM)
            }
            ChangeError::Propose(ProposeError::Closed) | ChangeError::Ending(_) => {
                new(kind::STOPPING).retry_after(SOON).with(|parts| parts.close = true)
            }
            ChangeError::Propose(ProposeError::Unknown) | ChangeError::Replication(_) => {
                new(kind::OUTCOME_UNKNOWN).retry_after(SOON)
            }
            ChangeError::Propose(ProposeError::TooMany) | ChangeError::Store(_) | ChangeError::Invalid(_) => {
                Problem::internal(&error)
            }
        }
    }
}

impl From<DeclareError> for Problem {
    fn from(error: DeclareError) -> Problem {
        let detail = error.to_string();
        match error {
            DeclareError::Host(_) => Problem::field("host", "host_not_valid", detail),
            DeclareError::Base(_) => Problem::field("short_url_base", "short_url_base_not_valid", detail),
            DeclareError::Taken(_) | DeclareError::TooMany => Problem::new(kind::DOMAIN_TAKEN, detail),
            DeclareError::Change(error) => error.into(),
        }
    }
}

impl From<RefusedTarget> for Problem {
    fn from(error: RefusedTarget) -> Problem {
        let detail = error.to_string();
        match error.refused {
            Refused::NoVerdict => Problem::new(kind::NO_VERDICT, detail).retry_after(SOON),
            refused => Problem::field(error.field, refused.code(), detail),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Fields(findings) => Problem::invalid(findings),
            Refusal::UnknownDomain(name) => Problem::no_domain(&name),
        }
    }
}

impl From<KeyInvalid> for Problem {
    fn from(error: KeyInvalid) -> Problem {
        Problem::new(kind::IDEMPOTENCY_KEY_INVALID, error.to_string())
    }
}

impl From<ConditionInvalid> for Problem {
    fn from(error: ConditionInvalid) -> Problem {
        let kind = match error {
            ConditionInvalid::IfMatch | ConditionInvalid::Both => kind::IF_MATCH_INVALID,
            ConditionInvalid::IfNoneMatch => kind::IF_NONE_MATCH_INVALID,
        };
        Problem::new(kind, error.to_string())
    }
}
