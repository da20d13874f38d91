//! The flow control of HTTP/2 (RFC 9113 §5.2) for a relay that adds bytes of its own: they have to fit into what the writer grants, and
//! what it grants for them is kept from the proxy, which never sent them. Pure.

use super::frames::{Frame, Kind};

/// What both windows begin with.
const BEGINNING: i64 = 65_535;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;

/// The windows of a connection with one stream, and what was taken from each in addition.
#[derive(Debug)]
pub(super) struct Windows {
    connection: i64,
    stream: i64,
    initial: i64,
    owed: [u32; 2],
}

impl Default for Windows {
    fn default() -> Self {
        Windows { connection: BEGINNING, stream: BEGINNING, initial: BEGINNING, owed: [0; 2] }
    }
}

impl Windows {
    /// Says whether so many bytes may be added now.
    pub(super) fn have_room(&self, bytes: usize) -> bool {
        i64::try_from(bytes).is_ok_and(|bytes| bytes <= self.connection.min(self.stream))
    }

    /// Notes a payload that the proxy sent.
    pub(super) fn passed(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.connection -= bytes;
        self.stream -= bytes;
    }

    /// Notes a payload that the relay sent in addition.
    pub(super) fn added(&mut self, bytes: usize) {
        self.passed(bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.owed.iter_mut().for_each(|owed| *owed = owed.saturating_add(bytes));
    }

    /// Notes what the writer grants; returns the frame as the proxy is to see it.
    pub(super) fn granted(&mut self, mut frame: Frame) -> Option<Frame> {
        match (frame.kind(), frame.payload()) {
            (Kind::Settings, settings) if frame.flags() & 1 == 0 => {
                for setting in settings.chunks_exact(6) {
                    let (id, value) = setting.split_at(2);
                    if id == INITIAL_WINDOW.to_be_bytes() {
                        let value = i64::from(u32::from_be_bytes(value.try_into().expect("four bytes")));
                        self.stream += value - self.initial;
                        self.initial = value;
                    }
                }
            }
            (Kind::WindowUpdate, &[a, b, c, d]) => {
                let by = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
                let is_stream = frame.stream() != 0;
                *(if is_stream { &mut self.stream } else { &mut self.connection }) += i64::from(by);
                let owed = &mut self.owed[usize::from(is_stream)];
                let kept = by.min(*owed);
                *owed -= kept;
                if kept == by {
                    return None;
                }
                let place = frame.0.len() - 4;
                frame.0[place..].copy_from_slice(&(by - kept).to_be_bytes());
            }
            _ => {}
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::frames::frame;

    #[test]
    fn what_is_added_fits_and_is_never_granted_to_the_proxy() {
        let mut windows = Windows::default();
        let grant = |windows: &mut Windows, stream, by: u32| {
            windows
                .granted(Frame(frame(8, 0, stream, &by.to_be_bytes())))
                .map(|frame| frame.payload().to_vec())
        };
        windows.passed(60_000);
        assert!(windows.have_room(5_535) && !windows.have_room(5_536));
        windows.added(5_000);
        assert_eq!(grant(&mut windows, 0, 4_000), None);
        assert_eq!(grant(&mut windows, 0, 61_000), Some(60_000_u32.to_be_bytes().to_vec()));
        // The stream's window is one of its own.
        assert!(windows.have_room(535) && !windows.have_room(536));
        assert_eq!(grant(&mut windows, 1, 5_001), Some(1_u32.to_be_bytes().to_vec()));
        assert!(windows.have_room(5_536));
    }

    #[test]
    fn a_larger_beginning_of_streams_is_taken_into_account() {
        let mut windows = Windows::default();
        let larger = frame(4, 0, 0, &[0, 4, 0, 16, 0, 0]);
        assert_eq!(windows.granted(Frame(larger.clone())), Some(Frame(larger)));
        assert_eq!((windows.stream, windows.connection), (1 << 20, 65_535));
    }
}
