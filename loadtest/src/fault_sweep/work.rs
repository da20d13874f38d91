//! Which N are tried by which fleet, where several work at once.
//!
//! Pieces of a sweep are given out in order, until one of them finds that there is no Nth, or something contradicts the contract.

use std::sync::{Mutex, PoisonError};

use super::{Mode, Sweep};

/// Some N of a sweep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) part: String,
    pub(super) mode: Mode,
    pub(super) from: u64,
    /// The last one.
    pub(super) to: u64,
}

/// Which N are tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) from: u64,
    /// The last one.
    pub(super) to: u64,
    pub(super) step: u64,
    /// So many of them are a piece.
    pub(super) piece: u64,
}

struct Open {
    sweep: Sweep,
    next: u64,
    under_way: usize,
    is_over: bool,
}

/// Sweeps that are not made yet.
pub(super) struct Work {
    extent: Extent,
    open: Mutex<Vec<Open>>,
}

impl Work {
    pub(super) fn new(sweeps: impl Iterator<Item = (String, Mode)>, extent: Extent) -> Work {
        let begin = |(part, mode): (String, Mode)| Open {
            sweep: Sweep::of(&part, mode),
            next: extent.from,
            under_way: 0,
            is_over: extent.from > extent.to,
        };
        Work { extent, open: Mutex::new(sweeps.map(begin).collect()) }
    }

    /// Returns a piece that nobody has had; `None`: there are no more.
    pub(super) fn next(&self) -> Option<Piece> {
        let Extent { to, step, piece, .. } = self.extent;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.iter_mut().find(|open| !open.is_over)?;
        let from = open.next;
        open.next = from.saturating_add(piece.saturating_mul(step));
        open.is_over = open.next > to;
        open.under_way += 1;
        let last = to.min(open.next - 1);
        Some(Piece { part: open.sweep.part.clone(), mode: open.sweep.mode, from, to: last })
    }

    /// Takes over what became of a piece; returns the sweep if it was the last one of it. `found`: something contradicts the contract.
    pub(super) fn done(&self, made: Sweep, found: bool) -> Option<Sweep> {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let place =
            all.iter().position(|open| (&open.sweep.part, open.sweep.mode) == (&made.part, made.mode))?;
        let open = &mut all[place];
        open.under_way -= 1;
        open.is_over |= made.whole || found;
        open.sweep.add(made);
        (open.is_over && open.under_way == 0).then(|| all.remove(place).sweep)
    }

    /// Gives no more pieces out.
    pub(super) fn give_up(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter_mut().for_each(|open| open.is_over = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(piece: u64, to: u64) -> Work {
        let sweeps = [("admin".to_owned(), Mode::Eio), ("admin".to_owned(), Mode::Kill)];
        Work::new(sweeps.into_iter(), Extent { from: 1, to, step: 2, piece })
    }

    fn made(piece: &Piece, tried: u64, whole: bool) -> Sweep {
        Sweep { tried, last: piece.to, whole, ..Sweep::of(&piece.part, piece.mode) }
    }

    #[test]
    fn pieces_follow_one_another_until_one_finds_the_end() {
        let work = work(10, 1_000);
        let pieces: Vec<Piece> = (0..3).map(|_| work.next().unwrap()).collect();
        let bounds: Vec<_> = pieces.iter().map(|piece| (piece.mode, piece.from, piece.to)).collect();
        assert_eq!(bounds, [(Mode::Eio, 1, 20), (Mode::Eio, 21, 40), (Mode::Eio, 41, 60)]);
        assert_eq!(work.done(made(&pieces[1], 4, true), false).map(|sweep| sweep.tried), None);
        let other = work.next().unwrap();
        assert_eq!((other.mode, other.from), (Mode::Kill, 1));
        assert!(work.done(made(&pieces[0], 10, false), false).is_none());
        let whole = work.done(made(&pieces[2], 1, true), false).unwrap();
        assert_eq!((whole.tried, whole.last, whole.whole), (15, 40, true));
        assert!(work.done(made(&other, 1, false), true).is_some_and(|sweep| !sweep.whole));
        assert_eq!(work.next(), None);
    }

    #[test]
    fn the_last_piece_ends_where_it_is_to_end() {
        let work = work(u64::MAX, 7);
        let piece = work.next().unwrap();
        assert_eq!((piece.from, piece.to), (1, 7));
        assert!(work.done(made(&piece, 4, false), false).is_some());
    }
}
