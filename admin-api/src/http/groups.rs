//! `/v1/groups`: what users can be in together, so that a private link can allow all of them. The scope `admin` is asked for throughout.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use linklog::Precondition;
use linklog::entity::{Group, PersonId, Scopes};
use serde::Serialize;

use super::object::Object;
use super::openapi::{Conflict, GroupPatch, IdParam, NewGroup, NotFound, PageParams};
use super::query::Query;
use super::users::{IdInPath, admitted, id_of, try_list, with_tag, write};
use super::{Api, answer, respond};
use crate::auth::Caller;
use crate::clock;
use crate::links::ChangeError;
use crate::links::view::Rfc3339;
use crate::people::{self, GROUPS_MAX, Versioned};
use crate::problem::Problem;

/// A group as answers show it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Group)]
pub(super) struct GroupView<'a> {
    /// 16 hex digits.
    id: String,
    /// A name for people.
    name: &'a str,
    /// When it was made.
    created_at: Rfc3339,
    /// Rises with every change.
    version: u64,
}

impl<'a> GroupView<'a> {
    fn new(id: PersonId, group: &'a Versioned<Group>) -> GroupView<'a> {
        GroupView {
            id: id.to_string(),
            name: &group.record.name,
            created_at: Rfc3339(group.record.created_at_ms),
            version: group.version,
        }
    }
}

/// A page of groups.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = GroupPage)]
pub(super) struct GroupPage<'a> {
    /// The groups.
    data: Vec<GroupView<'a>>,
    /// Passed on as `after`; null: there are no more.
    #[schema(required)]
    next_after: Option<String>,
}

/// Makes a group
#[utoipa::path(post, path = "/v1/groups", operation_id = "create_group", tag = "people",
    request_body = NewGroup,
    responses((status = 201, description = "The group", body = GroupView<'static>), (status = 409, response = Conflict)))]
pub(super) async fn create_group(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_create_group(&api, request).await)
}

async fn try_create_group(api: &Arc<Api>, request: Request) -> Result<Response, Problem> {
    let (caller, _, body) = admitted(api, request, false).await?;
    let (object, mut judge) = Object::read(&body.bytes, &["name"])?;
    let name = object.name(&mut judge);
    let group = Group { name: judge.end(name).map_err(Problem::invalid)?, created_at_ms: clock::now_ms() };
    if api.people.counts().1 >= GROUPS_MAX {
        return Err(Problem::too_many("groups", GROUPS_MAX));
    }
    let id = people::new_id().map_err(|error| Problem::of_failure(&error))?;
    let group = write_group(api, &caller, id, group, Precondition::NeverUsed).await?;
    Ok(with_tag(respond::json(StatusCode::CREATED, &GroupView::new(id, &group)), group.version))
}

async fn write_group(
    api: &Arc<Api>,
    caller: &Caller,
    id: PersonId,
    group: Group,
    precondition: Precondition,
) -> Result<Versioned<Group>, Problem> {
    let change = people::change_group(&caller.token.to_string(), id, Some(&group), precondition);
    let (people, record) = (api.people.clone(), group.clone());
    let in_force = move |version| people.put_group_if_newer(id, Versioned { record, version });
    Ok(Versioned { record: group, version: write(api, change, in_force).await? })
}

/// Lists groups
#[utoipa::path(get, path = "/v1/groups", operation_id = "list_groups", tag = "people", params(PageParams),
    responses((status = 200, description = "A page, in the order of ids", body = GroupPage<'static>)))]
pub(super) async fn list_groups(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_list(&api, request.into_parts().0, |api, after, limit| {
        let page = api.people.groups(after, limit);
        let next = (page.len() == limit).then(|| page.last().map(|(id, _)| id.to_string())).flatten();
        let data: Vec<_> = page.iter().map(|(id, group)| GroupView::new(*id, group)).collect();
        respond::json(StatusCode::OK, &GroupPage { data, next_after: next })
    }))
}

/// Reads a group
#[utoipa::path(get, path = "/v1/groups/{id}", operation_id = "get_group", tag = "people", params(IdParam),
    responses((status = 200, description = "The group", body = GroupView<'static>), (status = 404, response = NotFound)))]
pub(super) async fn get_group(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer((|| {
        let (head, _) = request.into_parts();
        api.admit(&head.headers, Scopes::ADMIN)?;
        Query::read(&head.uri, &[])?;
        let id = id_of(id, Problem::no_group)?;
        let group = api.people.group(id).ok_or_else(Problem::no_group)?;
        Ok(with_tag(respond::json(StatusCode::OK, &GroupView::new(id, &group)), group.version))
    })())
}

/// Changes a group
#[utoipa::path(patch, path = "/v1/groups/{id}", operation_id = "update_group", tag = "people", params(IdParam),
    request_body(content((GroupPatch = "application/merge-patch+json"), (GroupPatch = "application/json"))),
    responses((status = 200, description = "The group", body = GroupView<'static>), (status = 404, response = NotFound), (status = 409, response = Conflict)))]
pub(super) async fn patch_group(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer(try_patch_group(&api, id, request).await)
}

async fn try_patch_group(api: &Arc<Api>, id: IdInPath, request: Request) -> Result<Response, Problem> {
    let (caller, _, body) = admitted(api, request, true).await?;
    let id = id_of(id, Problem::no_group)?;
    let (object, mut judge) = Object::read(&body.bytes, &["name"])?;
    let known = refreshed_group(api, id).await?;
    let name = match object.get("name") {
        None => Some(known.record.name.clone()),
        Some(_) => object.name(&mut judge),
    };
    let group = Group { name: judge.end(name).map_err(Problem::invalid)?, ..known.record.clone() };
    let group = match group == known.record {
        true => known,
        false => write_group(api, &caller, id, group, Precondition::Version(known.version)).await?,
    };
    Ok(with_tag(respond::json(StatusCode::OK, &GroupView::new(id, &group)), group.version))
}

/// Deletes a group
///
/// Only one that no users are in.
#[utoipa::path(delete, path = "/v1/groups/{id}", operation_id = "delete_group", tag = "people", params(IdParam),
    responses((status = 204, description = "It is deleted"), (status = 404, response = NotFound), (status = 409, response = Conflict)))]
pub(super) async fn delete_group(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer(try_delete_group(&api, id, request.into_parts().0).await)
}

async fn try_delete_group(api: &Arc<Api>, id: IdInPath, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit(&head.headers, Scopes::ADMIN)?;
    let id = id_of(id, Problem::no_group)?;
    let known = refreshed_group(api, id).await?;
    if api.people.has_members(id) {
        return Err(Problem::group_in_use());
    }
    let precondition = Precondition::Version(known.version);
    let change = people::change_group(&caller.token.to_string(), id, None, precondition);
    let people = api.people.clone();
    write(api, change, move |_| people.remove_group(id)).await?;
    Ok(respond::no_content())
}

/// Returns a group as the log has it, and sees to it that this is in force.
async fn refreshed_group(api: &Api, id: PersonId) -> Result<Versioned<Group>, Problem> {
    let group = api.links.log.read(move |reader| people::stored_group(reader, id)).await;
    match group.map_err(ChangeError::from)?.map_err(ChangeError::from)? {
        Some(group) => {
            api.people.put_group_if_newer(id, group.clone());
            Ok(group)
        }
        None => {
            api.people.remove_group(id);
            Err(Problem::no_group())
        }
    }
}
