//! The protocol under `shuttle`: the functions of the product, with its locks and the disk replaced by modelled ones.
//!
//! Values only ever rise, so "not stale" is "not below what was acknowledged before I came".

use std::collections::HashMap;

use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::sync::{Arc, Mutex, RwLock};
use shuttle::thread;

use super::*;

impl<T> Lock<T> for Mutex<T> {
    fn locked<R>(&self, with: impl FnOnce(&mut T) -> R) -> R {
        with(&mut self.lock().unwrap())
    }
}

const KEYS: u64 = 2;
const ITERATIONS: usize = 20_000;

/// A replica: a value per key, a position that is published after the write.
struct Disk {
    generation: u64,
    values: Vec<AtomicU64>,
    applied_seq: AtomicU64,
}

impl Disk {
    fn new(generation: u64, value: u64, applied_seq: u64) -> Disk {
        let values = (0..KEYS).map(|_| AtomicU64::new(value)).collect();
        Disk { generation, values, applied_seq: AtomicU64::new(applied_seq) }
    }

    fn read(&self, key: u64) -> u64 {
        self.values[key as usize].load(Ordering::SeqCst)
    }
}

impl Source for Disk {
    fn mark(&self) -> Mark {
        Mark { generation: self.generation, applied_seq: self.applied_seq.load(Ordering::SeqCst) }
    }
}

/// How a reader goes about it.
#[derive(Clone, Copy)]
enum Reader {
    AsInTheProduct,
    /// Notes the position after reading.
    NotesTooLate,
    /// Does not look at the floor.
    IgnoresTheFloor,
}

struct World {
    source: RwLock<Arc<Disk>>,
    /// One shard for both keys: floors of one key concern the other.
    shard: Mutex<Floored<HashMap<u64, u64>>>,
    acknowledged: Vec<AtomicU64>,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            source: RwLock::new(Arc::new(Disk::new(1, 1, 10))),
            shard: Mutex::new(Floored::default()),
            acknowledged: (0..KEYS).map(|_| AtomicU64::new(1)).collect(),
        })
    }

    fn source(&self) -> Arc<Disk> {
        self.source.read().unwrap().clone()
    }

    fn visit(&self, key: u64, reader: Reader) {
        let least = self.acknowledged[key as usize].load(Ordering::SeqCst);
        let seen = self.look_up(key, reader);
        assert!(seen >= least, "key {key}: {seen} after {least} was acknowledged");
    }

    fn look_up(&self, key: u64, reader: Reader) -> u64 {
        if let Some(value) = self.shard.locked(|shard| shard.state.get(&key).copied()) {
            return value;
        }
        let source = self.source();
        let put = |value| {
            move |map: &mut HashMap<u64, u64>| {
                map.insert(key, value);
            }
        };
        match reader {
            Reader::AsInTheProduct => note_then_read(&*source, |disk, mark| {
                let value = disk.read(key);
                fill(&self.shard, mark, put(value));
                value
            }),
            Reader::NotesTooLate => {
                let value = source.read(key);
                fill(&self.shard, source.mark(), put(value));
                value
            }
            Reader::IgnoresTheFloor => {
                let value = source.read(key);
                self.shard.locked(|shard| put(value)(&mut shard.state));
                value
            }
        }
    }

    /// What the applier does for one frame.
    fn apply(&self, key: u64, value: u64) {
        let disk = self.source();
        disk.values[key as usize].store(value, Ordering::SeqCst);
        disk.applied_seq.fetch_add(1, Ordering::SeqCst);
        supersede(&self.shard, disk.mark(), |map| {
            map.remove(&key);
        });
        self.acknowledged[key as usize].store(value, Ordering::SeqCst);
    }

    /// Another replica, ahead in its values and behind in its position, as after a snapshot of another history.
    fn switch_to(&self, disk: Disk) {
        let (generation, value) = (disk.generation, disk.read(0));
        let publish = || *self.source.write().unwrap() = Arc::new(disk);
        switch(publish, std::iter::once(&self.shard), generation, |_, map| map.clear());
        for acknowledged in &self.acknowledged {
            acknowledged.store(value, Ordering::SeqCst);
        }
    }

    /// When all is quiet, the map holds what the disk holds.
    fn check_at_rest(&self) {
        let disk = self.source();
        self.shard.locked(|shard| {
            for (key, value) in &shard.state {
                assert_eq!(*value, disk.read(*key), "key {key} is stale in the map for ever");
            }
        });
        (0..KEYS).for_each(|key| self.visit(key, Reader::AsInTheProduct));
    }
}

fn changes_under_readers(reader: Reader) {
    let world = World::new();
    let mut threads = Vec::new();
    for key in [0, 1, 0] {
        let world = world.clone();
        threads.push(thread::spawn(move || (0..2).for_each(|_| world.visit(key, reader))));
    }
    let applier = world.clone();
    threads.push(thread::spawn(move || {
        applier.apply(0, 2);
        applier.apply(1, 2);
        applier.apply(0, 3);
    }));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    world.check_at_rest();
}

fn a_switch_under_readers(reader: Reader) {
    let world = World::new();
    let mut threads = Vec::new();
    for key in [0, 1, 0] {
        let world = world.clone();
        threads.push(thread::spawn(move || (0..2).for_each(|_| world.visit(key, reader))));
    }
    let applier = world.clone();
    threads.push(thread::spawn(move || {
        applier.apply(0, 2);
        applier.switch_to(Disk::new(2, 100, 3));
        applier.apply(1, 101);
    }));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    world.check_at_rest();
}

#[test]
fn no_reader_sees_less_than_was_acknowledged_before_it_came() {
    shuttle::check_random(|| changes_under_readers(Reader::AsInTheProduct), ITERATIONS);
    shuttle::check_pct(|| changes_under_readers(Reader::AsInTheProduct), ITERATIONS, 3);
}

#[test]
fn nor_when_another_replica_is_put_in_place() {
    shuttle::check_random(|| a_switch_under_readers(Reader::AsInTheProduct), ITERATIONS);
    shuttle::check_pct(|| a_switch_under_readers(Reader::AsInTheProduct), ITERATIONS, 3);
}

/// The tests above have teeth: each step of the protocol left out is found.
#[test]
fn readers_that_note_too_late_or_ignore_the_floor_are_found_out() {
    for (reader, scenario) in [
        (Reader::NotesTooLate, changes_under_readers as fn(Reader)),
        (Reader::IgnoresTheFloor, changes_under_readers),
        (Reader::IgnoresTheFloor, a_switch_under_readers),
    ] {
        let checked =
            std::panic::catch_unwind(|| shuttle::check_random(move || scenario(reader), ITERATIONS));
        assert!(checked.is_err());
    }
}
