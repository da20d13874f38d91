//! Asking peers in turn, one at a time, while no writer is followed.
//!
//! A question is `GET /readyz` on the port where their own balancers ask it, without TLS: nothing secret is in it. Everything a peer can use
//! up is bounded: time, and the bytes of its answer.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Answer, Said};
use crate::follow::status::{FeedState, Snapshot, Status};

/// The shortest time between two questions; the longest is half as long again, so that proxies that lost their writer together do not ask
/// together.
pub const PAUSE: Duration = Duration::from_secs(5);
/// How long nothing must have been heard of a writer before peers are asked: one that is restarted is back before.
const SILENT_FOR: Duration = Duration::from_secs(2);
/// How often it is looked whether there is something to ask.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest that a peer may take, from the connection to the end of its answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Most bytes of an answer: a proxy's has one or two thousand.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Asks `peers` (health addresses, host and port) for as long as no writer is followed, for ever, and tells `status` what they say.
///
/// # Cancel safety
/// Nothing is done by halves.
pub async fn ask(peers: Vec<String>, status: Arc<Status>) {
    if peers.is_empty() {
        return;
    }
    // Not all begin with the same one.
    let first = rand::random_range(0..peers.len());
    for peer in peers.iter().cycle().skip(first) {
        while !is_lost(&status.snapshot(), Instant::now()) {
            sleep(LOOK_EVERY).await;
        }
        let answer = match timeout(ANSWERED_WITHIN, readyz(peer)).await {
            Ok(Ok(body)) => Answer::of_readyz(&body),
            Ok(Err(_)) | Err(_) => Answer::Nothing,
        };
        status.peer_said(Said { peer: peer.clone(), answer, at: Instant::now() });
        sleep(pause(rand::random())).await;
    }
}

/// Between [`PAUSE`] and half as much again. `random` is from 0 to 1. Pure.
fn pause(random: f64) -> Duration {
    PAUSE.mul_f64(1.0 + 0.5 * random.clamp(0.0, 1.0))
}

/// Says whether a writer should be heard of and is not. Pure.
fn is_lost(follow: &Snapshot, now: Instant) -> bool {
    let is_away = matches!(follow.state, FeedState::Connecting | FeedState::Refused);
    is_away && now.saturating_duration_since(follow.heard_at) >= SILENT_FOR
}

/// Returns the body of a peer's `/readyz`, whatever its status.
async fn readyz(peer: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(peer).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {peer}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body_at = head_end.ok_or(io::ErrorKind::InvalidData)? + 4;
    Ok(answer.split_off(body_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::{Digest, Head, Position};

    #[test]
    fn a_peer_is_asked_no_more_often_than_every_five_seconds() {
        assert_eq!([0.0, 0.5, 1.0].map(|random| pause(random).as_millis()), [5_000, 6_250, 7_500]);
    }

    #[test]
    fn nobody_is_asked_while_a_writer_is_heard_of_or_a_restart_may_be_all_it_is() {
        let head = Head { position: Position::new(1, 1), digest: Digest::ZERO };
        let status = Status::new(
            head,
            crate::follow::status::Served::default(),
            Duration::from_secs(5),
            Arc::default(),
        );
        let later = || Instant::now() + SILENT_FOR;
        assert!(!is_lost(&status.snapshot(), status.snapshot().heard_at));
        assert!(is_lost(&status.snapshot(), later()));
        status.welcomed(&[], Position::new(1, 1));
        assert!(!is_lost(&status.snapshot(), later()));
        for (state, lost) in
            [(FeedState::Connecting, true), (FeedState::Refused, true), (FeedState::Diverged, false)]
        {
            status.lost(state, "gone".into(), None);
            assert_eq!(is_lost(&status.snapshot(), later()), lost, "{state:?}");
        }
    }
}
