//! `token create | list | revoke`.

use linklog::Precondition;
use linklog::entity::{Scopes, Token};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Operator, failed};
use crate::auth::pass::change_token;
use crate::auth::{self, NewToken, SCOPES, TOKENS_MAX, TokenId, scope_named, scope_names};
use crate::clock;
use crate::links::view::Rfc3339;

/// Who asks, in the log.
const ACTOR: &str = "operator";
/// Longest name of a token, in characters.
const NAME_CHARS_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    name: String,
    scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    id: String,
}

pub(super) async fn create(operator: &Operator, args: Create) -> Result<Value, String> {
    let chars = args.name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) || args.name.contains(char::is_control) {
        return Err(format!("a token's name has 1 to {NAME_CHARS_MAX} printable characters"));
    }
    if operator.tokens.len() >= TOKENS_MAX {
        return Err(format!("there are {TOKENS_MAX} tokens already, which is the most there may be"));
    }
    let scopes = scopes(&args.scopes)?;
    let new = NewToken::generate().map_err(|error| format!("no random numbers to be had: {error}"))?;
    let record = Token {
        name: args.name,
        secret_hash: new.secret_hash(),
        scopes,
        created_at_ms: clock::now_ms(),
        ..Token::default()
    };
    let change = change_token(ACTOR, new.id(), None, &record, Precondition::NeverUsed);
    if operator.write_then(change, in_force(operator, new.id(), &record)).await?.is_err() {
        return Err("the random id is in use: run the command again".to_owned());
    }
    tracing::info!(token = %new.id(), name = record.name, "made a token");
    Ok(
        json!({ "token": new.text(), "id": new.id().to_string(), "name": record.name, "scopes": scope_names(scopes) }),
    )
}

fn scopes(names: &[String]) -> Result<Scopes, String> {
    if names.is_empty() {
        return Err("a token needs at least one scope".to_owned());
    }
    names.iter().try_fold(Scopes::default(), |scopes, name| {
        let known: Vec<_> = SCOPES.iter().map(|(name, _)| *name).collect();
        let scope = scope_named(name);
        scope
            .map(|scope| scopes.union(scope))
            .ok_or(format!("no scope {name:?}, there are {}", known.join(", ")))
    })
}

pub(super) async fn revoke(operator: &Operator, args: &Revoke) -> Result<Value, String> {
    let id: TokenId = args.id.parse().map_err(|error| format!("{error}"))?;
    let stored = operator.log.read(move |reader| auth::stored(reader, id)).await.map_err(failed)?;
    let (record, version) = stored.map_err(failed)?.ok_or_else(|| format!("there is no token {id}"))?;
    operator.tokens.put_if_newer(id, record.clone(), version);
    if record.revoked_at_ms.is_some() {
        return Ok(shown(id, &record));
    }
    let known = record;
    let record = Token { revoked_at_ms: Some(clock::now_ms()), ..known.clone() };
    let change = change_token(ACTOR, id, Some(&known), &record, Precondition::Version(version));
    if operator.write_then(change, in_force(operator, id, &record)).await?.is_err() {
        return Err("the token was changed meanwhile: run the command again".to_owned());
    }
    tracing::info!(token = %id, name = record.name, "revoked a token");
    Ok(shown(id, &record))
}

/// Returns what takes a record over once it is durable under a version.
fn in_force(operator: &Operator, id: TokenId, record: &Token) -> impl FnOnce(u64) + Send + use<> {
    let (tokens, record) = (operator.tokens.clone(), record.clone());
    move |version| tokens.put_if_newer(id, record, version)
}

pub(super) fn list(operator: &Operator) -> Value {
    let tokens: Vec<_> = operator.tokens.all().iter().map(|(id, token)| shown(*id, token)).collect();
    json!({ "tokens": tokens })
}

fn shown(id: TokenId, token: &Token) -> Value {
    json!({
        "id": id.to_string(),
        "name": token.name,
        "scopes": scope_names(token.scopes),
        "created_at": Rfc3339(token.created_at_ms),
        "revoked_at": token.revoked_at_ms.map(Rfc3339),
    })
}
