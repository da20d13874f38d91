//! The commands of the control socket: what an operator asks of the running daemon.

use std::sync::Arc;

use daemon::control::{Answer, Commands};
use linklog::Code7;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::limits::MARK_CODES_MAX;

use crate::service::Service;
use crate::supply::Supply;

/// The commands there are, for messages.
const COMMANDS: &str = "stats, slots, refill, release, mark-used";

/// Answers the commands of a pool.
#[derive(Clone, Debug)]
pub struct Control {
    supply: Arc<Supply>,
    service: Service,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeArgs {
    codes: Vec<String>,
}

impl Control {
    /// Makes the commands of a pool and its service.
    pub fn new(supply: Arc<Supply>, service: Service) -> Control {
        Control { supply, service }
    }

    async fn answer(&self, command: &str, args: Value) -> Result<Value, String> {
        match command {
            "stats" => self.stats().await,
            "slots" => {
                let stats = self.service.stats().await.map_err(message)?;
                Ok(json!({ "pool_id": stats.pool_id, "slots": stats.slots }))
            }
            "refill" => {
                self.supply.bell().ask();
                self.stats().await
            }
            "release" => {
                let released = self.service.release(codes(args)?).await.map_err(message)?;
                Ok(json!({ "quarantined": released.quarantined, "ignored": released.ignored }))
            }
            "mark-used" => {
                let marked = self.service.mark_used(codes(args)?).await.map_err(message)?;
                Ok(json!({ "newly_marked": marked }))
            }
            other => Err(format!("unknown command {other:?}; there are {COMMANDS}")),
        }
    }

    async fn stats(&self) -> Result<Value, String> {
        let metrics = self.supply.metrics();
        let stats = self.service.stats().await.map_err(message)?;
        let mut stats = serde_json::to_value(stats).map_err(|error| error.to_string())?;
        stats["refilling"] = metrics.is_refilling().into();
        stats["refill_codes_per_second"] = metrics.refill_codes_per_second().into();
        stats["version"] = env!("CARGO_PKG_VERSION").into();
        Ok(stats)
    }
}

impl Commands for Control {
    fn run(&self, command: String, args: Value) -> Answer<'_> {
        Box::pin(async move { self.answer(&command, args).await })
    }
}

fn message(status: tonic::Status) -> String {
    status.message().to_owned()
}

fn codes(args: Value) -> Result<Vec<Code7>, String> {
    let CodeArgs { codes } = serde_json::from_value(args).map_err(|error| format!("args: {error}"))?;
    if codes.len() > MARK_CODES_MAX {
        return Err(format!("at most {MARK_CODES_MAX} codes at once, not {}", codes.len()));
    }
    codes.iter().map(|text| code(text)).collect()
}

/// Reads a generated code, 7 Base62 characters.
///
/// # Errors
/// It is none; the message says what one is.
pub fn code(text: &str) -> Result<Code7, String> {
    let code = text.as_bytes().try_into().ok().and_then(Code7::from_bytes);
    code.ok_or_else(|| format!("{text:?} is no generated code: those are 7 of 0-9 A-Z a-z"))
}
