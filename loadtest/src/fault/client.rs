//! Requests whose every outcome is known to be one of: it happened, it did not, nobody knows.

use std::time::Duration;

use serde_json::{Value, json};

use super::history::{Answer, Call, Entry, Recorder, Request};
use crate::fleet::Ready;
use crate::http1::{Connection, Endpoint, ExchangeError, get, post_json};

/// How long an answer is waited for. Short, so that a process that is stopped leaves requests without an answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// How often something is asked for that nobody may leave without an answer.
const ASKED_MAX: usize = 10;
/// A person, as far as anybody can tell.
const BROWSER: &str =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n";

/// A client with a connection to the API and one to every proxy.
#[derive(Debug)]
pub(super) struct Client<'a> {
    recorder: &'a Recorder,
    admin: Connection,
    headers: String,
    proxies: Vec<Connection>,
}

impl<'a> Client<'a> {
    pub(super) fn of(ready: &Ready, recorder: &'a Recorder) -> anyhow::Result<Client<'a>> {
        let dial = |url: &String| -> anyhow::Result<Connection> {
            Ok(Connection::new(url.parse::<Endpoint>()?, ANSWER_WITHIN))
        };
        let headers = format!("Authorization: Bearer {}\r\n", ready.token);
        let proxies = ready.proxies.iter().map(dial).collect::<anyhow::Result<_>>()?;
        Ok(Client { recorder, admin: dial(&ready.admin)?, headers, proxies })
    }

    /// Sends a request, notes it with its answer, and returns that.
    pub(super) fn call(&mut self, request: Request) -> Answer {
        let begin_us = self.recorder.now_us();
        let answer = self.exchange(&request);
        let end_us = self.recorder.now_us();
        let call = Call { begin_us, end_us, request, answer: answer.clone() };
        self.recorder.add(Entry::Call(call));
        answer
    }

    /// Asks the API for something that is no part of the history, again if no answer comes: a busy machine is no fault.
    pub(super) fn ask(&mut self, path: &str) -> anyhow::Result<Value> {
        let request = get(self.admin.endpoint(), path, &self.headers);
        let mut problem = None;
        for _ in 0..ASKED_MAX {
            match self.admin.exchange(&request) {
                Ok(answer) => {
                    anyhow::ensure!(answer.status == 200, "{path}: {}", answer.status);
                    return Ok(serde_json::from_slice(answer.body)?);
                }
                Err(error) => problem = Some(error),
            }
        }
        let problem = problem.map_or_else(String::new, |error| error.to_string());
        anyhow::bail!("{path}, asked {ASKED_MAX} times: {problem}")
    }

    fn exchange(&mut self, request: &Request) -> Answer {
        let bytes = self.bytes(request);
        let connection = match request {
            Request::Follow { proxy, .. } => &mut self.proxies[usize::from(*proxy)],
            _ => &mut self.admin,
        };
        match connection.exchange(&bytes) {
            Ok(answer) => match answer.status {
                200 | 201 => of_link(request, answer.body),
                204 => Answer::Deleted,
                300..400 => Answer::Target {
                    target: String::from_utf8_lossy(answer.location.unwrap_or_default()).into_owned(),
                    version: None,
                },
                status => {
                    let problem: Value = serde_json::from_slice(answer.body).unwrap_or_default();
                    let problem = problem["code"].as_str().unwrap_or_default().to_owned();
                    Answer::Refused { status, problem }
                }
            },
            Err(ExchangeError::Connect(_)) => Answer::Unsent,
            Err(error) => Answer::Unknown { why: error.kind().to_owned() },
        }
    }

    fn bytes(&self, request: &Request) -> Vec<u8> {
        let admin = self.admin.endpoint();
        match request {
            Request::Create { alias, target, max_clicks } => {
                let mut body = json!({ "long_url": target });
                if let Some(alias) = alias {
                    body["alias"] = json!(alias);
                }
                if let Some(max_clicks) = max_clicks {
                    body["max_clicks"] = json!(max_clicks);
                }
                post_json(admin, "/v1/links", &self.headers, body.to_string().as_bytes())
            }
            Request::Update { code, target } => {
                let body = json!({ "long_url": target }).to_string();
                let head = format!(
                    "PATCH /v1/links/{code} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/merge-patch+json\r\nContent-Length: {}\r\n{}\r\n",
                    admin.authority(),
                    body.len(),
                    self.headers
                );
                (head + &body).into_bytes()
            }
            Request::Delete { code } => {
                let authority = admin.authority();
                format!("DELETE /v1/links/{code} HTTP/1.1\r\nHost: {authority}\r\n{}\r\n", self.headers)
                    .into_bytes()
            }
            Request::Get { code } => get(admin, &format!("/v1/links/{code}"), &self.headers),
            Request::Follow { proxy, code } => {
                get(self.proxies[usize::from(*proxy)].endpoint(), &format!("/{code}"), BROWSER)
            }
        }
    }
}

/// What a 200 or 201 with a link says.
fn of_link(request: &Request, body: &[u8]) -> Answer {
    let link: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| link[name].as_str().map(str::to_owned);
    let (Some(code), Some(target), Some(version)) =
        (text("code"), text("long_url"), link["version"].as_u64())
    else {
        // Whatever it was, it says nothing of the link.
        return Answer::Unknown { why: "unreadable".to_owned() };
    };
    if matches!(request, Request::Get { .. }) {
        return Answer::Target { target, version: Some(version) };
    }
    let missing = link["replication"]["missing"].as_array();
    let number = |name: &Value| name.as_str()?.strip_prefix("proxy-")?.parse().ok();
    let missing = missing.map(|names| names.iter().filter_map(number).collect()).unwrap_or_default();
    Answer::Done { code, version, missing }
}
