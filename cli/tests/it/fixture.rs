//! An API in this process with a folder of its own, and the real client as a process that knows its address and a token.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use signpost_admin::server::Running;

/// An API.
pub struct Api {
    dir: tempfile::TempDir,
    running: Running,
    token: String,
}

/// What a run of the client left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// What it printed, once it is sure that it succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The JSON it printed.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }
}

impl Api {
    pub fn start() -> Api {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let text = format!(
            "data_dir = \"{at}/data\"\nshort_url_base = \"http://s.test\"\n[http]\nlisten = \"127.0.0.1:0\"\n[health]\nlisten = \"127.0.0.1:0\"\n\
             [feed]\nlisten = \"127.0.0.1:0\"\n[control]\nsocket = \"{at}/control.sock\"\n"
        );
        let config = daemon::config::parse("test", &text, signpost_admin::config::read).unwrap().config;
        let running = Running::start(&config).unwrap();
        let mut api = Api { dir, running, token: String::new() };
        let scopes = ["links:read", "links:write", "stats:read"];
        let made = api.control("token.create", json!({ "name": "test", "scopes": scopes }));
        api.token = made["token"].as_str().unwrap().to_owned();
        api
    }

    pub fn control(&self, command: &str, args: Value) -> Value {
        daemon::control::call(&self.dir.path().join("control.sock"), command, args).unwrap()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.running.addresses().http)
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Writes a file beside the API's.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs the client with a token in its environment.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    /// The same, with something on its standard input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let url = self.url();
        run(args, &[("SIGNPOST_URL", &url), ("SIGNPOST_TOKEN", &self.token)], input)
    }
}

/// Passes connections on to an API; the first ones break after so many bytes towards the API, or back. Returns where it listens.
pub fn breaking(api: &str, after: &[(u64, u64)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (api, after) = (api.trim_start_matches("http://").to_owned(), after.to_vec());
    std::thread::spawn(move || {
        let mut after = after.into_iter();
        for client in listener.incoming().map(Result::unwrap) {
            let (towards, back) = after.next().unwrap_or((u64::MAX, u64::MAX));
            let server = TcpStream::connect(&api).unwrap();
            let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            for (from, mut to, bytes) in [(from_client, to_server, towards), (server, client, back)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut (&from).take(bytes), &mut to);
                    for end in [&from, &to] {
                        let _ = end.shutdown(Shutdown::Both);
                    }
                });
            }
        }
    });
    url
}

/// Runs the client in an environment that has nothing else of it.
pub fn run(args: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_signpost"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // Beside the reading: both pipes have an end. Whoever reads nothing closes its own.
    let writing = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}
