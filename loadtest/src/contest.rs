//! `contest`: many clients claim the same aliases at the same time; each has to end up with exactly one owner, the one who was told so.
//!
//! Every client claims every alias once, in batches, so each alias is claimed as often as there are clients. Kills of the writer may fall
//! in between: a batch without an answer may have won, and what it won has to stand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};

use crate::figures;
use crate::fleet::{Fleet, Ready};
use crate::http1::{Connection, Endpoint, get, post_json};
use crate::pace::StopFlag;
use crate::trial::{self, Findings, PlaceArgs, Seed, Settings};

/// How long one batch may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The pause of a client whose writer is away.
const AWAY_REST: Duration = Duration::from_millis(50);
/// Time between two kills, in milliseconds.
const BETWEEN_MS: std::ops::Range<u64> = 300..2_000;
/// How long the proxies may take to have everything.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);
/// Objections that are kept.
const BROKEN_MAX: usize = 100;

/// What `contest` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Clients that claim every alias.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=64))]
    clients: u16,
    /// Claims in all: an alias for every N of them, with N clients.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..=100_000_000))]
    claims: u64,
    /// Aliases in one request.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
    /// How often the writer is killed and started again meanwhile.
    #[arg(long, value_name = "N", default_value_t = 0)]
    kills: u32,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `contest` found out.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// Aliases that were claimed.
    pub aliases: u64,
    /// Claims that were sent.
    pub claims: u64,
    /// Claims that were told they won.
    pub won: u64,
    /// Claims that were told somebody else had won.
    pub lost: u64,
    /// Claims without an answer.
    pub unknown: u64,
    /// Kills of the writer.
    pub kills: u32,
    /// From the first claim to the last answer, in milliseconds.
    pub took_ms: u64,
    /// What contradicts the contract, the first of it.
    pub broken: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// The fleet did not start, or an alias has not exactly one owner.
pub fn run(args: Args) -> anyhow::Result<()> {
    trial::run_seeded("contest", &args.place, args.seed, |seed, stop| args.measure(seed, stop))
}

/// What became of the claims of one alias.
#[derive(Clone, Debug, Default)]
struct Claims {
    winners: Vec<u16>,
    unknown: Vec<u16>,
    lost: u16,
}

/// What became of one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Won,
    Lost,
    Unknown,
}

impl Claims {
    fn note(&mut self, client: u16, outcome: Outcome) {
        match outcome {
            Outcome::Won => self.winners.push(client),
            Outcome::Lost => self.lost += 1,
            Outcome::Unknown => self.unknown.push(client),
        }
    }

    /// What contradicts the contract, when the alias leads to what `owner` claimed it with.
    fn judge(&self, owner: Option<u16>) -> Option<String> {
        match (self.winners.as_slice(), owner) {
            ([winner], Some(owner)) if *winner == owner => None,
            // Whoever had no answer may be the one.
            ([], Some(owner)) if self.unknown.contains(&owner) => None,
            ([], None) if self.lost == 0 => None,
            (winners, owner) => Some(format!(
                "told to have won: {winners:?}, without an answer: {:?}, refused: {}, owner: {owner:?}",
                self.unknown, self.lost
            )),
        }
    }
}

impl Args {
    fn aliases(&self) -> u64 {
        (self.claims / u64::from(self.clients)).max(1)
    }

    fn measure(&self, seed: u64, stop: &StopFlag) -> anyhow::Result<Results> {
        let options = self.place.options(self.place.dir()?, 1, &[], &self.settings)?;
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        let aliases = self.aliases();
        let all = Mutex::new(vec![Claims::default(); aliases as usize]);
        let (done, barrier) = (AtomicU64::new(0), Barrier::new(usize::from(self.clients)));
        let start = Instant::now();
        let kills = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|number| {
                    let (all, done, barrier, ready) = (&all, &done, &barrier, fleet.ready());
                    let claim = Claimant { number, seed, aliases, batch: u64::from(self.batch), ready, stop };
                    scope.spawn(move || {
                        barrier.wait();
                        let claimed = claim.all(all);
                        done.fetch_add(1, Ordering::Relaxed);
                        claimed
                    })
                })
                .collect();
            let is_over = || done.load(Ordering::Relaxed) == u64::from(self.clients);
            let kills = self.kill(&fleet, seed, is_over, stop);
            for client in clients {
                client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            }
            kills
        })?;
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        let took_ms = start.elapsed().as_millis() as u64;
        let all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        let owners = owners(&fleet, aliases)?;
        let mut results = Results { seed, aliases, kills, took_ms, ..Results::default() };
        for (number, claims) in all.iter().enumerate() {
            results.won += claims.winners.len() as u64;
            results.lost += u64::from(claims.lost);
            results.unknown += claims.unknown.len() as u64;
            let objection = claims.judge(owners.get(&(number as u64)).copied());
            if let Some(objection) = objection.filter(|_| results.broken.len() < BROKEN_MAX) {
                results.broken.push(format!("{}: {objection}", alias(number as u64)));
            }
        }
        results.claims = results.won + results.lost + results.unknown;
        let expected = aliases * u64::from(self.clients);
        anyhow::ensure!(results.claims == expected, "{} of {expected} claims were made", results.claims);
        Ok(results)
    }

    fn kill(
        &self,
        fleet: &Fleet,
        seed: u64,
        is_over: impl Fn() -> bool,
        stop: &StopFlag,
    ) -> anyhow::Result<u32> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut kills = 0;
        while kills < self.kills && !is_over() {
            let at = Instant::now() + Duration::from_millis(random.random_range(BETWEEN_MS));
            if !stop.sleep_until(at) {
                return Ok(kills);
            }
            for line in ["kill admin 9", "start admin"] {
                let answer = fleet.command(line);
                anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
            }
            kills += 1;
        }
        Ok(kills)
    }
}

fn alias(number: u64) -> String {
    format!("contested-{number}")
}

fn target(client: u16) -> String {
    format!("https://example.org/client/{client}")
}

/// One of those who want everything.
struct Claimant<'a> {
    number: u16,
    seed: u64,
    aliases: u64,
    batch: u64,
    ready: &'a Ready,
    stop: &'a StopFlag,
}

impl Claimant<'_> {
    /// Claims all, batch after batch, each in an order of its own.
    fn all(&self, all: &Mutex<Vec<Claims>>) -> anyhow::Result<()> {
        let endpoint: Endpoint = self.ready.admin.parse()?;
        let mut connection = Connection::new(endpoint.clone(), ANSWER_WITHIN);
        let mut random = SmallRng::seed_from_u64(self.seed ^ (u64::from(self.number) + 1) << 40);
        let headers = format!("Authorization: Bearer {}\r\nPrefer: respond-async\r\n", self.ready.token);
        for from in (0..self.aliases).step_by(self.batch as usize) {
            let mut numbers: Vec<u64> = (from..(from + self.batch).min(self.aliases)).collect();
            numbers.shuffle(&mut random);
            let links: Vec<Value> = numbers
                .iter()
                .map(|number| json!({ "long_url": target(self.number), "alias": alias(*number) }))
                .collect();
            let body = json!({ "links": links }).to_string();
            let request = post_json(&endpoint, "/v1/links/batch", &headers, body.as_bytes());
            let outcomes = self.send(&mut connection, &request, numbers.len())?;
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            for (number, outcome) in numbers.iter().zip(outcomes) {
                all[*number as usize].note(self.number, outcome);
            }
        }
        Ok(())
    }

    /// Sends a batch once; until it could be sent, it is tried again.
    fn send(
        &self,
        connection: &mut Connection,
        request: &[u8],
        links: usize,
    ) -> anyhow::Result<Vec<Outcome>> {
        use crate::http1::ExchangeError;
        loop {
            anyhow::ensure!(!self.stop.is_set(), "stopped");
            match connection.exchange(request) {
                Ok(answer) if answer.status == 200 => return outcomes(answer.body, links),
                Ok(answer) if answer.status >= 500 => return Ok(vec![Outcome::Unknown; links]),
                Ok(answer) => {
                    anyhow::bail!("{}: {}", answer.status, String::from_utf8_lossy(answer.body))
                }
                Err(ExchangeError::Connect(_)) => std::thread::sleep(AWAY_REST),
                Err(_) => return Ok(vec![Outcome::Unknown; links]),
            }
        }
    }
}

fn outcomes(body: &[u8], links: usize) -> anyhow::Result<Vec<Outcome>> {
    let answer: Value = serde_json::from_slice(body)?;
    let results = answer["results"].as_array().context("a batch without results")?;
    anyhow::ensure!(results.len() == links, "{} results for {links} links", results.len());
    let outcome = |result: &Value| match result["status"].as_u64() {
        Some(201) => Ok(Outcome::Won),
        Some(409) => Ok(Outcome::Lost),
        Some(500..) => Ok(Outcome::Unknown),
        _ => Err(anyhow::anyhow!("a claim was answered with {result}")),
    };
    results.iter().map(outcome).collect()
}

/// Who owns each alias, as the proxy says when it has everything.
fn owners(fleet: &Fleet, aliases: u64) -> anyhow::Result<HashMap<u64, u16>> {
    wait_until_caught_up(fleet)?;
    let endpoint: Endpoint = fleet.ready().proxies[0].parse()?;
    let mut connection = Connection::new(endpoint.clone(), ANSWER_WITHIN);
    let mut owners = HashMap::new();
    for number in 0..aliases {
        let answer = connection.exchange(&get(&endpoint, &format!("/{}", alias(number)), ""))?;
        if answer.status == 404 {
            continue;
        }
        let location = answer.location.and_then(|location| std::str::from_utf8(location).ok());
        let client = location.and_then(|location| location.rsplit('/').next()?.parse().ok());
        owners.insert(number, client.with_context(|| format!("{}: {}", alias(number), answer.status))?);
    }
    Ok(owners)
}

fn wait_until_caught_up(fleet: &Fleet) -> anyhow::Result<()> {
    let ready = fleet.ready();
    let endpoint: Endpoint = ready.admin.parse()?;
    let headers = format!("Authorization: Bearer {}\r\n", ready.token);
    let mut connection = Connection::new(endpoint.clone(), ANSWER_WITHIN);
    let until = Instant::now() + CAUGHT_UP_WITHIN;
    loop {
        let answer = connection.exchange(&get(&endpoint, "/v1/replication", &headers))?;
        let positions = crate::admin::replication(&answer)?;
        if positions.applied_seq("proxy-0") >= Some(positions.head_seq()) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < until, "the proxy has not caught up: {positions:?}");
        std::thread::sleep(AWAY_REST);
    }
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        self.broken.len() as u64
    }

    fn text(&self) -> String {
        let mut text = format!(
            "contest: {} claims of {} aliases in {:.1} s: {} won, {} lost, {} without an answer, {} kills\n",
            figures::count(self.claims),
            figures::count(self.aliases),
            self.took_ms as f64 / 1_000.0,
            figures::count(self.won),
            figures::count(self.lost),
            figures::count(self.unknown),
            self.kills
        );
        self.broken.iter().for_each(|line| text.push_str(&format!("BROKEN {line}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(outcomes: &[(u16, Outcome)]) -> Claims {
        let mut claims = Claims::default();
        outcomes.iter().for_each(|(client, outcome)| claims.note(*client, *outcome));
        claims
    }

    #[test]
    fn one_winner_who_owns_it_is_right_and_nothing_else() {
        use Outcome::{Lost, Unknown, Won};
        let right = |outcomes: &[_], owner| claims(outcomes).judge(owner).is_none();
        assert!(right(&[(0, Won), (1, Lost)], Some(0)));
        assert!(!right(&[(0, Won), (1, Lost)], Some(1)), "another owns it");
        assert!(!right(&[(0, Won), (1, Won)], Some(1)), "two were told so");
        assert!(!right(&[(0, Won), (1, Lost)], None), "nobody owns it");
        assert!(!right(&[(0, Lost), (1, Lost)], None), "all were refused");
        assert!(right(&[(0, Unknown), (1, Lost)], Some(0)));
        assert!(!right(&[(0, Unknown), (1, Lost)], Some(1)), "who was refused owns it");
        assert!(!right(&[(0, Unknown), (1, Won)], Some(0)));
    }
}
