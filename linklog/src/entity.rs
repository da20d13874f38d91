//! What the log holds besides links: domains and hosts, tokens and their quotas, users and groups, what lets visitors follow private links, members,
//! the fleet itself.
//!
//! Bodies are `fields` (see [`crate::codec::fields`]) only, so each may grow.

mod budget;
mod domain;
mod fleet;
mod freed;
mod member;
mod pass;
mod quota;
mod token;
mod user;

pub use budget::Budget;
pub use domain::{Domain, DomainAnswers, Host, WellKnown};
pub use fleet::{Fleet, Restored};
pub use freed::FreedCode;
pub use member::{Member, MemberRole, MemberState};
pub use pass::{Pass, SigningKey};
pub use quota::{Period, Quota, QuotaId};
pub use token::{Scopes, TOKEN_DOMAINS_MAX, Token, TokenLimits};
pub use user::{ExternalLink, GROUPS_MAX, Group, PersonId, PersonIdError, User};

use crate::codec::{Cursor, DecodeError};
use crate::key::StateKey;
use crate::link::{Link, ManageView};

/// Checks the bodies of a put: what is written down can be read again, by everybody. `manage` is `None` where only the served part is
/// known.
///
/// # Errors
/// What is wrong and at which byte of the body.
pub fn check_bodies(key: &StateKey, serve: &[u8], manage: Option<&[u8]>) -> Result<(), DecodeError> {
    let empty = |body: &[u8]| Cursor::new(body).finish("an empty body");
    let (serve_cursor, manage_cursor) = (Cursor::new(serve), manage.map(Cursor::new));
    match key {
        StateKey::Link(_) => {
            Link::check(serve)?;
            manage.map_or(Ok(()), |manage| ManageView::decode(manage).map(drop))
        }
        StateKey::Host(_) => {
            Host::decode(serve_cursor)?;
            manage.map_or(Ok(()), empty)
        }
        StateKey::Domain(_) => {
            DomainAnswers::decode(serve_cursor)?;
            manage_cursor.map_or(Ok(()), |manage| Domain::decode(manage).map(drop))
        }
        StateKey::Budget(..) => {
            Budget::decode(serve_cursor)?;
            manage.map_or(Ok(()), empty)
        }
        StateKey::Quota(_) => {
            Quota::decode(serve_cursor)?;
            manage.map_or(Ok(()), empty)
        }
        StateKey::FreedCode(..) => manage_cursor.map_or(Ok(()), |manage| FreedCode::decode(manage).map(drop)),
        StateKey::Pass(_) => {
            Pass::decode(serve_cursor)?;
            manage.map_or(Ok(()), empty)
        }
        StateKey::SigningKey(_) => {
            SigningKey::decode(serve_cursor)?;
            manage.map_or(Ok(()), empty)
        }
        StateKey::Fleet => {
            Fleet::decode(serve_cursor)?;
            manage.map_or(Ok(()), empty)
        }
        StateKey::User(_) => match manage_cursor {
            Some(manage) => User::decode(serve_cursor, manage).map(drop),
            None => User::decode_serve(serve_cursor).map(drop),
        },
        StateKey::Group(_) => manage_cursor.map_or(Ok(()), |manage| Group::decode(manage).map(drop)),
        StateKey::External(..) => {
            manage_cursor.map_or(Ok(()), |manage| ExternalLink::decode(manage).map(drop))
        }
        StateKey::Token(_) => manage_cursor.map_or(Ok(()), |manage| Token::decode(manage).map(drop)),
        StateKey::FoldedCode(..) => manage.map_or(Ok(()), empty),
        StateKey::Member(_) => manage_cursor.map_or(Ok(()), |manage| Member::decode(manage).map(drop)),
    }
}

#[cfg(test)]
mod tests;
