//! Making this standby the writer, step by step. Killed between any two of them nothing is lost: run it again.
//!
//! 1. Ask everybody how they stand, changing nothing: too few, and it is refused with everything as it was.
//! 2. Accept the new epoch here, then have the others accept it, the old writer included if it answers.
//! 3. Adopt the longest log among those that accepted.
//! 4. Begin the epoch with its record. From then on the log is opened by a writer.

use std::sync::Arc;

use linklog::{Epoch, Position};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ballot::{self, Yielded};
use super::engine::Engine;
use super::status::{State, Status};
use crate::blocking;
use crate::members::Members;
use crate::succession::peer::Asker;
use crate::succession::{Side, Standing};

/// How often the highest epoch known is outbid before the operator is asked to try again.
const ROUNDS_MAX: u32 = 3;

/// What a promotion works with.
pub(crate) struct Promotion {
    pub engine: Arc<Engine>,
    pub status: Arc<Status>,
    pub members: Members,
    pub asker: Asker,
    /// Feeds of the writers and of the other sync members, each once.
    pub others: Vec<String>,
    pub min_sync_replicas: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Go on with fewer than enough.
    accept_loss: bool,
}

/// Somebody who answered.
struct Answer {
    url: String,
    standing: Standing,
}

impl Promotion {
    /// Does all of it.
    ///
    /// # Errors
    /// Why not, for the operator, and what is as it was.
    pub(crate) async fn run(&self, args: Args) -> Result<Value, String> {
        let _under_way = self.engine.begin_promotion();
        let damage = self.sound(args.accept_loss)?;
        let own = self.fence_here(Epoch(0)).await?;
        let answers = self.ask(&self.others, Epoch(0)).await;
        let warning = self
            .enough(&own, &answers, self.engine.yielded(), args.accept_loss)
            .map_err(|error| format!("{error}. Nothing was changed; --accept-loss goes on all the same"))?;
        let mut epoch = ballot::first_try(own.highest_epoch, answers.iter().map(|answer| &answer.standing))?;
        // Whoever is silent now would only be waited for again.
        let there: Vec<String> = answers.into_iter().map(|answer| answer.url).collect();
        tracing::warn!(%epoch, "promotion begins");
        let before = self.status.snapshot().state;
        for _ in 0..ROUNDS_MAX {
            let own = self.fence_here(epoch).await?;
            let ours = self.engine.yielded();
            let answers = self.ask(&there, epoch).await;
            if let Some(yielded) = ballot::yielded(epoch, answers.iter().map(|answer| &answer.standing)) {
                self.engine.note_yielded(yielded);
            }
            let (accepted, others): (Vec<_>, Vec<_>) =
                answers.into_iter().partition(|answer| answer.standing.accepted);
            if let Some(higher) = ballot::outbid(
                epoch,
                // Another promotion may have had this log accept the same epoch.
                others.iter().map(|answer| &answer.standing).chain((!own.accepted).then_some(&own)),
            ) {
                epoch = ballot::after(higher)?;
                continue;
            }
            let begun = self.begin(own, epoch, accepted, ours, args.accept_loss).await;
            if begun.is_err() {
                self.status.lost(before, "a promotion was begun and not ended".to_owned());
            }
            let position = begun?;
            tracing::warn!(at = %position, "promoted: this is the writer from now on");
            return Ok(json!({
                "epoch": position.epoch.0,
                "seq": position.seq.0,
                "at_risk": damage.into_iter().chain(warning).reduce(|both, next| format!("{both}; {next}")),
            }));
        }
        Err("another promotion is going on: wait for it, and look which server became the writer".to_owned())
    }

    /// Says whether the last look at the disk found damage; with `accept_loss` what it is, if there is any.
    fn sound(&self, accept_loss: bool) -> Result<Option<String>, String> {
        let Some(damage) = self.status.damage() else { return Ok(None) };
        let damage = format!("the log of this standby is damaged on its disk ({damage})");
        if accept_loss {
            tracing::warn!(damage, "the operator accepts damage");
            return Ok(Some(damage));
        }
        Err(format!(
            "{damage}: promote another one; this one fetches another log as soon as it follows a writer. Nothing was changed; --accept-loss \
             goes on all the same"
        ))
    }

    async fn begin(
        &self,
        own: Standing,
        epoch: Epoch,
        accepted: Vec<Answer>,
        ours: Option<Yielded>,
        accept_loss: bool,
    ) -> Result<Position, String> {
        self.status.lost(State::Promoting, "being made the writer".to_owned());
        if let Some(longest) = ballot::to_adopt(own.head, &accepted, |answer| answer.standing.head) {
            self.adopt(longest).await?;
        }
        // The log may have named other members meanwhile.
        self.members.reload().map_err(|error| error.to_string())?;
        let here = self.fence_here(Epoch(0)).await?;
        self.enough(&here, &accepted, ours, accept_loss).map_err(|error| {
            format!("{error}. This standby takes nothing more from the old writer; run the command again")
        })?;
        let engine = self.engine.clone();
        let promoted = blocking::run(move || engine.promote(epoch));
        promoted.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Accepts an epoch on this log, or with 0 only says how it stands.
    async fn fence_here(&self, epoch: Epoch) -> Result<Standing, String> {
        let engine = self.engine.clone();
        let fenced = blocking::run(move || engine.fence(epoch, engine.member()));
        fenced.await.map_err(|error| error.to_string())?
    }

    /// Asks all of `urls` at once; who does not answer is logged.
    async fn ask(&self, urls: &[String], epoch: Epoch) -> Vec<Answer> {
        let mut asking = tokio::task::JoinSet::new();
        for url in urls.iter().cloned() {
            let asker = self.asker.clone();
            asking.spawn(async move {
                let answer = asker.fence(&url, epoch).await;
                (url, answer)
            });
        }
        let mut answers = Vec::new();
        while let Some(Ok((url, answer))) = asking.join_next().await {
            match answer {
                Ok(standing) => answers.push(Answer { url, standing }),
                Err(problem) => tracing::warn!(url, problem, "no answer before a promotion"),
            }
        }
        answers
    }

    /// Says whether these are enough; with `accept_loss` what is at risk, if anything.
    fn enough(
        &self,
        own: &Standing,
        answers: &[Answer],
        ours: Option<Yielded>,
        accept_loss: bool,
    ) -> Result<Option<String>, String> {
        let standings = answers.iter().map(|answer| &answer.standing);
        let poll = ballot::poll(&self.members.all(), self.min_sync_replicas, own, standings.clone(), ours);
        let head_seq = ballot::longest_seq(std::iter::once(own).chain(standings));
        match poll.is_enough(head_seq) {
            Ok(()) => Ok(None),
            Err(risk) if accept_loss => {
                tracing::warn!(%risk, "the operator accepts a loss");
                Ok(Some(risk.to_string()))
            }
            Err(risk) => Err(risk.to_string()),
        }
    }

    /// Adds what a longer log has beyond this one.
    async fn adopt(&self, longest: &Answer) -> Result<(), String> {
        let url = &longest.url;
        let words = |problem: String| {
            format!(
                "{url} has the longest log and its end cannot be fetched: {problem}. This standby takes nothing more from the old writer; run \
                 the command again, or on that one"
            )
        };
        let own = self.fence_here(Epoch(0)).await?;
        tracing::info!(url, from = %own.head.position, to = %longest.standing.head.position, "adopting a longer log");
        let mut frames = self.asker.tail(url, own.head).await.map_err(words)?;
        while let Some(frame) =
            frames.message().await.map_err(|status| words(wire::channel::reason(&status)))?
        {
            let engine = self.engine.clone();
            let adopted = blocking::run(move || engine.adopt(&frame.frame));
            let adopted =
                adopted.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            adopted.map_err(|error| words(error.to_string()))?;
        }
        let own = self.fence_here(Epoch(0)).await?;
        match own.head == longest.standing.head {
            true => Ok(()),
            false => Err(words(format!("it ended at record {}", own.head.position))),
        }
    }
}
