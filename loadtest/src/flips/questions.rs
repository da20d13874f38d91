//! Everything that can be asked of a part, and what it answers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::http1::{Connection, Endpoint, get, post_json};

/// Links made before the parts are started once more, and as many after it: tables and logs both hold some.
const LINKS: usize = 24;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a proxy may take to catch up, or to say that it does not.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(15);
/// How often that is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// What is asked.
#[derive(Debug)]
pub(super) struct Questions {
    admin: Endpoint,
    headers: String,
    proxy: Endpoint,
    proxy_health: Endpoint,
    keypool_control: PathBuf,
    codes: Vec<String>,
}

/// What was answered: by question, `None` for a refusal.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<String, Option<String>>);

impl Answers {
    /// Questions that are answered otherwise than here. A refusal is no answer.
    pub(super) fn different(&self, after: &Answers) -> Vec<String> {
        let differs = |(question, answer): (&String, &Option<String>)| {
            let after = after.0.get(question)?.as_ref()?;
            (Some(after) != answer.as_ref()).then(|| {
                format!("{question}: {after} in place of {}", answer.as_deref().unwrap_or("a refusal"))
            })
        };
        self.0.iter().filter_map(differs).collect()
    }

    /// Questions that were refused.
    pub(super) fn refusals(&self) -> usize {
        self.0.values().filter(|answer| answer.is_none()).count()
    }
}

impl Questions {
    /// Fills a fleet so that there is something to ask, in tables and in logs.
    pub(super) fn fill(fleet: &Fleet) -> anyhow::Result<Questions> {
        let ready = fleet.ready();
        let mut questions = Questions {
            admin: ready.admin.parse()?,
            headers: format!("Authorization: Bearer {}\r\n", ready.token),
            proxy: ready.proxies[0].parse()?,
            proxy_health: ready.proxy_health[0].parse()?,
            keypool_control: fleet.dir().join("keypool-0").join("control.sock"),
            codes: Vec::new(),
        };
        questions.make(0)?;
        for part in ["proxy-0", "admin", "keypool-0"] {
            for line in [format!("stop {part}"), format!("start {part}")] {
                let answer = fleet.command(&line);
                anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
            }
        }
        questions.wait_for_proxy(true)?;
        questions.make(LINKS)?;
        Ok(questions)
    }

    fn make(&mut self, from: usize) -> anyhow::Result<()> {
        let mut admin = Connection::new(self.admin.clone(), ANSWER_WITHIN);
        let mut proxy = Connection::new(self.proxy.clone(), ANSWER_WITHIN);
        for number in from..from + LINKS {
            let target = format!("https://example.org/flip/{number}?{}", "x".repeat(number % 90));
            let mut body =
                json!({ "long_url": target, "title": format!("number {number}"), "tags": ["flip"] });
            if number.is_multiple_of(3) {
                body["alias"] = json!(format!("flip-{number}"));
            }
            let request = post_json(&self.admin, "/v1/links", &self.headers, body.to_string().as_bytes());
            let answer = admin.exchange(&request)?;
            anyhow::ensure!(answer.status == 201, "{}", String::from_utf8_lossy(answer.body));
            let link: Value = serde_json::from_slice(answer.body)?;
            let code = link["code"].as_str().context("a link without a code")?.to_owned();
            proxy.exchange(&get(&self.proxy, &format!("/{code}"), ""))?;
            if number % 5 == 4 {
                let head =
                    format!("DELETE /v1/links/{code} HTTP/1.1\r\nHost: {}\r\n", self.admin.authority());
                admin.exchange(format!("{head}{}\r\n", self.headers).as_bytes())?;
            }
            self.codes.push(code);
        }
        Ok(())
    }

    /// Asks a part everything.
    pub(super) fn ask(&self, part: &str) -> anyhow::Result<Answers> {
        match part {
            "admin" => Ok(self.of_admin()),
            "keypool-0" => Ok(self.of_keypool()),
            _ => {
                let follows = self.wait_for_proxy(false)?;
                Ok(self.of_proxy(follows))
            }
        }
    }

    fn of_admin(&self) -> Answers {
        let mut connection = Connection::new(self.admin.clone(), ANSWER_WITHIN);
        let mut answers = Answers::default();
        let paths = self.codes.iter().flat_map(|code| {
            [
                format!("/v1/links/{code}"),
                format!("/v1/links/{code}/clicks"),
                format!("/v1/links/{code}/history"),
            ]
        });
        for path in paths.chain(["/v1/links?limit=1000".to_owned()]) {
            let answer = connection.exchange(&get(&self.admin, &path, &self.headers));
            let text = answer.ok().filter(|answer| answer.status < 500).map(|answer| {
                let mut body: Value = serde_json::from_slice(answer.body).unwrap_or_default();
                // How far counts are complete is a time, and problems have an id of their own.
                for moving in ["complete_until", "missing", "instance", "request_id"] {
                    body.as_object_mut().map(|body| body.remove(moving));
                }
                format!("{} {body}", answer.status)
            });
            answers.0.insert(path, text);
        }
        answers
    }

    fn of_proxy(&self, follows: bool) -> Answers {
        let mut connection = Connection::new(self.proxy.clone(), ANSWER_WITHIN);
        let mut answers = Answers::default();
        for code in &self.codes {
            let answer = connection.exchange(&get(&self.proxy, &format!("/{code}"), ""));
            // A proxy that says that it does not follow has what it has up to some record, and says so.
            let is_answer = |status| status < 500 && (follows || status != 404);
            let text = answer.ok().filter(|answer| is_answer(answer.status)).map(|answer| {
                format!("{} {}", answer.status, String::from_utf8_lossy(answer.location.unwrap_or_default()))
            });
            answers.0.insert(code.clone(), text);
        }
        answers
    }

    /// Waits until the pool's file beside its database knows of every lease. It is written every few seconds; a lease that only the
    /// end of the database's log knows can be lost with it, and then it is the writer who notices the number it has seen.
    ///
    /// # Errors
    /// The file is not written.
    pub(super) fn wait_for_witness(&self, fleet: &Fleet) -> anyhow::Result<()> {
        let path = fleet.dir().join("keypool-0").join("data").join("head");
        let until = Instant::now() + CAUGHT_UP_WITHIN;
        loop {
            let known = self.of_keypool().0.remove("last_lease_number").flatten();
            let line = format!("last_lease_number {}", known.unwrap_or_default());
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.lines().any(|other| other == line) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "{} does not get to {line}", path.display());
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn of_keypool(&self) -> Answers {
        let ask = || -> anyhow::Result<Value> {
            let mut stream = UnixStream::connect(&self.keypool_control)?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.write_all(b"{\"command\":\"stats\"}\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            let mut answer: Value = serde_json::from_str(&line)?;
            Ok(answer["ok"].take())
        };
        let stats = ask().unwrap_or_default();
        let mut answers = Answers::default();
        for name in ["pool_id", "slots", "used", "last_lease_number"] {
            let value = stats.get(name).filter(|value| !value.is_null());
            answers.0.insert(name.to_owned(), value.map(Value::to_string));
        }
        answers
    }

    /// Waits until the proxy follows and lacks nothing, or says why it does not; whether it follows.
    fn wait_for_proxy(&self, it_must: bool) -> anyhow::Result<bool> {
        let until = Instant::now() + CAUGHT_UP_WITHIN;
        loop {
            let mut connection = Connection::new(self.proxy_health.clone(), ANSWER_WITHIN);
            let answer = connection.exchange(&get(&self.proxy_health, "/readyz", ""));
            let readiness = answer.ok().and_then(|answer| serde_json::from_slice::<Value>(answer.body).ok());
            let feed = readiness.map(|mut readiness| readiness["feed"].take()).unwrap_or_default();
            if feed["state"] == "following" && feed["lag_records"] == 0 {
                return Ok(true);
            }
            let given_up = ["diverged", "broken", "refused"].iter().any(|state| feed["state"] == *state);
            if given_up || Instant::now() > until {
                anyhow::ensure!(!it_must, "the proxy does not follow: {feed}");
                return Ok(false);
            }
            std::thread::sleep(ASK_EVERY);
        }
    }
}
