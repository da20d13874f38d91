//! What an import says while it runs: lines of JSON. Pure.
//!
//! ```text
//! {"line":7,"result":"refused","code":"spring","problem":{…}}          a line that is not valid, or may not be done
//! {"line":8,"result":"collision","code":"spring","domain":"sho.rt"}    another link has the code
//! {"line":9,"result":"created","code":"Ab3xY9z","short_url":"…"}       a line without a code got one
//! {"progress":{"line":1000,"created":990,…}}                          everything up to this line is durable
//! {"done":{"line":1734,…,"dry_run":false},"replication":{…}}           the end; without it the import is not complete
//! {"gave_up":{"line":1000,…},"problem":{…}}                            the end, when it could not go on
//! ```

use linklog::Code;
use serde::Serialize;

use crate::domains::KnownDomain;
use crate::problem::Problem;
use crate::replication::ReplicationReport;

/// How many lines became what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Counts {
    /// The last line that is done with.
    pub line: u64,
    /// Links made.
    pub created: u64,
    /// Links that were there exactly so.
    pub unchanged: u64,
    /// Links that took the place of others.
    pub replaced: u64,
    /// Lines whose code another link has.
    pub collisions: u64,
    /// Lines that are not valid.
    pub refused: u64,
}

/// Collects what is to be said.
pub(super) struct Report {
    pub counts: Counts,
    said: Vec<u8>,
}

#[derive(Serialize)]
struct LineView<'a> {
    line: u64,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a Problem>,
}

#[derive(Serialize)]
struct ProgressView {
    progress: Counts,
}

#[derive(Serialize)]
struct DoneCounts {
    #[serde(flatten)]
    counts: Counts,
    dry_run: bool,
}

#[derive(Serialize)]
struct DoneView<'a> {
    done: DoneCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication: Option<&'a ReplicationReport>,
}

#[derive(Serialize)]
struct GaveUpView<'a> {
    gave_up: Counts,
    problem: &'a Problem,
}

impl Report {
    pub(super) fn new(first_line: u64) -> Report {
        Report { counts: Counts { line: first_line - 1, ..Counts::default() }, said: Vec::new() }
    }

    fn say(&mut self, view: &impl Serialize) {
        serde_json::to_writer(&mut self.said, view).expect("memory takes every text");
        self.said.push(b'\n');
    }

    pub(super) fn refused(&mut self, line: u64, code: Option<&str>, problem: &Problem) {
        self.counts.refused += 1;
        let problem = Some(problem);
        self.say(&LineView { line, result: "refused", code, domain: None, short_url: None, problem });
    }

    pub(super) fn collision(&mut self, line: u64, code: Option<&str>, domain: Option<&KnownDomain>) {
        self.counts.collisions += 1;
        let domain = domain.map(|domain| domain.base.host());
        self.say(&LineView { line, result: "collision", code, domain, short_url: None, problem: None });
    }

    pub(super) fn created(&mut self, line: u64, code: &Code, domain: Option<&KnownDomain>) {
        self.counts.created += 1;
        let short_url = domain.map(|domain| domain.base.short_url(code));
        let code = Some(code.as_str());
        self.say(&LineView { line, result: "created", code, domain: None, short_url, problem: None });
    }

    pub(super) fn reached(&mut self, line: u64) {
        self.counts.line = line;
    }

    /// Returns everything that was not said yet, and how far the import is.
    pub(super) fn progress(&mut self) -> Vec<u8> {
        self.say(&ProgressView { progress: self.counts });
        std::mem::take(&mut self.said)
    }

    pub(super) fn done(&mut self, dry_run: bool, replication: Option<&ReplicationReport>) -> Vec<u8> {
        let done = DoneCounts { counts: self.counts, dry_run };
        self.say(&DoneView { done, replication });
        std::mem::take(&mut self.said)
    }

    pub(super) fn gave_up(&mut self, problem: &Problem) -> Vec<u8> {
        self.say(&GaveUpView { gave_up: self.counts, problem });
        std::mem::take(&mut self.said)
    }
}
