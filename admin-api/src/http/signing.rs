//! `/v1/signing-keys`, and `/v1/links/{code}/signatures`: links that may be followed until some time.

use std::sync::Arc;

use access::signature::{self, LIFE_MS_MAX, PARAMETER, Purpose, Signature};
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use linklog::StateKey;
use linklog::entity::{PersonId, Scopes};
use linklog::store::StoredLink;
use serde::Serialize;

use super::body::Expected;
use super::links::{CodeInPath, code_text, known};
use super::object::{Object, person};
use super::openapi::{CodeParam, Conflict, DomainParam, IdParam, NewSignature, NotFound};
use super::query::{Query, key_of};
use super::users::IdInPath;
use super::{Api, answer, respond};
use crate::clock;
use crate::links::ChangeError;
use crate::links::fields::Judge;
use crate::links::view::Rfc3339;
use crate::problem::Problem;
use crate::signing::{KeyId, Stored};

/// A signed link.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Signature)]
pub(super) struct SignatureView {
    /// The short URL with the signature in its query.
    #[schema(format = "uri")]
    url: String,
    /// In whose name: who follows it counts as this user.
    #[schema(required)]
    user: Option<String>,
    /// From when on it does not hold.
    expires_at: Rfc3339,
    /// The id of the key that signed it.
    key: String,
}

/// A key that links are signed with, without its secret.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SigningKey)]
struct KeyView {
    /// 16 hex digits.
    id: String,
    /// When it was made.
    created_at: Rfc3339,
    /// Until when what it signed holds at most; null: it is not replaced.
    #[schema(required)]
    valid_until: Option<Rfc3339>,
    /// Whether it signs new links.
    signs: bool,
}

impl KeyView {
    fn new(stored: &Stored, signs: bool) -> KeyView {
        KeyView {
            id: stored.id.to_string(),
            created_at: Rfc3339(stored.key.created_at_ms),
            valid_until: stored.key.valid_until_ms.map(Rfc3339),
            signs,
        }
    }
}

/// The keys that links are signed with.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SigningKeys)]
pub(super) struct KeysView {
    /// The oldest first; the last one signs.
    data: Vec<KeyView>,
}

/// Signs a private link
///
/// Whoever has the URL may follow the link until its end: in the name of `user`, as long as that user is allowed, or without one in nobody's. The
/// signature is of this link and no other that is made under its code later.
#[utoipa::path(post, path = "/v1/links/{code}/signatures", operation_id = "sign_link", tag = "links",
    params(CodeParam, DomainParam), request_body = NewSignature,
    responses((status = 201, description = "The signed link", body = SignatureView), (status = 404, response = NotFound), (status = 409, response = Conflict)))]
pub(super) async fn sign(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_sign(&api, code, request).await)
}

async fn try_sign(api: &Api, code: CodeInPath, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::LINKS_WRITE)?;
    let domains = api.links.domains.table();
    let key = api.links.key_as_kept(key_of(&code_text(code)?, &head.uri, &domains)?).await?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let (object, mut judge) = Object::read(&held.bytes, &["user", "expires_at", "ttl"])?;
    let now_ms = clock::now_ms();
    let user = person(&mut judge, "user", object.get("user"));
    let end = end(&mut judge, &object, now_ms);
    let (user, end_ms) = judge.end(end.map(|end| (user, end))).map_err(Problem::invalid)?;
    drop(held);
    let link = api.links.get(caller, key).await?;
    let allowed = link.link.extras.allowed.as_deref().ok_or_else(Problem::not_private)?;
    if let Some(user) = user.filter(|user| !is_allowed(api, *user, allowed)) {
        let detail = format!(
            "the user {user} may not follow this link, or is switched off: a link in this name would lead nowhere"
        );
        return Err(Problem::field("user", "user_not_allowed", detail));
    }
    let signer = api.links.signing.youngest().await?;
    let text = signed(&signer, &StateKey::Link(key).encode(), &link, user, end_ms).to_text();
    let url = known(&domains, key.domain)?.base.short_url(&key.code);
    let view = SignatureView {
        url: format!("{url}?{PARAMETER}={text}"),
        user: user.map(|user| user.to_string()),
        expires_at: Rfc3339(end_ms),
        key: signer.id.to_string(),
    };
    Ok(respond::json(StatusCode::CREATED, &view))
}

fn signed(signer: &Stored, key: &[u8], link: &StoredLink, user: Option<PersonId>, end_ms: u64) -> Signature {
    let by = signature::Key { id: signer.id.0, secret: &signer.key.secret };
    let link = signature::Link { key, created: link.stamp.created };
    Signature::new(by, link, Purpose::Follow, user, end_ms)
}

/// Judges until when a signature is to hold.
fn end(judge: &mut Judge, object: &Object<'_>, now_ms: u64) -> Option<u64> {
    let expires_at_ms = judge.expires_at_ms(object.get("expires_at"));
    let ttl_s = object.whole(judge, "ttl", 1..=LIFE_MS_MAX / 1_000);
    let end_ms = match (expires_at_ms, ttl_s) {
        (Some(_), Some(_)) => {
            judge.find("ttl", "ttl_and_expires_at", "give either ttl or expires_at");
            return None;
        }
        (None, None) if judge.is_content() => {
            judge.find("ttl", "required", "say how long it is to hold: ttl in seconds, or expires_at");
            return None;
        }
        (end, ttl) => end.or(ttl.map(|ttl| now_ms + ttl * 1_000))?,
    };
    if end_ms <= now_ms {
        judge.find("expires_at", "expires_at_in_the_past", "expires_at is not in the future");
    } else if end_ms - now_ms > LIFE_MS_MAX {
        let detail = format!("a signed link holds for at most {} days", LIFE_MS_MAX / 86_400_000);
        judge.find("expires_at", "signature_too_long", detail);
    }
    Some(end_ms)
}

fn is_allowed(api: &Api, user: PersonId, allowed: &[PersonId]) -> bool {
    let known = api.people.user(user).filter(|known| known.record.disabled_at_ms.is_none());
    known.is_some_and(|known| allowed.iter().any(|id| *id == user || known.record.groups.contains(id)))
}

/// Makes a new signing key
///
/// It signs from now on. What older ones signed holds until the longest life of a signed link has passed; then they are deleted. A new key is made
/// by itself when the youngest is as old as the configuration says. Takes the scope `admin`.
#[utoipa::path(post, path = "/v1/signing-keys", operation_id = "rotate_signing_key", tag = "people",
    responses((status = 201, description = "The key", body = KeyView), (status = 409, response = Conflict)))]
pub(super) async fn rotate(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_rotate(&api, request).await)
}

async fn try_rotate(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let (stored, position) = api.links.signing.rotate(&caller.token.to_string()).await?;
    // Whoever signs with it at once finds it everywhere.
    api.links.replicated(position, false).await?;
    Ok(respond::json(StatusCode::CREATED, &KeyView::new(&stored, true)))
}

/// Lists the signing keys
///
/// Without their secrets, which nobody is shown. Takes the scope `admin`.
#[utoipa::path(get, path = "/v1/signing-keys", operation_id = "list_signing_keys", tag = "people",
    responses((status = 200, description = "The keys", body = KeysView)))]
pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_list(&api, request).await)
}

async fn try_list(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let all = api.links.signing.all().await?;
    let data = all.iter().enumerate().map(|(at, stored)| KeyView::new(stored, at + 1 == all.len())).collect();
    Ok(respond::json(StatusCode::OK, &KeysView { data }))
}

/// Deletes a signing key
///
/// For a key that has become known: nothing that it signed holds any more. If it was the one that signs, there is another one before. Takes the
/// scope `admin`.
#[utoipa::path(delete, path = "/v1/signing-keys/{id}", operation_id = "revoke_signing_key", tag = "people", params(IdParam),
    responses((status = 204, description = "It is deleted"), (status = 404, response = NotFound), (status = 409, response = Conflict)))]
pub(super) async fn revoke(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer(try_revoke(&api, id, request).await)
}

async fn try_revoke(api: &Api, id: IdInPath, request: Request) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let id: KeyId = id.ok().and_then(|id| id.parse().ok()).ok_or_else(Problem::no_signing_key)?;
    let revoked = api.links.signing.revoke(id, &caller.token.to_string()).await;
    let position = revoked.map_err(|error| match error {
        ChangeError::NotFound => Problem::no_signing_key(),
        error => error.into(),
    })?;
    api.links.replicated(position, false).await?;
    Ok(respond::no_content())
}
