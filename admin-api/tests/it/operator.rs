//! The real binary: offline commands, commands on a running service, configuration.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::fixture::{Admin, FakePool, config_text};

const BINARY: &str = env!("CARGO_BIN_EXE_signpost-admin");

/// The command line, pointed at a service.
pub struct Cli {
    socket: PathBuf,
}

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    pub fn new(admin: &Admin) -> Cli {
        Cli { socket: admin.socket() }
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        run(Command::new(BINARY).args(args).arg("--socket").arg(&self.socket))
    }

    pub fn ok(&self, args: &[&str]) -> Ended {
        let ended = self.run(args);
        assert_eq!(ended.code, 0, "{args:?}: {}", ended.stderr);
        ended
    }
}

fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn offline(args: &[&str]) -> Ended {
    run(Command::new(BINARY).args(args))
}

#[test]
fn every_command_has_help() {
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["ca", "init", "--help"],
        &["keypool", "add", "--help"],
        &["proxy", "add", "--help"],
        &["proxy", "drain", "--help"],
        &["proxy", "forget", "--help"],
        &["proxy", "list", "--help"],
        &["token", "create", "--help"],
        &["token", "list", "--help"],
        &["token", "revoke", "--help"],
        &["domain", "add", "--help"],
        &["domain", "list", "--help"],
        &["status", "--help"],
    ] {
        let ended = offline(args);
        assert_eq!(ended.code, 0, "{args:?}");
        assert!(ended.stdout.contains("Usage:"), "{args:?}");
    }
}

#[test]
fn a_configuration_is_checked_without_opening_anything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.toml");
    let path_text = path.to_str().unwrap();
    std::fs::write(&path, config_text(dir.path(), &[], "")).unwrap();
    let checked = offline(&["--config", path_text, "--check"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert!(checked.stdout.contains("low_watermark = 5000"), "{}", checked.stdout);
    assert!(!dir.path().join("data").exists());

    std::fs::write(&path, "short_url_base = 'x'\n[codes]\nblock = 0\n").unwrap();
    for args in [&["--config", path_text, "--check"][..], &["--config", path_text]] {
        let refused = offline(args);
        assert_eq!(refused.code, 78);
        assert!(
            refused.stderr.contains("short_url_base") && refused.stderr.contains("codes.block"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(offline(&[]).code, 2);
    assert_eq!(offline(&["--config", "/absent/file"]).code, 78);
}

#[test]
fn a_command_without_a_service_says_where_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("absent.sock");
    let failed = offline(&["token", "list", "--socket", socket.to_str().unwrap()]);
    assert_eq!(failed.code, 1);
    assert!(
        failed.stderr.contains("absent.sock") && failed.stderr.contains("is it running"),
        "{}",
        failed.stderr
    );
    let nowhere = offline(&["token", "list"]);
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.stderr.contains("--config FILE"), "{}", nowhere.stderr);
}

#[test]
fn a_fleet_is_made_offline_and_its_writer_serves_its_proxies() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = offline(&["ca", "init", "--dir", &at("ca")]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let fleet = made.stdout.trim_end().to_owned();
    assert_eq!(fleet.len(), 32);
    let again = offline(&["ca", "init", "--dir", &at("ca")]);
    assert_eq!(again.code, 1, "an authority is never overwritten");
    let pool = offline(&["keypool", "add", "pool-a", "--ca", &at("ca"), "--out", &at("pool-a")]);
    assert_eq!(pool.code, 0, "{}", pool.stderr);
    assert!(dir.path().join("pool-a/key.pem").exists());

    // The writer's feed with the bundle.
    let admin_dir = tempfile::tempdir().unwrap();
    let tls = format!("tls_dir = \"{}\"", at("ca/writer"));
    let text = config_text(admin_dir.path(), &[], "").replace("[feed]\n", &format!("[feed]\n{tls}\n"));
    let config = daemon::config::parse("test", &text, signpost_admin::config::read).unwrap().config;
    let running = signpost_admin::server::Running::start(&config).unwrap();
    let socket = config.control_socket.to_str().unwrap().to_owned();
    let added =
        offline(&["proxy", "add", "proxy-0", "--ca", &at("ca"), "--out", &at("p0"), "--socket", &socket]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    assert!(dir.path().join("p0/cert.pem").exists());
    let list = offline(&["proxy", "list", "--socket", &socket]);
    assert!(
        list.stdout.lines().any(|line| line.starts_with("proxy-0 ") && line.contains("absent")),
        "{}",
        list.stdout
    );

    let twice =
        offline(&["proxy", "add", "proxy-0", "--ca", &at("ca"), "--out", &at("p0b"), "--socket", &socket]);
    assert_eq!(twice.code, 1);
    assert!(twice.stderr.contains("there is a member proxy-0 already"), "{}", twice.stderr);
    assert!(!dir.path().join("p0b/key.pem").exists(), "no bundle is left of a member that was not added");

    offline(&["ca", "init", "--dir", &at("other-ca")]);
    let stranger = offline(&[
        "proxy",
        "add",
        "proxy-1",
        "--ca",
        &at("other-ca"),
        "--out",
        &at("p1"),
        "--socket",
        &socket,
    ]);
    assert_eq!(stranger.code, 1);
    assert!(stranger.stderr.contains(&fleet), "{}", stranger.stderr);

    // Another fleet's bundle on this fleet's log.
    running.stop().unwrap();
    let other = text.replace(&at("ca/writer"), &at("other-ca/writer"));
    let config = daemon::config::parse("test", &other, signpost_admin::config::read).unwrap().config;
    let refused = signpost_admin::server::Running::start(&config).err().unwrap().to_string();
    assert!(refused.contains(&fleet) && refused.contains("credential bundle"), "{refused}");
}

#[test]
fn a_proxy_without_tls_is_added_drained_and_forgotten() {
    let admin = Admin::start(&[]);
    let cli = Cli::new(&admin);
    cli.ok(&["proxy", "add", "proxy-0"]);
    cli.ok(&["proxy", "add", "proxy-1"]);
    let members = |admin: &Admin| admin.client().get("/v1/replication").json["members"].clone();
    assert_eq!(members(&admin)[0]["id"], "proxy-0");
    assert_eq!(members(&admin)[0]["state"], "absent");
    let link = admin.client().create(&json!({ "long_url": "https://a.example", "alias": "abc" }));
    assert_eq!(link["replication"], json!({ "applied": 0, "of": 2, "missing": ["proxy-0", "proxy-1"] }));
    cli.ok(&["proxy", "drain", "proxy-0"]);
    cli.ok(&["proxy", "forget", "proxy-1"]);
    let list = cli.ok(&["proxy", "list"]).stdout;
    assert!(list.lines().any(|line| line.starts_with("proxy-0") && line.contains("drained")), "{list}");
    assert!(list.lines().any(|line| line.starts_with("proxy-1") && line.contains("forgotten")), "{list}");
    for (args, why) in [
        (&["proxy", "add", "proxy-1"][..], "forgotten for good"),
        (&["proxy", "drain", "proxy-1"], "forgotten for good"),
        (&["proxy", "drain", "nobody"], "there is no member nobody"),
        (&["proxy", "add", "Proxy!"], "Proxy!"),
    ] {
        let failed = cli.run(args);
        assert_eq!(failed.code, 1, "{args:?}");
        assert!(failed.stderr.contains(why), "{args:?}: {}", failed.stderr);
    }
}

#[test]
fn domains_are_declared_and_listed() {
    let mut admin = Admin::start(&[]);
    let cli = Cli::new(&admin);
    cli.ok(&["domain", "add", "two.test"]);
    cli.ok(&["domain", "add", "bücher.test", "--short-url-base", "https://bücher.test:8443"]);
    admin.restart();
    let list = Cli::new(&admin).ok(&["domain", "list"]).stdout;
    for expected in ["http://s.test", "http://two.test", "https://xn--bcher-kva.test:8443"] {
        assert!(list.contains(expected), "{list}");
    }
    for (args, why) in [
        (&["domain", "add", "two.test"][..], "already a host of domain 1"),
        (&["domain", "add", "https://three.test"], "not a host name"),
        (
            &["domain", "add", "three.test", "--short-url-base", "https://four.test"],
            "do not lead to three.test",
        ),
    ] {
        let failed = Cli::new(&admin).run(args);
        assert_eq!(failed.code, 1, "{args:?}");
        assert!(failed.stderr.contains(why), "{args:?}: {}", failed.stderr);
    }
}

#[test]
fn the_default_domain_follows_the_configuration_and_its_old_host_stays() {
    let pool = FakePool::start(1, 0);
    let mut admin = Admin::start(&[&pool]);
    admin.client().create(&json!({ "long_url": "https://a.example", "alias": "abc" }));
    admin.set_config(|text| text.replace("http://s.test", "https://new.test"));
    admin.restart();
    let link = admin.client().get("/v1/links/abc").json;
    assert_eq!((&link["short_url"], &link["domain"]), (&json!("https://new.test/abc"), &json!("new.test")));
    assert_eq!(admin.client().get("/v1/links/abc?domain=s.test").status, 200);
}
