//! What the log holds besides links: domains and hosts, tokens, members, the fleet itself.
//!
//! Bodies are `fields` (see [`crate::codec::fields`]) only, so each may grow.

mod domain;
mod fleet;
mod member;
mod token;

pub use domain::{Domain, Host};
pub use fleet::Fleet;
pub use member::{Member, MemberRole, MemberState};
pub use token::{Scopes, Token};

#[cfg(test)]
mod tests;
