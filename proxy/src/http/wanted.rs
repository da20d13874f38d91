//! A link that is wanted, and what has to be waited for before it can be answered about.

use linklog::entity::QuotaId;
use linklog::{Code, DomainId, Position};

use crate::link_key::LinkKey;
use crate::passwords::Outcome;
use crate::quota::Verdict;
use crate::worker::Worker;

/// A link that is wanted from the disk.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Its key.
    pub(super) key: LinkKey,
    /// Its domain.
    pub(super) domain: DomainId,
    /// What the client may get.
    pub(super) verdict: Verdict,
    /// What of the link.
    pub(super) what: What,
    /// What has to be had first.
    pub(super) lacks: Option<Lack>,
    /// The salt of the password that the visitor's was compared with, and what came of it.
    pub(super) guessed: Option<([u8; 16], Outcome)>,
}

impl Wanted {
    /// The same, once that has been waited for.
    pub(super) fn until(&self, wait: Wait) -> Wanted {
        match wait {
            Wait::Lack(lack) => Wanted { lacks: Some(lack), ..*self },
            Wait::Password => Wanted { lacks: None, guessed: None, ..*self },
        }
    }

    /// Whether only where the link leads is wanted.
    pub(super) fn is_preview(&self) -> bool {
        self.what == What::Preview
    }

    /// The key with the code in lower case, where a domain's aliases are found whatever their case and this is not how they are kept.
    #[cold]
    pub(super) fn folded(&self, worker: &Worker) -> Option<LinkKey> {
        let table = worker.shared.hosts.table();
        table.answers(self.domain).filter(|answers| answers.folded)?;
        let code = self.key.code();
        let folded = code.to_ascii_lowercase();
        let code = Code::from_bytes(folded.as_bytes()).ok().filter(|_| folded != code)?;
        Some(LinkKey::of_code(self.domain, code))
    }
}

/// What of a link is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// To be led where it leads.
    Target,
    /// The same, and on from there: something is behind its code.
    Beyond,
    /// To see where it leads.
    Preview,
}

/// Why a link cannot be answered about at once.
pub(super) enum Wait {
    /// What a redirect takes has to be had.
    Lack(Lack),
    /// What the visitor takes for its password has to be compared.
    Password,
}

impl From<Lack> for Wait {
    fn from(lack: Lack) -> Wait {
        Wait::Lack(lack)
    }
}

/// What a redirect takes and is not at hand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lack {
    /// A click of the link, which ends with a number of them and was made there.
    Click(Position),
    /// A redirect of a quota in this period.
    Redirect(QuotaId),
}
