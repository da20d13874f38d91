//! The systemd units: valid, and exposed to no more than 2.0. And what `make check` says that it could not check.

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

#[test]
fn a_unit_that_hides_the_boot_from_its_service_says_which_one_it_is() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
    for unit in ["signpost-admin", "signpost-proxy"] {
        let text = std::fs::read_to_string(units.join(format!("{unit}.service"))).unwrap();
        let has = |line: &str| text.lines().any(|other| other == line);
        assert!(!has("ProcSubset=pid") || has("Environment=SIGNPOST_BOOT_ID=%b"), "{unit}");
    }
}

#[test]
fn what_cannot_be_checked_is_named_and_fails_where_nothing_may_be_skipped() {
    use std::os::unix::fs::PermissionsExt;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = tempfile::tempdir().unwrap();
    // Everything is fine with it, only that the list of known holes cannot be fetched.
    let cargo = dir.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\ncase \"$*\" in *fetch*) exit 1 ;; esac\n").unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let check = |all: &str| {
        let mut check = Command::new("scripts/check.sh");
        let output =
            check.current_dir(&root).env("PATH", &path).env("CHECK_ALL", all).env_remove("CI").output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (passed, said) = check("");
    assert!(passed && said.lines().last().unwrap().contains("NOT CHECKED"), "{said}");
    assert!(said.lines().last().unwrap().contains("known holes in dependencies"), "{said}");
    let (passed, said) = check("1");
    assert!(!passed && said.contains("failed: dependencies"), "{said}");
}
