//! What the health port and the API say about readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use daemon::health::{Probe, Readiness};
use daemon::metrics::{Registry, render};
use parking_lot::RwLock;
use serde_json::{Value, json};

use crate::http::health::ReadyDetail;
use crate::metrics::Observed;

/// Answers the health port: not ready until the log is open and the API listens.
#[derive(Default)]
pub(super) struct HealthProbe {
    open: RwLock<Option<(Registry, Arc<Observed>)>>,
    /// The higher epoch of another writer; 0: none is known.
    replaced_by: AtomicU32,
    /// A sync member has what this writer has lost.
    behind: AtomicBool,
}

impl HealthProbe {
    /// From now on the service is ready.
    pub(super) fn open(&self, registry: Registry, observed: Arc<Observed>) {
        *self.open.write() = Some((registry, observed));
    }

    /// From now on it is not: it takes no more requests.
    pub(super) fn close(&self) {
        *self.open.write() = None;
    }

    /// From now on it is not: another writer has taken over, with this epoch.
    pub(super) fn replaced(&self, epoch: u32) {
        self.replaced_by.fetch_max(epoch, Ordering::Relaxed);
    }

    /// From now on it is not: it has lost changes that a sync member has.
    pub(super) fn behind(&self) {
        self.behind.store(true, Ordering::Relaxed);
    }
}

impl Probe for HealthProbe {
    fn readiness(&self) -> Readiness {
        let replaced_by = self.replaced_by.load(Ordering::Relaxed);
        match &*self.open.read() {
            Some((_, observed)) if replaced_by > 0 => {
                let mut detail = observed.detail();
                detail["why"] = format!("a writer of epoch {replaced_by} has taken over").into();
                Readiness { ready: false, detail }
            }
            Some((_, observed)) if self.behind.load(Ordering::Relaxed) => {
                let mut detail = observed.detail();
                detail["why"] =
                    "a sync member has records that this writer has lost: run `signpost-admin recover`"
                        .into();
                Readiness { ready: false, detail }
            }
            Some((_, observed)) => Readiness { ready: observed.is_ready(), detail: observed.detail() },
            None => Readiness { ready: false, detail: json!({ "why": "starting or stopping" }) },
        }
    }

    fn metrics(&self) -> String {
        self.open.read().as_ref().map_or_else(|| "# EOF\n".to_owned(), |(registry, _)| render(registry))
    }
}

impl ReadyDetail for Observed {
    fn detail(&self) -> Value {
        Observed::detail(self)
    }

    fn is_ready(&self) -> bool {
        Observed::is_ready(self)
    }
}
