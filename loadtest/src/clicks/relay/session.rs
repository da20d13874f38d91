//! One relayed connection: frames go through in both directions, and batches meet the tricks that are wanted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::frames::{Frame, Frames, Kind, Message, Messages};
use super::side::Side;
use super::windows::Windows;
use super::{Held, Proxy, Shared, Trick, lock};
use crate::progress::say;

/// Bytes read at a time.
const PIECE_BYTES: usize = 16 << 10;
/// Bytes of a stream that are kept for playing it again: they fit into the windows that every connection begins with.
const RECORDED_BYTES_MAX: usize = 48 << 10;
/// How long a stream that is played again may take to be let in, and then to be answered.
const REPLAY_WITHIN: Duration = Duration::from_secs(5);
/// A writer that is silent for so long has said everything.
const SILENCE: Duration = Duration::from_millis(300);

/// A connection between a proxy and the writer.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    name: &'a str,
    proxy: &'a Arc<Proxy>,
    proxy_side: Side,
    writer_side: Side,
    up: Frames,
    down: Frames,
    messages: Messages,
    windows: Windows,
    /// It has said that it reports clicks.
    is_clicks: bool,
    /// The next answer is to be lost.
    losing: bool,
    /// What the proxy has sent, from the beginning, and the batches in it; `None` when it has become too much.
    recorded: Option<(Vec<u8>, u64)>,
}

/// Whether a connection goes on.
enum Then {
    GoOn,
    Cut,
    /// Cut, and played again.
    Replay,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        name: &'a str,
        proxy: &'a Arc<Proxy>,
        proxy_side: Side,
        writer_side: Side,
    ) -> Self {
        Session {
            shared,
            name,
            proxy,
            proxy_side,
            writer_side,
            up: Frames::of_client(),
            down: Frames::default(),
            messages: Messages::default(),
            windows: Windows::default(),
            is_clicks: false,
            losing: false,
            recorded: Some((Vec::new(), 0)),
        }
    }

    /// Passes frames on until either side ends, or a trick ends both.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        while !self.shared.ended.load(Ordering::Relaxed) {
            match self.proxy_side.read(&mut piece)? {
                Some(0) => return Ok(()),
                Some(read) => self.up.push(&piece[..read]),
                None => {}
            }
            while let Some(frame) = self.up.next() {
                match self.pass_up(&frame)? {
                    Then::GoOn => {}
                    Then::Cut => return Ok(()),
                    Then::Replay => return self.replay(),
                }
            }
            match self.writer_side.read(&mut piece)? {
                Some(0) => return Ok(()),
                Some(read) => self.down.push(&piece[..read]),
                None => {}
            }
            while let Some(frame) = self.down.next() {
                if self.losing && frame.kind() == Kind::Data {
                    lock(&self.shared.done).answers_lost += 1;
                    return Ok(());
                }
                if let Some(frame) = self.windows.granted(frame) {
                    self.proxy_side.write(&frame.0)?;
                }
            }
        }
        Ok(())
    }

    fn pass_up(&mut self, frame: &Frame) -> io::Result<Then> {
        let (messages, is_whole) = match frame.kind() {
            Kind::Data => self.messages.push(frame.payload()),
            _ => (Vec::new(), false),
        };
        self.is_clicks |= messages.contains(&Message::ReporterHello);
        let batches: Vec<u64> = messages
            .iter()
            .filter_map(|message| match message {
                Message::Batch(number) if self.is_clicks => Some(*number),
                _ => None,
            })
            .collect();
        let trick_on = batches.last().filter(|_| is_whole && !self.losing).copied();
        let late = trick_on.is_some() && lock(&self.proxy.late).is_none() && self.shared.take(Trick::Late);
        if let Some(number) = trick_on.filter(|_| late) {
            *lock(&self.proxy.late) = Some(Held { number, frame: frame.0.clone() });
            return Ok(Then::Cut);
        }
        self.writer_side.write(&frame.0)?;
        self.record(frame, batches.len() as u64);
        if frame.kind() == Kind::Data {
            self.windows.passed(frame.payload().len());
        }
        let Some(number) = trick_on else { return Ok(Then::GoOn) };
        self.deliver_late(number)?;
        if self.windows.have_room(frame.payload().len()) && self.shared.take(Trick::Repeat) {
            self.add(&frame.0, frame.payload().len())?;
            lock(&self.shared.done).repeated += batches.len() as u64;
        }
        self.losing = self.shared.take(Trick::LoseAnswer);
        let replay = !self.losing && self.recorded.is_some() && self.shared.take(Trick::Replay);
        // What has become too long to be played again begins anew.
        let cut = !self.losing && self.recorded.is_none() && self.shared.wants(Trick::Replay);
        Ok(match (replay, cut) {
            (true, _) => Then::Replay,
            (false, true) => Then::Cut,
            (false, false) => Then::GoOn,
        })
    }

    /// Delivers the batch that was held back, if the same one has come on this stream.
    fn deliver_late(&mut self, number: u64) -> io::Result<()> {
        let held = lock(&self.proxy.late).take_if(|held| held.number <= number);
        let Some(held) = held else { return Ok(()) };
        let bytes = Frame(held.frame.clone()).payload().len();
        if self.windows.have_room(bytes) {
            self.add(&held.frame, bytes)?;
            lock(&self.shared.done).late += 1;
        } else {
            *lock(&self.proxy.late) = Some(held);
        }
        Ok(())
    }

    /// Sends a frame in addition. Every connection has one stream, and it has the same number on all.
    fn add(&mut self, frame: &[u8], payload_bytes: usize) -> io::Result<()> {
        self.writer_side.write(frame)?;
        self.windows.added(payload_bytes);
        Ok(())
    }

    fn record(&mut self, frame: &Frame, batches: u64) {
        if let Some((bytes, recorded)) = &mut self.recorded {
            bytes.extend_from_slice(&frame.0);
            *recorded += batches;
            if bytes.len() > RECORDED_BYTES_MAX {
                self.recorded = None;
            }
        }
    }

    /// Cuts both sides, and sends what was recorded once more before the proxy can come again.
    fn replay(self) -> anyhow::Result<()> {
        let Session { shared, name, proxy, recorded, proxy_side, writer_side, .. } = self;
        let (bytes, batches) = recorded.expect("only what was recorded whole is played again");
        let _gate = lock(&proxy.gate);
        drop((proxy_side, writer_side));
        let deadline = Instant::now() + REPLAY_WITHIN;
        while Instant::now() < deadline {
            // The writer takes a ledger's second stream for a copy until it has noticed that the first has ended.
            if play(shared.connect(name)?, &bytes, deadline)? {
                let mut done = lock(&shared.done);
                done.streams_replayed += 1;
                done.batches_replayed += batches;
                return Ok(());
            }
        }
        say(format!("clicks: the writer did not let a stream of {name} in that was played again"));
        Ok(())
    }
}

/// Sends the bytes of an old stream and waits until the writer has said everything; whether it let the stream in.
fn play(mut writer: Side, bytes: &[u8], deadline: Instant) -> io::Result<bool> {
    writer.write(bytes)?;
    let (mut frames, mut messages) = (Frames::default(), Messages::default());
    let (mut is_in, mut heard) = (false, Instant::now());
    let mut piece = vec![0; PIECE_BYTES];
    while Instant::now() < deadline && heard.elapsed() < SILENCE {
        match writer.read(&mut piece) {
            Ok(Some(0)) | Err(_) => break,
            Ok(None) => continue,
            Ok(Some(read)) => frames.push(&piece[..read]),
        }
        heard = Instant::now();
        while let Some(frame) = frames.next() {
            if frame.kind() == Kind::Data {
                is_in |= messages.push(frame.payload()).0.contains(&Message::First);
            }
        }
    }
    Ok(is_in)
}
