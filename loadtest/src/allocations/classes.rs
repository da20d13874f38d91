//! The kinds of requests, and sending them.

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::header_sets::HeaderSets;
use crate::http1::Connection;
use crate::pace::StopFlag;

/// One kind of request.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: &'static str,
    /// Which proxy is asked.
    pub(super) proxy: usize,
    /// Its share of all requests.
    pub(super) percent: u64,
    /// Asks for few links only, which the hot map has.
    pub(super) hot: bool,
    /// Asks for codes that do not exist.
    pub(super) unknown: bool,
    /// With headers of real clients.
    pub(super) recorded: bool,
    /// By HEAD.
    pub(super) head: bool,
}

const HIT: Class =
    Class { name: "hit", proxy: 0, percent: 0, hot: true, unknown: false, recorded: false, head: false };

/// Every kind. The shares come to 100.
pub(super) const CLASSES: [Class; 7] = [
    Class { name: "hit, bare", percent: 25, ..HIT },
    Class { name: "hit, real clients", percent: 30, recorded: true, ..HIT },
    Class { name: "hit, HEAD", percent: 5, head: true, ..HIT },
    Class { name: "unknown code", percent: 15, unknown: true, ..HIT },
    Class { name: "unknown, real clients", percent: 5, unknown: true, recorded: true, ..HIT },
    Class { name: "database's memory", proxy: 1, percent: 10, hot: false, ..HIT },
    Class { name: "disk", proxy: 2, percent: 10, hot: false, ..HIT },
];

/// What a kind of request is made of.
#[derive(Debug)]
pub(super) struct Requests<'a> {
    pub(super) class: &'a Class,
    pub(super) keys: &'a [String],
    pub(super) sets: &'a HeaderSets,
    pub(super) host: String,
}

const BASE_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Requests<'_> {
    /// Writes a request for `code`.
    pub(super) fn known(&self, code: &str, headers: &str, request: &mut Vec<u8>) {
        request.clear();
        let method = if self.class.head { "HEAD" } else { "GET" };
        for piece in [method, " /", code, " HTTP/1.1\r\nHost: ", &self.host, "\r\n", headers, "\r\n"] {
            request.extend_from_slice(piece.as_bytes());
        }
    }

    /// Sends `count` requests one after the other, each of which has to be answered as its kind is.
    pub(super) fn send(
        &self,
        connection: &mut Connection,
        count: u64,
        mut random: SmallRng,
        stop: &StopFlag,
    ) -> anyhow::Result<()> {
        let expected = if self.class.unknown { 404 } else { 302 };
        let (mut request, mut unknown) = (Vec::new(), String::new());
        for _ in 0..count {
            anyhow::ensure!(!stop.is_set(), "stopped");
            let headers = match self.class.recorded {
                true => &self.sets.sets()[random.random_range(0..self.sets.sets().len())],
                false => "",
            };
            let code = if self.class.unknown {
                unknown.clear();
                // One longer than what the pool hands out, so that no code of the fleet is met.
                unknown.extend((0..8).map(|_| char::from(BASE_62[random.random_range(0..62)])));
                &unknown
            } else {
                &self.keys[random.random_range(0..self.keys.len())]
            };
            self.known(code, headers, &mut request);
            let status = connection.exchange(&request)?.status;
            anyhow::ensure!(status == expected, "{}: answered with {status}", self.class.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_come_to_everything() {
        assert_eq!(CLASSES.iter().map(|class| class.percent).sum::<u64>(), 100);
    }
}
