//! Clients that lease from whichever pool they like, repeat what got no answer, and remember every code.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{RwLock as Gated, RwLockWriteGuard};
use tokio::time::timeout;
use tonic::transport::Channel;
use wire::channel::keys_client;
use wire::identity::Role;
use wire::keys::key_supply_client::KeySupplyClient;
use wire::keys::{LeaseReply, LeaseRequest};

use crate::pace::StopFlag;

/// How long a pool may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a client waits after a failure.
const PAUSE: Duration = Duration::from_millis(10);
/// One of so many answered requests is repeated.
const REPEATED_OF: u32 = 20;
/// Most contradictions that are told.
const BROKEN_MAX: usize = 20;

/// A pool as its clients know it.
pub(super) struct Supply {
    url: String,
    slots: Mutex<Range<u16>>,
    /// Rises when the pool becomes another one; held for reading while a request is under way.
    incarnation: Gated<u64>,
    /// Every code it was answered with.
    codes: Mutex<Vec<u64>>,
}

/// As long as it exists, no request is under way.
pub(super) type Gate<'a> = RwLockWriteGuard<'a, u64>;

impl Supply {
    pub(super) fn new(url: String, slots: Range<u16>) -> Supply {
        let (codes, slots) = (Mutex::default(), Mutex::new(slots));
        Supply { url, slots, incarnation: Gated::new(0), codes }
    }

    pub(super) async fn connect(&self) -> anyhow::Result<KeySupplyClient<Channel>> {
        let endpoint = wire::channel::endpoint(&self.url, None, Role::Keypool)?;
        Ok(keys_client(endpoint.connect().await?))
    }

    /// Waits until no request is under way; those to come go to another pool of the same address.
    pub(super) fn become_another(&self) -> Gate<'_> {
        let mut gate = self.incarnation.blocking_write();
        *gate += 1;
        gate
    }

    pub(super) fn slots(&self) -> Range<u16> {
        lock(&self.slots).clone()
    }

    pub(super) fn shrink_to(&self, slots: Range<u16>) {
        *lock(&self.slots) = slots;
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.codes).len()
    }

    pub(super) fn codes_from(&self, first: usize) -> Vec<u64> {
        lock(&self.codes)[first..].to_vec()
    }

    /// Names a number that is no code, if there is one.
    pub(super) fn foreign(&self) -> Option<String> {
        let codes = lock(&self.codes);
        let foreign = codes.iter().find(|code| **code >= 62u64.pow(7));
        foreign.map(|code| format!("{} leased {code}, which is no code", self.url))
    }
}

/// What the clients have done so far.
pub(super) struct Shared {
    goal: u64,
    block: u32,
    pub(super) codes: AtomicU64,
    pub(super) leases: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) unanswered: AtomicU64,
    is_over: AtomicBool,
    supplies: RwLock<Vec<Arc<Supply>>>,
    broken: Mutex<Vec<String>>,
}

impl Shared {
    pub(super) fn new(goal: u64, block: u32) -> Shared {
        Shared {
            goal,
            block,
            codes: AtomicU64::new(0),
            leases: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            supplies: RwLock::default(),
            broken: Mutex::default(),
        }
    }

    pub(super) fn add(&self, supply: Arc<Supply>) {
        self.supplies.write().unwrap_or_else(PoisonError::into_inner).push(supply);
    }

    /// Says whether as many codes were leased as were asked for.
    pub(super) fn has_enough(&self) -> bool {
        self.codes.load(Ordering::Relaxed) >= self.goal
    }

    /// Has the clients end.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn broken(&self) -> Vec<String> {
        lock(&self.broken).clone()
    }

    /// Every code of every pool.
    pub(super) fn all_codes(&self) -> Vec<u64> {
        let supplies = self.supplies.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::with_capacity(supplies.iter().map(|supply| supply.count()).sum());
        for supply in supplies.iter() {
            // Taken, not copied: there may be a hundred million.
            all.append(&mut lock(&supply.codes));
        }
        all
    }

    fn say_broken(&self, line: String) {
        let mut broken = lock(&self.broken);
        if broken.len() < BROKEN_MAX {
            broken.push(line);
        }
    }
}

/// The running clients.
pub(super) struct Clients(Vec<JoinHandle<()>>);

impl Clients {
    pub(super) fn start(
        shared: &Arc<Shared>,
        count: u16,
        seed: u64,
        stop: &StopFlag,
    ) -> anyhow::Result<Clients> {
        let start = |number: u16| {
            let (shared, stop) = (shared.clone(), stop.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let random = SmallRng::seed_from_u64(seed.wrapping_add(u64::from(number) << 32));
            let mut client = Client { shared, random, requests: HashMap::new(), connections: HashMap::new() };
            let run = move || {
                while !client.shared.is_over.load(Ordering::Relaxed) && !stop.is_set() {
                    runtime.block_on(client.lease());
                }
            };
            std::thread::Builder::new().name(format!("client {number}")).spawn(run)
        };
        let threads = (0..count).map(start).collect::<Result<_, _>>().context("cannot start a client")?;
        Ok(Clients(threads))
    }

    pub(super) fn join(self) -> anyhow::Result<()> {
        for thread in self.0 {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        }
        Ok(())
    }
}

struct Client {
    shared: Arc<Shared>,
    random: SmallRng,
    /// Requests without an answer, by pool, with the incarnation they went to.
    requests: HashMap<usize, (u64, [u8; 16])>,
    connections: HashMap<usize, KeySupplyClient<Channel>>,
}

impl Client {
    async fn lease(&mut self) {
        let supplies = self.shared.supplies.read().unwrap_or_else(PoisonError::into_inner).clone();
        let chosen = self.random.random_range(0..supplies.len());
        let supply = &supplies[chosen];
        // Somebody who wants to write has killed the pool: a request under way ends by that.
        let Ok(incarnation) = supply.incarnation.try_read() else { return tokio::time::sleep(PAUSE).await };
        let known = self.requests.get(&chosen).filter(|(at, _)| *at == *incarnation);
        let id = known.map_or_else(|| self.random.random(), |(_, id)| *id);
        self.requests.insert(chosen, (*incarnation, id));
        match self.ask(supply, chosen, id).await {
            Ok(reply) => {
                self.requests.remove(&chosen);
                if self.random.random_range(0..REPEATED_OF) == 0 {
                    self.repeat(supply, chosen, id, &reply).await;
                }
                self.shared.leases.fetch_add(1, Ordering::Relaxed);
                self.shared.codes.fetch_add(reply.codes.len() as u64, Ordering::Relaxed);
                lock(&supply.codes).extend_from_slice(&reply.codes);
            }
            Err(_) => {
                self.shared.unanswered.fetch_add(1, Ordering::Relaxed);
                self.connections.remove(&chosen);
                drop(incarnation);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn repeat(&mut self, supply: &Supply, chosen: usize, id: [u8; 16], first: &LeaseReply) {
        // It may be gone meanwhile; then there is nothing to compare.
        let Ok(again) = self.ask(supply, chosen, id).await else { return };
        self.shared.repeated.fetch_add(1, Ordering::Relaxed);
        if again != *first {
            let (first, again) = (first.lease_number, again.lease_number);
            self.shared.say_broken(format!(
                "{} answered one request with lease {first} and again with lease {again}",
                supply.url
            ));
        }
    }

    async fn ask(&mut self, supply: &Supply, chosen: usize, id: [u8; 16]) -> anyhow::Result<LeaseReply> {
        let request = LeaseRequest {
            request_id: id.to_vec(),
            holder: "loadtest".to_owned(),
            epoch: 1,
            count: self.shared.block,
        };
        let asking = async {
            let mut client = match self.connections.get(&chosen) {
                Some(client) => client.clone(),
                None => supply.connect().await?,
            };
            let reply = client.lease(request).await?.into_inner();
            anyhow::Ok((client, reply))
        };
        let (client, reply) = timeout(ANSWER_MAX, asking).await??;
        self.connections.insert(chosen, client);
        Ok(reply)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
