//! What the links of a token may answer together in a period, and whether this proxy may answer one more of them.
//!
//! Periods begin and end by this proxy's clock, for its own redirects; each is spent out of a budget that bears its period, so a clock that
//! is wrong moves redirects from one period to its neighbour and never makes more of them.

use dashmap::DashMap;
use linklog::codec::value;
use linklog::entity::{Quota, QuotaId};
use linklog::store::{Reader, StoreError};
use linklog::{Allowance, DecodeError, Position, StateKey};

use super::{Budgets, Patience};
use crate::wall_clock;

/// What a quota says to a redirect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quoted {
    /// There is no such quota, or one redirect was taken out of it: it may be answered.
    Free,
    /// Nothing is left of it until its next period.
    UsedUp {
        /// Which begins in so many seconds.
        retry_after_s: u32,
    },
    /// Nothing of this period is at hand.
    NotAtHand,
}

impl Budgets {
    /// Takes a redirect out of a quota at `now_ms` (milliseconds since the Unix epoch), if it can. From then on it is recorded, and the
    /// visitor may be led on.
    pub fn spend_of_quota(&self, id: QuotaId, now_ms: u64) -> Quoted {
        let Some(quota) = self.quotas.get(&id).map(|quota| *quota) else { return Quoted::Free };
        let label = quota.label(now_ms);
        if quota.is_used_up(label) {
            let left_s = quota.period.end_s(now_ms.max(label.seq.0 * 1_000)).saturating_sub(now_ms / 1_000);
            return Quoted::UsedUp { retry_after_s: u32::try_from(left_s).unwrap_or(u32::MAX) };
        }
        if self.spend(&Allowance::Quota(id).encode(), label) { Quoted::Free } else { Quoted::NotAtHand }
    }

    /// As [`Budgets::wait`], until [`Budgets::spend_of_quota`] is worth a try.
    ///
    /// # Cancel safety
    /// As [`Budgets::wait`].
    pub async fn wait_for_quota(&self, id: QuotaId, patience: Patience) -> bool {
        match self.label_of(id) {
            Some(label) => self.wait(&Allowance::Quota(id).encode(), label, patience).await,
            // It is gone, and limits nothing any more.
            None => true,
        }
    }

    /// Takes note of a quota that has changed.
    pub(super) fn set_quota(&self, id: QuotaId, serve_value: Option<&[u8]>) {
        match serve_value.map(read) {
            Some(Ok(Some(quota))) => drop(self.quotas.insert(id, quota)),
            Some(Ok(None)) | None => drop(self.quotas.remove(&id)),
            // As it was: better than none.
            Some(Err(error)) => tracing::error!(%error, ?id, "a quota's record is damaged and was left out"),
        }
    }

    /// Takes note of the quotas of another replica. Until it is done, a quota may still be as it was, or be missing: then it limits nothing.
    pub(super) fn reload_quotas(&self, reader: &Reader) {
        match load(reader) {
            Ok(quotas) => {
                self.quotas.retain(|id, _| quotas.contains_key(id));
                for (id, quota) in quotas {
                    self.quotas.insert(id, quota);
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot read the quotas of the new replica: those known before are kept")
            }
        }
    }

    /// Says whether the period of a label is over, or its quota gone.
    pub(super) fn is_over(&self, id: QuotaId, label: Position) -> bool {
        let now_ms = wall_clock::now_us() / 1_000;
        self.quotas.get(&id).is_none_or(|quota| quota.label(now_ms) > label)
    }

    /// The period of a quota now; `None`: it is gone.
    pub(super) fn label_of(&self, id: QuotaId) -> Option<Position> {
        self.quotas.get(&id).map(|quota| quota.label(wall_clock::now_us() / 1_000))
    }
}

/// The quota that a key names, if it is one's.
pub(super) fn id_of(key: &[u8]) -> Option<QuotaId> {
    match key.split_first() {
        Some((&StateKey::QUOTAS, id)) => id.try_into().ok().map(QuotaId),
        _ => None,
    }
}

/// Reads all of them.
pub(super) fn load(reader: &Reader) -> Result<DashMap<QuotaId, Quota>, StoreError> {
    let quotas = DashMap::new();
    let mut damaged = None;
    reader.scan_served(&[StateKey::QUOTAS], |key, stored| {
        let Some(id) = id_of(key) else { return false };
        match read(stored) {
            Ok(quota) => drop(quota.map(|quota| quotas.insert(id, quota))),
            Err(source) => damaged = Some(StoreError::Damaged { what: "quota", source }),
        }
        damaged.is_none()
    })?;
    damaged.map_or(Ok(quotas), Err)
}

fn read(stored: &[u8]) -> Result<Option<Quota>, DecodeError> {
    let (stamp, body) = value::split(stored)?;
    if stamp.live { Quota::decode(body).map(Some) } else { Ok(None) }
}
