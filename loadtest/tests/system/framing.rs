//! Odd bytes: requests end where the strictest of several readers says, however the bytes are cut.

use std::process::{Command, Stdio};

use crate::bin_dir;

#[test]
fn no_request_is_seen_that_a_stricter_reader_does_not_see() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_signpost-loadtest"));
    command.arg("framing").arg("--dir").arg(dir.path()).arg("--bin-dir").arg(bin_dir());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [findings, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{findings}{errors}");
}
