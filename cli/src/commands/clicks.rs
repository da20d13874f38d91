//! `signpost clicks`.

use clap::Args;
use daemon::exit::Exit;
use http::Method;

use super::Name;
use crate::client::{Ask, Client};
use crate::output;
use crate::settings::Output;

/// Show how often a link was followed.
#[derive(Args, Debug)]
pub struct Clicks {
    #[command(flatten)]
    name: Name,
}

impl Clicks {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let answer = client.call(&Ask::new(Method::GET, self.name.path("/clicks"))).await?;
        output::show(output, &answer.json()?)
    }
}
