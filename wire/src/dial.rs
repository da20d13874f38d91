//! Dialling one of several servers, where one that is silent keeps nobody from the next.
//!
//! A machine that lost its power, a process that was stopped and a cable that swallows everything refuse nothing: a connection to them takes
//! as long as it may. Each of them is given a head start, then the next is dialled beside it, and the first connection there is wins
//! (as RFC 8305 has it for addresses of one host). Whoever finds nothing so makes the head start longer: a writer that is slow to answer
//! is found too, though others are quick to say that they are none.
//!
//! Not here: what is said on the connection, and when it is tried again.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tonic::transport::Channel;

use crate::channel::{self, ChannelError, reason};
use crate::identity::{Identity, Role};

/// How long a server is dialled alone, at first and at most: many times what a handshake takes between machines that are well, and more than
/// a connection may take at all.
const HEAD_STARTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(8);

/// How long a server is dialled alone: longer from try to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadStart(Duration);

impl Default for HeadStart {
    fn default() -> HeadStart {
        HeadStart(*HEAD_STARTS.start())
    }
}

impl HeadStart {
    /// Makes it longer: nobody that was dialled would do.
    pub fn lengthen(&mut self) {
        self.0 = (self.0 * 2).min(*HEAD_STARTS.end());
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address cannot be dialled, now or later.
    #[error(transparent)]
    Address(#[from] ChannelError),
    /// The connection failed.
    #[error("{0}")]
    Lost(String),
}

/// Connects to a writer: to `urls[first]`, or to one after it if that is silent for longer than `head_start`. Returns which, and why not if
/// there is none; then it is the one that failed last. `urls` has at least one.
///
/// # Cancel safety
/// Dropped, nothing stays open.
pub async fn writer(
    urls: &[String],
    first: usize,
    identity: Option<&Identity>,
    head_start: HeadStart,
) -> (usize, Result<Channel, DialError>) {
    let dial = move |place: usize| async move {
        let endpoint = channel::endpoint(&urls[place], identity, Role::Writer)?;
        endpoint.connect().await.map_err(|error| DialError::Lost(reason(&error)))
    };
    let after = (1..urls.len()).map(|after| (first + after) % urls.len());
    first_of(first % urls.len(), after.collect(), head_start.0, dial).await
}

/// Does `dial` with the first place, and with one more of `after` each time `head_start` passes; the first that succeeds wins. One that says
/// no while another is silent is asked again: it may just be starting.
async fn first_of<T, E, F: Future<Output = Result<T, E>>>(
    first: usize,
    mut after: VecDeque<usize>,
    head_start: Duration,
    dial: impl Fn(usize) -> F,
) -> (usize, Result<T, E>) {
    let dial = &dial;
    let numbered = |place: usize| async move { (place, dial(place).await) };
    let mut dialling = FuturesUnordered::new();
    dialling.push(numbered(first));
    loop {
        tokio::select! {
            biased;
            Some((place, dialled)) = dialling.next() => {
                // With nobody else under way the caller is told, who pauses and goes on with the one after it.
                if dialled.is_ok() || dialling.is_empty() {
                    return (place, dialled);
                }
                after.push_back(place);
            }
            () = tokio::time::sleep(head_start), if !after.is_empty() => {
                dialling.extend(after.pop_front().map(numbered));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::RefCell;
    use std::future::{pending, ready};

    use futures::FutureExt;
    use futures::future::LocalBoxFuture;

    use super::*;

    type Dialled = Result<&'static str, &'static str>;
    type Outcome = Option<Dialled>;

    /// Dials places that come to `outcomes`, each time they are dialled the next of theirs (the last one again and again; `None`: nothing
    /// ever). Returns whom it dialled and how that ended, if it did.
    fn dialled(outcomes: &[&[Outcome]]) -> (Vec<usize>, Option<(usize, Dialled)>) {
        let begun = RefCell::new(Vec::new());
        let dial = |place: usize| -> LocalBoxFuture<'static, Dialled> {
            let before = begun.borrow().iter().filter(|other| **other == place).count();
            begun.borrow_mut().push(place);
            let of_place = outcomes[place];
            match of_place[before.min(of_place.len() - 1)] {
                Some(outcome) => ready(outcome).boxed_local(),
                None => pending().boxed_local(),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let racing = first_of(0, (1..outcomes.len()).collect(), Duration::from_millis(1), dial);
        // Long enough for many head starts; it is waited for only where it never ends.
        let end =
            runtime.block_on(async { tokio::time::timeout(Duration::from_millis(300), racing).await.ok() });
        (begun.into_inner(), end)
    }

    #[test]
    fn a_silent_server_keeps_nobody_from_the_next() {
        let (silent, second): (&[Outcome], &[Outcome]) = (&[None], &[Some(Ok("found"))]);
        assert_eq!(dialled(&[silent, second]), (vec![0, 1], Some((1, Ok("found")))));
        assert_eq!(dialled(&[silent, silent, second]), (vec![0, 1, 2], Some((2, Ok("found")))));
        assert_eq!(dialled(&[silent]), (vec![0], None), "who is alone has all the time there is");
    }

    #[test]
    fn one_that_answers_is_dialled_alone_also_when_it_says_no() {
        assert_eq!(
            dialled(&[&[Some(Ok("first"))], &[Some(Ok("second"))]]),
            (vec![0], Some((0, Ok("first"))))
        );
        assert_eq!(dialled(&[&[Some(Err("no"))], &[Some(Ok("second"))]]), (vec![0], Some((0, Err("no")))));
    }

    #[test]
    fn one_that_says_no_beside_a_silent_one_is_asked_again() {
        let starting: &[Outcome] = &[Some(Err("no")), Some(Err("no")), Some(Ok("started"))];
        assert_eq!(dialled(&[&[None], starting]), (vec![0, 1, 1, 1], Some((1, Ok("started")))));
    }

    #[test]
    fn a_head_start_grows_until_nobody_is_dialled_beside_another() {
        let mut head_start = HeadStart::default();
        for _ in 0..10 {
            head_start.lengthen();
        }
        assert!(head_start.0 > channel::CONNECT_TIMEOUT + channel::HANDSHAKE_TIMEOUT, "{head_start:?}");
    }
}
