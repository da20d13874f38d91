//! The log that is followed: one thing at a time is done to it, and after a promotion nothing.

use std::sync::Arc;

use linklog::replica::Mismatch;
use linklog::standby::{FollowError, Followed, Standby, StandbyFailure};
use linklog::{Digest, Epoch, Head, Position, SlotSum};
use parking_lot::Mutex;
use tokio::sync::watch;
use wire::identity::FleetId;

use super::ballot::Yielded;
use crate::clock;
use crate::succession::{Side, Standing};

/// Called after a failed write: the process has to end.
pub(crate) type OnFatal = Arc<dyn Fn(&dyn std::error::Error) + Send + Sync>;

/// The log was promoted, or is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this log is followed no more")]
pub(crate) struct NotFollowed;

/// Why an epoch was not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromoteError {
    #[error(transparent)]
    NotFollowed(#[from] NotFollowed),
    #[error("epoch {accepted} was accepted here for another promotion")]
    Outbid { accepted: Epoch },
    #[error(transparent)]
    Failed(#[from] StandbyFailure),
}

/// Everything that happens to the log goes through here. Every call may wait for the disk.
pub(crate) struct Engine {
    log: Mutex<Option<Standby>>,
    member: String,
    fleet: Box<dyn Fn() -> Option<FleetId> + Send + Sync>,
    /// The highest epoch accepted.
    accepted: watch::Sender<Epoch>,
    /// How many promotions of this process are under way: one, unless an operator is in a hurry.
    promotions: watch::Sender<u32>,
    /// The writer that yielded to a promotion of this process, if one did. Forgotten with the process: who was asked by it cannot be known
    /// afterwards.
    yielded: Mutex<Option<Yielded>>,
    on_fatal: OnFatal,
}

/// Where the log stands when a stream begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub head: Head,
    pub highest_epoch: Epoch,
}

impl Engine {
    pub(crate) fn new(
        log: Standby,
        member: String,
        fleet: Box<dyn Fn() -> Option<FleetId> + Send + Sync>,
        on_fatal: OnFatal,
    ) -> Engine {
        let accepted = watch::Sender::new(log.highest_epoch());
        let yielded = Mutex::default();
        let promotions = watch::Sender::new(0);
        Engine { log: Mutex::new(Some(log)), member, fleet, accepted, promotions, yielded, on_fatal }
    }

    pub(crate) fn member(&self) -> &str {
        &self.member
    }

    pub(crate) fn fleet_id(&self) -> Option<FleetId> {
        (self.fleet)()
    }

    /// Is told of every epoch accepted.
    pub(crate) fn accepted(&self) -> watch::Receiver<Epoch> {
        self.accepted.subscribe()
    }

    /// Says that this process is being promoted, until what is returned is dropped.
    pub(crate) fn begin_promotion(&self) -> PromotionUnderWay<'_> {
        self.promotions.send_modify(|promotions| *promotions += 1);
        PromotionUnderWay(self)
    }

    pub(crate) fn is_being_promoted(&self) -> bool {
        *self.promotions.borrow() > 0
    }

    /// Waits until this process is not being promoted.
    pub(crate) async fn not_being_promoted(&self) {
        // It fails only when there is no sender, and that is us.
        let _ = self.promotions.subscribe().wait_for(|promotions| *promotions == 0).await.is_ok();
    }

    pub(crate) fn place(&self) -> Result<Place, NotFollowed> {
        self.with(|log| Place { head: log.head(), highest_epoch: log.highest_epoch() })
    }

    /// Adds a frame that the writer of an epoch sent.
    pub(crate) fn follow(
        &self,
        frame: &[u8],
        writer: Epoch,
    ) -> Result<Result<Followed, FollowError>, NotFollowed> {
        let followed = self.with(|log| log.follow(frame, writer, clock::now_us()))?;
        Ok(self.see(followed))
    }

    /// Adds a frame that another one had beyond this log.
    pub(crate) fn adopt(&self, frame: &[u8]) -> Result<Result<Followed, FollowError>, NotFollowed> {
        let followed = self.with(|log| log.adopt(frame, clock::now_us()))?;
        Ok(self.see(followed))
    }

    fn see(&self, followed: Result<Followed, FollowError>) -> Result<Followed, FollowError> {
        if let Err(error) = &followed
            && error.is_fatal()
        {
            (self.on_fatal)(error);
        }
        followed
    }

    pub(crate) fn check(
        &self,
        position: Position,
        digest: Digest,
        serve_sum: Option<SlotSum>,
    ) -> Result<Result<(), Mismatch>, NotFollowed> {
        self.with(|log| log.check(position, digest, serve_sum))
    }

    pub(crate) fn housekeeping(&self) -> Result<(), NotFollowed> {
        self.with(Standby::housekeeping)?.unwrap_or_else(|error| (self.on_fatal)(&error));
        Ok(())
    }

    /// The writer that has yielded to a promotion of this process.
    pub(crate) fn yielded(&self) -> Option<Yielded> {
        *self.yielded.lock()
    }

    /// Notes that a writer has yielded.
    pub(crate) fn note_yielded(&self, yielded: Yielded) {
        *self.yielded.lock() = Some(yielded);
    }

    /// Begins `epoch`, the highest accepted. The log is closed afterwards, for its writer to open.
    ///
    /// # Errors
    /// A higher one was accepted meanwhile, for another promotion: the log is as it was, and followed on. Whatever else fails is fatal.
    pub(crate) fn promote(&self, epoch: Epoch) -> Result<Position, PromoteError> {
        let mut place = self.log.lock();
        let accepted = place.as_ref().map(Standby::highest_epoch).ok_or(NotFollowed)?;
        if accepted != epoch {
            return Err(PromoteError::Outbid { accepted });
        }
        let log = place.take().ok_or(NotFollowed)?;
        let promoted = log.promote(clock::now_ms());
        if let Err(error) = &promoted {
            // It is open no more: only a start finds out how it is.
            (self.on_fatal)(error);
        }
        Ok(promoted?)
    }

    /// Closes the log.
    pub(crate) fn close(&self) {
        drop(self.log.lock().take());
    }

    fn with<T>(&self, work: impl FnOnce(&mut Standby) -> T) -> Result<T, NotFollowed> {
        self.log.lock().as_mut().map(work).ok_or(NotFollowed)
    }
}

/// A promotion that has not come to its end.
pub(crate) struct PromotionUnderWay<'a>(&'a Engine);

impl Drop for PromotionUnderWay<'_> {
    fn drop(&mut self) {
        self.0.promotions.send_modify(|promotions| *promotions -= 1);
    }
}

impl Side for Engine {
    fn fence(&self, epoch: Epoch, by: &str) -> Result<Standing, String> {
        let fenced = self.with(|log| {
            let before = log.highest_epoch();
            let accepted = log.fence(epoch)?;
            Ok(Standing {
                accepted,
                member: self.member.clone(),
                writes: false,
                highest_epoch: log.highest_epoch(),
                accepted_before: Some(before),
                head: log.head(),
            })
        });
        match fenced.map_err(|error| error.to_string())? {
            Ok(standing) => {
                if standing.accepted {
                    tracing::warn!(%epoch, by, "accepted a new epoch: nothing of an older writer is followed any more");
                    self.accepted.send_replace(standing.highest_epoch);
                }
                Ok(standing)
            }
            Err(error) => {
                let error: StandbyFailure = error;
                (self.on_fatal)(&error);
                Err(error.to_string())
            }
        }
    }

    fn fleet(&self) -> Option<FleetId> {
        self.fleet_id()
    }
}
