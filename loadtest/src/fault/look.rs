//! Looks at everything when nothing is being done: at quiet points and at the end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::client::Client;
use super::health::{self, Health};
use super::history::{Answer, Call, Entry, Recorder, Replica, Request, Server};
use crate::fleet::Fleet;

/// How long proxies may take to have everything again once all faults are over.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// How long counts and limits may take to be complete after that.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// How often is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Links on a page of the list.
const PAGE_LINKS: usize = 1_000;

/// Where to look.
#[derive(Debug)]
pub(super) struct Look<'a> {
    fleet: &'a Fleet,
    recorder: &'a Recorder,
    pub(super) health: Vec<Health>,
}

impl<'a> Look<'a> {
    pub(super) fn at(fleet: &'a Fleet, recorder: &'a Recorder) -> anyhow::Result<Look<'a>> {
        let health = |(index, url): (usize, &String)| -> anyhow::Result<Health> {
            let control = fleet.dir().join(format!("proxy-{index}")).join("control.sock");
            Ok(Health { readyz: url.parse()?, control })
        };
        let health = fleet.ready().proxy_health.iter().enumerate().map(health);
        Ok(Look { fleet, recorder, health: health.collect::<anyhow::Result<_>>()? })
    }

    /// Waits until every proxy has everything, and looks at every link everywhere.
    ///
    /// # Errors
    /// The writer or a proxy does not answer at all.
    pub(super) fn when_quiet(&self, codes: &[String]) -> anyhow::Result<()> {
        self.wait_until_whole()?;
        self.at_all(codes)
    }

    /// Looks at every link everywhere.
    ///
    /// # Errors
    /// The writer or a proxy does not answer.
    pub(super) fn at_all(&self, codes: &[String]) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let mut threads = vec![scope.spawn(|| self.all(codes, |code| Request::Get { code }))];
            for proxy in 0..self.health.len() as u16 {
                threads.push(scope.spawn(move || self.all(codes, |code| Request::Follow { proxy, code })));
            }
            for thread in threads {
                thread.join().map_err(|_| anyhow::anyhow!("a thread that looks panicked"))??;
            }
            Ok(())
        })
    }

    fn all(&self, codes: &[String], request: impl Fn(String) -> Request) -> anyhow::Result<()> {
        let mut client = Client::of(self.fleet.ready(), self.recorder)?;
        for code in codes {
            let request = request(code.clone());
            let asked = format!("{request:?}");
            let answer = client.call(request);
            let unanswered = matches!(answer, Answer::Unsent | Answer::Unknown { .. });
            anyhow::ensure!(!unanswered, "{asked}: {answer:?} although every fault is over");
        }
        Ok(())
    }

    /// Waits until every proxy has everything, and notes how all of them are; that one has not is for the checker to say.
    ///
    /// # Errors
    /// A part does not answer at all.
    pub(super) fn wait_until_whole(&self) -> anyhow::Result<()> {
        let until = Instant::now() + BACK_WITHIN;
        let mut client = Client::of(self.fleet.ready(), self.recorder)?;
        loop {
            match self.replicas(&mut client) {
                Ok((head_seq, replicas, servers)) => {
                    let whole = |replica: &Replica| replica.seq >= head_seq && replica.state == "following";
                    let is_whole = replicas.iter().all(whole)
                        && servers.iter().all(|server| server.seq >= head_seq && server.follows_or_writes());
                    if is_whole || Instant::now() > until {
                        let at_us = self.recorder.now_us();
                        self.recorder.add(Entry::Quiet { at_us, head_seq, replicas, servers });
                        return Ok(());
                    }
                }
                Err(error) if Instant::now() > until => {
                    return Err(error).context("a part does not answer although every fault is over");
                }
                Err(_) => {}
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn replicas(&self, client: &mut Client<'_>) -> anyhow::Result<(u64, Vec<Replica>, Vec<Server>)> {
        let head = client.ask("/v1/replication")?["head"]["seq"].as_u64().context("no head")?;
        let standbys = (0..self.fleet.ready().standbys.len()).map(|index| format!("standby-{index}"));
        let servers = ["admin".to_owned()].into_iter().chain(standbys);
        let servers = servers.map(|name| health::server(self.fleet.dir(), &name));
        let replicas = self.health.iter().map(Health::replica).collect::<anyhow::Result<_>>()?;
        Ok((head, replicas, servers.collect::<anyhow::Result<_>>()?))
    }

    /// Looks at what only the end shows: the list, limits and counts. Links that were or may have been deleted have neither.
    ///
    /// # Errors
    /// The API does not answer, or counts do not become complete.
    pub(super) fn at_the_end(&self, deleted: &BTreeSet<String>) -> anyhow::Result<()> {
        let ended_ms = jiff::Timestamp::now().as_millisecond();
        let mut client = Client::of(self.fleet.ready(), self.recorder)?;
        let listed = list(&mut client)?;
        self.recorder.add(Entry::Listing { links: listed.clone() });
        let entries = self.recorder.entries();
        for code in limited(&entries).filter(|code| !deleted.contains(*code)) {
            let path = format!("/v1/links/{code}/limit");
            let standing = settled(&mut client, &path, |shown| {
                shown["held"].as_array().is_some_and(|held| held.is_empty())
            })?;
            let number = |name: &str| standing[name].as_u64().with_context(|| format!("{path}: no {name}"));
            let (used, burned) = (number("used")?, number("burned")?);
            self.recorder.add(Entry::Standing { code: code.to_owned(), used, burned });
        }
        let complete = |shown: &Value| {
            let until =
                shown["complete_until"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let nobody_missing = shown["missing"].as_array().is_some_and(|missing| missing.is_empty());
            nobody_missing && until.is_some_and(|until| until.as_millisecond() >= ended_ms)
        };
        for (code, _) in listed.iter().filter(|(code, _)| !deleted.contains(code)) {
            let shown = settled(&mut client, &format!("/v1/links/{code}/clicks"), complete)?;
            let kinds = ["total", "bots", "head", "prefetch"];
            let counted = kinds.iter().filter_map(|kind| shown[kind].as_u64()).sum();
            self.recorder.add(Entry::Clicks { code: code.clone(), counted });
        }
        Ok(())
    }
}

/// Asks until the answer is final.
fn settled(client: &mut Client<'_>, path: &str, is_final: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let shown = client.ask(path)?;
        if is_final(&shown) {
            return Ok(shown);
        }
        anyhow::ensure!(Instant::now() < until, "{path} is not final: {shown}");
        std::thread::sleep(ASK_EVERY);
    }
}

/// Every link the API lists, with its target.
fn list(client: &mut Client<'_>) -> anyhow::Result<Vec<(String, String)>> {
    let mut links = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.ask(&format!("/v1/links?archived=any&limit={PAGE_LINKS}{cursor}"))?;
        for link in page["data"].as_array().context("a page without links")? {
            let text = |name: &str| link[name].as_str().map(str::to_owned);
            links.push((text("code").context("no code")?, text("long_url").context("no target")?));
        }
        let Some(next) = page["next_cursor"].as_str() else { return Ok(links) };
        cursor = format!("&cursor={next}");
    }
}

/// The links with a limit that were acknowledged.
fn limited(entries: &[Entry]) -> impl Iterator<Item = &str> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Call(Call {
            request: Request::Create { max_clicks: Some(_), .. },
            answer: Answer::Done { code, .. },
            ..
        }) => Some(code.as_str()),
        _ => None,
    })
}
