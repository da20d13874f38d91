//! What handlers name when they describe themselves: parameters, request bodies and answers. Nothing here runs; the names and bounds
//! are those of `crate::links::fields` and `super::super::query`, and tests compare the names.
//!
//! - `links`, `domains`, `people`: bodies of requests · `parameters`: the rest of a request · here: answers

mod domains;
mod links;
mod parameters;
mod people;

pub use domains::*;
pub use links::*;
pub use parameters::*;
pub use people::*;

use serde::Deserialize;
use utoipa::openapi::{RefOr, Response};
use utoipa::{ToResponse, ToSchema};

macro_rules! answers {
    ($($name:ident $description:literal;)*) => {
        $(
            #[doc = concat!("The answer `", stringify!($name), "`: ", $description, ".")]
            pub struct $name;

            impl<'r> ToResponse<'r> for $name {
                fn response() -> (&'r str, RefOr<Response>) {
                    (stringify!($name), super::problem_answer($description).into())
                }
            }
        )*
        /// Answers that handlers name, as in `(status = 404, response = NotFound)`, and what they say.
        pub(super) const ANSWERS: &[(&str, &str)] = &[$((stringify!($name), $description)),*];
    };
}

answers! {
    NotFound "There is no such link or domain";
    Conflict "The alias is taken, or others change the link at the same time";
    Gone "The link that an earlier request with the same Idempotency-Key made was deleted";
    PreconditionFailed "The link is not at the version that If-Match names";
}

/// A problem (RFC 9457).
#[derive(Deserialize, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "only described here")]
pub struct ProblemView {
    /// Where its kind is described, relative to this API.
    #[schema(format = "uri-reference", example = "/v1/problems#alias_taken")]
    r#type: String,
    /// The same words every time.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What is wrong this time.
    detail: String,
    /// A stable word for machines.
    code: String,
    /// Every field that is wrong.
    errors: Vec<FindingView>,
    /// Free aliases like one that is taken.
    #[schema(nullable = false)]
    suggestions: Option<Vec<String>>,
}

/// Something wrong with a field.
#[derive(Deserialize, ToSchema)]
#[schema(as = Finding)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct FindingView {
    /// The field or parameter.
    field: String,
    /// A stable word for machines.
    code: String,
    /// What is allowed.
    detail: String,
}
