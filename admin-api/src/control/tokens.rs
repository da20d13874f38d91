//! `token create | list | revoke`.

use linklog::entity::Token;
use linklog::{Change, Operation, Part, Precondition, StateKey};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Operator, failed};
use crate::auth::{self, NewToken, TOKENS_MAX, TokenId, scope_names};
use crate::clock;
use crate::http::tokens::described;
use crate::links::view::Rfc3339;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    id: String,
}

/// Makes a token; the arguments are those of `POST /v1/tokens`, judged there.
pub(super) async fn create(operator: &Operator, args: &Value) -> Result<Value, String> {
    let record = described(&operator.people, &operator.domains.table(), args.to_string().as_bytes());
    let record = record.map_err(|problem| said(&problem))?;
    if operator.tokens.len() >= TOKENS_MAX {
        return Err(format!("there are {TOKENS_MAX} tokens already, which is the most there may be"));
    }
    let new = NewToken::generate().map_err(|error| format!("no random numbers to be had: {error}"))?;
    let record = Token { secret_hash: new.secret_hash(), ..record };
    let change = put(new.id(), &record, Precondition::NeverUsed);
    if operator.write_then(change, in_force(operator, new.id(), &record)).await?.is_err() {
        return Err("the random id is in use: run the command again".to_owned());
    }
    tracing::info!(token = %new.id(), name = record.name, "made a token");
    let mut made = shown(new.id(), &record);
    made["token"] = new.text().into();
    Ok(made)
}

/// Says what is wrong with every field.
fn said(problem: &Problem) -> String {
    match problem.errors() {
        [] => problem.detail().to_owned(),
        errors => errors
            .iter()
            .map(|finding| format!("{}: {}", finding.field, finding.detail))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

pub(super) async fn revoke(operator: &Operator, args: &Revoke) -> Result<Value, String> {
    let id: TokenId = args.id.parse().map_err(|error| format!("{error}"))?;
    let stored = operator.log.read(move |reader| auth::stored(reader, id)).await.map_err(failed)?;
    let (record, version) = stored.map_err(failed)?.ok_or_else(|| format!("there is no token {id}"))?;
    operator.tokens.put_if_newer(id, record.clone(), version);
    if record.revoked_at_ms.is_some() {
        return Ok(shown(id, &record));
    }
    let record = Token { revoked_at_ms: Some(clock::now_ms()), ..record };
    let change = put(id, &record, Precondition::Version(version));
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

fn put(id: TokenId, record: &Token, precondition: Precondition) -> Change {
    let operation = Operation::Put { serve: Vec::new(), manage: record.encode() };
    Change::new("operator", vec![Part { key: StateKey::Token(id.0), precondition, operation }])
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
        "user": token.user.map(|user| user.to_string()),
        "expires_at": token.expires_at_ms.map(Rfc3339),
        "revoked_at": token.revoked_at_ms.map(Rfc3339),
    })
}
