//! `signpost list`.

use clap::Args;
use daemon::exit::Exit;
use http::Method;
use serde_json::Value;

use super::query;
use crate::client::{Ask, Client};
use crate::output;
use crate::settings::Output;

/// Most links of a page, as the API has it.
const PAGE_MAX: usize = 1000;
const COLUMNS: [&str; 6] = ["short_url", "long_url", "clicks", "state", "created_at", "title"];

/// List links, newest first.
#[derive(Args, Debug)]
pub struct List {
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// All of them, whatever --limit says
    #[arg(long)]
    all: bool,
    /// Parameter of the list as the API has it, as in --where tag=spring; several times for several
    #[arg(long = "where", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

impl List {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let mut filters = Vec::with_capacity(self.filters.len());
        for filter in &self.filters {
            let usage =
                || Exit::Usage(format!("{filter:?}: write a filter as NAME=VALUE, such as tag=spring"));
            filters.push(filter.split_once('=').ok_or_else(usage)?);
        }
        let wanted = if self.all { usize::MAX } else { self.limit };
        let (mut links, mut cursor) = (Vec::new(), None::<String>);
        while links.len() < wanted {
            let limit = (wanted - links.len()).min(PAGE_MAX).to_string();
            let mut parameters = filters.clone();
            parameters.push(("limit", &limit));
            parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let mut page = client
                .call(&Ask::new(Method::GET, format!("/v1/links{}", query(&parameters))))
                .await?
                .json()?;
            if let Some(Value::Array(data)) = page.get_mut("data").map(Value::take) {
                links.extend(data);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        output::show_list(output, &links, &COLUMNS)
    }
}
