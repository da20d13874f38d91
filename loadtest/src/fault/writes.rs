//! The changes of one link in a history, and which of two came later.

use super::history::{Answer, Call, Request};

/// A change that happened, or may have.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// The target it set; `None` for a deletion.
    pub(super) target: Option<String>,
    /// Whether it made the link.
    pub(super) makes: bool,
    pub(super) begin_us: u64,
    /// When it was acknowledged; `u64::MAX` while that is not known, since it may still happen.
    pub(super) end_us: u64,
    /// The link's version since then, from its own answer or from somebody who saw it.
    pub(super) version: Option<u64>,
    /// Proxies that were not known to have it when it was acknowledged; `None`: nothing is known of any.
    missing: Option<Vec<u16>>,
}

impl Write {
    /// The change that a call asked for, with the code of the link if it is known. `None` if it did certainly not happen.
    pub(super) fn of(call: &Call) -> Option<(Option<String>, Write)> {
        let (code, target, makes) = match &call.request {
            Request::Create { alias, target, .. } => (alias.clone(), Some(target.clone()), true),
            Request::Update { code, target } => (Some(code.clone()), Some(target.clone()), false),
            Request::Delete { code } => (Some(code.clone()), None, false),
            Request::Get { .. } | Request::Follow { .. } => return None,
        };
        let write = |end_us, version, missing| Write {
            target,
            makes,
            begin_us: call.begin_us,
            end_us,
            version,
            missing,
        };
        match &call.answer {
            Answer::Done { code, version, missing } => {
                Some((Some(code.clone()), write(call.end_us, Some(*version), Some(missing.clone()))))
            }
            Answer::Deleted => Some((code, write(call.end_us, None, None))),
            Answer::Unknown { .. } => Some((code, write(u64::MAX, None, None))),
            // A writer that fails on the way may have written.
            Answer::Refused { status: 500.., .. } => Some((code, write(u64::MAX, None, None))),
            Answer::Refused { .. } | Answer::Unsent | Answer::Target { .. } => None,
        }
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.end_us != u64::MAX
    }

    /// Whether it certainly came later than `other`.
    pub(super) fn is_after(&self, other: &Write) -> bool {
        match (self.version, other.version) {
            (Some(own), Some(others)) => own > others,
            _ => self.begin_us > other.end_us,
        }
    }

    /// Whether its acknowledgement said that this proxy has it.
    pub(super) fn was_applied_by(&self, proxy: u16) -> bool {
        self.is_acknowledged() && self.missing.as_ref().is_some_and(|missing| !missing.contains(&proxy))
    }
}
