//! What an operator may ask of a standby: how it is, and to take over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daemon::control::{Answer, Commands};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::standby::Promotion;

/// The operator's commands on a standby.
pub(super) struct StandbyOperator {
    pub(super) promotion: Promotion,
    pub(super) log: Log,
    pub(super) promoting: tokio::sync::Mutex<()>,
    pub(super) promoted: Arc<AtomicBool>,
    pub(super) following: CancellationToken,
    pub(super) stop: CancellationToken,
}

impl StandbyOperator {
    async fn answer(&self, command: &str, args: Value) -> Result<Value, String> {
        match command {
            "status" => {
                let commit = self.log.commit();
                let position = commit.head.position;
                Ok(json!({
                    "role": "standby",
                    "head": { "epoch": position.epoch.0, "seq": position.seq.0 },
                    "digest": commit.head.digest.to_string(),
                    "serve_sum": format!("{:?}", commit.serve_sum),
                    "standby": self.promotion.status.to_json(position.seq.0),
                }))
            }
            "promote" => {
                let args = serde_json::from_value(args).map_err(|error| error.to_string())?;
                let Ok(_one) = self.promoting.try_lock() else {
                    return Err("a promotion is going on".to_owned());
                };
                let promoted = self.promotion.run(args).await?;
                self.following.cancel();
                self.promoted.store(true, Ordering::Release);
                self.stop.cancel();
                Ok(promoted)
            }
            other => Err(format!(
                "this is a standby: {other} is for the writer, {}",
                self.promotion.status.writer()
            )),
        }
    }
}

impl Commands for StandbyOperator {
    fn run(&self, command: String, args: Value) -> Answer<'_> {
        Box::pin(async move { self.answer(&command, args).await })
    }
}
