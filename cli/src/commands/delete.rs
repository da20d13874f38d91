//! `signpost delete`.

use clap::Args;
use daemon::exit::Exit;
use http::Method;

use super::Name;
use crate::client::{Ask, Client};
use crate::output::tell;

/// Delete links.
#[derive(Args, Debug)]
pub struct Delete {
    /// Codes or aliases; whole short URLs will do
    #[arg(required = true, value_name = "CODE")]
    codes: Vec<String>,
    /// Host of their domain; without it the default domain
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
}

impl Delete {
    pub(crate) async fn run(&self, client: &mut Client) -> Result<(), Exit> {
        let mut failed = 0;
        for code in &self.codes {
            let name = Name { code: code.clone(), domain: self.domain.clone() };
            if let Err(error) = client.call(&Ask::new(Method::DELETE, name.path(""))).await {
                tell(&format!("{code}: {error}"));
                failed += 1;
            }
        }
        if failed == 0 {
            Ok(())
        } else {
            Err(Exit::failure(format!("{failed} of {} were not deleted", self.codes.len())))
        }
    }
}
