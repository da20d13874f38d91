//! `/v1/users`: whom links and tokens belong to; and what all requests about people have in common. The scope `admin` is asked for throughout.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use linklog::Precondition;
use linklog::entity::{GROUPS_MAX as GROUPS_OF_USER_MAX, PersonId, Scopes, User};
use linklog::writer::Decision;
use serde::Serialize;

use super::body::{Expected, Held};
use super::object::{Object, person};
use super::openapi::{
    Conflict, IdParam, IfMatchParam, NewUser, NotFound, PageParams, PreconditionFailed, UserPatch,
};
use super::query::Query;
use super::{Api, answer, respond};
use crate::auth::Caller;
use crate::clock;
use crate::json::Json;
use crate::links::ChangeError;
use crate::links::fields::Judge;
use crate::links::view::Rfc3339;
use crate::log::Ending;
use crate::people::{self, USERS_MAX, Versioned};
use crate::problem::Problem;

/// Users, groups or tokens of a page.
pub(super) const PAGE_DEFAULT: usize = 100;
/// Most of a page.
pub(super) const PAGE_MAX: usize = 1000;
/// Longest address of a user, in characters (RFC 5321 section 4.5.3.1.3, without the brackets).
const EMAIL_CHARS_MAX: usize = 254;

/// A user as answers show it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = User)]
pub(super) struct UserView<'a> {
    /// 16 hex digits.
    id: String,
    /// A name for people.
    name: &'a str,
    /// An address for people.
    #[schema(required)]
    email: Option<&'a str>,
    /// The ids of its groups.
    groups: Vec<String>,
    /// Whether all its tokens are refused.
    disabled: bool,
    /// When it was made.
    created_at: Rfc3339,
    /// Rises with every change.
    version: u64,
}

impl<'a> UserView<'a> {
    fn new(id: PersonId, user: &'a Versioned<User>) -> UserView<'a> {
        let Versioned { record, version } = user;
        UserView {
            id: id.to_string(),
            name: &record.name,
            email: record.email.as_deref(),
            groups: record.groups.iter().map(PersonId::to_string).collect(),
            disabled: record.disabled_at_ms.is_some(),
            created_at: Rfc3339(record.created_at_ms),
            version: *version,
        }
    }
}

/// A page of users.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = UserPage)]
pub(super) struct UserPage<'a> {
    /// The users.
    data: Vec<UserView<'a>>,
    /// Passed on as `after`; null: there are no more.
    #[schema(required)]
    next_after: Option<String>,
}

pub(super) type IdInPath = Result<Path<String>, PathRejection>;

pub(super) fn id_of(id: IdInPath, missing: fn() -> Problem) -> Result<PersonId, Problem> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(missing)
}

/// Makes a user
///
/// Takes the scope `admin`, as everything about people does.
#[utoipa::path(post, path = "/v1/users", operation_id = "create_user", tag = "people",
    request_body = NewUser,
    responses((status = 201, description = "The user", body = UserView<'static>), (status = 409, response = Conflict)))]
pub(super) async fn create_user(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_create_user(&api, request).await)
}

async fn try_create_user(api: &Arc<Api>, request: Request) -> Result<Response, Problem> {
    let (caller, _, body) = admitted(api, request, false).await?;
    let (object, mut judge) = Object::read(&body.bytes, &["name", "email", "groups", "disabled"])?;
    let now_ms = clock::now_ms();
    let user = User {
        name: object.name(&mut judge).unwrap_or_default(),
        email: email(&mut judge, &object),
        groups: groups(api, &mut judge, &object),
        created_at_ms: now_ms,
        disabled_at_ms: object.flag(&mut judge, "disabled").then_some(now_ms),
    };
    let user = judge.end(Some(user)).map_err(Problem::invalid)?;
    if api.people.counts().0 >= USERS_MAX {
        return Err(Problem::too_many("users", USERS_MAX));
    }
    let id = people::new_id().map_err(|error| Problem::of_failure(&error))?;
    let user = write_user(api, &caller, id, user, Precondition::NeverUsed).await?;
    tracing::info!(user = %id, token = %caller.token, "made a user");
    Ok(with_tag(respond::json(StatusCode::CREATED, &UserView::new(id, &user)), user.version))
}

/// Lists users
#[utoipa::path(get, path = "/v1/users", operation_id = "list_users", tag = "people", params(PageParams),
    responses((status = 200, description = "A page, in the order of ids", body = UserPage<'static>)))]
pub(super) async fn list_users(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_list(&api, request.into_parts().0, |api, after, limit| {
        let page = api.people.users(after, limit);
        let next = (page.len() == limit).then(|| page.last().map(|(id, _)| id.to_string())).flatten();
        let data: Vec<_> = page.iter().map(|(id, user)| UserView::new(*id, user)).collect();
        respond::json(StatusCode::OK, &UserPage { data, next_after: next })
    }))
}

/// Reads a user
#[utoipa::path(get, path = "/v1/users/{id}", operation_id = "get_user", tag = "people", params(IdParam),
    responses((status = 200, description = "The user", body = UserView<'static>), (status = 404, response = NotFound)))]
pub(super) async fn get_user(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer((|| {
        let (head, _) = request.into_parts();
        api.admit(&head.headers, Scopes::ADMIN)?;
        Query::read(&head.uri, &[])?;
        let id = id_of(id, Problem::no_user)?;
        let user = api.people.user(id).ok_or_else(Problem::no_user)?;
        Ok(with_tag(respond::json(StatusCode::OK, &UserView::new(id, &user)), user.version))
    })())
}

/// Changes a user
///
/// A merge patch (RFC 7396). `disabled: true` refuses all tokens of the user at once.
#[utoipa::path(patch, path = "/v1/users/{id}", operation_id = "update_user", tag = "people", params(IdParam, IfMatchParam),
    request_body(content((UserPatch = "application/merge-patch+json"), (UserPatch = "application/json"))),
    responses((status = 200, description = "The user", body = UserView<'static>), (status = 404, response = NotFound), (status = 409, response = Conflict), (status = 412, response = PreconditionFailed)))]
pub(super) async fn patch_user(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer(try_patch_user(&api, id, request).await)
}

async fn try_patch_user(api: &Arc<Api>, id: IdInPath, request: Request) -> Result<Response, Problem> {
    let (caller, head, body) = admitted(api, request, true).await?;
    let id = id_of(id, Problem::no_user)?;
    let condition = super::links::condition(&head)?;
    let (object, mut judge) = Object::read(&body.bytes, &["name", "email", "groups", "disabled"])?;
    let known = refreshed_user(api, id).await?;
    let mut user = known.record.clone();
    if object.get("name").is_some() {
        user.name = object.name(&mut judge).unwrap_or_default();
    }
    if object.get("email").is_some() {
        user.email = email(&mut judge, &object);
    }
    if object.get("groups").is_some() {
        user.groups = groups(api, &mut judge, &object);
    }
    if object.get("disabled").is_some() {
        let disabled = object.flag(&mut judge, "disabled");
        user.disabled_at_ms = disabled.then(|| user.disabled_at_ms.unwrap_or_else(clock::now_ms));
    }
    let user = judge.end(Some(user)).map_err(Problem::invalid)?;
    if !condition.allows(known.version) {
        return Err(ChangeError::VersionMismatch { found: known.version }.into());
    }
    let user = match user == known.record {
        true => known,
        false => write_user(api, &caller, id, user, Precondition::Version(known.version)).await?,
    };
    Ok(with_tag(respond::json(StatusCode::OK, &UserView::new(id, &user)), user.version))
}

async fn write_user(
    api: &Arc<Api>,
    caller: &Caller,
    id: PersonId,
    user: User,
    precondition: Precondition,
) -> Result<Versioned<User>, Problem> {
    let change = people::change_user(&caller.token.to_string(), id, &user, precondition);
    let (people, record) = (api.people.clone(), user.clone());
    let in_force = move |version| people.put_user_if_newer(id, Versioned { record, version });
    Ok(Versioned { record: user, version: write(api, change, in_force).await? })
}

/// Writes a change of one key that is no link's and gives the key's new version.
///
/// `in_force` gets that version as soon as the change is durable here: before replicas are waited for, and also if nobody waits for the
/// answer any more.
pub(super) async fn write(
    api: &Arc<Api>,
    change: linklog::Change,
    in_force: impl FnOnce(u64) + Send + 'static,
) -> Result<u64, Problem> {
    let links = &api.links;
    links.levels.check(&change).map_err(ChangeError::from)?;
    let log = links.log.ungated();
    let writing = tokio::spawn(async move {
        match log.propose(vec![change]).await.map_err(ChangeError::from)?.pop() {
            Some(Decision::Applied { position, stamps, .. }) => {
                let version = stamps[0].map_or(0, |stamp| stamp.version);
                in_force(version);
                Ok((position, version))
            }
            Some(Decision::Invalid(invalid)) => Err(ChangeError::Invalid(invalid).into()),
            _ => Err(Problem::contended()),
        }
    });
    let (position, version) = writing.await.map_err(|_| ChangeError::Ending(Ending))??;
    links.replication.wait(position, true).await.map_err(ChangeError::from)?;
    Ok(version)
}

/// Returns a user as the log has it, and sees to it that this is in force.
async fn refreshed_user(api: &Api, id: PersonId) -> Result<Versioned<User>, Problem> {
    let user = api.links.log.read(move |reader| people::stored_user(reader, id)).await;
    let user = user.map_err(ChangeError::from)?.map_err(ChangeError::from)?.ok_or_else(Problem::no_user)?;
    api.people.put_user_if_newer(id, user.clone());
    Ok(user)
}

fn email(judge: &mut Judge, object: &Object<'_>) -> Option<String> {
    let text = judge.text("email", object.get("email"))?;
    let is_address = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !is_address
        || text.chars().count() > EMAIL_CHARS_MAX
        || text.contains(|c: char| c.is_control() || c == ' ')
    {
        let detail = format!("an address such as name@example.com, at most {EMAIL_CHARS_MAX} characters");
        judge.find("email", "email_not_allowed", detail);
        return None;
    }
    Some(text.to_owned())
}

fn groups(api: &Api, judge: &mut Judge, object: &Object<'_>) -> Vec<PersonId> {
    let mut groups = Vec::new();
    for text in object.texts(judge, "groups", GROUPS_OF_USER_MAX) {
        match person(judge, "groups", Some(&Json::Text(text.into()))) {
            Some(id) if api.people.group(id).is_none() => {
                judge.find("groups", "group_not_found", format!("there is no group {id}"));
            }
            id => groups.extend(id),
        }
    }
    groups
}

/// Lets an operator's request in and reads its body.
pub(super) async fn admitted(
    api: &Api,
    request: Request,
    merge_patch: bool,
) -> Result<(Caller, HeaderMap, Held<'_>), Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    Ok((caller, head.headers, held))
}

pub(super) fn try_list(
    api: &Api,
    head: Parts,
    list: impl FnOnce(&Api, Option<PersonId>, usize) -> Response,
) -> Result<Response, Problem> {
    api.admit(&head.headers, Scopes::ADMIN)?;
    let query = Query::read(&head.uri, &["limit", "after"])?;
    let after = match query.get("after").map(str::parse) {
        None => None,
        Some(Ok(after)) => Some(after),
        Some(Err(_)) => {
            return Err(Problem::parameter("after", "cursor_invalid", "pass next_after on unchanged"));
        }
    };
    Ok(list(api, after, query.whole("limit", PAGE_DEFAULT, PAGE_MAX)?))
}

pub(super) fn with_tag(response: Response, version: u64) -> Response {
    respond::with_version(response, version)
}
