//! Configurations and commands, with their exit codes.

use std::fs;
use std::process::{Command, Output};

use crate::daemon::{BINARY, Daemon, Home, text};

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn checking_prints_what_is_in_force_and_touches_nothing() {
    let home = Home::new("low_watermark = 5\n");
    let output = home.run(&["--check"]);
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(shown.contains("low_watermark = 5") && shown.contains("high_watermark = 2000000"), "{shown}");
    assert!(!home.path("data").exists() && !home.path("control.sock").exists());
    // What it prints is a configuration, and the same one.
    let again = home.path("again.toml");
    fs::write(&again, &shown).unwrap();
    let output = run(&["--config", again.to_str().unwrap(), "--check"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), shown);
}

#[test]
fn a_bad_configuration_is_refused_with_all_its_problems() {
    let home = Home::new("slots = '5-3'\nlow_watermark = 0\nblocklits = 'x'\n");
    for args in [&["--check"][..], &[]] {
        let output = home.run(args);
        assert_eq!(output.status.code(), Some(78));
        for part in ["3 problems", "pool.slots", "pool.low_watermark", "did you mean blocklist?"] {
            assert!(stderr(&output).contains(part), "no {part} in {}", stderr(&output));
        }
    }
    assert!(!home.path("data").exists());
}

#[test]
fn a_blocklist_that_cannot_be_used_is_bad_configuration() {
    let mut home = Home::new("");
    let words = home.path("words");
    home.pool = format!("blocklist = {words:?}");
    let output = home.run(&["--check"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("cannot read the blocklist"), "{}", stderr(&output));
    fs::write(&words, "fine\nnot fine\n").unwrap();
    let output = home.run(&[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("line 2 of the blocklist"), "{}", stderr(&output));
}

#[test]
fn slots_that_the_database_does_not_hold_are_bad_configuration() {
    let mut home = Home::new("slots = '0-7'\nlow_watermark = 1\nhigh_watermark = 10\n");
    home.start().stop();
    home.pool = home.pool.replace("0-7", "0-9");
    let output = home.run(&[]);
    assert_eq!(output.status.code(), Some(78));
    let message = stderr(&output);
    assert!(
        message.contains("pool.slots") && message.contains("does not hold slots 8-9: it owns 0-7"),
        "{message}"
    );
}

#[test]
fn a_bundle_of_another_role_is_refused() {
    let mut home = Home::new("");
    let issuer = wire::identity::Issuer::create(&home.path("ca")).unwrap();
    issuer.issue(wire::identity::Role::Proxy, "proxy-0", &home.path("bundle")).unwrap();
    home.grpc = format!("tls_dir = {:?}", home.path("bundle"));
    let output = home.run(&["--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is that of a proxy"), "{}", stderr(&output));
}

#[test]
fn a_taken_port_ends_the_start_with_a_message() {
    let home = Home::new("low_watermark = 1\nhigh_watermark = 10\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let config = home.config();
    for table in ["grpc", "http"] {
        let changed = text(&config)
            .replace(&format!("[{table}]\nlisten = '127.0.0.1:0'"), &format!("[{table}]\nlisten = '{port}'"));
        let other = home.path("other.toml");
        fs::write(&other, changed).unwrap();
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(&other);
        let (status, log) = Daemon::spawn(command).ended();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(&format!("cannot listen on {port}")), "{log}");
    }
}

#[test]
fn restoring_is_for_a_pool_that_nobody_runs() {
    let home = Home::new("low_watermark = 1\nhigh_watermark = 5000\n");
    assert!(stderr(&home.run(&["restored"])).contains("there is no key pool in"));
    let daemon = home.start();
    let refused = home.run(&["restored"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("is in use"), "{}", stderr(&refused));
    daemon.stop();
    let output = home.run(&["restored"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("pool ") && said.ends_with("unused codes are burned\n"), "{said}");
    home.start().stop();
}

#[test]
fn a_command_line_that_makes_no_sense_is_usage() {
    for args in [&[][..], &["--check"], &["stats"], &["no-such-command"], &["release", "--socket", "/x"]] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
    let help = run(&["--help"]);
    assert!(help.status.success());
    for command in ["stats", "slots", "refill", "release", "mark-used", "restored", "bench"] {
        assert!(String::from_utf8_lossy(&help.stdout).contains(command), "{command}");
        assert!(run(&[command, "--help"]).status.success());
    }
}

#[test]
fn the_bench_measures_and_finds_no_code_twice() {
    let home = Home::new("");
    let (dir, json) = (home.path("bench"), home.path("run.json"));
    let args =
        ["bench", "--dir", dir.to_str().unwrap(), "--used", "20000", "--codes", "20000", "--leases", "20"];
    let output = run(&[&args[..], &["--json", json.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(&text(&json)).unwrap();
    assert_eq!(report["used_codes"], 20_000);
    assert_eq!(report["distinct"], true);
    assert_eq!(report["lease_alone"]["count"], 20);
    // A pool in use must not be measured: that would burn its codes.
    let home = Home::new("low_watermark = 1\nhigh_watermark = 10\n");
    home.start().stop();
    let output = run(&["bench", "--dir", home.path("data").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not empty and not of an earlier bench"), "{}", stderr(&output));
}
