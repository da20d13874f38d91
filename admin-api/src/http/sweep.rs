//! `GET /v1/sweep`: what becomes of links that have ended, and how far that is.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use linklog::entity::Scopes;
use serde::Serialize;

use super::query::Query;
use super::{Api, answer, respond};
use crate::clock;
use crate::links::view::Rfc3339;
use crate::problem::Problem;
use crate::sweep::Action;
use crate::sweep::status::Run;

const DAY_MS: u64 = 24 * 3_600_000;

/// What is swept and how far the sweep is.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Sweep)]
struct View {
    /// When links are swept: `off`, `always`, or two times of UTC.
    window: String,
    /// Whether that is now.
    open: bool,
    /// What becomes of them: `delete` or `archive`.
    action: &'static str,
    /// How many links a second at most.
    sweep_per_s: usize,
    /// How many days a link stays after its end.
    keep_expired_days: u64,
    /// After how many days without a click and a change a link is swept too; 0: never.
    idle_days: u64,
    /// Links that ended so long ago.
    due: DueView,
    /// The last run, or the one that goes on; null: there was none since the start.
    #[schema(required)]
    last_run: Option<RunView>,
    /// How far links are looked at for being idle; null: they are not.
    #[schema(required)]
    idle: Option<IdleView>,
}

/// How many links are due.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SweepDue)]
struct DueView {
    /// So many were counted.
    links: u64,
    /// Whether that is all of them; false: there are more.
    exact: bool,
}

/// A time during which there was something to sweep.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SweepRun)]
struct RunView {
    /// When it began.
    started_at: Rfc3339,
    /// When nothing was left, or the window closed; null: it goes on.
    #[schema(required)]
    ended_at: Option<Rfc3339>,
    /// Links that were swept because they had ended.
    ended: u64,
    /// Links that were swept because nobody followed them.
    idle: u64,
    /// Links that changed before they were swept, and stayed.
    kept: u64,
}

/// How far links are looked at for being idle.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SweepIdle)]
struct IdleView {
    /// Links looked at since the start.
    looked_at: u64,
    /// When all links had been looked at; null: not yet since the start.
    #[schema(required)]
    all_looked_at: Option<Rfc3339>,
    /// Why nothing is looked at now; null: nothing keeps it.
    #[schema(required)]
    waits: Option<String>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> RunView {
        RunView {
            started_at: Rfc3339(run.started_at_ms),
            ended_at: run.ended_at_ms.map(Rfc3339),
            ended: run.ended,
            idle: run.idle,
            kept: run.kept,
        }
    }
}

/// What becomes of links that have ended
///
/// Takes the scope `admin`.
#[utoipa::path(get, path = "/v1/sweep", operation_id = "get_sweep", tag = "fleet",
    responses((status = 200, description = "What is swept and how far that is", body = View)))]
pub(super) async fn status(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_status(&api, request.into_parts().0).await)
}

async fn try_status(api: &Api, head: Parts) -> Result<Response, Problem> {
    api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let (options, status, now_ms) = (api.sweep.options(), api.sweep.status(), clock::now_ms());
    let due = api.sweep.due(now_ms).await?;
    let idle = status.idle();
    let view = View {
        window: options.window.to_string(),
        open: options.window.contains(now_ms),
        action: match options.action {
            Action::Delete => "delete",
            Action::Archive => "archive",
        },
        sweep_per_s: options.per_s,
        keep_expired_days: options.keep_ms / DAY_MS,
        idle_days: options.idle_ms.unwrap_or(0) / DAY_MS,
        due: DueView { links: due.links, exact: due.is_exact },
        last_run: status.run().map(RunView::from),
        idle: options.idle_ms.map(|_| IdleView {
            looked_at: idle.looked_at,
            all_looked_at: idle.all_looked_at_ms.map(Rfc3339),
            waits: idle.waits,
        }),
    };
    Ok(respond::json(StatusCode::OK, &view))
}
