//! What is asked for often is answered without an allocation: the short form of `make allocations`.

use std::path::Path;

use super::{bin_dir, loadtest};

#[test]
fn hits_and_unknown_codes_allocate_nothing_in_a_running_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, bin_dir) = (dir.path().join("fleet"), bin_dir());
    let headers = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/headers");
    let arguments = ["allocations", "--dir", fleet.to_str().unwrap(), "--bin-dir", bin_dir.to_str().unwrap()];
    let sizes = ["--requests", "20000", "--links", "12000", "--headers-from", headers.to_str().unwrap()];
    // The command judges by itself; here is only what it must have looked at.
    let results = loadtest(dir.path(), &[&arguments[..], &sizes[..]].concat());
    for class in results["classes"].as_array().unwrap() {
        assert!(class["requests"].as_u64() >= Some(1_000), "{class}");
    }
    let all = &results["all"]["counted"];
    assert!(all["hot"].as_u64() > Some(10_000) && all["cache"].as_u64() > Some(4_000), "{results}");
}
