//! Exporting links: all of them, or those that a list would show, oldest first, in pieces that fit into memory.
//!
//! Oldest first, so that an import makes them in the same order, and so that the place an export has reached is a place for the next one: what
//! comes after it was made later. A link that is changed while the export runs is in it once, as it was before or after.

use linklog::Seq;

use super::list::{Cursor, Wanted};
use super::view::LinkView;
use super::{ChangeError, Links};

/// How many links are looked up together.
pub const ROWS: usize = 250;
/// From this many bytes on a piece is complete.
pub const PIECE_BYTES: usize = 1 << 20;

/// A piece of an export.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Piece {
    /// Lines of JSON.
    pub lines: Vec<u8>,
    /// How many links.
    pub links: u64,
    /// Behind which place the next piece begins; `None`: nothing was found yet.
    pub reached: Option<Cursor>,
    /// There are no more.
    pub is_last: bool,
}

impl Links {
    /// Returns the last record there is now.
    pub fn head(&self) -> Seq {
        self.log.commit().head.position.seq
    }

    /// Reads a piece of what `wanted` describes, which begins with the oldest. Links made after record `until` are not in it, so that an export
    /// ends. `with_passwords`: what is kept of passwords is in it.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn export(
        &self,
        wanted: &Wanted,
        until: Seq,
        with_passwords: bool,
    ) -> Result<Piece, ChangeError> {
        let mut piece = Piece { reached: wanted.cursor, ..Piece::default() };
        while !piece.is_last && piece.lines.len() < PIECE_BYTES {
            let page = self.list(Wanted { cursor: piece.reached, limit: ROWS, ..wanted.clone() }).await?;
            let domains = self.domains.table();
            piece.is_last = page.next.is_none();
            piece.reached = page.next.or(piece.reached);
            for ((key, link), totals) in page.links.iter().zip(&page.totals) {
                if link.stamp.created.seq > until {
                    continue;
                }
                if piece.is_last {
                    piece.reached = Some(Cursor::behind(link));
                }
                let Some(domain) = domains.get(key.domain) else { continue };
                let view = LinkView::of_stored(&key.code, link, domain, None).with_clicks(totals.clicks());
                let view = if with_passwords { view.with_password_of(&link.link) } else { view };
                serde_json::to_writer(&mut piece.lines, &view).expect("memory takes every text");
                piece.lines.push(b'\n');
                piece.links += 1;
            }
            // Whoever makes links as fast as they are exported does not keep the export going.
            let beyond = |(_, link): &(_, linklog::store::StoredLink)| link.stamp.created.seq > until;
            piece.is_last |= !page.links.is_empty() && page.links.iter().all(beyond);
        }
        Ok(piece)
    }
}
