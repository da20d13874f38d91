//! The life of a connection: one read, every complete request answered, one write, and again.
//!
//! Answers are put together in a buffer of the thread and written at once; only what a slow peer does not take is copied and waited
//! for. What is bounded: the time for a head, the time between requests, the time for taking an answer, the bytes of a head.
//!
//! One parser decides about every request. The fast one sees all of them first; a whole head that it finds unusual goes to Pingora's
//! session ([`super::slow`]), which reads the rest of that request and gives the connection back.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::buffer::ReadBuffer;
use super::patience::{Ended, Patience};
use super::respond::{Next, OnDisk, Scratch};
use super::slow::{self, Served};
use crate::answer::{Answer, Page};
use crate::worker::{Event, Worker};

/// Most bytes read and thrown away after an error, so that the peer sees the answer before the reset.
const LINGER_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Serves a connection to its end.
///
/// # Cancel safety
/// Cancelled, the connection is closed where it is.
pub async fn serve(worker: &Worker, mut stream: Stream) {
    worker.counters.count(Event::Opened);
    let _closed = Closed(worker);
    let sleep = pin!(tokio::time::sleep(worker.limits.idle));
    let stopped = pin!(worker.stop_signal().notified());
    let mut patience = Patience::new(worker, sleep, stopped);
    let mut buffer = ReadBuffer::new();
    loop {
        match answer_all(worker, &mut stream, &mut buffer, &mut patience).await {
            Ok(After::Read) => {}
            Ok(After::Again) => continue,
            Ok(After::Session) => {
                let prefix = BytesMut::from(buffer.unread());
                // Boxed: what a session needs is much more than an idle connection should take.
                match Box::pin(slow::serve(worker, stream, prefix)).await {
                    Served::GoesOn(back, rest) => {
                        stream = back;
                        buffer.replace(&rest);
                        patience.expect_request(super::clock::now_ms());
                        continue;
                    }
                    Served::Answered(stream) => return linger(worker, stream).await,
                    Served::Over => return,
                }
            }
            Ok(After::Close) => return close(&mut stream).await,
            Ok(After::Refuse) => return linger(worker, stream).await,
            Err(_) => return,
        }
        match read(&mut stream, &mut buffer, &mut patience).await {
            Read::Some => {}
            Read::TooLarge => return refuse(worker, stream, Page::HeadTooLarge).await,
            Read::Ended(Ended::HeadLate) => return refuse(worker, stream, Page::Timeout).await,
            Read::Ended(Ended::Idle | Ended::Stopping) => return close(&mut stream).await,
            Read::Closed => return,
        }
    }
}

/// Counts the end of a connection, however it comes.
struct Closed<'a>(&'a Worker);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.counters.count(Event::Closed);
    }
}

/// What to do after everything in the buffer was answered and written.
enum After {
    Read,
    Again,
    Session,
    Close,
    Refuse,
}

async fn answer_all(
    worker: &Worker,
    stream: &mut Stream,
    buffer: &mut ReadBuffer,
    patience: &mut Patience<'_, '_>,
) -> io::Result<After> {
    if !buffer.may_hold_a_request() {
        return Ok(After::Read);
    }
    let round = |cx: &mut Context<'_>| {
        with_scratch(|scratch| {
            let (taken, next) = scratch.respond(worker, buffer.unread());
            buffer.consume(taken);
            if taken > 0 {
                patience.expect_request(scratch.now_ms);
            }
            (next, write_now(cx, stream, &scratch.out))
        })
    };
    let (next, written) = once(round).await;
    finish_writing(worker, stream, written?).await?;
    match next {
        Next::Read { begun } => {
            if begun {
                patience.expect_head();
                buffer.no_request_yet();
            }
            Ok(After::Read)
        }
        Next::Again => Ok(After::Again),
        Next::Session => Ok(After::Session),
        Next::Close => Ok(After::Close),
        Next::Refuse => Ok(After::Refuse),
        Next::Disk(request) => {
            answer_from_disk(worker, stream, &request).await?;
            Ok(if request.form.close { After::Close } else { After::Again })
        }
    }
}

async fn answer_from_disk(worker: &Worker, stream: &mut Stream, request: &OnDisk) -> io::Result<()> {
    let found = worker.look_up_on_disk(request.key).await;
    let write = |cx: &mut Context<'_>| {
        with_scratch(|scratch| {
            let answer = match &found {
                Ok(block) => Answer::of_link(block.as_ref().map(|block| block.facts()), scratch.now_ms),
                Err(_) => Answer::Page(Page::Unsure),
            };
            scratch.append(worker, answer, request.form);
            write_now(cx, stream, &scratch.out)
        })
    };
    let written = once(write).await;
    finish_writing(worker, stream, written?).await
}

async fn refuse(worker: &Worker, mut stream: Stream, page: Page) {
    let write = |cx: &mut Context<'_>| {
        with_scratch(|scratch| {
            scratch.refuse(worker, page);
            write_now(cx, &mut stream, &scratch.out)
        })
    };
    let written = once(write).await;
    if let Ok(rest) = written
        && finish_writing(worker, &mut stream, rest).await.is_ok()
    {
        linger(worker, stream).await;
    }
}

/// A peer that is still sending would get a reset instead of our answer if we just closed: stop writing, read for a while.
async fn linger(worker: &Worker, mut stream: Stream) {
    close(&mut stream).await;
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
async fn close(stream: &mut Stream) {
    // A peer that is gone already needs no goodbye.
    let _ = stream.shutdown().await;
}

/// Runs `step` once, with the task's context and without waiting.
async fn once<R>(step: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let mut step = Some(step);
    poll_fn(|cx| Poll::Ready(step.take().expect("ready at the first poll")(cx))).await
}

fn with_scratch<R>(round: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.begin();
        round(scratch)
    })
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

async fn finish_writing(worker: &Worker, stream: &mut Stream, rest: Vec<u8>) -> io::Result<()> {
    if rest.is_empty() {
        return Ok(());
    }
    timeout(worker.limits.write, stream.write_all(&rest)).await?
}

enum Read {
    Some,
    TooLarge,
    Closed,
    Ended(Ended),
}

async fn read(stream: &mut Stream, buffer: &mut ReadBuffer, patience: &mut Patience<'_, '_>) -> Read {
    let Some(room) = buffer.room() else { return Read::TooLarge };
    let mut room = ReadBuf::new(room);
    let read = poll_fn(|cx| match Pin::new(&mut *stream).poll_read(cx, &mut room) {
        Poll::Ready(Ok(())) if room.filled().is_empty() => Poll::Ready(Read::Closed),
        Poll::Ready(Ok(())) => Poll::Ready(Read::Some),
        Poll::Ready(Err(_)) => Poll::Ready(Read::Closed),
        Poll::Pending => patience.poll(cx).map(Read::Ended),
    })
    .await;
    let n = room.filled().len();
    buffer.filled(n);
    read
}
