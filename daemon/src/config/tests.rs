//! One test for each way a file can be right or wrong, asserting what a person reads.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// A configuration with a key of every kind.
#[derive(Debug, PartialEq)]
struct Sample {
    data_dir: PathBuf,
    base: String,
    listen: SocketAddr,
    tls_dir: Option<PathBuf>,
    workers: u16,
    share: f64,
    strict: bool,
    mode: Mode,
    token: Option<String>,
    hosts: Vec<String>,
    addresses: Vec<SocketAddr>,
    pools: Vec<(String, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Fast,
    Safe,
}

fn sample(root: &mut Section) -> Sample {
    let data_dir = root.value("data_dir", PathBuf::from("/var/lib/sample"));
    let base = root.required("base");
    let mut grpc = root.section("grpc");
    let mut tuning = root.section("tuning");
    let pool = |mut pool: Section| (pool.required("url"), pool.value("weight", 1));
    Sample {
        data_dir,
        base,
        listen: grpc.value("listen", SocketAddr::from(([127, 0, 0, 1], 7400))),
        tls_dir: grpc.optional("tls_dir"),
        workers: tuning.in_range("workers", 2, 1..=64),
        share: tuning.value("share", 1.0),
        strict: tuning.value("strict", true),
        mode: tuning.one_of("mode", "safe", &[("fast", Mode::Fast), ("safe", Mode::Safe)]),
        token: grpc.secret("token"),
        hosts: tuning.value("hosts", Vec::new()),
        addresses: tuning.value("addresses", Vec::new()),
        pools: root.sections("pool").into_iter().map(pool).collect(),
    }
}

fn message(text: &str) -> String {
    parse("sample.toml", text, sample).unwrap_err().to_string()
}

/// The message for a file that has nothing but one problem.
fn only_problem(text: &str) -> String {
    let message = message(&format!("base = 'b'\n{text}"));
    message.strip_prefix("sample.toml has 1 problem\n  ").expect(&message).to_owned()
}

#[test]
fn every_problem_of_a_file_is_told_at_once_with_its_place_and_what_is_allowed() {
    let text = r#"dat_dir = "/var/lib/x"

[grpc]
listen = "localhost:7400"
worker = 3

[tuning]
workers = 65
share = "half"
strict = "yes"
mode = "quick"
addresses = [
  "127.0.0.1:1",
  "nowhere",
  7,
]

[[pool]]
url = "a"
[[pool]]
weight = -1

[tunning]
anything = 1
"#;
    let expected = r#"sample.toml has 12 problems
  line 1: dat_dir: unknown key, did you mean data_dir?
  line 4: grpc.listen = "localhost:7400": expected an IP address and a port, such as "127.0.0.1:7400" or "[::1]:7400"
  line 5: grpc.worker: unknown key, [grpc] has: listen, tls_dir, token
  line 8: tuning.workers = 65: expected a number from 1 to 64
  line 9: tuning.share = "half": expected a number
  line 10: tuning.strict = "yes": expected true or false
  line 11: tuning.mode = "quick": expected "fast" or "safe"
  line 14: tuning.addresses[1] = "nowhere": expected an IP address and a port, such as "127.0.0.1:7400" or "[::1]:7400"
  line 15: tuning.addresses[2] = 7: expected an IP address and a port, such as "127.0.0.1:7400" or "[::1]:7400"
  line 20: pool[1].url: missing, expected a string
  line 21: pool[1].weight = -1: expected a whole number from 0 to 18446744073709551615
  line 23: tunning: unknown table, did you mean tuning?
  base: missing, expected a string"#;
    assert_eq!(message(text), expected.replace("12 problems", "13 problems"));
}

#[test]
fn the_effective_configuration_has_every_key_and_hides_the_secrets() {
    let text = "base = 'http://s.example'\n[grpc]\ntoken = 'hunter2'\n[[pool]]\nurl = 'a \"b\"\\'\n[[pool]]\nurl = 'c'\nweight = 0x10";
    let loaded = parse("sample.toml", text, sample).unwrap();
    let expected = r#"data_dir = "/var/lib/sample"
base = "http://s.example"

[grpc]
listen = "127.0.0.1:7400"
# tls_dir is not set
token = "(hidden)"

[tuning]
workers = 2
share = 1.0
strict = true
mode = "safe"
hosts = []
addresses = []

[[pool]]
url = "a \"b\"\\"
weight = 1

[[pool]]
url = "c"
weight = 16
"#;
    assert_eq!(loaded.effective, expected);
    assert_eq!(loaded.config.token.as_deref(), Some("hunter2"));
    assert_eq!(parse("again.toml", &loaded.effective, sample).unwrap().effective, expected);
}

#[test]
fn a_secret_is_in_no_message_whatever_is_wrong_with_it() {
    let texts = [
        "[grpc]\ntoken = 81723",
        "[grpc]\ntokn = '81723'",
        "[grpc]\ntoken = x81723",
        "[grpc]\ntoken = '81723",
        "[grpc]\ntoken = '81723'\ntoken = '81723'",
        "token = '81723'",
        "[token]\na = '81723'",
    ];
    for text in texts {
        let message = message(text);
        assert!(!message.contains("81723"), "{message}");
    }
    let refused = parse("sample.toml", "token = '81723'", |root| {
        root.secret("token");
        root.problem("token", "too short, expected 32 characters");
    });
    let expected = "sample.toml has 1 problem\n  line 1: token: too short, expected 32 characters";
    assert_eq!(refused.unwrap_err().to_string(), expected);
}

#[test]
fn an_unknown_key_comes_with_the_name_that_was_meant_or_the_table_it_belongs_in() {
    assert_eq!(only_problem("[grpc]\nlistem = 1"), "line 3: grpc.listem: unknown key, did you mean listen?");
    assert_eq!(
        only_problem("[grpc]\ntls-dir = 1"),
        "line 3: grpc.tls-dir: unknown key, did you mean tls_dir?"
    );
    assert_eq!(
        only_problem("[grpc]\nworkers = 1"),
        "line 3: grpc.workers: unknown key, it belongs in [tuning]"
    );
    assert_eq!(only_problem("listen = 1"), "line 2: listen: unknown key, it belongs in [grpc]");
    assert_eq!(
        only_problem("[[pool]]\nurl = 'u'\nzone = 1"),
        "line 4: pool[0].zone: unknown key, [pool] has: url, weight"
    );
    let nothing_read = parse("s.toml", "a = 1", |_| ()).unwrap_err().to_string();
    assert!(
        nothing_read.ends_with("line 1: a: unknown key, the top of the file has no keys"),
        "{nothing_read}"
    );
    assert_eq!(
        only_problem("\"a b\".c = 1"),
        "line 2: \"a b\": unknown table, the top of the file has: data_dir, base, grpc, tuning, pool"
    );
}

#[test]
fn every_line_that_is_not_toml_is_told() {
    let message = message("base = b\n\n[grpc]\nlisten = \"x\"\nlisten = \"y\"\n[tuning\n");
    let lines: Vec<&str> =
        message.lines().skip(1).map(|line| line.split(": not TOML").next().unwrap()).collect();
    assert_eq!(lines, ["  line 1", "  line 5", "  line 6"], "{message}");
}

#[test]
fn a_table_written_as_something_else_is_told_how_to_write_it() {
    assert_eq!(only_problem("grpc = 7"), "line 2: grpc = 7: expected a table, written [grpc]");
    assert_eq!(
        only_problem("[pool]\nurl = 'u'"),
        "line 2: pool = a table: expected tables, each written [[pool]]"
    );
    assert_eq!(only_problem("[[grpc]]"), "line 2: grpc = [[grpc]]: expected a table, written [grpc]");
    assert_eq!(only_problem("pool = [1]"), "line 2: pool = [1]: expected tables, each written [[pool]]");
    let inline =
        parse("s.toml", "base = 'b'\ngrpc = { tls_dir = '/t' }\npool = [{ url = 'u' }]", sample).unwrap();
    assert_eq!((inline.config.tls_dir, inline.config.pools), (Some("/t".into()), vec![("u".into(), 1)]));
}

#[test]
fn whole_numbers_are_taken_to_their_bounds_and_not_beyond() {
    fn read<T: ConfigValue>(text: &str) -> Option<T> {
        parse("n.toml", &format!("n = {text}"), |root| root.required("n")).ok().map(|loaded| loaded.config)
    }
    assert_eq!(read("18_446_744_073_709_551_615"), Some(u64::MAX));
    assert_eq!(read::<u64>("18446744073709551616"), None);
    assert_eq!(read::<u64>("-1"), None);
    assert_eq!(read::<u64>("1.0"), None);
    assert_eq!(read::<u64>(&"9".repeat(500)), None);
    assert_eq!(read("65535"), Some(u16::MAX));
    assert_eq!(read::<u16>("65536"), None);
    assert_eq!(read("7"), Some(7.0));
    assert_eq!(read::<f64>("inf"), None);
    assert_eq!(read::<f64>("1e999"), None);
    assert_eq!(read::<PathBuf>("''"), None);
}

#[test]
fn a_table_can_be_read_in_two_places() {
    let text = "[log]\nlevel = 'info'\n[[pool]]\nurl = 'u'";
    let loaded = parse("s.toml", text, |root| {
        let format: String = root.section("log").value("format", "text".to_owned());
        let level: String = root.section("log").value("level", "warn".to_owned());
        let counts = [root.sections("pool").len(), root.sections("pool").len()];
        let url: String = root.sections("pool")[0].required("url");
        (format, level, counts, url)
    });
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config, ("text".into(), "info".into(), [1, 1], "u".into()));
    assert_eq!(loaded.effective, "\n[log]\nformat = \"text\"\nlevel = \"info\"\n\n[[pool]]\nurl = \"u\"\n");
}

#[test]
fn what_a_service_finds_wrong_is_told_like_the_rest() {
    let refused = parse("s.toml", "\n[pool]\nlow = 5\nhigh = 3", |root| {
        let mut pool = root.section("pool");
        let (low, high): (u32, u32) = (pool.value("low", 1), pool.value("high", 2));
        assert!(pool.has("low") && !pool.has("absent"));
        if low > high {
            pool.problem("high", format!("expected at least low, which is {low}"));
            pool.problem("", "expected low to be below high");
        }
    });
    let problem = |path: &str, line, found: Option<&str>, text: &str| Problem {
        path: path.into(),
        line: Some(line),
        found: found.map(str::to_owned),
        text: text.into(),
    };
    let Err(ConfigError::Refused { problems, .. }) = refused else { panic!("not refused") };
    let expected = [
        problem("pool", 2, None, "expected low to be below high"),
        problem("pool.high", 4, Some("3"), "expected at least low, which is 5"),
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_long_value_is_shortened_and_put_on_one_line() {
    let long = "ü".repeat(500);
    let problem = only_problem(&format!("[grpc]\nlisten = [\n  1,\n  '{long}',\n]"));
    let shown = format!("line 3: grpc.listen = [ 1, '{}…: expected", "ü".repeat(74));
    assert!(problem.starts_with(&shown), "{problem}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_path_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let told = |path: &Path| crate::exit::Exit::from(load(path, sample).unwrap_err()).message();
    let (absent, large, binary) =
        (dir.path().join("absent"), dir.path().join("large"), dir.path().join("binary"));
    std::fs::write(&large, vec![b'#'; CONFIG_BYTES_MAX as usize + 1]).unwrap();
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    for (path, reason) in
        [(absent, "No such file"), (large, "this is not a configuration file"), (binary, "UTF-8")]
    {
        let message = told(&path);
        assert!(message.contains(&path.display().to_string()) && message.contains(reason), "{message}");
    }
}

/// As text can say it: without the flow information an IPv6 address may have.
fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|[\\[\\]{}=.\"'\n\r\t\\\\#0-9a-z_]){0,200}") {
        let _ = parse("any.toml", &text, sample);
    }

    #[test]
    fn the_effective_configuration_reads_back_as_the_same(
        base in any::<String>(), key in any::<String>(), share in any::<f64>().prop_filter("finite", |f| f.is_finite()),
        addresses in proptest::collection::vec(address(), 0..4),
        hosts in proptest::collection::vec(any::<String>(), 0..4),
    ) {
        let read = |text: &str| parse("any.toml", text, |root| {
            let mut inner = root.section("t").section(&key);
            (inner.value("base", base.clone()), inner.value("share", share), inner.value("addresses", addresses.clone()),
                inner.value("hosts", hosts.clone()))
        }).unwrap();
        let written = read("");
        let again = parse("again.toml", &written.effective, |root| {
            let mut inner = root.section("t").section(&key);
            (inner.required("base"), inner.required("share"), inner.required("addresses"), inner.required("hosts"))
        }).unwrap();
        prop_assert_eq!(written.config, again.config);
        prop_assert_eq!(written.effective, again.effective);
    }

    #[test]
    fn whatever_nobody_reads_is_a_problem(keys in proptest::collection::btree_set("[a-z]{1,6}", 0..6)) {
        let text: String = keys.iter().map(|key| format!("{key} = 1\n")).collect();
        let read: BTreeSet<&str> = keys.iter().map(String::as_str).step_by(2).collect();
        let result = parse("any.toml", &text, |root| {
            for key in &read {
                root.value(key, 0_u16);
            }
        });
        let unread = keys.len() - read.len();
        match result {
            Ok(_) => prop_assert_eq!(unread, 0),
            Err(ConfigError::Refused { problems, .. }) => prop_assert_eq!(problems.len(), unread),
            Err(error) => panic!("{error}"),
        }
    }
}
