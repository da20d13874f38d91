//! Requests that nobody thought of: schemathesis reads the description that a running API serves, makes requests of it that should and that should
//! not be right, and compares the answers with what the description says.

use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest, Sha256};

use super::fixture::{Admin, FakePool};

/// Requests made of each operation, at most.
const EXAMPLES: &str = "40";
/// Seconds for all of them.
const TIME_MAX: &str = "60";
/// What is compared.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method,allow_header_conformance,use_after_free,ignored_auth";

/// Where `scripts/tools.sh` puts it: beside the target directory, under a name that says which versions it is made of.
fn program() -> PathBuf {
    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/schemathesis.txt");
    let hash = Sha256::digest(std::fs::read(requirements).unwrap());
    let name: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let own = std::env::current_exe().unwrap();
    // target/release/deps/it-…
    let target = own.ancestors().nth(3).unwrap();
    let program = target.with_file_name("tools").join(format!("schemathesis-{name}/bin/schemathesis"));
    assert!(program.exists(), "{} is missing: run scripts/tools.sh, which installs it", program.display());
    program
}

#[test]
fn no_answer_is_other_than_the_description_says() {
    let pool = FakePool::start(1, 3_000_000);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(5000);
    let token = admin.make_token(&["links:read", "links:write", "stats:read", "admin"]);
    let output = Command::new(program())
        .arg("run")
        .arg(format!("http://{}/v1/openapi.json", admin.addresses().http))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        .args(["--max-time", TIME_MAX, "--request-timeout", "10", "--workers", "1", "--continue-on-failure"])
        .args(["--generation-deterministic", "--no-color", "--warnings", "off"])
        .env("SCHEMATHESIS_HOOKS", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis/hooks.py"))
        .current_dir(admin.dir())
        .env("HOME", admin.dir())
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}
