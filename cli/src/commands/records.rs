//! What the commands of users, groups, tokens and domains have in common: lists in pages, and fields that have no flag of their own.

use clap::Args;
use daemon::exit::Exit;
use http::Method;
use http::header::{CONTENT_TYPE, IF_MATCH};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Members, edit, query};
use crate::client::{Ask, Client};
use crate::output;
use crate::settings::Output;

/// Most records of a page, as the API has it.
const PAGE_MAX: usize = 1000;

/// How much of a list.
#[derive(Args, Debug)]
pub(super) struct Pages {
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// All of them, whatever --limit says
    #[arg(long)]
    all: bool,
}

impl Pages {
    /// Shows the records of a list.
    pub(super) async fn show(
        &self,
        client: &mut Client,
        output: Output,
        path: &str,
        filters: &[(&str, &str)],
        columns: &[&str],
    ) -> Result<(), Exit> {
        output::show_list(output, &self.read(client, path, filters).await?, columns)
    }

    /// Returns the records of a list that is passed on by `after`.
    async fn read(
        &self,
        client: &mut Client,
        path: &str,
        filters: &[(&str, &str)],
    ) -> Result<Vec<Value>, Exit> {
        let wanted = if self.all { usize::MAX } else { self.limit };
        let (mut records, mut after) = (Vec::new(), None::<String>);
        while records.len() < wanted {
            let limit = (wanted - records.len()).min(PAGE_MAX).to_string();
            let mut parameters = filters.to_vec();
            parameters.push(("limit", &limit));
            parameters.extend(after.as_deref().map(|after| ("after", after)));
            let ask = Ask::new(Method::GET, format!("{path}{}", query(&parameters)));
            let mut page = client.call(&ask).await?.json()?;
            if let Some(Value::Array(data)) = page.get_mut("data").map(Value::take) {
                records.extend(data);
            }
            after = page["next_after"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        Ok(records)
    }
}

/// Fields of a record that is made.
#[derive(Args, Debug)]
pub(super) struct Given {
    /// Any other field of the API, as in --set 'disabled=true'; the value is JSON
    #[arg(long, value_name = "FIELD=JSON")]
    set: Vec<String>,
}

impl Given {
    /// Returns the request that makes the record.
    pub(super) fn create(&self, path: &str, mut members: Members) -> Result<Ask, Exit> {
        set(&mut members, &self.set)?;
        Ok(Ask::new(Method::POST, path).json(&Value::Object(members.0)))
    }
}

/// Fields of a record that is changed.
#[derive(Args, Debug)]
pub(super) struct Changed {
    /// Field to clear, as in --clear email; several times for several
    #[arg(long, value_name = "FIELD")]
    clear: Vec<String>,
    /// Any other field of the API, as in --set 'name="A name"'; the value is JSON
    #[arg(long, value_name = "FIELD=JSON")]
    set: Vec<String>,
}

impl Changed {
    /// Returns the request that changes the record, if anything is to be changed.
    pub(super) fn edit(&self, path: String, mut members: Members) -> Result<Ask, Exit> {
        set(&mut members, &self.set)?;
        for field in &self.clear {
            members.0.insert(field.clone(), Value::Null);
        }
        if members.0.is_empty() {
            return Err(Exit::Usage(
                "say what is to change: a flag, --set or --clear (see --help)".to_owned(),
            ));
        }
        Ok(patch(path, members))
    }
}

/// The version a record has to be at.
#[derive(Args, Debug)]
pub(super) struct IfVersion {
    /// Only if it is at this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

impl IfVersion {
    pub(super) fn of(&self, ask: Ask) -> Ask {
        match self.if_version {
            Some(version) => ask.header(IF_MATCH, format!("\"{version}\"")),
            None => ask,
        }
    }
}

/// Returns a request that changes a record.
pub(super) fn patch(path: String, members: Members) -> Ask {
    let mut ask = Ask::new(Method::PATCH, path).header(CONTENT_TYPE, "application/merge-patch+json");
    ask.body = Some(Value::Object(members.0).to_string().into());
    ask
}

/// Deletes a record. Nothing is printed.
pub(super) async fn delete(client: &mut Client, path: String) -> Result<(), Exit> {
    client.call(&Ask::new(Method::DELETE, path)).await?;
    Ok(())
}

/// Returns the path of a record.
pub(super) fn path(collection: &str, id: &str) -> String {
    format!("{collection}/{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

fn set(members: &mut Members, set: &[String]) -> Result<(), Exit> {
    for text in set {
        let (name, value) = edit::field(text)?;
        members.0.insert(name, value);
    }
    Ok(())
}
