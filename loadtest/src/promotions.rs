//! `promotions`: writers that are lost under load, standbys that take their place, and a comparison of everything that was acknowledged.
//!
//! The contract: every acknowledged link is there after every promotion, on the new writer and on every proxy; no code is given twice; a writer
//! that was replaced acknowledges nothing more, whether it was killed and started again, stopped for a while, or ran all the time and was cut
//! off from the others while clients went on asking it. Each round uses a fleet of its own, since a writer that was replaced does not come back
//! by itself.
//!
//! - `creators`: the clients · `loyal`: clients that know only a writer that is cut off · `partition`: the cables · `api`: one server ·
//!   this file: the faults and the comparison

mod api;
mod creators;
mod loyal;
mod partition;

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::cable::Quality;
use crate::fault::filter::Network;
use crate::fault::points::{Form, PROMOTION, Side};
use crate::fault::reins::Reins;
use crate::fleet::Fleet;
use crate::http1::{Connection, Endpoint, get};
use crate::pace::StopFlag;
use crate::progress::say;
use crate::trial::{self, Findings, PlaceArgs, Seed, Settings};
use api::Api;
use creators::{Created, Creators};
use loyal::Loyal;
use partition::{Cut, Partition};

const API_TIMEOUT: Duration = Duration::from_secs(10);
/// How long proxies may take to follow a new writer to its head, and an old writer to be told.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// How long links are made before a writer is lost, in milliseconds.
const LOAD_MS: std::ops::Range<u64> = 200..1_500;
/// Promotions in a row in one fleet: one for each standby.
const STANDBYS: u16 = 2;
/// Clients that know only the writer that is cut off.
const LOYAL_CLIENTS: u16 = 4;
/// The one that is not promoted when the first writer is lost.
const OTHER: &str = "standby-1";

/// What `promotions` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of promotions.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    times: u32,
    /// Clients that make links all the time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    clients: u16,
    /// How writers are lost, each in its turn: killed, stopped, cut-off, silent, unreachable [default: all but unreachable]
    ///
    /// `unreachable`: every packet between it and the others vanishes. The fleets then run in a network namespace of their own; needs
    /// root, and Debian's packages nftables and iproute2.
    #[arg(long, value_name = "HOW,…", value_delimiter = ',')]
    losses: Vec<Loss>,
    /// Kills the standby that is promoted, or the other one, at a named point of the promotion, each in its turn, and promotes again.
    #[arg(long)]
    points: bool,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What became of the old writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Killed, and started again after the promotion.
    Killed,
    /// Stopped with SIGSTOP and continued after the promotion: it does not know that time has passed.
    Stopped,
    /// It runs, and every connection between it and the other servers is closed, new ones too.
    CutOff,
    /// It runs, and nothing passes between it and the other servers, without a word.
    Silent,
    /// It runs, and every packet between it and the other servers vanishes. Connections that nobody gives up meanwhile go on afterwards,
    /// with what was said on them.
    Unreachable,
}

impl Loss {
    const ALL: [(Loss, &'static str); 5] = [
        (Loss::Killed, "killed"),
        (Loss::Stopped, "stopped"),
        (Loss::CutOff, "cut-off"),
        (Loss::Silent, "silent"),
        (Loss::Unreachable, "unreachable"),
    ];
    /// Those of a run that names none: what takes no root.
    const BY_DEFAULT: [Loss; 4] = [Loss::Killed, Loss::Stopped, Loss::CutOff, Loss::Silent];

    fn is_of_links(self) -> bool {
        matches!(self, Loss::CutOff | Loss::Silent | Loss::Unreachable)
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Loss, String> {
        let found = Loss::ALL.into_iter().find(|(_, name)| *name == text);
        let names = || Loss::ALL.map(|(_, name)| name).join(", ");
        found.map(|(loss, _)| loss).ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}

/// One promotion.
#[derive(Clone, Debug, Serialize)]
pub struct Promotion {
    /// Which server was lost.
    pub lost: String,
    /// How.
    pub how: Loss,
    /// The named point at which the promotion was interrupted.
    pub interrupted: Option<String>,
    /// Which took its place.
    pub promoted: String,
    /// From the command to its end, in milliseconds: then the server is the writer.
    pub promote_ms: u64,
    /// From the command to the first link acknowledged by it, in milliseconds.
    pub first_write_ms: u64,
    /// Links acknowledged so far in this fleet, all of them compared.
    pub acknowledged: usize,
    /// What clients came to that asked the old writer only, from when its cables failed until it knew that it was replaced; none of it may
    /// be 201.
    pub asked_alone: BTreeMap<String, u64>,
}

/// What `promotions` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// One after the other.
    pub promotions: Vec<Promotion>,
    /// Links acknowledged, all of them found again.
    pub acknowledged: usize,
    /// What contradicts the contract.
    pub broken: Vec<String>,
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        self.broken.len() as u64
    }

    fn text(&self) -> String {
        let slowest = |of: fn(&Promotion) -> u64| self.promotions.iter().map(of).max().unwrap_or_default();
        let mut text = format!(
            "{} promotions, {} links acknowledged; command to writer at most {} ms, to the first write at most {} ms\n",
            self.promotions.len(),
            self.acknowledged,
            slowest(|promotion| promotion.promote_ms),
            slowest(|promotion| promotion.first_write_ms),
        );
        for (loss, name) in Loss::ALL {
            let such = || self.promotions.iter().filter(|promotion| promotion.how == loss);
            let asked: u64 = such().flat_map(|promotion| promotion.asked_alone.values()).sum();
            let first_write = such().map(|promotion| promotion.first_write_ms).max().unwrap_or_default();
            let alone = match loss.is_of_links() {
                true => format!("; {asked} requests to it meanwhile, none of them acknowledged"),
                false => String::new(),
            };
            text.push_str(&format!(
                "  {name}: {}, first write after at most {first_write} ms{alone}\n",
                such().count()
            ));
        }
        self.broken.iter().for_each(|line| text.push_str(&format!("broken: {line}\n")));
        text
    }
}

/// Runs the command.
///
/// # Errors
/// A fleet did not start, a promotion failed, or the contract was broken.
pub fn run(args: Args) -> anyhow::Result<()> {
    // Before any other thread is started: those stay where they are.
    let network = args.losses.contains(&Loss::Unreachable).then(Network::own).transpose()?;
    trial::run_seeded("promotions", &args.place, args.seed, |seed, stop| {
        args.measure(seed, network.as_ref(), stop)
    })
}

/// A fleet under load.
#[derive(Clone, Copy)]
struct Running<'a> {
    fleet: &'a Fleet,
    /// What holds its standbys from inside.
    reins: Option<&'a Reins>,
    /// What it is in, if packets are to vanish.
    network: Option<&'a Network>,
    /// The cables between its servers and to its proxies.
    partition: &'a Partition,
    /// The first writer, then the standbys.
    servers: &'a [(String, Endpoint)],
    creators: &'a Creators,
}

impl<'a> Running<'a> {
    /// What becomes of the links, if it is they that fail.
    fn cut(&self, how: Loss) -> anyhow::Result<Option<Cut<'a>>> {
        Ok(match how {
            Loss::Killed | Loss::Stopped => None,
            Loss::CutOff => Some(Cut::Cables(Quality::Cut)),
            Loss::Silent => Some(Cut::Cables(Quality::Silent)),
            Loss::Unreachable => {
                Some(Cut::Packets(self.network.context("the fleet is not in a network of its own")?))
            }
        })
    }
}

impl Args {
    fn measure(&self, seed: u64, network: Option<&Network>, stop: &StopFlag) -> anyhow::Result<Results> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut results = Results { seed, promotions: Vec::new(), acknowledged: 0, broken: Vec::new() };
        while (results.promotions.len() as u32) < self.times && !stop.is_set() {
            self.fleet(network, &mut random, &mut results)?;
        }
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        Ok(results)
    }

    /// The life of one fleet.
    fn fleet(
        &self,
        network: Option<&Network>,
        random: &mut SmallRng,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        let dir = self.place.dir()?.join("fleet");
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let partition = Partition::start(&dir, STANDBYS)?;
        let own = partition.settings();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let mut options = self.place.options(&dir, 1, &own, &self.settings)?;
        options.standbys = STANDBYS;
        let standbys = (0..STANDBYS).map(|index| format!("standby-{index}"));
        let reins = match self.points {
            true => {
                trial::make(&dir)?;
                Some(Reins::put_on(&dir, standbys, &mut options)?)
            }
            false => None,
        };
        // A fleet that ends sets its flag, and there are fleets after this one.
        let fleet = Fleet::start(options)?;
        let servers: Vec<(String, Endpoint)> = [("admin".to_owned(), fleet.ready().admin.parse()?)]
            .into_iter()
            .chain(named(&fleet.ready().standbys)?)
            .collect();
        let creators = Creators::start(&servers, &fleet.ready().token, self.clients);
        let running = Running {
            fleet: &fleet,
            reins: reins.as_ref(),
            network,
            partition: &partition,
            servers: &servers,
            creators: &creators,
        };
        let mut acknowledged = Vec::new();
        for writer in 0..usize::from(STANDBYS) {
            if results.promotions.len() as u32 == self.times {
                break;
            }
            let promotion = self.lose(&running, writer, random, results)?;
            acknowledged.extend(creators.take());
            let check = Check { fleet: &fleet, writer: &servers[writer + 1].1, links: &acknowledged };
            results.broken.extend(check.run()?);
            say(format!(
                "promotions: {} {:?}, {} is the writer after {} ms; {} links compared",
                promotion.lost,
                promotion.how,
                promotion.promoted,
                promotion.first_write_ms,
                acknowledged.len()
            ));
            results.promotions.push(Promotion { acknowledged: acknowledged.len(), ..promotion });
        }
        acknowledged.extend(creators.end());
        let codes: HashSet<&str> = acknowledged.iter().map(|link| &*link.code).collect();
        if codes.len() != acknowledged.len() {
            results.broken.push(format!("{} codes were given twice", acknowledged.len() - codes.len()));
        }
        results.acknowledged += acknowledged.len();
        Ok(())
    }

    /// Loses the writer under load, promotes the next server, and brings the old one back.
    fn lose(
        &self,
        running: &Running<'_>,
        writer: usize,
        random: &mut SmallRng,
        results: &mut Results,
    ) -> anyhow::Result<Promotion> {
        let Running { fleet, reins, servers, creators, .. } = *running;
        let token = &fleet.ready().token;
        let (lost, promoted) = (&servers[writer], &servers[writer + 1]);
        let before = creators.count();
        // The instant is the fault: there is no condition to wait for, but that something is under way.
        std::thread::sleep(Duration::from_millis(random.random_range(LOAD_MS)));
        wait("links are made", || Ok(creators.count() > before + 20))?;
        let how = self.loss(results.promotions.len());
        let (mut cut, mut loyal) = (None, None);
        match running.cut(how)? {
            Some(links) => {
                // A proxy may be on either side.
                let with_proxy = random.random_bool(0.5);
                cut = Some((links, running.partition.cut(&lost.0, with_proxy, links)?));
                // Whatever they ask for is asked for after the cut.
                loyal = Some(Loyal::start(&lost.1, token, LOYAL_CLIENTS));
            }
            None => {
                let signal = if how == Loss::Killed { "KILL" } else { "STOP" };
                command(fleet, &format!("kill {} {signal}", lost.0)).map(drop)?;
            }
        }
        let begun = Instant::now();
        let mut api = Api::of(&promoted.1, token);
        let interrupted = match reins {
            Some(reins) => interrupt(fleet, reins, results.promotions.len(), &lost.0, &promoted.0, &mut api)?,
            None => command(fleet, &format!("promote {}", promoted.0)).map(|_| None)?,
        };
        let promote_ms = begun.elapsed().as_millis() as u64;
        wait("the new writer takes a link", || api.creates())?;
        let first_write_ms = begun.elapsed().as_millis() as u64;
        match cut {
            None if how == Loss::Killed => command(fleet, &format!("spawn {}", lost.0)).map(drop)?,
            None => command(fleet, &format!("kill {} CONT", lost.0)).map(drop)?,
            Some((how, links)) => {
                // There are two who write, as far as the old one knows; it is asked for a while yet.
                if let Some(loyal) = &loyal {
                    let before = loyal.answers();
                    wait("the old writer answers whom it cannot serve", || {
                        Ok(loyal.answers() > before + usize::from(LOYAL_CLIENTS))
                    })?;
                }
                how.join(&links)?;
            }
        }
        results.broken.extend(old_writer(lost, token)?);
        let asked_alone = loyal.map(Loyal::end).unwrap_or_default();
        if let Some(made) = asked_alone.get("201") {
            results.broken.push(format!("{} acknowledged {made} links while it was cut off", lost.0));
        }
        Ok(Promotion {
            lost: lost.0.clone(),
            how,
            promoted: promoted.0.clone(),
            promote_ms,
            interrupted,
            first_write_ms,
            acknowledged: 0,
            asked_alone,
        })
    }

    /// How the writer is lost in a promotion: each way in its turn, so that each has its turn with every writer of a fleet.
    fn loss(&self, turn: usize) -> Loss {
        let losses = if self.losses.is_empty() { &Loss::BY_DEFAULT[..] } else { &self.losses };
        losses[(turn + turn / losses.len()) % losses.len()]
    }
}

/// Promotes, interrupted at the point whose turn it is, and again until it is done. Returns the point if it was reached.
fn interrupt(
    fleet: &Fleet,
    reins: &Reins,
    turn: usize,
    lost: &str,
    promoted: &str,
    api: &mut Api,
) -> anyhow::Result<Option<String>> {
    // The second writer of a fleet is a standby: when it is lost there is no other one whose answer could be interrupted.
    let usable = PROMOTION.iter().filter(|(side, ..)| *side == Side::Promoted || lost == "admin");
    let usable: Vec<_> = usable.collect();
    let (side, point, pass) = usable[turn / usize::from(STANDBYS) % usable.len()];
    let part = if *side == Side::Promoted { promoted } else { OTHER };
    reins.arm(part, point, 0, Form::Kill, *pass)?;
    let first = fleet.command(&format!("promote {promoted}"));
    let reached = reins.disarm(part)?;
    if reached {
        // The signal is on its way at least; this one waits until the part is gone, and is refused if it is.
        let _ = fleet.command(&format!("kill {part} KILL"));
        command(fleet, &format!("spawn {part}"))?;
    } else {
        say(format!("promotions: {point}: not reached"));
    }
    anyhow::ensure!(reached || first["ok"] == true, "promote {promoted}: {first}");
    if first["ok"] != true {
        // One that was killed when all was done is the writer when it is started, and cannot be promoted again.
        wait("the promotion is made", || {
            Ok(fleet.command(&format!("promote {promoted}"))["ok"] == true || api.creates()?)
        })?;
    }
    Ok(reached.then(|| point.to_string()))
}

fn named(standbys: &[String]) -> anyhow::Result<Vec<(String, Endpoint)>> {
    let name = |(index, url): (usize, &String)| Ok((format!("standby-{index}"), url.parse()?));
    standbys.iter().enumerate().map(name).collect()
}

fn command(fleet: &Fleet, line: &str) -> anyhow::Result<serde_json::Value> {
    let answer = fleet.command(line);
    anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
    Ok(answer)
}

fn wait(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let until = Instant::now() + SETTLED_WITHIN;
    while !holds()? {
        anyhow::ensure!(Instant::now() < until, "{what}: not within {} s", SETTLED_WITHIN.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Asks a writer that was replaced to make links until it says that it was, and notes any that it makes.
fn old_writer(lost: &(String, Endpoint), token: &str) -> anyhow::Result<Option<String>> {
    let mut api = Api::of(&lost.1, token);
    let mut made = false;
    wait("the old writer is told", || {
        Ok(match api.create() {
            Some((201, _)) => {
                made = true;
                true
            }
            Some((_, problem)) => problem == "writer_replaced",
            None => false,
        })
    })?;
    Ok(made.then(|| format!("{} acknowledged a link after it was replaced", lost.0)))
}

/// The comparison after a promotion.
struct Check<'a> {
    fleet: &'a Fleet,
    writer: &'a Endpoint,
    links: &'a [Created],
}

impl Check<'_> {
    fn run(&self) -> anyhow::Result<Vec<String>> {
        let mut broken = Vec::new();
        let headers = format!("Authorization: Bearer {}\r\n", self.fleet.ready().token);
        let mut api = Connection::new(self.writer.clone(), API_TIMEOUT);
        for link in self.links {
            let request = get(self.writer, &format!("/v1/links/{}", link.code), &headers);
            let answer = api.exchange(&request).with_context(|| format!("the new writer, {}", link.code))?;
            let json: serde_json::Value = serde_json::from_slice(answer.body).unwrap_or_default();
            if answer.status != 200 || json["long_url"] != *link.long_url {
                broken.push(format!("the new writer answers {} for {link:?}: {json}", answer.status));
            }
        }
        for url in &self.fleet.ready().proxies {
            let proxy: Endpoint = url.parse()?;
            let mut connection = Connection::new(proxy.clone(), API_TIMEOUT);
            let mut redirects = |link: &Created| -> anyhow::Result<bool> {
                let answer = connection.exchange(&get(&proxy, &format!("/{}", link.code), ""))?;
                Ok(answer.status == 302 && answer.location.is_some_and(|to| *to == *link.long_url.as_bytes()))
            };
            // Links of its last moment before it was lost reach a proxy from the new writer.
            if let Some(last) = self.links.last() {
                wait("the proxy has the newest link", || redirects(last))?;
            }
            for link in self.links {
                if !redirects(link)? && wait("the proxy has a link", || redirects(link)).is_err() {
                    broken.push(format!("{url} does not redirect {link:?}"));
                }
            }
        }
        Ok(broken)
    }
}
