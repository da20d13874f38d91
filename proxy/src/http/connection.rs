//! The life of a connection: one read, every complete request answered, one write, and again.
//!
//! Reading, answering and writing happen in one poll, in buffers of the thread. What has to be kept over a wait is copied: the
//! beginning of a request, the rest of answers that a slow peer does not take. An idle connection keeps nothing.
//!
//! Bounded: the time for a head, the time between requests, the time for taking an answer, the bytes of a head.
//!
//! One parser decides about every request. The fast one sees all of them first; a whole head that it finds unusual goes to
//! [`super::slow`], which reads the body, if there is one, has Pingora's session answer, and gives the connection back.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::bare_socket::BareSocket;
use super::clock::now_ms;
use super::later;
use super::patience::{Ended, Patience};
use super::respond::{Next, OnDisk, Scratch, Visit};
use super::slow::{self, Served};
use crate::answer::Page;
use crate::client::Client;
use crate::limits::Limit;
use crate::worker::Worker;

/// Most bytes read and thrown away after an error, so that the peer sees the answer before the reset.
const LINGER_BYTES_MAX: usize = 64 << 10;
/// Capacity for beginnings of requests that a connection may keep when it has none.
const KEPT_BYTES: usize = 2 << 10;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Serves a connection to its end.
///
/// # Cancel safety
/// Cancelled, the connection is closed where it is.
pub async fn serve<'w>(worker: &'w Worker, stream: Stream, client: &'w Client) {
    let sleep = pin!(tokio::time::sleep(worker.limits.idle));
    let stopped = pin!(worker.stop_signal().notified());
    let patience = Patience::new(worker, sleep, stopped);
    let socket = BareSocket::of(&stream);
    let visit = Visit { client, requests: 0 };
    let mut connection =
        Connection { worker, stream, socket, visit, patience, rest: Vec::new(), rest_is_new: false };
    // Whatever is not the usual round is boxed: its state is larger than that of an idle connection, and seldom needed.
    loop {
        let round = poll_fn(|cx| connection.poll_round(cx)).await;
        let next = match round {
            Round::Answered(Ok(unsent), next) => match connection.finish_writing(unsent).await {
                Ok(()) => next,
                Err(_) => return,
            },
            Round::Answered(Err(_), _) | Round::Closed => return,
            Round::TooLarge => {
                worker.counters.reached(Limit::HeadBytes);
                return Box::pin(connection.refuse(Page::HeadTooLarge)).await;
            }
            Round::Ended(Ended::HeadLate) => {
                worker.counters.reached(Limit::HeadTime);
                return Box::pin(connection.refuse(Page::Timeout)).await;
            }
            Round::Ended(Ended::Idle) => {
                worker.counters.reached(Limit::Idle);
                return connection.close().await;
            }
            Round::Ended(Ended::Stopping) => return connection.close().await,
        };
        match next {
            Next::Read | Next::Again => {}
            Next::Disk(mut request) => match Box::pin(connection.answer_from_disk(&mut request)).await {
                Ok(()) if request.form.close => return connection.close().await,
                Ok(()) => {}
                Err(_) => return,
            },
            Next::Session(head) => {
                let unread = mem::take(&mut connection.rest);
                let visit = &mut connection.visit;
                match Box::pin(slow::serve(worker, visit, connection.stream, head, unread)).await {
                    Served::GoesOn(stream, rest) => {
                        connection.stream = stream;
                        connection.keep(&rest, true);
                        connection.patience.expect_request(now_ms());
                    }
                    Served::Refused(stream, page) => {
                        connection.stream = stream;
                        return Box::pin(connection.refuse(page)).await;
                    }
                    Served::Answered(stream) => return Box::pin(linger(worker, stream)).await,
                    Served::Over => return,
                }
            }
            // What has come behind the last request is never read; closing at once would answer it with a reset.
            Next::Close if !connection.rest.is_empty() => {
                return Box::pin(linger(worker, connection.stream)).await;
            }
            Next::Close => return connection.close().await,
            Next::Refuse => return Box::pin(linger(worker, connection.stream)).await,
        }
    }
}

struct Connection<'a, 'w> {
    worker: &'w Worker,
    stream: Stream,
    /// The stream's, if it is one without TLS.
    socket: Option<BareSocket>,
    visit: Visit<'w>,
    patience: Patience<'a, 'w>,
    /// What was read and is not answered yet.
    rest: Vec<u8>,
    /// The fast parser has not seen `rest`; otherwise it knows it for the beginning of a request.
    rest_is_new: bool,
}

/// What a round came to.
enum Round {
    /// Requests were answered; what the peer did not take at once, and what comes next.
    Answered(io::Result<Vec<u8>>, Next),
    /// A head does not end.
    TooLarge,
    /// The peer is gone.
    Closed,
    /// Nothing came.
    Ended(Ended),
}

impl Connection<'_, '_> {
    fn poll_round(&mut self, cx: &mut Context<'_>) -> Poll<Round> {
        SCRATCH.with_borrow_mut(|scratch| {
            if self.rest_is_new {
                let rest = mem::take(&mut self.rest);
                return Poll::Ready(self.answer(cx, scratch, &rest));
            }
            let mut input = mem::take(&mut scratch.input);
            let round = self.poll_read_and_answer(cx, scratch, &mut input);
            scratch.input = input;
            round
        })
    }

    fn poll_read_and_answer(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        input: &mut [u8],
    ) -> Poll<Round> {
        loop {
            let held = self.rest.len();
            if held >= self.worker.limits.head_bytes {
                return Poll::Ready(Round::TooLarge);
            }
            input[..held].copy_from_slice(&self.rest);
            let mut room = ReadBuf::new(&mut input[held..]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Round::Closed),
                Poll::Pending => return self.patience.poll(cx).map(Round::Ended),
            }
            let read = held + room.filled().len();
            // A beginning becomes a request when a line ends. Who sends a head byte by byte does not have it parsed for each.
            if held > 0 && memchr::memchr(b'\n', &input[held..read]).is_none() {
                self.rest.extend_from_slice(&input[held..read]);
                continue;
            }
            match self.answer(cx, scratch, &input[..read]) {
                Round::Answered(Ok(unsent), Next::Read) if unsent.is_empty() => {}
                round => return Poll::Ready(round),
            }
        }
    }

    /// Answers what can be answered of `unread`, and keeps the rest.
    fn answer(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, unread: &[u8]) -> Round {
        scratch.begin();
        let (taken, next) = scratch.respond(self.worker, &mut self.visit, unread);
        let is_beginning = matches!(next, Next::Read);
        self.keep(&unread[taken..], !is_beginning);
        if taken > 0 || unread.is_empty() {
            self.patience.expect_request(scratch.now_ms);
        }
        if is_beginning && taken < unread.len() {
            self.patience.expect_head();
        }
        let written = self.write(cx, &scratch.out, matches!(next, Next::Close));
        Round::Answered(written, next)
    }

    /// Writes what the socket takes at once; returns a copy of the rest, normally nothing.
    fn write(&mut self, cx: &mut Context<'_>, out: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
        let taken = match self.socket.filter(|_| !out.is_empty()) {
            Some(socket) if is_last => socket.hold(out)?,
            Some(socket) => socket.send(out)?,
            None => 0,
        };
        write_now(cx, &mut self.stream, &out[taken..])
    }

    fn keep(&mut self, rest: &[u8], is_new: bool) {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
        self.rest_is_new = is_new && !rest.is_empty();
        if rest.is_empty() && self.rest.capacity() > KEPT_BYTES {
            self.rest = Vec::new();
        }
    }

    async fn answer_from_disk(&mut self, request: &mut OnDisk) -> io::Result<()> {
        let mut patience = None;
        let unsent = loop {
            let who = (self.visit.client, &request.kept);
            let found = later::find_on_disk(self.worker, who, &mut request.wanted, &mut patience).await;
            let (worker, client, stream) = (self.worker, self.visit.client, &mut self.stream);
            let written = once(|cx, scratch| {
                let (now_ms, kept) = (scratch.now_ms, &request.kept);
                later::from_disk(worker, (client, kept), &mut request.wanted, &found, now_ms, |answer| {
                    scratch.append(worker, answer, request.form);
                })?;
                Some(write_now(cx, stream, &scratch.out))
            });
            if let Some(written) = written.await {
                break written?;
            }
        };
        self.patience.expect_request(now_ms());
        self.finish_writing(unsent).await
    }

    async fn refuse(mut self, page: Page) {
        let (worker, stream) = (self.worker, &mut self.stream);
        let written = once(|cx, scratch| {
            scratch.refuse(worker, page);
            write_now(cx, stream, &scratch.out)
        });
        if let Ok(unsent) = written.await
            && self.finish_writing(unsent).await.is_ok()
        {
            linger(worker, self.stream).await;
        }
    }

    /// Waits for a peer that did not take everything.
    async fn finish_writing(&mut self, unsent: Vec<u8>) -> io::Result<()> {
        if unsent.is_empty() {
            return Ok(());
        }
        let taken = Box::pin(timeout(self.worker.limits.write, self.stream.write_all(&unsent))).await;
        taken.unwrap_or_else(|late| {
            self.worker.counters.reached(Limit::Write);
            Err(late.into())
        })
    }

    /// Says goodbye before the socket is closed: what it holds goes out with that. Closing alone would throw it away if the peer has sent
    /// something that nobody has read (RFC 1122 §4.2.2.13).
    async fn close(mut self) {
        shut_down(&mut self.stream).await;
    }
}

/// A peer that is still sending would get a reset instead of our answer if we just closed: stop writing, read for a while.
async fn linger(worker: &Worker, mut stream: Stream) {
    shut_down(&mut stream).await;
    let drained = timeout(worker.limits.linger, async {
        let mut waste = [0; 1024];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(n @ 1..) = stream.read(&mut waste).await {
            left = left.saturating_sub(n);
            if left == 0 {
                break;
            }
        }
    });
    // Whatever the outcome, the connection is closed now.
    let _ = drained.await;
}

/// Says that nothing more will be written.
async fn shut_down(stream: &mut Stream) {
    // A peer that is gone already needs no goodbye.
    let _ = stream.shutdown().await;
}

/// Runs `step` once, with the task's context and the thread's buffers, and without waiting.
async fn once<R>(step: impl FnOnce(&mut Context<'_>, &mut Scratch) -> R) -> R {
    let mut step = Some(step);
    poll_fn(|cx| {
        let step = step.take().expect("ready at the first poll");
        Poll::Ready(SCRATCH.with_borrow_mut(|scratch| {
            scratch.begin();
            step(cx, scratch)
        }))
    })
    .await
}

/// Writes what the socket takes at once; returns a copy of the rest, normally nothing.
fn write_now(cx: &mut Context<'_>, stream: &mut Stream, mut out: &[u8]) -> io::Result<Vec<u8>> {
    while !out.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, out) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => out = &out[n..],
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(out.to_vec()),
        }
    }
    Ok(Vec::new())
}
