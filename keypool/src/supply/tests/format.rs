//! The bytes on disk, frozen: a pool written by this version must be readable by every later one.

use super::*;
use crate::generate::tests::SeededEntropy;

const GOLDEN: &str = include_str!("../../../tests/golden/format-1.txt");

#[test]
fn the_database_of_a_pool_is_these_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let supply = open_as(dir.path(), &config("0-1,4095", 7)).unwrap();
    supply.add(8, 0, &mut SeededEntropy(1)).unwrap();
    let leased = supply.lease(&request(0xabcd, 3)).unwrap().codes;
    let waiting = supply.store().stock(5..6).next().unwrap();
    supply.mark_used(&[Code7::new(4_096).unwrap(), waiting]).unwrap();
    supply.release(&leased[1..2], 1_000).unwrap();
    let pool_id = supply.stats().pool_id.to_string();
    let dump = supply.store().dump().replace(&pool_id, "(random)");
    let comments = |line: &&str| !line.starts_with('#');
    let golden: Vec<&str> = GOLDEN.lines().filter(comments).collect();
    assert_eq!(dump.lines().map(str::trim_end).collect::<Vec<_>>(), golden, "now it is\n{dump}");
}
