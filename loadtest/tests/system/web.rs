//! A client of the API and a visitor of the proxies, as plain as they can be: one request a connection, the answer taken apart.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use signpost_loadtest::fleet::{Fleet, Options};

use super::{bin_dir, eventually};

/// What a visitor calls itself who does not say otherwise.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(super) fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("no location in {self:?}"))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request and reads its answer to the end of the connection.
pub(super) fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request.push_str(&format!("Host: {host}\r\n"));
    }
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end =
        bytes.windows(4).position(|at| at == b"\r\n\r\n").unwrap_or_else(|| panic!("no head in {bytes:?}"));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap()[9..12].parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

/// A fleet, with one proxy unless said otherwise, and its API.
pub(super) struct Town {
    pub(super) fleet: Fleet,
}

impl Town {
    pub(super) fn new(dir: &Path) -> Town {
        Town::with(dir, &[])
    }

    /// With settings as `--set` takes them.
    pub(super) fn with(dir: &Path, settings: &[&str]) -> Town {
        Town::of(Options::new(dir, 1).unwrap(), settings)
    }

    /// The same, with a proxy that knows where its visitors come from.
    pub(super) fn known(dir: &Path, settings: &[&str]) -> Town {
        Town::of(Options { visitors_known: true, ..Options::new(dir, 1).unwrap() }, settings)
    }

    /// With several proxies.
    pub(super) fn several(dir: &Path, proxies: u16, settings: &[&str]) -> Town {
        Town::of(Options::new(dir, proxies).unwrap(), settings)
    }

    fn of(mut options: Options, settings: &[&str]) -> Town {
        options.bin_dir = bin_dir();
        options.settings = settings.iter().map(|setting| setting.parse().unwrap()).collect();
        Town { fleet: Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}")) }
    }

    /// Asks the API.
    pub(super) fn api(&self, method: &str, path: &str, body: &Value) -> Answer {
        let ready = self.fleet.ready();
        let token = format!("Bearer {}", ready.token);
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(&ready.admin, method, path, &[("Authorization", &token), ("Content-Type", kind)], &body)
    }

    /// The proxy's metrics.
    pub(super) fn metrics(&self) -> String {
        ask(&self.fleet.ready().proxy_health[0], "GET", "/metrics", &[], "").text()
    }

    /// Makes a link that every proxy has when this returns; gives its JSON.
    #[track_caller]
    pub(super) fn link(&self, body: &Value) -> Value {
        let made = self.api("POST", "/v1/links", body);
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()
    }

    /// As [`Town::link`]; gives the code.
    #[track_caller]
    pub(super) fn code(&self, body: &Value) -> String {
        self.link(body)["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(super) fn patch(&self, code: &str, body: &Value) -> Value {
        let changed = self.api("PATCH", &format!("/v1/links/{code}"), body);
        assert_eq!(changed.status, 200, "{}", changed.text());
        changed.json()
    }

    /// What is wrong with a request, by field and code.
    #[track_caller]
    pub(super) fn refused(&self, body: &Value) -> (u16, String, String) {
        let refused = self.api("POST", "/v1/links", body);
        let json = refused.json();
        let error = &json["errors"][0];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (refused.status, word(&error["field"]), word(&error["code"]))
    }

    /// Follows a path on the proxy, as a browser does.
    pub(super) fn visit(&self, path: &str) -> Answer {
        self.visit_with(path, &[])
    }

    pub(super) fn visit_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers)
    }

    /// Asks the proxy.
    pub(super) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_to(0, method, path, headers, "")
    }

    /// Asks one of the proxies.
    pub(super) fn send_to(
        &self,
        proxy: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        // What says nothing of itself counts as a machine.
        let with_browser: Vec<_> =
            [("User-Agent", BROWSER)].into_iter().chain(headers.iter().copied()).collect();
        let says_itself = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
        let headers = if says_itself { headers } else { &with_browser };
        ask(&self.fleet.ready().proxies[proxy], method, path, headers, body)
    }

    /// Follows a link on all proxies in turns until each says that it leads nowhere any more; returns how often it led
    /// there, and what the first to say so said. Nobody says so as long as another one still leads there: what is at
    /// hand elsewhere is waited for.
    #[track_caller]
    pub(super) fn follow_on_all(&self, code: &str) -> (u64, Answer) {
        let (path, mut through, mut last) = (format!("/{code}"), 0, None);
        for proxy in (0..self.fleet.ready().proxies.len()).cycle() {
            let mut answer = self.send_to(proxy, "GET", &path, &[], "");
            if answer.status == 503 {
                assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
                eventually("clicks that are at hand elsewhere", || {
                    answer = self.send_to(proxy, "GET", &path, &[], "");
                    answer.status != 503
                });
            }
            match (answer.status, &last) {
                (302, None) => through += 1,
                (302, Some((at, over))) => panic!("proxy {at} said {over:?}, and {proxy} led there"),
                (_, Some((at, _))) if *at == proxy => break,
                (_, Some(_)) => {}
                (_, None) => last = Some((proxy, answer)),
            }
        }
        (through, last.unwrap().1)
    }

    /// Runs a command of the operator and returns what it says.
    #[track_caller]
    pub(super) fn operator(&self, command: &[&str]) -> String {
        let config = self.fleet.dir().join("admin/config.toml");
        let mut admin = std::process::Command::new(bin_dir().join("signpost-admin"));
        let output = admin.args(command).arg("--config").arg(config).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
        text(&output.stdout) + &text(&output.stderr)
    }

    /// Returns when everything that was followed so far is counted: the rings of a proxy's workers are read in turn, so what is behind one click
    /// that came through may still be on its way, and what is behind two is not.
    #[track_caller]
    pub(super) fn all_counted(&self) {
        let code = self.code(&json!({ "long_url": "https://example.org/last" }));
        for n in 1..=2 {
            self.visit(&format!("/{code}"));
            eventually("a click behind all others", || self.clicks(&code) == n);
        }
    }

    /// The clicks that are counted on a link.
    pub(super) fn clicks(&self, code: &str) -> u64 {
        self.api("GET", &format!("/v1/links/{code}"), &Value::Null).json()["clicks"].as_u64().unwrap()
    }
}
