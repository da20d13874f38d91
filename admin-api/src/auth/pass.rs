//! What proxies get of a token: the record beside the token's own ([`Pass`]), in the same change, so that the two never disagree.

use linklog::entity::{Pass, Token};
use linklog::store::{Reader, StoreError};
use linklog::writer::{Decision, ProposeError};
use linklog::{Change, Operation, Part, Precondition, StateKey};

use super::{TokenId, Tokens};
use crate::log::{Ending, Log};

/// Returns what proxies get of a token; nothing of one that is nobody's or revoked.
fn pass_of(token: &Token) -> Option<Pass> {
    let Token { user, secret_hash, expires_at_ms, revoked_at_ms, .. } = token;
    let user = user.filter(|_| revoked_at_ms.is_none())?;
    Some(Pass { user, secret_hash: *secret_hash, expires_at_ms: *expires_at_ms })
}

fn part(id: TokenId, pass: Option<Pass>) -> Part {
    let operation = match pass {
        Some(pass) => Operation::Put { serve: pass.encode(), manage: Vec::new() },
        None => Operation::Delete,
    };
    Part { key: StateKey::Pass(id.0), precondition: Precondition::Any, operation }
}

/// The change that writes a token; `old` is what it was.
pub fn change_token(
    actor: &str,
    id: TokenId,
    old: Option<&Token>,
    new: &Token,
    precondition: Precondition,
) -> Change {
    let operation = Operation::Put { serve: Vec::new(), manage: new.encode() };
    let mut parts = vec![Part { key: StateKey::Token(id.0), precondition, operation }];
    let (before, pass) = (old.and_then(pass_of), pass_of(new));
    // Of tokens that are nobody's proxies never hear: they came before the level of the format that has passes.
    if before.is_some() || pass.is_some() {
        parts.push(part(id, pass));
    }
    Change::new(actor, parts)
}

/// Why passes could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The log could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer did not take them.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The process is ending.
    #[error(transparent)]
    Ending(#[from] Ending),
}

/// Writes the passes of tokens that were made before there were any, or by a version that does not know them. Run at start; what is there is left.
///
/// # Errors
/// The log cannot be read or written.
pub async fn write_missing(log: &Log, tokens: &Tokens) -> Result<(), PassError> {
    let wanted: Vec<_> = tokens.all().iter().filter_map(|(id, token)| Some((*id, pass_of(token)?))).collect();
    let missing = move |reader: &Reader| {
        let mut missing = Vec::new();
        for (id, pass) in wanted {
            if !reader.serve_value(&StateKey::Pass(id.0).encode(), |found| found.is_some())? {
                missing.push((id, pass));
            }
        }
        Ok::<_, StoreError>(missing)
    };
    for (id, pass) in log.read(missing).await?? {
        let part = Part { precondition: Precondition::NeverUsed, ..part(id, Some(pass)) };
        if let Some(Decision::Applied { .. }) =
            log.propose(vec![Change::new("passes", vec![part])]).await?.pop()
        {
            tracing::info!(token = %id, "proxies know this token from now on");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::entity::PersonId;

    #[test]
    fn proxies_hear_of_tokens_of_users_until_they_are_revoked_and_of_no_others() {
        let id = TokenId([1; 8]);
        let parts = |old: Option<&Token>, new: &Token| {
            let change = change_token("t", id, old, new, Precondition::Any);
            change.parts.iter().skip(1).map(|part| part.operation.clone()).collect::<Vec<_>>()
        };
        let nobodys = Token { secret_hash: [2; 32], ..Token::default() };
        let of_user = Token { user: Some(PersonId([3; 8])), expires_at_ms: Some(4), ..nobodys.clone() };
        let revoked = Token { revoked_at_ms: Some(5), ..of_user.clone() };
        assert_eq!(parts(None, &nobodys), []);
        let pass = Pass { user: PersonId([3; 8]), secret_hash: [2; 32], expires_at_ms: Some(4) };
        let put = Operation::Put { serve: pass.encode(), manage: Vec::new() };
        assert_eq!(parts(None, &of_user), std::slice::from_ref(&put));
        assert_eq!(parts(Some(&nobodys), &of_user), [put]);
        assert_eq!(parts(Some(&of_user), &revoked), [Operation::Delete]);
        assert_eq!(parts(Some(&of_user), &nobodys), [Operation::Delete]);
        assert_eq!(parts(Some(&revoked), &revoked), []);
    }
}
