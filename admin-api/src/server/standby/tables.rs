//! The tables that a standby keeps in memory, read again whenever what it follows has changed them.

use linklog::store::Reader;
use parking_lot::Mutex;

use crate::auth::Tokens;
use crate::domains::Domains;
use crate::members::Members;
use crate::people::People;

/// The tables in memory: copies of what the log says.
pub(super) struct Tables {
    pub(super) reader: Reader,
    pub(super) domains: Domains,
    pub(super) people: People,
    pub(super) tokens: Tokens,
    pub(super) members: Members,
    pub(super) reloading: Mutex<()>,
}

impl Tables {
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
