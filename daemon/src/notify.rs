//! Tells systemd how the daemon is doing (sd_notify(3), for units of `Type=notify`).
//!
//! Outside of systemd, that is without `NOTIFY_SOCKET`, nothing happens. When telling fails the daemon goes on: whether
//! it can serve is not decided here. Deliberately not here: the watchdog and passing file descriptors.

use sd_notify::NotifyState;

/// Bytes of a status line that are sent: it is one line of `systemctl status`.
const STATUS_BYTES_MAX: usize = 512;

/// The daemon serves. To be called once everything listens, not before.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The daemon has begun to end: call it when the signal arrives, before draining.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// One line for `systemctl status`, as in `following at 1,204, 3 ms behind`.
pub fn status(text: &str) {
    tell(NotifyState::Status(&one_line(text)));
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

/// The protocol is lines of `KEY=value`: a line break in a status would start a message of its own.
fn one_line(text: &str) -> String {
    let cut = text.floor_char_boundary(STATUS_BYTES_MAX);
    text[..cut].replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_status_stays_one_line_of_bounded_length() {
        assert_eq!(one_line("fine\nREADY=1"), "fine READY=1");
        assert_eq!(one_line(&"ä".repeat(400)), "ä".repeat(256));
    }
}
