//! Fake parts: shell scripts with the names of the services' binaries. Offline commands are a few lines of shell; a
//! daemon is this test program once more, told by the environment to play a part (see [`plays_a_part_when_told_to`]).
//!
//! Links live in `DIR/links.tsv`, which the admin API appends to and the proxies read for every request: what is
//! acknowledged is visible everywhere at once. A table `fake` in the configuration makes a part misbehave.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};
use toml::Table;

use crate::server::{Answer, Request, answer, redirect, serve};

const SCRIPT: &str = r#"#!/bin/sh
# The value after the argument named $1.
after() { name=$1; shift; while [ $# -gt 0 ]; do [ "$1" = "$name" ] && { echo "$2"; return; }; shift; done; }
out=$(after --out "$@")
case "$1" in
    ca) dir=$(after --dir "$@"); mkdir -p "$dir/writer" && touch "$dir/ca.pem" "$dir/writer/cert.pem" ;;
    keypool) mkdir -p "$out" && touch "$out/cert.pem" ;;
    proxy) test -f "$(after --config "$@")" && mkdir -p "$out" && touch "$out/cert.pem" ;;
    token) echo "sp_1_fake$$" ;;
    --version) echo "NAME 0.0.0" ;;
    --config) FAKE_PART=NAME FAKE_CONFIG=$2 exec "PROGRAM" parts::plays_a_part_when_told_to --exact --nocapture ;;
    *) echo "what is $1?" >&2; exit 2 ;;
esac
"#;

/// Makes a folder of fake binaries.
pub(crate) fn binaries(dir: &Path) -> PathBuf {
    let folder = dir.join("bin");
    fs::create_dir(&folder).unwrap();
    let program = std::env::current_exe().unwrap();
    for name in ["signpost-admin", "signpost-keypool", "signpost-proxy"] {
        let script = SCRIPT.replace("NAME", name).replace("PROGRAM", program.to_str().unwrap());
        let path = folder.join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// No test of anything: the entry point of a fake daemon, which runs until it is killed.
#[test]
fn plays_a_part_when_told_to() {
    let (Ok(part), Ok(config)) = (std::env::var("FAKE_PART"), std::env::var("FAKE_CONFIG")) else { return };
    let config: Table = fs::read_to_string(config).unwrap().parse().unwrap();
    let fake = config.get("fake").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    if let Some(code) = fake.get("exit").and_then(toml::Value::as_integer) {
        writeln!(std::io::stderr(), "this part is told to end with {code}").unwrap();
        std::process::exit(i32::try_from(code).unwrap());
    }
    let is_ready = !fake.contains_key("not_ready");
    let address = |table: &str| config[table]["listen"].as_str().unwrap().parse().unwrap();
    let health = move |_: &Request| {
        answer(if is_ready { 200 } else { 503 }, "", &json!({ "ready": is_ready }).to_string())
    };
    let links = PathBuf::from(config["data_dir"].as_str().unwrap()).join("../../links.tsv");
    match part.as_str() {
        "signpost-keypool" => drop(serve(address("http"), health).unwrap()),
        "signpost-admin" => {
            let lock = Mutex::new(());
            serve(address("http"), move |request| {
                let _alone = lock.lock().unwrap();
                admin(request, &links)
            })
            .unwrap();
            serve(address("health"), health).unwrap();
        }
        _ => {
            let listen = config["listen"]["addresses"][0].as_str().unwrap().parse().unwrap();
            serve(listen, move |request| proxy(request, &links)).unwrap();
            serve(address("health"), health).unwrap();
        }
    }
    loop {
        thread::park();
    }
}

fn admin(request: &Request, links: &Path) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let mut count = fs::read_to_string(links).unwrap_or_default().lines().count();
    let mut file = File::options().create(true).append(true).open(links).unwrap();
    let mut create = |long_url: &Value| {
        count += 1;
        let code = format!("c{count:06}");
        writeln!(file, "{code}\t{}", long_url.as_str().unwrap()).unwrap();
        json!({ "code": code, "long_url": long_url })
    };
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v1/links") => answer(201, "", &create(&body["long_url"]).to_string()),
        ("POST", "/v1/links/batch") => {
            let links = body["links"].as_array().unwrap().iter().enumerate();
            let result = |(index, link): (usize, &Value)| json!({ "index": index, "status": 201, "link": create(&link["long_url"]) });
            let results: Vec<Value> = links.map(result).collect();
            answer(200, "", &json!({ "results": results }).to_string())
        }
        ("GET", "/v1/replication") => {
            let member = |index: usize| json!({ "id": format!("proxy-{index}"), "state": "in_sync", "applied_seq": count });
            let members: Vec<Value> = (0..4).map(member).collect();
            answer(200, "", &json!({ "head": { "epoch": 1, "seq": count }, "members": members }).to_string())
        }
        _ => answer(404, "", ""),
    }
}

fn proxy(request: &Request, links: &Path) -> Answer {
    let links = fs::read_to_string(links).unwrap_or_default();
    let found =
        links.lines().filter_map(|line| line.split_once('\t')).find(|(code, _)| request.path[1..] == **code);
    found.map_or_else(|| answer(404, "", ""), |(_, long_url)| redirect(long_url))
}
