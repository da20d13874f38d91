//! When to read the files again: on SIGHUP, when told through the control socket, and when one of them has changed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::{Shown, Tls, TlsError};

/// Listens for SIGHUP from here on: without it the signal would end the process. To be called inside a runtime.
///
/// # Errors
/// No signal handler to be had.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reads the files again on every hangup, and looks every `every` whether one has changed; for ever.
///
/// # Cancel safety
/// Nothing is done by halves.
pub async fn watch(tls: Option<Arc<Tls>>, mut hangups: Signal, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        let reloaded = tokio::select! {
            hangup = hangups.recv() => match (hangup, &tls) {
                (Some(()), Some(tls)) => Some(tls.reload()),
                (Some(()), None) => {
                    tracing::info!("told to read certificates again, but there are none");
                    None
                }
                (None, _) => return,
            },
            _ = ticks.tick() => tls.as_ref().and_then(|tls| tls.reload_if_changed()),
        };
        if let Some(reloaded) = reloaded {
            report(&reloaded);
        }
    }
}

/// Reads the files again because somebody asked, and says what came of it.
///
/// # Errors
/// What is wrong, for the operator.
pub fn on_command(tls: Option<&Tls>) -> Result<Value, String> {
    let tls = tls.ok_or("no listener has tls = true: there are no certificates to read")?;
    let reloaded = tls.reload();
    report(&reloaded);
    let certificates =
        reloaded.map_err(|error| format!("{error}; the certificates before are still in use"))?;
    Ok(json!({ "certificates": certificates.iter().map(Shown::to_json).collect::<Vec<_>>() }))
}

fn report(reloaded: &Result<Vec<Shown>, TlsError>) {
    match reloaded {
        Ok(certificates) => tracing::info!(certificates = certificates.len(), "read the certificates again"),
        Err(error) => tracing::error!(%error, "cannot use the new certificates, the ones before stay in use"),
    }
}

impl Shown {
    /// For commands.
    pub fn to_json(&self) -> Value {
        json!({ "names": self.names, "expires_at_s": self.expires_at_s })
    }
}
