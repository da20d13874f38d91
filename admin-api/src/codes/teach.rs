//! Tells a key pool that this writer meets for the first time which codes of its slots are in use, before anything is leased from it.
//!
//! A pool that was restored from a backup does not know what it leased since, and one that replaces a lost pool knows nothing; either
//! would generate codes again that are links already. The log would refuse them one by one; told beforehand, the pool never hands them out.
//! A pool is known by its id, which a restored one has anew.

use std::time::{Duration, Instant};

use linklog::store::StoreError;
use linklog::{Code7, StateKey};

use super::pool::{Description, Pool, PoolError};
use crate::log::{Ending, Log};

/// How many keys one read of the log looks at.
const KEYS_AT_ONCE: usize = 100_000;
/// How often a long lesson says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Why a pool was not told everything; it is told again from the start.
#[derive(Debug, thiserror::Error)]
pub enum TeachError {
    /// The pool did not take it.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The log could not be read.
    #[error("cannot read which codes are in use: {0}")]
    Log(#[from] StoreError),
    /// The process is ending.
    #[error(transparent)]
    Ending(#[from] Ending),
}

/// Tells `pool` every code of its slots that the log has, links that were deleted included, and those in `stock`.
///
/// # Errors
/// Why not; what was told stays told.
///
/// # Cancel safety
/// As after an error.
pub async fn tell_all(
    log: &Log,
    pool: &Pool,
    description: &Description,
    stock: Vec<Code7>,
) -> Result<u64, TeachError> {
    let (begun, mut reported) = (Instant::now(), Instant::now());
    let own: Vec<Code7> = stock.into_iter().filter(|code| description.owns(*code)).collect();
    let mut told = own.len() as u64;
    mark(pool, &own).await?;
    let mut next = Some(Vec::new());
    while let Some(from) = next {
        let description = description.clone();
        let page = log.read(move |reader| page(reader, &from, &description)).await??;
        mark(pool, &page.codes).await?;
        told += page.codes.len() as u64;
        next = page.next;
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            tracing::info!(keypool = pool.url(), told, "telling a new key pool which codes are in use");
        }
    }
    if told > 0 {
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(keypool = pool.url(), told, seconds, "told a new key pool which codes are in use");
    }
    Ok(told)
}

async fn mark(pool: &Pool, codes: &[Code7]) -> Result<(), PoolError> {
    for some in codes.chunks(wire::limits::MARK_CODES_MAX) {
        pool.mark_used(some).await?;
    }
    Ok(())
}

/// Some of the codes in use, and the key to go on from.
struct Page {
    codes: Vec<Code7>,
    next: Option<Vec<u8>>,
}

fn page(reader: &linklog::store::Reader, from: &[u8], description: &Description) -> Result<Page, StoreError> {
    let mut page = Page { codes: Vec::new(), next: None };
    let mut left = KEYS_AT_ONCE;
    reader.scan_served(from, |key, _| {
        // In the order of keys, links with 7 characters come first.
        let code = match StateKey::decode(key) {
            Ok(StateKey::Link(link)) => link.code.as_code7(),
            _ => None,
        };
        let Some(code) = code else { return false };
        if left == 0 {
            page.next = Some(key.to_vec());
            return false;
        }
        left -= 1;
        page.codes.extend(Some(code).filter(|code| description.owns(*code)));
        true
    })?;
    Ok(page)
}
