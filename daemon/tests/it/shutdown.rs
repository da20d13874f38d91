//! The first signal asks, the second insists.

use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{PART_TIME_MAX, Playing};

/// A daemon that hears the first signal and never ends by itself.
pub(crate) fn part() {
    let asked = daemon::shutdown::on_signals().unwrap();
    println!("listening");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(asked.cancelled());
    println!("asked");
    thread::sleep(PART_TIME_MAX);
}

#[test]
fn a_first_signal_cancels_the_token_and_a_second_ends_the_process_with_1() {
    for (first, second) in [(Signal::SIGTERM, Signal::SIGINT), (Signal::SIGINT, Signal::SIGTERM)] {
        let mut daemon = Playing::start("shutdown");
        let pid = Pid::from_raw(daemon.child.id().try_into().unwrap());
        daemon.until("listening");
        kill(pid, first).unwrap();
        daemon.until("asked");
        kill(pid, second).unwrap();
        assert_eq!(daemon.end().code(), Some(1));
    }
}
