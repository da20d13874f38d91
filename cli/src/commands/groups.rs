//! `signpost groups`.

use clap::{Args, Subcommand};
use daemon::exit::Exit;
use http::Method;

use super::Members;
use super::records::{Changed, Given, Pages, delete, path};
use crate::client::{Ask, Client};
use crate::output;
use crate::settings::Output;

const PATH: &str = "/v1/groups";
const COLUMNS: [&str; 3] = ["id", "name", "created_at"];

/// Groups of users.
#[derive(Debug, Subcommand)]
pub enum Groups {
    /// List groups, in the order of their ids
    List(List),
    /// Make a group
    Create(Create),
    /// Show a group
    Get(Id),
    /// Change a group; what is not named stays
    Edit(Edit),
    /// Delete a group that no user is in
    Delete(Id),
}

/// List groups, in the order of their ids.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    pages: Pages,
}

/// Which group.
#[derive(Args, Debug)]
pub struct Id {
    /// Id of the group
    id: String,
}

/// Make a group.
#[derive(Args, Debug)]
pub struct Create {
    /// A name for people
    name: String,
    #[command(flatten)]
    given: Given,
}

/// Change a group; what is not named stays.
#[derive(Args, Debug)]
pub struct Edit {
    #[command(flatten)]
    id: Id,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    changed: Changed,
}

impl Groups {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let named = |name: Option<&str>| {
            let mut members = Members::default();
            members.text("name", name);
            members
        };
        let ask = match self {
            Groups::List(list) => {
                return list.pages.show(client, output, PATH, &[], &COLUMNS).await;
            }
            Groups::Create(create) => create.given.create(PATH, named(Some(&create.name)))?,
            Groups::Get(id) => Ask::new(Method::GET, path(PATH, &id.id)),
            Groups::Edit(edit) => edit.changed.edit(path(PATH, &edit.id.id), named(edit.name.as_deref()))?,
            Groups::Delete(id) => return delete(client, path(PATH, &id.id)).await,
        };
        output::show(output, &client.call(&ask).await?.json()?)
    }
}
