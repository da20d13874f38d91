//! The operator's commands on the running service, as they come over the control socket. [`crate::cli`] is the other end.
//!
//! Owned here: the tables in memory are renewed before a command is answered, so what an operator was told is in force.
//!
//! One file for each group of commands: `tokens`, `domains`, `proxies`, `sweep`.

mod domains;
mod proxies;
mod sweep;
mod tokens;

use daemon::control::{Answer, Commands};
use linklog::entity::Restored;
use linklog::writer::{Decision, ProposeError};
use linklog::{Change, Position};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};
use wire::identity::FleetId;

use crate::auth::Tokens;
use crate::backup::{Ask, BackupStatus};
use crate::budgets::Budgets;
use crate::domains::Domains;
use crate::levels::Levels;
use crate::log::Log;
use crate::members::Members;
use crate::people::People;
use crate::replication::Replication;
use crate::sweep::Sweep;

/// Answers the commands, over these parts of the service.
pub struct Operator {
    /// How backups go.
    pub backup_status: BackupStatus,
    /// Asks for one.
    pub backup: mpsc::Sender<Ask>,
    /// Where changes go.
    pub log: Log,
    /// Who may ask the API.
    pub tokens: Tokens,
    /// Whom tokens belong to.
    pub people: People,
    /// Who follows the log.
    pub members: Members,
    /// What is served.
    pub domains: Domains,
    /// What members can read.
    pub levels: Levels,
    /// How far they are.
    pub replication: Replication,
    /// What they hold of limited links.
    pub budgets: Budgets,
    /// What becomes of links that have ended.
    pub sweep: Sweep,
    /// Whose writer this is.
    pub fleet: FleetId,
    /// Where its log was put back to, if it ever was.
    pub restored: Option<Restored>,
    /// One command that writes at a time: they look before they write, and there is one operator.
    pub writing: Mutex<()>,
}

impl Operator {
    async fn answer(&self, command: &str, args: Value) -> Result<Value, String> {
        match command {
            "status" => Ok(self.status()),
            "backup.status" => Ok(self.backup_status.to_json()),
            "backup.now" => self.back_up().await,
            "token.list" => Ok(tokens::list(self)),
            "domain.list" => Ok(domains::list(self)),
            "proxy.list" => proxies::list(self).await,
            "sweep.dry_run" => sweep::dry_run(self, &read(args)?).await,
            "proxy.check" => proxies::check(self, &read(args)?),
            _ => {
                let _one = self.writing.lock().await;
                match command {
                    "token.create" => tokens::create(self, &args).await,
                    "token.revoke" => tokens::revoke(self, &read(args)?).await,
                    "domain.add" => domains::add(self, &read(args)?).await,
                    "proxy.add" => proxies::add(self, &read(args)?).await,
                    "proxy.drain" => proxies::drain(self, &read(args)?).await,
                    "proxy.activate" => proxies::activate(self, &read(args)?).await,
                    "proxy.forget" => proxies::forget(self, &read(args)?).await,
                    other => Err(format!("this version has no command {other:?}")),
                }
            }
        }
    }

    fn status(&self) -> Value {
        let commit = self.log.commit();
        let position = commit.head.position;
        let at = |at: Position| json!({ "epoch": at.epoch.0, "seq": at.seq.0 });
        let restored = |Restored { to, epoch, discarded }| json!({ "to": at(to), "epoch": epoch.0, "discarded": discarded.map(at) });
        json!({
            "role": "writer",
            "fleet": self.fleet.to_string(),
            "head": at(position),
            "restored": self.restored.map(restored),
            "digest": commit.head.digest.to_string(),
            "serve_sum": format!("{:?}", commit.serve_sum),
            "format_level": commit.format_level,
        })
    }

    /// Has a backup made, and waits for it.
    async fn back_up(&self) -> Result<Value, String> {
        let (ask, answer) = oneshot::channel();
        self.backup
            .send(ask)
            .await
            .map_err(|_| "there is no place for backups: set [backup] url".to_owned())?;
        answer.await.unwrap_or_else(|_| Err("the service is stopping".to_owned()))
    }

    /// Writes one change and says where.
    async fn write(&self, change: Change) -> Result<Result<Position, Refused>, String> {
        self.write_then(change, |_| ()).await
    }

    /// As [`Operator::write`]; `in_force` gets the key's new version as soon as the change is durable, whether anybody still waits or not.
    async fn write_then(
        &self,
        change: Change,
        in_force: impl FnOnce(u64) + Send + 'static,
    ) -> Result<Result<Position, Refused>, String> {
        let log = self.log.clone();
        let writing = tokio::spawn(async move {
            let decisions = log.propose(vec![change]).await?;
            if let Some(Decision::Applied { stamps, .. }) = decisions.first() {
                in_force(stamps[0].map_or(0, |stamp| stamp.version));
            }
            Ok(decisions)
        });
        let decided = writing.await.map_err(|error| error.to_string())?;
        let decisions = decided.map_err(|error| match error {
            ProposeError::Unknown => error.to_string(),
            _ => format!("{error}, nothing was changed"),
        })?;
        match decisions.into_iter().next() {
            Some(Decision::Applied { position, .. }) => Ok(Ok(position)),
            Some(Decision::Conflict(_)) => Ok(Err(Refused)),
            other => Err(format!("the writer did not take the change: {other:?}")),
        }
    }
}

/// A precondition did not hold.
struct Refused;

impl Commands for Operator {
    fn run(&self, command: String, args: Value) -> Answer<'_> {
        Box::pin(async move { self.answer(&command, args).await })
    }
}

fn read<T: DeserializeOwned>(args: Value) -> Result<T, String> {
    serde_json::from_value(args)
        .map_err(|error| format!("the arguments are not those of this command: {error}"))
}

/// Words a failure of the state's database.
fn failed(error: impl std::fmt::Display) -> String {
    format!("the state could not be read: {error}")
}
