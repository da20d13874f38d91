//! What tokens have used, over restarts: links made, as the log says, and when each token was last used, to the nearest few seconds.
//!
//! A task reads the log behind the writer and counts, per token with a quota, the links it made in its present period; every
//! `WRITE_EVERY` counts and the record they go up to are written to one file. A process that starts takes the file and reads on from that
//! record, so a quota is exact whatever killed the one before; without the file it reads from the record where the longest period began,
//! or from the first one that is kept. Nothing here is waited for by a request.
//!
//! ```text
//! tally: u8 2 · u64 seq · u32 entries · per entry 8 bytes token · u64 period start s · u64 period length s · u64 count ·
//!        u64 last used ms · u32 CRC-32C
//! ```
//! Integers are little-endian.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linklog::codec::record::{self, Kind};
use linklog::codec::{Cursor, DecodeError};
use linklog::journal::{JournalRead, JournalReader, ReadError};
use linklog::{Precondition, Seq, StateKey};
use tokio_util::sync::CancellationToken;

use super::usage::{Period, period_start_s};
use super::{TOKENS_MAX, TokenId, Tokens};
use crate::blocking;
use crate::durable;

/// How often the file is written.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// How many bytes of records are read in one go.
const READ_BYTES: usize = 4 << 20;
const VERSION: u8 = 2;
const FILE: &str = "tally";

/// Counts up to a record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    seq: Seq,
    tokens: HashMap<TokenId, Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Entry {
    period: Period,
    last_used_ms: u64,
}

impl Tally {
    /// Reads the file in `dir` and the log behind it, and tells the tokens what they have used.
    ///
    /// # Errors
    /// The log cannot be read. A file that is missing or damaged is done without.
    pub fn restore(
        dir: &Path,
        journal: &JournalReader,
        tokens: &Tokens,
        now_ms: u64,
    ) -> Result<Tally, ReadError> {
        let mut tally = match std::fs::read(dir.join(FILE)) {
            Ok(bytes) => Tally::decode(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the tally of tokens is damaged: counting anew from the log");
                Tally::default()
            }),
            Err(_) => Tally::default(),
        };
        if tally.seq > journal.head().position.seq {
            tracing::warn!("the tally of tokens is ahead of the log: counting anew from the log");
            tally = Tally::default();
        }
        if tally.seq == Seq::ZERO {
            let longest_s = tokens.quotas().values().map(|(_, seconds)| *seconds).max();
            tally.seq = match longest_s {
                Some(seconds) => Seq(first_since(journal, period_start_s(now_ms, seconds) * 1000)?.0 - 1),
                None => journal.head().position.seq,
            };
        }
        tally.catch_up(journal, tokens)?;
        for (token, entry) in &tally.tokens {
            tokens.restore_usage(*token, entry.period, entry.last_used_ms);
        }
        Ok(tally)
    }

    /// Counts what the log says up to its head.
    fn catch_up(&mut self, journal: &JournalReader, tokens: &Tokens) -> Result<(), ReadError> {
        // The head first: what comes after it may be of a token whose quota is not among these yet.
        let until = journal.head().position.seq;
        self.count_until(until, journal, &tokens.quotas())
    }

    fn count_until(
        &mut self,
        until: Seq,
        journal: &JournalReader,
        quotas: &HashMap<TokenId, (u64, u64)>,
    ) -> Result<(), ReadError> {
        if quotas.is_empty() {
            // Nobody asks; whoever gets a quota later begins with what it makes from then on.
            self.seq = until;
            return Ok(());
        }
        while self.seq < until {
            let from = self.seq.next().max(journal.first_retained());
            let entries = match journal.read(from, READ_BYTES) {
                Err(ReadError::NotRetained { first_retained, .. }) => {
                    self.seq = Seq(first_retained.0 - 1);
                    continue;
                }
                entries => entries?,
            };
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                let damaged = |source| {
                    ReadError::Store(linklog::store::StoreError::Damaged { what: "journal entry", source })
                };
                let view = entry.view().map_err(damaged)?;
                if view.position.seq > until {
                    return Ok(());
                }
                self.seq = view.position.seq;
                if !entry.conflict && view.header.kind == Kind::Change {
                    self.count(quotas, &view).map_err(damaged)?;
                }
            }
        }
        Ok(())
    }

    fn count(
        &mut self,
        quotas: &HashMap<TokenId, (u64, u64)>,
        view: &record::RecordView<'_>,
    ) -> Result<(), DecodeError> {
        let serve = record::read_serve(view.header, view.serve)?;
        let is_create = |precondition| matches!(precondition, Precondition::Absent | Precondition::NeverUsed);
        let is_link = |key: &[u8]| matches!(StateKey::decode(key), Ok(StateKey::Link(_)));
        let made =
            serve.parts.iter().filter(|p| p.is_put && is_create(p.precondition) && is_link(p.key)).count();
        if made == 0 {
            return Ok(());
        }
        let manage = record::read_manage(&serve, view.manage)?;
        let Ok(token) = manage.actor.parse::<TokenId>() else { return Ok(()) };
        let Some((_, seconds)) = quotas.get(&token) else { return Ok(()) };
        let period = &mut self.tokens.entry(token).or_default().period;
        period.enter(serve.at_ms, *seconds);
        period.count += made as u64;
        Ok(())
    }

    /// Counts and writes the file until `stop`, and once more then.
    pub async fn run(
        mut self,
        dir: PathBuf,
        journal: JournalReader,
        tokens: Tokens,
        stop: CancellationToken,
    ) {
        let mut written = None;
        loop {
            let ending = stop.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_none();
            let (dir, journal, tokens) = (dir.clone(), journal.clone(), tokens.clone());
            let before = written.take();
            let step = blocking::run(move || {
                let result = self.step(&dir, &journal, &tokens, before.as_ref());
                (self, result)
            });
            let Ok((tally, result)) = step.await else { return };
            if let Err(error) = result {
                tracing::warn!(%error, "the tally of tokens could not be brought up to date, trying again");
            }
            written = Some(tally.clone());
            self = tally;
            if ending {
                return;
            }
        }
    }

    fn step(
        &mut self,
        dir: &Path,
        journal: &JournalReader,
        tokens: &Tokens,
        written: Option<&Tally>,
    ) -> io::Result<()> {
        self.catch_up(journal, tokens).map_err(io::Error::other)?;
        for (token, last_used_ms) in tokens.last_uses() {
            self.tokens.entry(token).or_default().last_used_ms = last_used_ms;
        }
        if written == Some(self) { Ok(()) } else { durable::replace(&dir.join(FILE), &self.encode()) }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.seq.0.to_le_bytes());
        out.extend_from_slice(&(self.tokens.len() as u32).to_le_bytes());
        let mut tokens: Vec<_> = self.tokens.iter().collect();
        tokens.sort_unstable_by_key(|(token, _)| **token);
        for (token, entry) in tokens {
            out.extend_from_slice(&token.0);
            let Period { start_s, length_s, count } = entry.period;
            for number in [start_s, length_s, count, entry.last_used_ms] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let check = crc32c::crc32c(&out);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Tally, DecodeError> {
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(DecodeError::truncated(0, "tally"))?;
        if crc32c::crc32c(body).to_le_bytes() != *check {
            return Err(DecodeError::invalid(body.len(), "checksum"));
        }
        let mut cursor = Cursor::new(body);
        if cursor.u8("version")? != VERSION {
            return Err(DecodeError::invalid(0, "version"));
        }
        let seq = Seq(cursor.u64("seq")?);
        let count = cursor.u32("entries")? as usize;
        if count > TOKENS_MAX {
            return Err(DecodeError::invalid(9, "entries"));
        }
        let mut tokens = HashMap::with_capacity(count);
        for _ in 0..count {
            let token = TokenId(cursor.array("token")?);
            let (start_s, length_s) = (cursor.u64("period")?, cursor.u64("length")?);
            let period = Period { start_s, length_s, count: cursor.u64("count")? };
            tokens.insert(token, Entry { period, last_used_ms: cursor.u64("last use")? });
        }
        cursor.finish("tally")?;
        Ok(Tally { seq, tokens })
    }
}

/// Finds the first record that is kept and was written at `at_ms` or later, by halving.
fn first_since(journal: &JournalReader, at_ms: u64) -> Result<Seq, ReadError> {
    let (mut low, mut high) = (journal.first_retained().0.max(1), journal.head().position.seq.0 + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = journal.read(Seq(middle), 1)?;
        let damaged =
            |source| ReadError::Store(linklog::store::StoreError::Damaged { what: "journal entry", source });
        let is_before = match entry.first() {
            None => false,
            Some(entry) => {
                let view = entry.view().map_err(damaged)?;
                record::read_serve(view.header, view.serve).map_err(damaged)?.at_ms < at_ms
            }
        };
        if is_before { low = middle + 1 } else { high = middle }
    }
    Ok(Seq(low))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use linklog::store::StoreOptions;
    use linklog::writer::{Decision, Writer, WriterOptions};
    use linklog::{Change, Code, DomainId, Key, Link, LinkManage, Operation, Part};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tally_reads_what_it_writes(
            seq: u64,
            entries in prop::collection::hash_map(any::<[u8; 8]>(), any::<(u64, u64, u64, u64)>(), 0..9),
        ) {
            let tokens = entries.into_iter().map(|(token, (start_s, length_s, count, last_used_ms))| {
                (TokenId(token), Entry { period: Period { start_s, length_s, count }, last_used_ms })
            });
            let tally = Tally { seq: Seq(seq), tokens: tokens.collect() };
            prop_assert_eq!(Tally::decode(&tally.encode()), Ok(tally));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(Tally::decode(&bytes).is_err());
        }
    }

    #[test]
    fn what_comes_after_the_head_is_counted_with_the_quotas_of_then() {
        let dir = tempfile::tempdir().unwrap();
        let options = WriterOptions {
            store: StoreOptions {
                block_cache_bytes: 4 << 20,
                memtable_bytes: 2 << 20,
                background_threads: 1,
            },
            journal_bytes_kept: 1 << 20,
            queue_max: 4,
            clock_us: Box::new(|| 90_000_000),
            nonce: Box::new(|| [0; 16]),
            on_commit: Box::new(|_| ()),
            at_start: Box::new(|| ()),
            on_fatal: Box::new(|failure| panic!("{failure}")),
        };
        let writer = Writer::open(dir.path(), options).unwrap();
        let token = TokenId([7; 8]);
        let link = Link { target: "https://a.example/".to_owned(), ..Link::default() };
        let make = |code: &[u8]| {
            let operation = Operation::Put { serve: link.encode(), manage: LinkManage::default().encode() };
            let key = StateKey::Link(Key::new(DomainId::DEFAULT, Code::from_bytes(code).unwrap()));
            let part = Part { key, precondition: Precondition::Absent, operation };
            let change = Change::new(token.to_string(), vec![part]);
            let decisions = writer.handle().propose_and_wait(vec![change]).unwrap();
            assert!(matches!(decisions[..], [Decision::Applied { .. }]), "{decisions:?}");
        };
        let journal = writer.journal();
        make(b"before");
        let head = journal.head().position.seq;
        make(b"behind");
        // The quota is given after the head was looked at: the link behind it is left for the next look, which knows the quota.
        let mut tally = Tally::default();
        tally.count_until(head, &journal, &HashMap::new()).unwrap();
        let quotas = HashMap::from([(token, (10, 60))]);
        tally.count_until(journal.head().position.seq, &journal, &quotas).unwrap();
        let period = Period { start_s: 60, length_s: 60, count: 1 };
        assert_eq!(tally.tokens, HashMap::from([(token, Entry { period, last_used_ms: 0 })]));
        let mut all = Tally::default();
        all.count_until(head, &journal, &quotas).unwrap();
        assert_eq!((all.seq, all.tokens[&token].period.count), (head, 1));
    }
}
