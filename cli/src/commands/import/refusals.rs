//! Records of a file that cannot be taken over: told and counted once, however often the file is read.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;
use serde_json::json;

use crate::output::{print, tell};
use crate::settings::Output;

/// What was refused before anything was sent.
pub(super) struct Refusals {
    unit: &'static str,
    output: Output,
    bar: ProgressBar,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// The number of the last record that was told.
    last: u64,
    count: u64,
}

impl Refusals {
    pub(super) fn new(unit: &'static str, output: Output, bar: ProgressBar) -> Arc<Refusals> {
        Arc::new(Refusals { unit, output, bar, told: Mutex::default() })
    }

    /// Tells that record `number` is refused, unless that was told before.
    pub(super) fn add(&self, number: u64, what: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= told.last {
            return;
        }
        *told = Told { last: number, count: told.count + 1 };
        self.bar.suspend(|| match self.output {
            Output::Table => tell(&format!("{} {number}: {what}", self.unit)),
            Output::Json => {
                let problem = json!({ "title": "The record cannot be taken over", "detail": what });
                let said = json!({ "line": number, "result": "refused", "problem": problem });
                // Whether stdout can be written is found out with the next line of the answer.
                let _ = print(&said.to_string());
            }
        });
    }

    /// Returns how many there are so far.
    pub(super) fn count(&self) -> u64 {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}
