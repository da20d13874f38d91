//! The properties that `make fuzz` tries for minutes, tried here for a moment: with every input of the corpora, and with mutations of
//! them. An input that once broke a property is in its corpus, so this is where it stays mended.

#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub)]
mod properties;

use std::fs;
use std::path::Path;

use properties::{CHECKS, Check};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

/// Mutated inputs for each property.
const CASES: u32 = 4_000;

/// The inputs of one property, sorted.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
    /// Takes what follows from another input.
    Splice(Index, Index, Index),
}

const TOKENS: &[&[u8]] = &[b"\r\n", b"\n", b"\r", b" ", b":", b"\0", b"0", b"\xff", b";", b",", b"\t"];

fn mutation() -> impl Strategy<Value = Mutation> {
    let token = proptest::sample::select(TOKENS);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, 1 << bit)),
        (any::<Index>(), token).prop_map(|(at, token)| Mutation::Insert(at, token.to_vec())),
        (any::<Index>(), 1usize..8).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (any::<Index>(), 1usize..32).prop_map(|(at, count)| Mutation::Repeat(at, count)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), any::<Index>(), any::<Index>())
            .prop_map(|(at, other, from)| Mutation::Splice(at, other, from)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let length = bytes.len();
        let place = |at: &Index| at.index(length + 1);
        match self {
            Mutation::Set(at, byte) => bytes.iter_mut().skip(place(at)).take(1).for_each(|old| *old = *byte),
            Mutation::Flip(at, bit) => bytes.iter_mut().skip(place(at)).take(1).for_each(|old| *old ^= bit),
            Mutation::Insert(at, more) => drop(bytes.splice(place(at)..place(at), more.iter().copied())),
            Mutation::Remove(at, count) => {
                let start = place(at);
                bytes.drain(start..length.min(start + count));
            }
            Mutation::Repeat(at, count) => {
                let start = place(at);
                let again = bytes[start..length.min(start + count)].to_vec();
                bytes.splice(start..start, again);
            }
            Mutation::Cut(at) => bytes.truncate(place(at)),
            Mutation::Splice(at, other, from) => {
                let (start, other) = (place(at), other.get(inputs));
                bytes.truncate(start);
                bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
        }
    }
}

fn check_corpus_and_mutations(name: &str, check: Check) {
    let inputs = corpus(name);
    assert!(inputs.len() >= 3, "{name}: a corpus of {} is none", inputs.len());
    inputs.iter().for_each(|input| check(input));
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let mutated = (any::<Index>(), proptest::collection::vec(mutation(), 1..6));
    let run = TestRunner::new(config).run(&mutated, |(input, mutations)| {
        let mut bytes = input.get(&inputs).clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut bytes, &inputs));
        check(&bytes);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn what_must_hold_for_any_bytes_holds_for_the_corpora_and_mutations_of_them() {
    for (name, check) in CHECKS {
        check_corpus_and_mutations(name, *check);
    }
}

#[test]
fn every_corpus_belongs_to_a_property() {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")).unwrap();
    let mut names: Vec<String> =
        folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, CHECKS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
