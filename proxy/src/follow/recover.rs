//! Another replica in the place of one that will not do.
//!
//! Owned here: a replica that is damaged or another than the writer's is never applied to again, not after a restart either; it is served
//! from until another one is in place, and removed when nobody reads from it any more.

use std::sync::Arc;
use std::time::Duration;

use bootstrap::{BootstrapError, Wish};
use linklog::Position;
use linklog::replica::StillOpen;
use linklog::store::Contents;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;
use wire::feed::refusal::Reason;

use super::applier::{Fault, NewReplica, Standing, Work};
use super::status::Status;
use super::stream::Follower;
use crate::bootstrap::{BootstrapOptions, Made};
use crate::replica_dirs::ReplicaDirs;
use crate::scrub::{Damage, Scrub};

/// How often it is logged how far a bootstrap is.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How long readers may take to let go of a replica before it is left for the next start to remove.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What recovering works with.
pub struct Recovery {
    /// How replicas are made.
    pub bootstrap: BootstrapOptions,
    /// The folder of the replica in use.
    pub number: u64,
    /// Damage that a look at the disk finds.
    pub found: mpsc::UnboundedReceiver<Damage>,
    /// Who looks at the disk.
    pub scrub: Arc<Scrub>,
    /// Why the replica in use is known not to do since before this process began.
    pub known_damage: Option<String>,
}

/// Why another replica is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Need {
    why: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The writer has trimmed what we lack, or it is too much.
    Behind,
    /// The writer's log is not the one we followed.
    OtherHistory,
    /// Ours is not what the log makes of it.
    Damaged,
}

impl Need {
    /// What a writer's refusal asks for, if another replica is the answer to it.
    pub(super) fn of_refusal(reason: Reason, detail: &str) -> Option<Need> {
        let kind = match reason {
            Reason::SnapshotRequired => Kind::Behind,
            Reason::Diverged => Kind::OtherHistory,
            _ => return None,
        };
        Some(Need { why: detail.to_owned(), kind })
    }

    /// What a fault asks for, if another replica is the answer to it.
    pub(super) fn of_fault(fault: &Fault) -> Option<Need> {
        let kind = match fault {
            fault if fault.is_damage() || fault.is_other_state() => Kind::Damaged,
            fault if fault.is_divergence() => Kind::OtherHistory,
            _ => return None,
        };
        Some(Need { why: fault.to_string(), kind })
    }

    /// A proxy without any record, and a writer with many.
    pub(super) fn far_behind(head: Position) -> Need {
        Need { why: format!("the replica is empty and the writer is at record {head}"), kind: Kind::Behind }
    }

    /// A proxy without any record, and no writer.
    pub(super) fn no_writer() -> Need {
        Need { why: "the replica is empty and only a standby answers".to_owned(), kind: Kind::Behind }
    }

    /// Whether a snapshot of any writer or standby will do. Of another history only the writer that said so is known not to have the old one.
    pub(super) fn is_met_by_anybody(&self) -> bool {
        self.kind != Kind::OtherHistory
    }

    /// Whether other proxies are likely to need one at this moment too.
    pub(super) fn is_everybodys(&self) -> bool {
        self.kind != Kind::Damaged
    }

    fn damaged(what: String) -> Need {
        Need { why: what, kind: Kind::Damaged }
    }

    /// What is noted in a replica's folder. What cannot be told any more is taken for the worst.
    fn note(&self) -> String {
        let kind = if self.kind == Kind::Damaged { DAMAGE_NOTE } else { HISTORY_NOTE };
        format!("{kind}: {}", self.why)
    }

    fn of_note(note: &str) -> Need {
        match note.strip_prefix(DAMAGE_NOTE).and_then(|rest| rest.strip_prefix(": ")) {
            Some(why) => Need::damaged(why.to_owned()),
            None => Need { why: note.to_owned(), kind: Kind::OtherHistory },
        }
    }
}

/// How a note about damage begins.
const DAMAGE_NOTE: &str = "damage";
/// How a note about another history begins.
const HISTORY_NOTE: &str = "history";

/// Fetches replicas and puts them in place.
pub(super) struct Recoverer {
    recovery: Recovery,
    generation: u64,
    applier: mpsc::Sender<Work>,
    status: Arc<Status>,
    stop: CancellationToken,
    /// Nothing may be applied before there is another replica.
    must: Option<Need>,
}

impl Recoverer {
    pub(super) fn new(
        recovery: Recovery,
        generation: u64,
        applier: mpsc::Sender<Work>,
        status: Arc<Status>,
        stop: CancellationToken,
    ) -> Recoverer {
        let must = recovery.known_damage.as_deref().map(Need::of_note);
        if let Some(need) = &must {
            status.damaged(&need.why);
        }
        Recoverer { recovery, generation, applier, status, stop, must }
    }

    /// Says why nothing may be applied before there is another replica.
    pub(super) const fn must(&self) -> Option<&Need> {
        self.must.as_ref()
    }

    /// Waits until a look at the disk has found damage in the replica in use.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn damage_found(&mut self) -> Need {
        loop {
            match self.recovery.found.recv().await {
                Some(damage) if damage.generation == self.generation => {
                    tracing::error!(
                        problem = damage.what,
                        "the replica on the disk is damaged, still serving"
                    );
                    let need = Need::damaged(damage.what);
                    self.damaged(&need);
                    return need;
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Notes, durably, that the replica in use will not do. Nothing more is applied to it.
    pub(super) fn damaged(&mut self, need: &Need) {
        self.status.damaged(&need.why);
        self.recovery.scrub.let_go();
        if let Err(error) = self.dirs().mark_damaged(self.recovery.number, &need.note()) {
            tracing::error!(%error, "cannot note that the replica is damaged: a restart would apply to it again");
        }
        self.must = Some(need.clone());
    }

    fn dirs(&self) -> &ReplicaDirs {
        &self.recovery.bootstrap.dirs
    }

    /// Fetches another replica from the writer or standby at `url`, or else from another one of `urls`, and puts it in the place of the one in
    /// use.
    ///
    /// # Errors
    /// Why not from the first. The one in use is then as before.
    pub(super) async fn recover(
        &mut self,
        url: &str,
        urls: &[String],
        follower: &Follower,
        stream: u64,
        need: &Need,
    ) -> Result<(), BootstrapError> {
        let Err(first) = self.recover_from(url, follower, stream, need).await else { return Ok(()) };
        if !need.is_met_by_anybody() || !first.is_of_whom_was_asked() {
            return Err(first);
        }
        for other in urls.iter().filter(|other| *other != url) {
            match self.recover_from(other, follower, stream, need).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_of_whom_was_asked() => {}
                Err(error) => return Err(error),
            }
        }
        Err(first)
    }

    async fn recover_from(
        &mut self,
        url: &str,
        follower: &Follower,
        stream: u64,
        need: &Need,
    ) -> Result<(), BootstrapError> {
        self.status.bootstrap_needed(&need.why);
        tracing::warn!(from = url, why = need.why, "fetching another replica, still serving");
        let standing = self.standing(stream).await?;
        let wish = Wish {
            url,
            identity: follower.identity.as_ref(),
            name: &follower.name,
            fleet: follower.fleet(&standing),
            contents: Contents::Serve,
            // Visitors never see an older state than they did.
            at_least_seq: match need.kind {
                // And an empty one is of no use.
                Kind::Behind | Kind::Damaged => standing.head.position.seq.0.max(1),
                Kind::OtherHistory => 0,
            },
            highest_epoch: standing.highest_epoch,
        };
        let begun = Instant::now();
        let made = self.make(&wish).await?;
        let (head, bytes) = (made.manifest.head.position, made.manifest.bytes());
        self.put_in_place(made, need.kind).await?;
        tracing::info!(head = %head, bytes, took = ?begun.elapsed(), "serving from another replica");
        Ok(())
    }

    /// Makes a replica, and logs now and then how far it is.
    async fn make(&self, wish: &Wish<'_>) -> Result<Made, BootstrapError> {
        let making = self.recovery.bootstrap.make(wish, self.recovery.number, &self.status, &self.stop);
        tokio::pin!(making);
        let mut ticks = interval_at(Instant::now() + LOG_EVERY, LOG_EVERY);
        loop {
            tokio::select! {
                made = &mut making => return made,
                _ = ticks.tick() => if let Some(now) = self.status.snapshot().bootstrapping {
                    tracing::info!(phase = now.phase, bytes = now.bytes, of = now.of, "fetching another replica");
                },
            }
        }
    }

    /// Asks where the replica stands, after everything that was received before is applied.
    async fn standing(&self, stream: u64) -> Result<Standing, BootstrapError> {
        let (fault, _) = oneshot::channel();
        let (standing, answer) = oneshot::channel();
        let sent = self.applier.send(Work::Begin { stream, fault, standing }).await;
        sent.map_err(|_| BootstrapError::Stopping)?;
        answer.await.map_err(|_| BootstrapError::Stopping)
    }

    async fn put_in_place(&mut self, made: Made, kind: Kind) -> Result<(), BootstrapError> {
        let Made { replica, number, manifest } = made;
        let generation = self.generation + 1;
        let is_other_history = kind == Kind::OtherHistory;
        let new = NewReplica { replica, generation, at_ms: manifest.at_ms, is_other_history };
        let (done, in_place) = oneshot::channel();
        let sent = self.applier.send(Work::Switch { made: Box::new(new), done }).await;
        sent.map_err(|_| BootstrapError::Stopping)?;
        let old = in_place.await.map_err(|_| BootstrapError::Stopping)?;
        (self.generation, self.recovery.number, self.must) = (generation, number, None);
        remove_when_closed(self.dirs().clone(), number, old);
        Ok(())
    }
}

/// Removes the replicas before `number` when nobody has the last of them open any more; what fails is left for the next start.
fn remove_when_closed(dirs: ReplicaDirs, number: u64, old: StillOpen) {
    let begun = Instant::now();
    let remove = move || {
        while old.get() && begun.elapsed() < CLOSED_WITHIN {
            std::thread::sleep(LOOK_EVERY);
        }
        if old.get() {
            return tracing::warn!("the old replica is still read from: the next start removes it");
        }
        match dirs.remove_before(number) {
            Ok(()) => tracing::info!("removed the old replica"),
            Err(error) => tracing::warn!(%error, "cannot remove the old replica: the next start tries again"),
        }
    };
    if let Err(error) = std::thread::Builder::new().name("remove-replica".into()).spawn(remove) {
        tracing::warn!(%error, "cannot remove the old replica: the next start tries again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_knows_what_was_wrong_with_the_replica() {
        for kind in [Kind::Damaged, Kind::OtherHistory] {
            let need = Need { why: "a: reason".into(), kind };
            let again = Need::of_note(&need.note());
            assert!(again.kind == kind && again.why.ends_with(&need.why), "{again:?}");
        }
        assert_eq!(Need::of_note("").kind, Kind::OtherHistory);
    }
}
