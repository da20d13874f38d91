//! The socket as callers see it, the bad ones included.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

/// Answers a few commands; `wait` says that it has begun and waits until it is let go.
struct Sample {
    begun: Semaphore,
    let_go: Semaphore,
}

impl Commands for Sample {
    fn run(&self, command: String, args: Value) -> Answer<'_> {
        Box::pin(async move {
            match command.as_str() {
                "echo" => Ok(args),
                "large" => Ok("x".repeat(ANSWER_BYTES_MAX).into()),
                "panic" => panic!("a command that panics"),
                "wait" => {
                    self.begun.add_permits(1);
                    self.let_go.acquire().await.map_err(|error| error.to_string())?.forget();
                    Ok("done".into())
                }
                other => Err(format!("no command {other:?}")),
            }
        })
    }
}

/// A daemon with its control socket in a directory of its own.
struct Daemon {
    path: PathBuf,
    sample: Arc<Sample>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    runtime: Runtime,
    _dir: TempDir,
}

impl Daemon {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let socket = runtime.block_on(async { ControlSocket::bind(&path) }).unwrap();
        let sample = Arc::new(Sample { begun: Semaphore::new(0), let_go: Semaphore::new(0) });
        let stop = CancellationToken::new();
        let serving = runtime.spawn(socket.serve(sample.clone(), stop.clone()));
        Self { path, sample, stop, serving, runtime, _dir: dir }
    }

    fn bind_again(&self) -> io::Error {
        self.runtime.block_on(async { ControlSocket::bind(&self.path) }).unwrap_err()
    }

    fn stop(self) {
        self.stop.cancel();
        self.runtime.block_on(self.serving).unwrap();
    }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn bind(path: &Path) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { ControlSocket::bind(path) }).map(drop)
}

#[test]
fn a_command_gets_its_answer_and_a_bad_one_the_daemons_words() {
    let daemon = Daemon::start();
    let args = json!({ "codes": ["Ab3xY9z", "ü\n"] });
    assert_eq!(call(&daemon.path, "echo", args.clone()).unwrap(), args);
    let refused = call(&daemon.path, "reboot", Value::Null).unwrap_err();
    assert!(matches!(&refused, CallError::Refused(words) if words == "no command \"reboot\""), "{refused:?}");
    daemon.stop();
}

#[test]
fn requests_follow_each_other_on_a_connection_also_after_one_that_makes_no_sense() {
    let daemon = Daemon::start();
    let mut stream = connect(&daemon.path);
    stream
        .write_all(b"{\"command\":\"echo\",\"args\":1}\nhello\n{\"command\":\"echo\",\"arg\":2}\n")
        .unwrap();
    stream.write_all(b"\xff\xfe\n{\"command\":\"echo\"}\n").unwrap();
    let answers: Vec<Value> = BufReader::new(&stream)
        .lines()
        .take(5)
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let error = |answer: &Value| answer["error"].as_str().unwrap_or_default().to_owned();
    assert_eq!((&answers[0], &answers[4]), (&json!({ "ok": 1 }), &json!({ "ok": null })));
    assert!(error(&answers[1]).contains("expected one line as"), "{answers:?}");
    assert!(error(&answers[2]).contains("unknown field `arg`"), "{answers:?}");
    assert!(error(&answers[3]).starts_with("not a request"), "{answers:?}");
    daemon.stop();
}

#[test]
fn a_line_without_end_is_cut_off() {
    let daemon = Daemon::start();
    let mut stream = connect(&daemon.path);
    // What does not fit the socket's buffers after the daemon has closed cannot be written any more.
    let _ = stream.write_all(&vec![b'x'; REQUEST_BYTES_MAX + 1]);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("{\"error\":\"a request may have 1048576 bytes"), "{answer}");
    let long = call(&daemon.path, "echo", "x".repeat(REQUEST_BYTES_MAX).into()).unwrap_err();
    assert!(matches!(long, CallError::TooLong { bytes } if bytes > REQUEST_BYTES_MAX), "{long:?}");
    daemon.stop();
}

#[test]
fn an_answer_without_end_is_not_read_to_it() {
    let daemon = Daemon::start();
    let error = call(&daemon.path, "large", Value::Null).unwrap_err();
    assert!(error.to_string().contains("longer than 16777216 bytes"), "{error}");
    daemon.stop();
}

#[test]
fn only_root_and_the_daemons_own_user_are_let_in() {
    let (root, own, other) = (0, 990, 1000);
    assert!(
        server::may_command(root, own) && server::may_command(own, own) && server::may_command(root, root)
    );
    assert!(!server::may_command(other, own) && !server::may_command(own, root));
    let daemon = Daemon::start();
    assert_eq!(fs::metadata(&daemon.path).unwrap().permissions().mode() & 0o7777, 0o600);
    daemon.stop();
}

#[test]
fn the_file_is_gone_after_the_daemon_and_callers_are_told_so() {
    let daemon = Daemon::start();
    let (path, dir) = (daemon.path.clone(), daemon.path.parent().unwrap().to_owned());
    daemon.stop();
    assert!(!path.exists() && !dir.exists());
    let error = call(&path, "echo", Value::Null).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()) && error.contains("is it running"), "{error}");
}

#[test]
fn a_socket_nobody_answers_on_is_replaced_and_a_living_one_is_not() {
    let daemon = Daemon::start();
    let error = daemon.bind_again();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another daemon answers there"), "{error}");
    assert_eq!(call(&daemon.path, "echo", json!(1)).unwrap(), 1);
    daemon.stop();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    bind(&path).unwrap();
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    fs::write(&path, "precious").unwrap();
    let error = bind(&path).unwrap_err().to_string();
    assert!(error.contains("not a socket") && error.contains(&path.display().to_string()), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let error = bind(&dir.path().join("absent/control.sock")).unwrap_err().to_string();
    assert!(error.contains("its directory does not exist"), "{error}");
    let error = bind(&dir.path().join("x".repeat(200))).unwrap_err().to_string();
    assert!(error.contains("SUN_LEN"), "{error}");
}

#[test]
fn a_daemon_does_not_remove_the_socket_of_its_successor() {
    let daemon = Daemon::start();
    let path = daemon.path.clone();
    fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    daemon.stop.cancel();
    daemon.runtime.block_on(daemon.serving).unwrap();
    assert!(path.exists());
}

#[test]
fn a_command_that_panics_costs_its_caller_the_answer_and_nobody_else() {
    let daemon = Daemon::start();
    let error = call(&daemon.path, "panic", Value::Null).unwrap_err();
    assert!(matches!(error, CallError::NoAnswer { .. }), "{error:?}");
    assert_eq!(call(&daemon.path, "echo", json!(1)).unwrap(), 1);
    daemon.stop();
}

#[test]
fn a_command_that_has_begun_is_finished_before_the_daemon_ends() {
    let daemon = Daemon::start();
    let path = daemon.path.clone();
    let _idle = connect(&daemon.path);
    let caller = std::thread::spawn(move || call(&path, "wait", Value::Null));
    daemon.runtime.block_on(daemon.sample.begun.acquire()).unwrap().forget();
    daemon.stop.cancel();
    let deadline = Instant::now() + Duration::from_secs(30);
    while daemon.path.exists() {
        assert!(Instant::now() < deadline, "the file is still there, so others go on calling");
        std::thread::yield_now();
    }
    let late = call(&daemon.path, "echo", Value::Null).unwrap_err();
    assert!(matches!(late, CallError::Unreachable { .. }), "{late:?}");
    daemon.sample.let_go.add_permits(1);
    assert_eq!(caller.join().unwrap().unwrap(), "done");
    daemon.stop();
}

#[test]
fn something_else_on_the_socket_is_not_taken_for_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.sock");
    let other = UnixListener::bind(&path).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP\n").unwrap();
        stream
    });
    let error = call(&path, "echo", Value::Null).unwrap_err();
    assert!(matches!(error, CallError::Malformed { .. }), "{error:?}");
    drop(answering.join().unwrap());
}
