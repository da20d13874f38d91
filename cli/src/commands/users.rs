//! `signpost users`.

use clap::{Args, Subcommand};
use daemon::exit::Exit;
use http::Method;
use serde_json::Value;

use super::Members;
use super::records::{Changed, Given, IfVersion, Pages, patch, path};
use crate::client::{Ask, Client};
use crate::output;
use crate::settings::Output;

const PATH: &str = "/v1/users";
const COLUMNS: [&str; 6] = ["id", "name", "email", "groups", "disabled", "created_at"];

/// Users: whom links and tokens belong to.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// List users, in the order of their ids
    List(List),
    /// Make a user
    Create(Create),
    /// Show a user
    Get(Id),
    /// Change a user; what is not named stays
    Edit(Edit),
    /// Refuse all tokens of a user from now on
    Disable(Id),
    /// Accept the tokens of a user again
    Enable(Id),
}

/// List users, in the order of their ids.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    pages: Pages,
}

/// Which user.
#[derive(Args, Debug)]
pub struct Id {
    /// Id of the user
    id: String,
}

#[derive(Args, Debug)]
struct Person {
    /// An address for people
    #[arg(long)]
    email: Option<String>,
    /// Id of a group; several times for all groups of the user
    #[arg(long = "group", value_name = "ID")]
    groups: Vec<String>,
}

impl Person {
    fn members(&self, name: Option<&str>) -> Members {
        let mut members = Members::default();
        members.text("name", name);
        members.text("email", self.email.as_deref());
        members.list("groups", &self.groups);
        members
    }
}

/// Make a user.
#[derive(Args, Debug)]
pub struct Create {
    /// A name for people
    name: String,
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    given: Given,
}

/// Change a user; what is not named stays.
#[derive(Args, Debug)]
pub struct Edit {
    #[command(flatten)]
    id: Id,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    changed: Changed,
    #[command(flatten)]
    if_version: IfVersion,
}

impl Users {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let switched = |id: &Id, disabled: bool| {
            let mut members = Members::default();
            members.0.insert("disabled".to_owned(), Value::Bool(disabled));
            patch(path(PATH, &id.id), members)
        };
        let ask = match self {
            Users::List(list) => {
                return list.pages.show(client, output, PATH, &[], &COLUMNS).await;
            }
            Users::Create(create) => create.given.create(PATH, create.person.members(Some(&create.name)))?,
            Users::Get(id) => Ask::new(Method::GET, path(PATH, &id.id)),
            Users::Edit(edit) => {
                let members = edit.person.members(edit.name.as_deref());
                edit.if_version.of(edit.changed.edit(path(PATH, &edit.id.id), members)?)
            }
            Users::Disable(id) => switched(id, true),
            Users::Enable(id) => switched(id, false),
        };
        output::show(output, &client.call(&ask).await?.json()?)
    }
}
