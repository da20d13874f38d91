//! Looking for codes among those that wait. They wait in random order, so it is a scan; it is needed only for codes that
//! are taken already, and those are few.

use std::collections::HashSet;

use linklog::Code7;

use super::{Adding, Supply};
use crate::store::StoreError;

impl Supply {
    /// Finds which of `codes` wait, with their serials. Whoever calls holds `adding`, so nothing joins the stock and no
    /// block leaves it; some of what is found may be leased by the time this returns.
    pub(super) fn find_waiting(
        &self,
        _held: &Adding,
        codes: &HashSet<Code7>,
    ) -> Result<Vec<(u64, Code7)>, StoreError> {
        if codes.is_empty() {
            return Ok(vec![]);
        }
        let waiting = self.pool.lock().waiting();
        let mut stock = self.store.stock(waiting.clone());
        let found = waiting.zip(stock.by_ref()).filter(|(_, code)| codes.contains(code)).collect();
        stock.finish()?;
        Ok(found)
    }
}
