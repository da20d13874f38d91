//! The systemd units: valid, and exposed to no more than 2.0.

use std::path::Path;
use std::process::Command;

#[test]
fn the_units_are_valid_and_little_exposed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new("scripts/check-systemd.sh").current_dir(root).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for unit in ["signpost-admin", "signpost-keypool", "signpost-proxy"] {
        assert!(said.contains(&format!("{unit} exposure ")), "{unit} was not checked: {said}");
    }
}
