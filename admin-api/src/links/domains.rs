//! Declaring domains and changing their settings: the same way to the log and to the proxies that links take.

use linklog::Change;
use linklog::entity::{Domain, DomainAnswers};
use linklog::writer::Decision;

use super::{ChangeError, Links, TRIES_MAX};
use crate::auth::Caller;
use crate::clock;
use crate::domains::settings::NewDomain;
use crate::domains::{self, KnownDomain, ShortUrlBase, host_name};
use crate::replication::ReplicationReport;

/// Why a domain was not declared.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// The host is none.
    #[error("{0:?} is not a host name: give it without scheme and port")]
    Host(String),
    /// Short URLs would not lead there.
    #[error("{0}")]
    Base(String),
    /// It is a domain's host already.
    #[error("{0} is already a host of a domain")]
    Taken(String),
    /// There is no number left.
    #[error("there are 65536 domains already, which is the most there may be")]
    TooMany,
    /// The change.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl Links {
    /// Declares a domain; returns its host as the log has it.
    ///
    /// # Errors
    /// It cannot be one, or the change could not be decided.
    pub async fn declare_domain(
        &self,
        caller: Caller,
        new: &NewDomain,
        skip_proxies: bool,
    ) -> Result<(String, ReplicationReport), DeclareError> {
        let table = self.domains.table();
        let host =
            host_name(&new.host).ok_or_else(|| DeclareError::Host(new.host.chars().take(253).collect()))?;
        let scheme = table.get(linklog::DomainId::DEFAULT).map_or("https", |known| known.base.scheme());
        let base = new.short_url_base.clone().unwrap_or_else(|| format!("{scheme}://{host}"));
        let base: ShortUrlBase = base
            .parse()
            .map_err(|error| DeclareError::Base(format!("it cannot begin short URLs: {error}")))?;
        if base.host() != host {
            return Err(DeclareError::Base(format!(
                "short URLs that begin with {base} do not lead to {host}"
            )));
        }
        let actor = caller.token.to_string();
        for _ in 0..TRIES_MAX {
            let table = self.domains.table();
            if table.of_host(&host).is_some() {
                return Err(DeclareError::Taken(host));
            }
            let id = table.next_id().ok_or(DeclareError::TooMany)?;
            let change = domains::declare(id, &base, (&new.manage, &new.answers), &actor, clock::now_ms());
            // Otherwise somebody else has the number, or the host: the table says which.
            if let Some(replication) = self.changed_domain(change, skip_proxies).await? {
                return Ok((host, replication));
            }
        }
        Err(ChangeError::Contended.into())
    }

    /// Gives a domain other settings; `None`: somebody else was faster.
    ///
    /// # Errors
    /// The change could not be decided.
    pub async fn change_domain(
        &self,
        caller: Caller,
        known: &KnownDomain,
        (manage, answers): (&Domain, &DomainAnswers),
        skip_proxies: bool,
    ) -> Result<Option<ReplicationReport>, ChangeError> {
        if (manage, answers) == (&known.manage, &known.answers) {
            return Ok(Some(self.replicated(self.log.commit().head.position, skip_proxies).await?));
        }
        let change = domains::change(known, manage, answers, &caller.token.to_string());
        self.changed_domain(change, skip_proxies).await
    }

    async fn changed_domain(
        &self,
        change: Change,
        skip_proxies: bool,
    ) -> Result<Option<ReplicationReport>, ChangeError> {
        self.levels.check(&change)?;
        match self.log.propose(vec![change]).await?.pop() {
            Some(Decision::Applied { position, .. }) => {
                self.domains.reload()?;
                Ok(Some(self.replicated(position, skip_proxies).await?))
            }
            Some(Decision::Invalid(invalid)) => Err(invalid.into()),
            _ => {
                self.domains.reload()?;
                Ok(None)
            }
        }
    }
}
