//! Answering everything in the buffer that the fast parser understands, without waiting for anything.
//!
//! This is the whole of the fast path: parse, route, look up, copy. It allocates nothing on a hit.

use super::asked::{Asked, Kept, Who};
use super::clock::{DateTail, now_ms};
use super::parse::{Fault, Head, Method, Parsed, Request, parse};
use super::render::Form;
use super::reply::{self, Reply};
use super::wanted::Wanted;
use crate::answer::{Answer, Page};
use crate::client::Client;
use crate::limits::Limit;
use crate::worker::{Event, Worker};

/// Most bytes read at once, and so the most a head may have.
pub const IN_BYTES: usize = 16 << 10;
/// Answers are written out when they have come to this many bytes.
const OUT_BYTES: usize = 16 << 10;

/// A connection as its requests see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit<'a> {
    /// Who asks.
    pub(super) client: &'a Client,
    /// Requests so far.
    pub(super) requests: u32,
}

impl Visit<'_> {
    /// Counts a request; says whether the connection may go on after it.
    #[inline]
    pub(super) fn count_request(&mut self, worker: &Worker) -> bool {
        self.requests += 1;
        let goes_on = self.requests < worker.limits.requests_per_connection;
        if !goes_on {
            worker.counters.reached(Limit::RequestsPerConnection);
        }
        goes_on
    }
}

/// A worker thread's own, used by one connection at a time and never across a wait: where requests are read to and answers put
/// together before they are written. So an idle connection has no buffers.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Room for requests; [`IN_BYTES`] long.
    pub(super) input: Vec<u8>,
    /// Answers in the order of their requests.
    pub(super) out: Vec<u8>,
    tail: DateTail,
    /// The time of this round, milliseconds since the Unix epoch.
    pub(super) now_ms: u64,
}

/// What to do after the answers are written.
pub(super) enum Next {
    /// Read more; what is left is the beginning of a request.
    Read,
    /// There is more in the buffer.
    Again,
    /// Ask the disk, then answer.
    Disk(Box<OnDisk>),
    /// The request at the start of the buffer is for Pingora's session.
    Session(Head),
    /// An answer was the last one.
    Close,
    /// The peer does not speak HTTP as it should: close with care.
    Refuse,
}

/// A request that waits for the disk.
pub(super) struct OnDisk {
    /// Which link.
    pub(super) wanted: Wanted,
    /// How to answer.
    pub(super) form: Form,
    /// Everything else about it.
    pub(super) kept: Kept,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { input: vec![0; IN_BYTES], out: Vec::new(), tail: DateTail::default(), now_ms: 0 }
    }
}

impl Scratch {
    /// Starts a round.
    pub(super) fn begin(&mut self) {
        self.out.clear();
        self.now_ms = now_ms();
        self.tail.set(self.now_ms);
    }

    /// Answers requests at the start of `unread`; returns how many bytes they took and what comes next.
    pub(super) fn respond(&mut self, worker: &Worker, visit: &mut Visit<'_>, unread: &[u8]) -> (usize, Next) {
        let mut taken = 0;
        while taken < unread.len() {
            if self.out.len() >= OUT_BYTES {
                return (taken, Next::Again);
            }
            let head = &unread[taken..];
            match parse(&head[..head.len().min(worker.limits.head_bytes)]) {
                Parsed::Fast(request) => {
                    taken += request.consumed;
                    worker.counters.count(Event::Fast);
                    if let Some(next) = self.answer_request(worker, visit, &request) {
                        return (taken, next);
                    }
                }
                Parsed::Partial => return (taken, Next::Read),
                Parsed::Unusual(head) => return (taken, Next::Session(head)),
                Parsed::Bad(fault) => {
                    if fault == Fault::TooManyHeaders {
                        worker.counters.reached(Limit::HeadBytes);
                    }
                    self.refuse(worker, page_of(fault));
                    return (taken, Next::Refuse);
                }
            }
        }
        (taken, Next::Read)
    }

    fn answer_request(
        &mut self,
        worker: &Worker,
        visit: &mut Visit<'_>,
        request: &Request<'_>,
    ) -> Option<Next> {
        let goes_on = visit.count_request(worker);
        let form = Form {
            head_only: request.method == Method::Head,
            close: !request.keep_alive || !goes_on || worker.is_stopping(),
        };
        let who =
            Who { client: visit.client, head: form.head_only, post: false, form: &[], says: request.says };
        let asked = Asked { who, host: request.host, path: request.path, target: request.target };
        let reply =
            reply::from_memory(worker, asked, self.now_ms, |answer| self.append(worker, answer, form));
        if let Reply::OnDisk(wanted) = reply {
            return Some(Next::Disk(Box::new(OnDisk { wanted, form, kept: Kept::new(&asked) })));
        }
        form.close.then_some(Next::Close)
    }

    /// Appends one answer.
    pub(super) fn append(&mut self, worker: &Worker, answer: Answer<'_>, form: Form) {
        worker.counters.answered(answer.status());
        worker.shared.pieces.append(&mut self.out, answer, form, &self.tail);
    }

    /// Appends the last answer of a connection whose peer made a mistake.
    pub(super) fn refuse(&mut self, worker: &Worker, page: Page) {
        self.append(worker, Answer::Page(page), Form { head_only: false, close: true });
    }
}

const fn page_of(fault: Fault) -> Page {
    match fault {
        Fault::Malformed => Page::BadRequest,
        Fault::TooManyHeaders => Page::HeadTooLarge,
        Fault::Version => Page::Version,
    }
}
