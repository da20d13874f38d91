//! `signpost get`.

use clap::Args;
use daemon::exit::Exit;
use http::Method;

use super::Name;
use crate::client::{Ask, Client};
use crate::output;
use crate::settings::Output;

/// Show a link.
#[derive(Args, Debug)]
pub struct Get {
    #[command(flatten)]
    name: Name,
}

impl Get {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let answer = client.call(&Ask::new(Method::GET, self.name.path(""))).await?;
        output::show(output, &answer.json()?)
    }
}
