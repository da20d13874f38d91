//! Listing links, newest first, a page at a time.
//!
//! A page ends in a cursor: the record that created its last link. It holds a place, not a snapshot: links made meanwhile come before
//! it and disturb nothing, links deleted meanwhile are missing. No page costs more for being far from the first.
//!
//! ```text
//! cursor: base64url, no padding, of: u8 1 · u64 seq, big-endian · u32 check, big-endian (low half of xxh3_64 of what is before it)
//! ```

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clicklog::Subject;
use clicklog::account::Totals;
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::{Key, Seq};
use xxhash_rust::xxh3::xxh3_64;

use super::{ChangeError, Links};

/// Links of a page unless said otherwise.
pub const LIMIT_DEFAULT: usize = 100;
/// Most links of a page.
pub const LIMIT_MAX: usize = 1000;
const VERSION: u8 = 1;

/// A place in the list: after the link that this record created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor(Seq);

/// The text is no cursor of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the cursor is not one that this API gave out: pass next_cursor on unchanged, or leave it out to start anew"
)]
pub struct CursorInvalid;

impl Cursor {
    /// Returns the text form.
    pub fn encode(self) -> String {
        let mut bytes = [0; 13];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.0.0.to_be_bytes());
        let check = check(&bytes[..9]);
        bytes[9..].copy_from_slice(&check);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// It is not ours, or was changed.
    pub fn decode(text: &str) -> Result<Cursor, CursorInvalid> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorInvalid)?;
        let (body, found) = bytes.split_last_chunk::<4>().ok_or(CursorInvalid)?;
        match body.split_first_chunk::<1>() {
            Some(([VERSION], seq)) if *found == check(body) => {
                Ok(Cursor(Seq(u64::from_be_bytes(seq.try_into().map_err(|_| CursorInvalid)?))))
            }
            _ => Err(CursorInvalid),
        }
    }
}

/// Against typing mistakes and made-up cursors; whoever computes it sees only what the list shows anyway.
fn check(body: &[u8]) -> [u8; 4] {
    (xxh3_64(body) as u32).to_be_bytes()
}

/// A page of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The links, newest first.
    pub links: Vec<(Key, StoredLink)>,
    /// What was counted on each.
    pub totals: Vec<Totals>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<Cursor>,
}

impl Links {
    /// Reads a page of at most `limit` links after `cursor`.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page, ChangeError> {
        let limit = limit.clamp(1, LIMIT_MAX);
        let clicks = self.clicks.clone();
        let read = move |reader: &Reader| {
            let (links, next) = page(reader, cursor.map(|cursor| cursor.0), limit)?;
            let subject =
                |(key, link): &(Key, StoredLink)| Subject { key: *key, created: link.stamp.created };
            let totals = clicks.totals(&links.iter().map(subject).collect::<Vec<_>>())?;
            Ok::<_, StoreError>(Page { links, totals, next })
        };
        Ok(self.log.read(read).await??)
    }
}

/// Links, newest first.
type Found = Vec<(Key, StoredLink)>;

fn page(
    reader: &Reader,
    mut before: Option<Seq>,
    limit: usize,
) -> Result<(Found, Option<Cursor>), StoreError> {
    let mut links = Vec::with_capacity(limit);
    loop {
        // One more than is needed tells whether there is another page.
        let rows = reader.links_by_age(before, limit - links.len() + 1)?;
        let all = rows.len() <= limit - links.len();
        for row in rows.iter().take(limit - links.len()) {
            before = Some(row.created_seq);
            // It may be deleted between the index and here, or deleted and made again.
            let link = reader.link(&row.key)?.filter(|link| link.stamp.created.seq == row.created_seq);
            links.extend(link.map(|link| (row.key, link)));
        }
        if all {
            return Ok((links, None));
        }
        if links.len() == limit {
            return Ok((links, before.map(Cursor)));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_what_it_writes(seq: u64) {
            let cursor = Cursor(Seq(seq));
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn a_changed_cursor_is_refused(seq: u64, at in 0usize..18, to in "[A-Za-z0-9_-]") {
            let text = Cursor(Seq(seq)).encode();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert!(changed == text || Cursor::decode(&changed).is_err());
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            prop_assert!(Cursor::decode(&text).is_err());
        }
    }
}
