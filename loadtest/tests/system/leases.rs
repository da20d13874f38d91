//! Codes: none is handed out twice, whatever becomes of the key pools.

use super::{bin_dir, loadtest};

#[test]
fn no_code_comes_twice_from_pools_that_are_killed_restored_and_split() {
    let dir = tempfile::tempdir().unwrap();
    let (pools, bin_dir) = (dir.path().join("pools"), bin_dir());
    let (pools, bin_dir) = (pools.to_str().unwrap(), bin_dir.to_str().unwrap());
    let arguments = [
        "leases",
        "--dir",
        pools,
        "--bin-dir",
        bin_dir,
        "--codes",
        "500000",
        "--faults",
        "10",
        "--seed",
        "1",
    ];
    let results = loadtest(dir.path(), &arguments);
    assert!(results["codes"].as_u64() >= Some(500_000), "{results}");
    assert_eq!(results["twice"], 0);
    for fault in ["kills", "pauses", "restores", "splits"] {
        assert!(results["faults"][fault].as_u64() > Some(0), "no {fault}: {results}");
    }
}
