//! Whether a writer that is not heard of is away, or this proxy alone is cut off: what other proxies say, while nothing is followed.
//!
//! It is told to people and alarms, and decides nothing: a proxy serves on whoever is right. So it is cheap (one question at a time, no
//! more than one in [`ask::PAUSE`], none while a writer is followed) and believed no further than that: a peer that lies changes one word in
//! `/readyz`.

pub mod ask;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Most peers.
pub const PEERS_MAX: usize = 16;
/// A peer that follows a writer hears of it every second: one that has not for so long is about to notice that it does not.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// What a peer said so long ago counts no more. All of [`PEERS_MAX`] are asked in less.
const BELIEVED_FOR: Duration = Duration::from_secs(180);

/// What a peer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It hears of a writer.
    Follows,
    /// It hears of none.
    DoesNot,
    /// Nothing, or nothing that a proxy says.
    Nothing,
}

impl Answer {
    const fn name(self) -> &'static str {
        match self {
            Answer::Follows => "follows",
            Answer::DoesNot => "does_not",
            Answer::Nothing => "no_answer",
        }
    }

    /// Reads the body of a proxy's `/readyz`. Pure.
    pub fn of_readyz(body: &[u8]) -> Answer {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Answer::Nothing };
        let (state, silent_ms) = (body["feed"]["state"].as_str(), body["feed"]["silent_for_ms"].as_u64());
        let (Some(state), Some(silent_ms)) = (state, silent_ms) else { return Answer::Nothing };
        let is_heard = Duration::from_millis(silent_ms) <= HEARD_WITHIN;
        if is_heard && matches!(state, "following" | "bootstrapping") {
            Answer::Follows
        } else {
            Answer::DoesNot
        }
    }
}

/// What a peer said last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The peer's health address.
    pub peer: String,
    /// What it said.
    pub answer: Answer,
    /// When.
    pub at: Instant,
}

/// Why no writer is followed, as far as peers can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outage {
    /// There are no peers, or none was asked yet.
    Unknown,
    /// Peers do not hear of a writer either.
    WriterAway,
    /// A peer hears of a writer: what is wrong lies here or on the way from here.
    CutOff,
    /// No peer answers: this proxy is cut off from its peers too, or they are down.
    Alone,
}

impl Outage {
    /// All of them.
    pub const ALL: [Outage; 4] = [Outage::Unknown, Outage::WriterAway, Outage::CutOff, Outage::Alone];

    /// Its name in `/readyz` and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Outage::Unknown => "unknown",
            Outage::WriterAway => "writer_away",
            Outage::CutOff => "cut_off",
            Outage::Alone => "alone",
        }
    }

    /// Decides by what peers said. Pure.
    pub fn of(said: &[Said], now: Instant) -> Outage {
        let believed = |said: &&Said| now.saturating_duration_since(said.at) <= BELIEVED_FOR;
        let answers = || said.iter().filter(believed).map(|said| said.answer);
        if answers().any(|answer| answer == Answer::Follows) {
            Outage::CutOff
        } else if answers().any(|answer| answer == Answer::DoesNot) {
            Outage::WriterAway
        } else if answers().next().is_some() {
            Outage::Alone
        } else {
            Outage::Unknown
        }
    }
}

/// For `/readyz` and `stats`: the outage and what it was told by.
pub fn to_json(outage: Outage, said: &[Said], now: Instant) -> Value {
    let peers = said.iter().map(|said| {
        let ago = u64::try_from(now.saturating_duration_since(said.at).as_millis()).unwrap_or(u64::MAX);
        json!({ "peer": said.peer, "says": said.answer.name(), "asked_ms_ago": ago })
    });
    json!({ "cause": outage.name(), "peers": peers.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(answers: &[Answer], at: Instant) -> Vec<Said> {
        let said = |(n, answer): (usize, &Answer)| Said { peer: format!("p{n}"), answer: *answer, at };
        answers.iter().enumerate().map(said).collect()
    }

    #[test]
    fn one_peer_that_follows_is_enough_to_know_that_the_writer_is_there() {
        use Answer::{DoesNot, Follows, Nothing};
        let now = Instant::now();
        let cases: [(&[Answer], Outage); 6] = [
            (&[], Outage::Unknown),
            (&[Nothing], Outage::Alone),
            (&[Nothing, DoesNot], Outage::WriterAway),
            (&[DoesNot, Follows, DoesNot], Outage::CutOff),
            (&[Nothing, Follows], Outage::CutOff),
            (&[DoesNot, DoesNot], Outage::WriterAway),
        ];
        for (answers, outage) in cases {
            assert_eq!(Outage::of(&said(answers, now), now), outage, "{answers:?}");
        }
    }

    #[test]
    fn what_was_said_long_ago_is_not_believed() {
        let at = Instant::now();
        let said = said(&[Answer::Follows], at);
        assert_eq!(Outage::of(&said, at + BELIEVED_FOR), Outage::CutOff);
        assert_eq!(Outage::of(&said, at + BELIEVED_FOR + Duration::from_millis(1)), Outage::Unknown);
    }

    #[test]
    fn only_a_peer_that_hears_of_a_writer_now_follows_one() {
        for (state, silent_ms, answer) in [
            ("following", "5000", Answer::Follows),
            ("bootstrapping", "0", Answer::Follows),
            // Its connection is dead, and it has not noticed yet.
            ("following", "5001", Answer::DoesNot),
            // It has just started.
            ("connecting", "0", Answer::DoesNot),
            ("refused", "10", Answer::DoesNot),
            ("something new", "10", Answer::DoesNot),
            ("following", "-1", Answer::Nothing),
            ("following", "\"5\"", Answer::Nothing),
        ] {
            let body =
                format!(r#"{{"ready":true,"feed":{{"state":"{state}","silent_for_ms":{silent_ms}}}}}"#);
            assert_eq!(Answer::of_readyz(body.as_bytes()), answer, "{body}");
        }
        for strange in ["", "[]", "null", "{\"feed\":7}", "{\"feed\":{\"state\":\"following\"}}", "<html>"] {
            assert_eq!(Answer::of_readyz(strange.as_bytes()), Answer::Nothing, "{strange}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            prop_assert_eq!(Answer::of_readyz(&bytes), Answer::Nothing);
        }
    }
}
