//! When to sweep: never, always, or between two times of the day, by UTC. Pure.

use std::fmt;
use std::str::FromStr;

const DAY_MIN: u32 = 24 * 60;

/// When to sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Never.
    Off,
    /// At any time.
    Always,
    /// Every day from one minute of it, counted from midnight, to another, which may be in the next day.
    Daily {
        /// The first minute.
        from: u32,
        /// The first minute after it.
        to: u32,
    },
}

/// The text is no window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a window is \"off\", \"always\", or two different times of UTC as in \"02:00-05:00\"")]
pub struct WindowInvalid;

impl Window {
    /// Says whether a time (milliseconds since the Unix epoch) lies in it.
    pub const fn contains(self, now_ms: u64) -> bool {
        match self {
            Window::Off => false,
            Window::Always => true,
            Window::Daily { from, to } => {
                let minute = (now_ms / 60_000 % DAY_MIN as u64) as u32;
                if from < to { from <= minute && minute < to } else { from <= minute || minute < to }
            }
        }
    }
}

impl FromStr for Window {
    type Err = WindowInvalid;

    fn from_str(text: &str) -> Result<Window, WindowInvalid> {
        let (from, to) = match text {
            "off" => return Ok(Window::Off),
            "always" => return Ok(Window::Always),
            times => times.split_once('-').ok_or(WindowInvalid)?,
        };
        let (from, to) = (minute(from)?, minute(to)?);
        if from == to { Err(WindowInvalid) } else { Ok(Window::Daily { from, to }) }
    }
}

fn minute(text: &str) -> Result<u32, WindowInvalid> {
    let number = |text: &str, max| {
        let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number| is_number && *number <= max).ok_or(WindowInvalid)
    };
    let (hours, minutes) = text.split_once(':').ok_or(WindowInvalid)?;
    let hours: u32 = number(hours, 23)?;
    Ok(hours * 60 + number(minutes, 59)?)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Window::Off => f.write_str("off"),
            Window::Always => f.write_str("always"),
            Window::Daily { from, to } => {
                write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_window_is_open_from_its_first_minute_to_the_one_before_its_last_also_over_midnight() {
        let at = |hours: u64, minutes: u64| ((19_000 * 24 + hours) * 60 + minutes) * 60_000;
        let night: Window = "02:00-05:00".parse().unwrap();
        let open = [(1, 59), (2, 0), (4, 59), (5, 0)].map(|(h, m)| night.contains(at(h, m)));
        assert_eq!(open, [false, true, true, false]);
        let over: Window = "23:30-00:15".parse().unwrap();
        let open = [(23, 29), (23, 30), (0, 14), (0, 15)].map(|(h, m)| over.contains(at(h, m)));
        assert_eq!(open, [false, true, true, false]);
        assert!(!Window::Off.contains(at(3, 0)) && Window::Always.contains(at(3, 0)));
        for text in ["off", "always", "02:00-05:00", "23:30-00:15"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        for text in
            ["", "02:00", "02:00-02:00", "24:00-01:00", "2:00-05:00", "02:60-03:00", "+2:00-03:00", "never"]
        {
            assert_eq!(text.parse::<Window>(), Err(WindowInvalid), "{text}");
        }
    }
}
