//! The map and the disk must not disagree: the protocol that keeps an old value from being pinned in the map.
//!
//! A reader that misses the map reads the disk and puts what it found into the map. Between the two the applier may have written a
//! newer value and taken the old one out of the map; put in now, the old value would stay. So:
//!
//! 1. A reader notes the replica's position **before** it reads ([`note_then_read`]). A position is published after the writes it
//!    stands for, so what the reader finds is at least as new as its [`Mark`].
//! 2. The applier, after a batch is written and its position published, raises the floor of every shard with a changed key to that
//!    position and takes the key's entry out or replaces it, in one step under the shard's lock ([`supersede`]). Then it
//!    acknowledges.
//! 3. A reader's value is accepted only if the shard's floor has not passed its mark ([`fill`]), under the same lock.
//!
//! A value older than the change at position n was read by somebody whose mark is below n. Put in before the applier comes, it is
//! taken out by it; put in after, it is refused. When another replica is put in place ([`switch`]), its positions mean nothing
//! compared to the old one's, so a mark begins with the replica's generation: the new replica is published first, then every shard
//! is emptied and its floor raised to the new generation, which no mark of the old one reaches.
//!
//! Nothing here knows the table, the lock or the disk: the tests run the same functions under `shuttle`, which tries the
//! interleavings.

/// Where a replica stood. Ordered: any mark of a later generation is above all of an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mark {
    /// Counts the replicas this process has served from.
    pub generation: u64,
    /// The last record applied there.
    pub applied_seq: u64,
}

/// A replica, as far as its position goes.
pub trait Source {
    /// Where the replica stands: every read that starts after this sees at least that.
    fn mark(&self) -> Mark;
}

/// A lock around a shard.
pub trait Lock<T> {
    /// Runs `with` while nobody else is inside.
    fn locked<R>(&self, with: impl FnOnce(&mut T) -> R) -> R;
}

impl<T> Lock<T> for parking_lot::Mutex<T> {
    fn locked<R>(&self, with: impl FnOnce(&mut T) -> R) -> R {
        with(&mut self.lock())
    }
}

/// A shard's state with its floor.
#[derive(Debug, Default)]
pub struct Floored<S> {
    floor: Mark,
    /// What belongs to the shard.
    pub state: S,
}

impl<S> Floored<S> {
    /// Puts a floor of nothing under a state.
    pub fn new(state: S) -> Floored<S> {
        Floored { floor: Mark::default(), state }
    }
}

/// Notes where `source` stands, then reads from it.
pub fn note_then_read<S: Source, R>(source: &S, read: impl FnOnce(&S, Mark) -> R) -> R {
    let mark = source.mark();
    read(source, mark)
}

/// Puts in what was read, unless the shard has moved on since `mark`. Says whether it did.
pub fn fill<S>(shard: &impl Lock<Floored<S>>, mark: Mark, put: impl FnOnce(&mut S)) -> bool {
    shard.locked(|shard| {
        let accepted = shard.floor <= mark;
        if accepted {
            put(&mut shard.state);
        }
        accepted
    })
}

/// Takes out or replaces what the records up to `mark` have changed.
pub fn supersede<S>(shard: &impl Lock<Floored<S>>, mark: Mark, change: impl FnOnce(&mut S)) {
    shard.locked(|shard| {
        shard.floor = shard.floor.max(mark);
        change(&mut shard.state);
    });
}

/// Puts another replica in place: `publish` makes readers use it, then every shard is emptied and forgets the old one's marks.
pub fn switch<'a, S: 'a, L: Lock<Floored<S>> + 'a>(
    publish: impl FnOnce(),
    shards: impl Iterator<Item = &'a L>,
    generation: u64,
    mut empty: impl FnMut(usize, &mut S),
) {
    publish();
    for (index, shard) in shards.enumerate() {
        supersede(shard, Mark { generation, applied_seq: 0 }, |state| empty(index, state));
    }
}

#[cfg(test)]
mod tests;
