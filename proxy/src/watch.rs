//! When to read files again, the certificates and the database of countries: on SIGHUP, when told through the control socket, and when one of
//! them has changed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior};

use crate::geo::{self, Geo, GeoError};
use crate::tls::{self, Tls, TlsError};

/// How often to look whether a file has changed.
#[derive(Clone, Copy, Debug)]
pub struct Every {
    /// At the certificates.
    pub certificates: Duration,
    /// At the database of countries.
    pub countries: Duration,
}

/// Listens for SIGHUP from here on: without it the signal would end the process. To be called inside a runtime.
///
/// # Errors
/// No signal handler to be had.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reads the files again on every hangup, and looks from time to time whether one has changed; for ever. A database is large, so it is read
/// beside.
///
/// # Cancel safety
/// Nothing is done by halves.
pub async fn watch(tls: Option<Arc<Tls>>, geo: Option<Arc<Geo>>, mut hangups: Signal, every: Every) {
    let (mut certificates, mut countries) = (ticks(every.certificates), ticks(every.countries));
    certificates.tick().await;
    countries.tick().await;
    loop {
        tokio::select! {
            hangup = hangups.recv() => {
                if hangup.is_none() {
                    return;
                }
                match &tls {
                    Some(tls) => report_certificates(&tls.reload()),
                    None => tracing::info!("told to read certificates again, but there are none"),
                }
                beside(&geo, |geo| Some(geo.reload())).await;
            }
            _ = certificates.tick() => {
                if let Some(reloaded) = tls.as_ref().and_then(|tls| tls.reload_if_changed()) {
                    report_certificates(&reloaded);
                }
            }
            _ = countries.tick() => beside(&geo, Geo::reload_if_changed).await,
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn beside(
    geo: &Option<Arc<Geo>>,
    reload: impl FnOnce(&Geo) -> Option<Result<geo::Shown, GeoError>> + Send + 'static,
) {
    let Some(geo) = geo.clone() else { return };
    match tokio::task::spawn_blocking(move || reload(&geo)).await {
        Ok(Some(reloaded)) => report_countries(&reloaded),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "reading the database of countries panicked"),
    }
}

/// Reads the files again because somebody asked, and says what came of it.
///
/// # Errors
/// What is wrong, for the operator.
pub fn on_command(tls: Option<&Tls>, geo: Option<&Geo>) -> Result<Value, String> {
    if tls.is_none() && geo.is_none() {
        return Err(
            "no listener has tls = true, and there is no country_database: there are no files to read"
                .to_owned(),
        );
    }
    let (mut done, mut wrong) = (Map::new(), Vec::new());
    if let Some(tls) = tls {
        let reloaded = tls.reload();
        report_certificates(&reloaded);
        match reloaded {
            Ok(shown) => {
                let shown = shown.iter().map(tls::Shown::to_json).collect();
                done.insert("certificates".to_owned(), shown);
            }
            Err(error) => wrong.push(format!("{error}; the certificates before are still in use")),
        }
    }
    if let Some(geo) = geo {
        let reloaded = geo.reload();
        report_countries(&reloaded);
        match reloaded {
            Ok(shown) => drop(done.insert("countries".to_owned(), shown.to_json())),
            Err(error) => wrong.push(format!("{error}; the database before is still in use")),
        }
    }
    if wrong.is_empty() { Ok(Value::Object(done)) } else { Err(wrong.join("; ")) }
}

fn report_certificates(reloaded: &Result<Vec<tls::Shown>, TlsError>) {
    match reloaded {
        Ok(certificates) => tracing::info!(certificates = certificates.len(), "read the certificates again"),
        Err(error) => tracing::error!(%error, "cannot use the new certificates, the ones before stay in use"),
    }
}

fn report_countries(reloaded: &Result<geo::Shown, GeoError>) {
    match reloaded {
        Ok(shown) => {
            let geo::Shown { database, built_at_s } = shown;
            tracing::info!(database, built_at_s, "read the database of countries again");
        }
        Err(error) => {
            tracing::error!(%error, "cannot use the new database of countries, the one before stays in use")
        }
    }
}
