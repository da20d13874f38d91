//! Everything that can be asked of a part, and what it answers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
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
/// How long a standby may take to have the counts of clicks, and the index of the writer every link.
const COPIED_WITHIN: Duration = Duration::from_secs(5);
const INDEXED_WITHIN: Duration = Duration::from_secs(5);
/// How long a writer may take to lease codes.
const LEASED_WITHIN: Duration = Duration::from_secs(3);
/// How often that is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// What is asked.
#[derive(Debug)]
pub(super) struct Questions {
    admin: Endpoint,
    headers: String,
    proxy: Endpoint,
    proxy_health: Endpoint,
    standby: Endpoint,
    admin_control: PathBuf,
    keypool_control: PathBuf,
    standby_control: PathBuf,
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

    /// How many questions were refused.
    pub(super) fn refusals(&self) -> usize {
        self.refused().len()
    }

    /// Questions that were refused.
    pub(super) fn refused(&self) -> Vec<&str> {
        self.0.iter().filter(|(_, answer)| answer.is_none()).map(|(question, _)| &**question).collect()
    }

    /// Whether counts of clicks are as they are there, or refused.
    fn counts_are(&self, expected: &Answers) -> bool {
        let counts = self.0.iter().filter(|(question, _)| question.ends_with("/clicks"));
        counts
            .filter(|(_, answer)| answer.is_some())
            .all(|(question, answer)| expected.0.get(question) == Some(answer))
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
            standby: ready.standbys.first().context("there is no standby")?.parse()?,
            admin_control: fleet.dir().join("admin").join("control.sock"),
            keypool_control: fleet.dir().join("keypool-0").join("control.sock"),
            standby_control: fleet.dir().join("standby-0").join("control.sock"),
            codes: Vec::new(),
        };
        questions.make(0)?;
        // What comes after the snapshot is in the archive of records.
        ask_control(&questions.admin_control, "backup.now")?;
        for part in ["proxy-0", "standby-0", "admin", "keypool-0"] {
            for line in [format!("stop {part}"), format!("start {part}")] {
                let answer = fleet.command(&line);
                anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
            }
        }
        questions.wait_for_proxy(true)?;
        questions.make(LINKS)?;
        questions.wait_for_copies()?;
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

    /// Waits until the standby has every record, and the archive of the backup too.
    fn wait_for_copies(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.wait_for_standby(), "the standby does not follow");
        let head = ask_control(&self.admin_control, "status")?["head"]["seq"].take();
        let until = Instant::now() + CAUGHT_UP_WITHIN;
        loop {
            let status = ask_control(&self.admin_control, "backup.status")?;
            if status["archived"]["head"]["seq"].as_u64() >= head.as_u64() {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "the archive does not get to record {head}: {status}");
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Asks a part everything. `expected`: what a standby waits for its counts of clicks to be, which come to it beside the log.
    pub(super) fn ask(&self, part: &str, expected: Option<&Answers>) -> anyhow::Result<Answers> {
        match part {
            "admin" | super::BACKUP => {
                let mut answers = self.of_api(&self.admin, true);
                self.search(&mut answers);
                self.create(&mut answers);
                Ok(answers)
            }
            "standby-0" => {
                let follows = self.wait_for_standby();
                let until = Instant::now() + COPIED_WITHIN;
                loop {
                    let answers = self.of_api(&self.standby, follows);
                    if expected.is_none_or(|expected| answers.counts_are(expected)) || Instant::now() > until
                    {
                        return Ok(answers);
                    }
                    std::thread::sleep(ASK_EVERY);
                }
            }
            "keypool-0" => Ok(self.of_keypool()),
            _ => {
                let follows = self.wait_for_proxy(false)?;
                Ok(self.of_proxy(follows))
            }
        }
    }

    /// What the API of a server says of every link. One that says that it does not follow has what it has up to some record, and says so.
    fn of_api(&self, api: &Endpoint, is_current: bool) -> Answers {
        let mut connection = Connection::new(api.clone(), ANSWER_WITHIN);
        let mut answers = Answers::default();
        let paths = self.codes.iter().flat_map(|code| {
            [
                format!("/v1/links/{code}"),
                format!("/v1/links/{code}/clicks"),
                format!("/v1/links/{code}/history"),
            ]
        });
        for path in paths.chain(["/v1/links?limit=1000".to_owned()]) {
            let answer = connection.exchange(&get(api, &path, &self.headers)).ok();
            let is_answer = |status| status < 500 && (is_current || status != 404 && !path.contains('?'));
            let text = answer.filter(|answer| is_answer(answer.status)).map(|answer| {
                let body = serde_json::from_slice(answer.body).unwrap_or_default();
                format!("{} {}", answer.status, at_rest(body))
            });
            answers.0.insert(path, text);
        }
        answers
    }

    /// Looks for words and clicks, when the index has everything. One that does not get there has refused.
    fn search(&self, answers: &mut Answers) {
        let mut connection = Connection::new(self.admin.clone(), ANSWER_WITHIN);
        for path in ["/v1/links?q=number&limit=1000", "/v1/links?q=flip+7&limit=1000"] {
            let asked_at = jiff::Timestamp::now();
            let until = Instant::now() + INDEXED_WITHIN;
            let mut text = None;
            while text.is_none() && Instant::now() < until {
                text = connection.exchange(&get(&self.admin, path, &self.headers)).ok().and_then(|answer| {
                    let body: Value = serde_json::from_slice(answer.body).ok()?;
                    let as_of = body["as_of"].as_str()?.parse::<jiff::Timestamp>().ok()?;
                    // To the millisecond, as it is told.
                    let is_whole = as_of.as_millisecond() >= asked_at.as_millisecond();
                    is_whole.then(|| format!("{} {}", answer.status, at_rest(body)))
                });
                if text.is_none() {
                    std::thread::sleep(ASK_EVERY);
                }
            }
            answers.0.insert(path.to_owned(), text);
        }
    }

    /// Makes a link with a new code, which is there afterwards, and claims an alias that is taken.
    fn create(&self, answers: &mut Answers) {
        let mut connection = Connection::new(self.admin.clone(), ANSWER_WITHIN);
        let mut post = |body: Value| {
            let request = post_json(&self.admin, "/v1/links", &self.headers, body.to_string().as_bytes());
            let until = Instant::now() + LEASED_WITHIN;
            loop {
                let answer = connection.exchange(&request).ok()?;
                if answer.status < 500 {
                    let body: Value = serde_json::from_slice(answer.body).unwrap_or_default();
                    return Some((answer.status, body));
                }
                if Instant::now() > until {
                    return None;
                }
                std::thread::sleep(ASK_EVERY);
            }
        };
        let target = "https://example.org/flip/after";
        let made = post(json!({ "long_url": target }));
        let taken = post(json!({ "long_url": target, "alias": "flip-0" }));
        let taken = taken.map(|(status, body)| format!("{status} {}", body["code"]));
        answers.0.insert("a claim of an alias that is taken".to_owned(), taken);
        let made = made.map(|(status, body)| {
            let code = body["code"].as_str().unwrap_or_default().to_owned();
            let is_new = !code.is_empty() && !self.codes.contains(&code);
            let shown =
                connection.exchange(&get(&self.admin, &format!("/v1/links/{code}"), &self.headers)).ok();
            let shown = shown.and_then(|answer| serde_json::from_slice::<Value>(answer.body).ok());
            let shown = shown.is_some_and(|link| link["long_url"] == target);
            format!("{status}, a new code: {is_new}, shown afterwards: {shown}")
        });
        answers.0.insert("a new link".to_owned(), made);
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
        let stats = ask_control(&self.keypool_control, "stats").unwrap_or_default();
        let mut answers = Answers::default();
        for name in ["pool_id", "slots", "used", "last_lease_number"] {
            let value = stats.get(name).filter(|value| !value.is_null());
            answers.0.insert(name.to_owned(), value.map(Value::to_string));
        }
        answers
    }

    /// Waits until the standby follows and lacks nothing, or says that it does not; whether it follows.
    fn wait_for_standby(&self) -> bool {
        let until = Instant::now() + CAUGHT_UP_WITHIN;
        loop {
            let mut status = ask_control(&self.standby_control, "status").unwrap_or_default();
            let standby = status["standby"].take();
            if standby["state"] == "following" && standby["lag_records"] == 0 {
                return standby["damage"].is_null();
            }
            let given_up = ["diverged", "refused"].iter().any(|state| standby["state"] == *state);
            if given_up || Instant::now() > until {
                return false;
            }
            std::thread::sleep(ASK_EVERY);
        }
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

/// An answer without what is another one each time: how far counts are complete is a time, so is that of an index, and problems have an id.
fn at_rest(mut body: Value) -> Value {
    for moving in ["complete_until", "missing", "instance", "request_id", "as_of"] {
        body.as_object_mut().map(|body| body.remove(moving));
    }
    body
}

/// Asks a part by its control socket.
fn ask_control(socket: &Path, command: &str) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(CAUGHT_UP_WITHIN))?;
    stream.write_all(format!("{}\n", json!({ "command": command })).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut answer: Value = serde_json::from_str(&line)?;
    anyhow::ensure!(answer.get("ok").is_some(), "{command}: {answer}");
    Ok(answer["ok"].take())
}
