//! Promotions, as `signpost-admin promote` does them: ask, fence, adopt, begin.

use std::time::Duration;

use linklog::journal::JournalRead;
use linklog::{Epoch, Head};
use signpost_admin::feed::frames;
use signpost_admin::members::Members;
use signpost_admin::standby::ballot::{self, Yielded};
use signpost_admin::succession::Standing;

use super::server::Role;
use super::{Event, Message, Node, World};
use crate::plan::Plant;

/// How often the highest epoch known is outbid.
const ROUNDS_MAX: u32 = 3;
/// How long answers are waited for.
const POLL: Duration = Duration::from_secs(2);

/// A promotion that is going on.
pub(super) struct Promotion {
    question: u64,
    phase: Phase,
    rounds: u32,
    asked: Vec<Node>,
    answers: Vec<(Node, Standing)>,
}

enum Phase {
    /// Everybody is asked, and nothing is changed.
    Asking,
    /// Everybody accepts the epoch.
    Fencing { epoch: Epoch, ours: Option<Yielded> },
    /// The longest log's end is fetched.
    Adopting { epoch: Epoch, longest: Head, accepted: Vec<Standing>, ours: Option<Yielded> },
}

impl World {
    pub(super) fn promote(&mut self, server: Node) -> Result<(), String> {
        let others: Vec<Node> = (0..self.plan.servers).filter(|other| *other != server).collect();
        let Some(node) = self.standby_of(server) else { return Ok(()) };
        let is_promoted = node.promotion.is_some();
        // The operator promotes none whose log is known to be damaged.
        if is_promoted || self.servers[server].is_damaged {
            return Ok(());
        }
        self.say(|| format!("the operator promotes server {server}"));
        self.ask(server, Phase::Asking, 0, others, Epoch(0));
        Ok(())
    }

    fn ask(&mut self, server: Node, phase: Phase, rounds: u32, asked: Vec<Node>, epoch: Epoch) {
        let question = self.number();
        let life = self.servers[server].life;
        let to = asked.clone();
        if let Some(node) = self.standby_of(server) {
            node.promotion = Some(Promotion { question, phase, rounds, asked, answers: Vec::new() });
        }
        for other in to {
            self.post(server, other, Message::Fence { question, epoch });
        }
        self.queue.after(POLL.as_micros() as u64, Event::PollEnds { server, life, question });
    }

    fn own_standing(&mut self, server: Node) -> Option<Standing> {
        let member = self.servers[server].member.clone();
        let node = self.standby_of(server)?;
        Some(Standing {
            accepted: false,
            member,
            writes: false,
            highest_epoch: node.standby.highest_epoch(),
            accepted_before: Some(node.standby.highest_epoch()),
            head: node.standby.head(),
        })
    }

    /// A server is asked to accept an epoch, or with 0 how it stands.
    pub(super) fn fence(
        &mut self,
        from: Node,
        server: Node,
        question: u64,
        epoch: Epoch,
    ) -> Result<(), String> {
        let member = self.servers[server].member.clone();
        let forgets = self.plants(Plant::ForgetEpoch);
        let goes_on = self.plants(Plant::WriteWhenReplaced);
        let standing = match &mut self.servers[server].role {
            Role::Down => return Ok(()),
            Role::Standby(node) => {
                let accepted_before = Some(node.standby.highest_epoch());
                let accepted = match forgets {
                    true => epoch > node.standby.highest_epoch(),
                    false => match node.standby.fence(epoch) {
                        Ok(accepted) => accepted,
                        Err(_) => return self.kill(server),
                    },
                };
                let highest_epoch = node.standby.highest_epoch().max(if accepted { epoch } else { Epoch(0) });
                let head = node.standby.head();
                let standing =
                    Standing { accepted, member, writes: false, highest_epoch, accepted_before, head };
                let stream = node.stream.filter(|_| accepted && !forgets);
                self.note_promises(server);
                if let Some(stream) = stream {
                    self.over(server, stream)?;
                }
                standing
            }
            Role::Writer(node) => {
                let handle = node.writer.handle();
                let before = handle.highest_epoch();
                let accepted = epoch > before;
                if accepted && !goes_on {
                    handle.fence(epoch.0);
                    self.work(server)?;
                }
                let Role::Writer(node) = &self.servers[server].role else { return Ok(()) };
                let handle = node.writer.handle();
                Standing {
                    accepted,
                    member: String::new(),
                    writes: true,
                    highest_epoch: handle.highest_epoch().max(if accepted { epoch } else { Epoch(0) }),
                    accepted_before: Some(before),
                    head: handle.commit().head,
                }
            }
        };
        self.post(server, from, Message::Standing { question, standing });
        Ok(())
    }

    pub(super) fn standing(
        &mut self,
        from: Node,
        server: Node,
        question: u64,
        standing: Standing,
    ) -> Result<(), String> {
        if question == 0 {
            let Role::Writer(node) = &mut self.servers[server].role else { return Ok(()) };
            let own = node.writer.handle().commit().head.position.epoch;
            if standing.highest_epoch >= own {
                node.untold.retain(|other| *other != from);
            }
            if standing.highest_epoch > own {
                node.writer.handle().fence(standing.highest_epoch.0);
                return self.work(server);
            }
            return Ok(());
        }
        let Some(node) = self.standby_of(server) else { return Ok(()) };
        let Some(promotion) = node.promotion.as_mut().filter(|promotion| promotion.question == question)
        else {
            return Ok(());
        };
        if promotion.answers.iter().all(|(other, _)| *other != from) {
            promotion.answers.push((from, standing));
        }
        match promotion.answers.len() == promotion.asked.len() {
            true => self.go_on(server),
            false => Ok(()),
        }
    }

    pub(super) fn poll_ends(&mut self, server: Node, life: u64, question: u64) -> Result<(), String> {
        if self.servers[server].life != life {
            return Ok(());
        }
        let Some(node) = self.standby_of(server) else { return Ok(()) };
        match &node.promotion {
            Some(promotion) if promotion.question == question => match promotion.phase {
                Phase::Adopting { .. } => self.give_up(server, "the longest log does not come"),
                _ => self.go_on(server),
            },
            _ => Ok(()),
        }
    }

    fn give_up(&mut self, server: Node, why: &str) -> Result<(), String> {
        self.say(|| format!("server {server} is not promoted: {why}"));
        let life = self.servers[server].life;
        if let Some(node) = self.standby_of(server) {
            node.promotion = None;
            node.stream = None;
            self.queue.after(100_000, Event::Dial { node: server, life });
        }
        Ok(())
    }

    fn is_enough(
        &mut self,
        server: Node,
        own: &Standing,
        answers: &[Standing],
        ours: Option<Yielded>,
    ) -> Result<(), String> {
        if self.plants(Plant::PromoteWithFew) {
            return Ok(());
        }
        let min = self.plan.min_sync_replicas;
        let Some(node) = self.standby_of(server) else { return Err("gone".to_owned()) };
        let members = Members::load(&node.standby.reader()).map_err(|error| error.to_string())?;
        let poll = ballot::poll(&members.all(), min, own, answers.iter(), ours);
        let head_seq = ballot::longest_seq(std::iter::once(own).chain(answers));
        poll.is_enough(head_seq).map_err(|few| few.to_string())
    }

    /// What there is to know is known: the next step.
    fn go_on(&mut self, server: Node) -> Result<(), String> {
        let Some(promotion) = self.standby_of(server).and_then(|node| node.promotion.take()) else {
            return Ok(());
        };
        let Some(own) = self.own_standing(server) else { return Ok(()) };
        let standings: Vec<Standing> =
            promotion.answers.iter().map(|(_, standing)| standing.clone()).collect();
        match promotion.phase {
            Phase::Asking => {
                let ours = self.standby_of(server).and_then(|node| node.yielded);
                if let Err(few) = self.is_enough(server, &own, &standings, ours) {
                    return self.give_up(server, &few);
                }
                let epoch = ballot::first_try(own.highest_epoch, standings.iter())?;
                let there = promotion.answers.iter().map(|(node, _)| *node).collect();
                self.fence_all(server, epoch, 0, there)
            }
            Phase::Fencing { epoch, ours } => {
                if let Some(yielded) = ballot::yielded(epoch, standings.iter())
                    && let Some(node) = self.standby_of(server)
                {
                    node.yielded = Some(yielded);
                }
                let (accepted, others): (Vec<_>, Vec<_>) =
                    promotion.answers.into_iter().partition(|(_, standing)| standing.accepted);
                if let Some(higher) = ballot::outbid(epoch, others.iter().map(|(_, standing)| standing)) {
                    if promotion.rounds + 1 >= ROUNDS_MAX {
                        return self.give_up(server, "it was outbid");
                    }
                    let epoch = ballot::after(higher)?;
                    return self.fence_all(server, epoch, promotion.rounds + 1, promotion.asked);
                }
                let adopts = !self.plants(Plant::AdoptNothing);
                let standings: Vec<Standing> =
                    accepted.iter().map(|(_, standing)| standing.clone()).collect();
                let longest = ballot::to_adopt(own.head, &accepted, |(_, standing)| standing.head);
                match longest.filter(|_| adopts) {
                    None => self.begin_epoch(server, epoch, &standings, ours),
                    Some((from, longest)) => {
                        let (from, longest) = (*from, longest.head);
                        let phase = Phase::Adopting { epoch, longest, accepted: standings, ours };
                        self.ask(server, phase, 0, Vec::new(), Epoch(0));
                        let question = self
                            .standby_of(server)
                            .and_then(|node| node.promotion.as_ref())
                            .map_or(0, |promotion| promotion.question);
                        self.post(server, from, Message::Tail { question, after: own.head });
                        Ok(())
                    }
                }
            }
            Phase::Adopting { .. } => Ok(()),
        }
    }

    fn fence_all(&mut self, server: Node, epoch: Epoch, rounds: u32, there: Vec<Node>) -> Result<(), String> {
        let Some(node) = self.standby_of(server) else { return Ok(()) };
        match node.standby.fence(epoch) {
            Ok(true) => {}
            Ok(false) => return self.give_up(server, "it was outbid here"),
            Err(_) => return self.kill(server),
        }
        let ours = node.yielded;
        node.writer = None;
        if let Some(stream) = node.stream.take() {
            self.broken.insert(stream);
        }
        self.ask(server, Phase::Fencing { epoch, ours }, rounds, there.clone(), epoch);
        match there.is_empty() {
            true => self.go_on(server),
            false => Ok(()),
        }
    }

    /// Somebody wants what a log has beyond its own.
    pub(super) fn tail(
        &mut self,
        from: Node,
        server: Node,
        question: u64,
        after: Head,
    ) -> Result<(), String> {
        let Some(journal) = self.servers[server].journal() else { return Ok(()) };
        let head = journal.head().position;
        let ours = journal.digest_at(after.position).map_err(|error| error.to_string())?;
        let mut frames = None;
        let is_kept = after.position.seq.next() >= journal.first_retained();
        if is_kept && (after.position.seq.0 == 0 || ours == Some(after.digest)) {
            let (mut made, mut next) = (Vec::new(), after.position.seq.next());
            while let Some(frame) =
                frames::make(&journal, next, head, true).map_err(|error| error.to_string())?
            {
                next = frame.last.seq.next();
                made.push(frame.bytes);
            }
            frames = Some(made);
        }
        self.post(server, from, Message::Tailed { question, frames });
        Ok(())
    }

    pub(super) fn tailed(
        &mut self,
        server: Node,
        question: u64,
        frames: Option<Vec<bytes::Bytes>>,
    ) -> Result<(), String> {
        let now_us = self.clock_us(server);
        let Some(node) = self.standby_of(server) else { return Ok(()) };
        let Some(promotion) = node.promotion.take_if(|promotion| promotion.question == question) else {
            return Ok(());
        };
        let Phase::Adopting { epoch, longest, accepted, ours } = promotion.phase else { return Ok(()) };
        for frame in frames.unwrap_or_default() {
            match node.standby.adopt(&frame, now_us) {
                Ok(_) => {}
                Err(error) if error.is_fatal() => return self.kill(server),
                Err(_) => return self.give_up(server, "the longest log does not fit"),
            }
        }
        match node.standby.head() == longest {
            true => self.begin_epoch(server, epoch, &accepted, ours),
            false => self.give_up(server, "the longest log came to another end"),
        }
    }

    fn begin_epoch(
        &mut self,
        server: Node,
        epoch: Epoch,
        accepted: &[Standing],
        ours: Option<Yielded>,
    ) -> Result<(), String> {
        let Some(own) = self.own_standing(server) else { return Ok(()) };
        if own.highest_epoch != epoch {
            return self.give_up(server, "another epoch was accepted here");
        }
        if let Err(few) = self.is_enough(server, &own, accepted, ours) {
            return self.give_up(server, &few);
        }
        self.oracle.begins(epoch);
        let now_ms = self.clock_us(server) / 1_000;
        let Role::Standby(node) = std::mem::replace(&mut self.servers[server].role, Role::Down) else {
            return Ok(());
        };
        if node.standby.promote(now_ms).is_err() {
            return self.kill(server);
        }
        self.promotions += 1;
        self.servers[server].life += 1;
        self.say(|| format!("server {server} is the writer"));
        self.open_writer(server)
    }
}
