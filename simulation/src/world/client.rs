//! Clients: they fight for names, try again when they do not know what became of a command, and remember what they were told.

use linklog::link::{Link, LinkManage};
use linklog::{Change, Code, CommandId, DomainId, Key, Operation, Part, Precondition, StateKey};

use super::{Event, Message, Node, World};
use crate::plan::Plant;

/// How many codes there are that are made once.
const CODES: u64 = 40;
/// From here on commands are the operator's.
const OPERATORS: u64 = 1 << 40;
/// How long a client waits for an answer, microseconds.
const PATIENCE_US: u64 = 6_000_000;

/// What a client is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Done,
    Conflict,
    /// It may have taken effect or not.
    Unknown,
    /// Another server is to be asked.
    NotWriter,
}

struct Command {
    client: usize,
    change: Change,
    code: Option<u64>,
    attempt: u64,
    to: Node,
    is_done: bool,
}

/// All commands there ever were, by their number.
#[derive(Default)]
pub(super) struct Clients {
    commands: Vec<Command>,
    operators: u64,
}

impl Clients {
    pub(super) const fn is_clients(&self, command: u64) -> bool {
        command < OPERATORS
    }

    /// Returns the code that a command makes a link under, if it is one that is used once.
    pub(super) fn code_of(&self, command: u64) -> Option<u64> {
        self.commands.get(command as usize)?.code
    }
}

impl World {
    /// A client asks for something new.
    pub(super) fn client_acts(&mut self, client: usize) -> Result<(), String> {
        if self.at_peace {
            return Ok(());
        }
        let number = self.clients.commands.len() as u64;
        let (change, code) = self.draw_change(number);
        let to = self.random.below(self.plan.servers as u64) as Node;
        self.clients.commands.push(Command { client, change, code, attempt: 0, to, is_done: false });
        self.try_command(number);
        Ok(())
    }

    fn draw_change(&mut self, number: u64) -> (Change, Option<u64>) {
        let alias = self.random.below(self.plan.aliases);
        let version = self.random.between(1, 5);
        let (name, code, precondition, is_put) = match self.random.below(10) {
            0..3 => (format!("alias-{alias}"), None, Precondition::Absent, true),
            3..6 => {
                let code = self.random.below(CODES);
                (format!("once-{code}"), Some(code), Precondition::NeverUsed, true)
            }
            6 => (format!("alias-{alias}"), None, Precondition::Version(version), true),
            7 => (format!("alias-{alias}"), None, Precondition::Any, true),
            8 => (format!("once-{}", self.random.below(CODES)), None, Precondition::Any, false),
            _ => (format!("alias-{alias}"), None, Precondition::Any, false),
        };
        let code_of = Code::from_bytes(name.as_bytes()).expect("a short name of letters and digits");
        let link = Link { target: format!("https://example.com/{number}"), ..Link::default() };
        let manage = LinkManage {
            created_at_ms: number,
            updated_at_ms: number,
            created_by: "0123456789abcdef".into(),
            ..LinkManage::default()
        };
        let operation = match is_put {
            true => Operation::Put { serve: link.encode(), manage: manage.encode() },
            false => Operation::Delete,
        };
        let key = StateKey::Link(Key::new(DomainId::DEFAULT, code_of));
        let mut change = Change::new("0123456789abcdef", vec![Part { key, precondition, operation }]);
        change.command = Some(CommandId(self.random.bytes()));
        (change, code)
    }

    fn try_command(&mut self, command: u64) {
        let as_new = self.plants(Plant::RetryAsNew).then(|| CommandId(self.random.bytes()));
        let Some(known) = self.clients.commands.get_mut(command as usize) else { return };
        known.attempt += 1;
        if let Some(id) = as_new.filter(|_| known.attempt > 1) {
            known.change.command = Some(id);
        }
        let (to, attempt, change) = (known.to, known.attempt, known.change.clone());
        self.post(to, to, Message::Request { command, attempt, change });
        self.queue.after(PATIENCE_US, Event::GiveUp { command, attempt });
    }

    pub(super) fn client_gives_up(&mut self, command: u64, attempt: u64) -> Result<(), String> {
        let answer = Answer::Unknown;
        self.response(0, command, attempt, answer)
    }

    pub(super) fn response(
        &mut self,
        _: Node,
        command: u64,
        attempt: u64,
        answer: Answer,
    ) -> Result<(), String> {
        let pause = self.random.between(1_000, 200_000);
        let servers = self.plan.servers;
        let Some(known) = self.clients.commands.get_mut(command as usize) else { return Ok(()) };
        if known.is_done || known.attempt != attempt {
            return Ok(());
        }
        match answer {
            Answer::Done | Answer::Conflict => {
                known.is_done = true;
                let client = known.client;
                self.queue.after(pause, Event::Client { client });
            }
            Answer::Unknown | Answer::NotWriter if self.at_peace => known.is_done = true,
            Answer::Unknown => self.try_command(command),
            Answer::NotWriter => {
                known.to = (known.to + 1) % servers;
                // Not at once: nobody may be the writer for a while.
                known.attempt += 1;
                let attempt = known.attempt;
                self.queue.after(pause, Event::GiveUp { command, attempt });
            }
        }
        Ok(())
    }

    /// The operator asks the newest writer for a change.
    pub(super) fn operator_asks(&mut self, change: Change) {
        if let Some(writer) = self.newest_writer() {
            self.clients.operators += 1;
            let command = OPERATORS + self.clients.operators;
            self.post(writer, writer, Message::Request { command, attempt: 0, change });
        }
    }
}
