//! What systemd is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::part as start;

pub(crate) fn part() {
    daemon::notify::status("recovering 7 records\nREADY=1");
    daemon::notify::ready();
    daemon::notify::stopping();
}

#[test]
fn systemd_is_told_the_state_and_a_status_cannot_forge_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify.sock");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let ended = start("notify").env("NOTIFY_SOCKET", &path).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let told = |_| {
        let mut message = [0; 1024];
        let length = systemd.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let messages: Vec<String> = (0..3).map(told).collect();
    assert_eq!(messages, ["STATUS=recovering 7 records READY=1\n", "READY=1\n", "STOPPING=1\n"]);
}

#[test]
fn without_systemd_nothing_happens() {
    let ended = start("notify").env_remove("NOTIFY_SOCKET").output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
