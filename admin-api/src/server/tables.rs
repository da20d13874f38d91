//! The tables that a service keeps in memory. A standby reads them again whenever what it follows has changed them.

use std::sync::Arc;

use linklog::store::Reader;
use parking_lot::Mutex;

use super::ServerError;
use super::open::OpenLogError;
use crate::auth::Tokens;
use crate::config::Config;
use crate::domains::Domains;
use crate::members::Members;
use crate::people::People;

/// The tables in memory: copies of what the log says.
#[derive(Clone)]
pub(super) struct Tables {
    pub(super) reader: Reader,
    pub(super) domains: Domains,
    pub(super) people: People,
    pub(super) tokens: Tokens,
    pub(super) members: Members,
    reloading: Arc<Mutex<()>>,
}

impl Tables {
    /// Reads them.
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub(super) fn load(config: &Config, reader: &Reader) -> Result<Tables, ServerError> {
        let domains = Domains::load(reader).map_err(OpenLogError::from)?;
        let people = People::load(reader).map_err(OpenLogError::from)?;
        let limit = config.limits.requests_per_s_per_token;
        let tokens = Tokens::load(reader, people.clone(), limit).map_err(OpenLogError::from)?;
        let members = Members::load(reader).map_err(OpenLogError::from)?;
        Ok(Tables { reader: reader.clone(), domains, people, tokens, members, reloading: Arc::default() })
    }

    /// Reads them again.
    pub(super) fn reload(&self) {
        let _alone = self.reloading.lock();
        let reload = || {
            self.domains.reload()?;
            self.people.reload(&self.reader)?;
            self.tokens.reload(&self.reader)?;
            self.members.reload()
        };
        if let Err(error) = reload() {
            tracing::error!(%error, "the tables of members, tokens, people or domains could not be read again");
        }
    }
}
