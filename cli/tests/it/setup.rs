//! Where the client gets its settings from, and what it says when something is wrong.

use std::os::unix::fs::PermissionsExt;

use super::fixture::{Api, run};

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let api = Api::start();
    let config = api.file(
        "config.toml",
        &format!("url = \"{}\"\ntoken = \"{}\"\noutput = \"json\"\n", api.url(), api.token()),
    );
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let listed = run(&["list", "--config", &config], &[], "");
    assert_eq!(listed.err, "");
    assert_eq!(listed.json(), serde_json::json!([]));
    let wrong = [("SIGNPOST_CONFIG", config.as_str()), ("SIGNPOST_TOKEN", "sp_wrong")];
    let refused = run(&["list"], &wrong, "");
    assert!(
        refused.err.contains("the token is not valid") && refused.err.contains("What to do"),
        "{refused:?}"
    );
    let token = api.file("token", &format!("{}\n", api.token()));
    assert_eq!(
        run(&["list", "--token-file", &token, "-o", "table"], &wrong, "").ok(),
        "SHORT_URL  LONG_URL  CLICKS  STATE  CREATED_AT  TITLE\n"
    );
    // What is in the home folder is found by itself.
    let home = api.dir().join("home/.config/signpost");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::copy(&config, home.join("config.toml")).unwrap();
    let home = api.dir().join("home").display().to_string();
    assert_eq!(run(&["list"], &[("HOME", &home)], "").code, 0);
}

#[test]
fn a_token_that_others_can_read_is_pointed_out() {
    let api = Api::start();
    let config = api.file("config.toml", &format!("url = \"{}\"\ntoken = \"{}\"\n", api.url(), api.token()));
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    let listed = run(&["list", "--config", &config], &[], "");
    assert!(
        listed.err.contains("others can read the token") && listed.err.contains("chmod 600"),
        "{listed:?}"
    );
    assert_eq!(listed.code, 0);
}

#[test]
fn what_is_wrong_is_said_with_what_to_do_and_an_exit_code_of_its_kind() {
    let api = Api::start();
    let nobody = run(&["list", "--url", "http://127.0.0.1:1"], &[], "");
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("cannot reach the API at http://127.0.0.1:1"), "{nobody:?}");
    let address = run(&["list", "--url", "sho.rt"], &[], "");
    assert_eq!(address.code, 2);
    assert!(address.err.contains("write it as https://HOST"), "{address:?}");
    let config = api.file("config.toml", "url = 1\ncolour = \"red\"\n");
    let config = run(&["list", "--config", &config], &[], "");
    assert_eq!(config.code, 78);
    assert!(config.err.contains("colour") && config.err.contains("url"), "{config:?}");
    let no_token = run(&["list", "--url", &api.url()], &[], "");
    assert!(no_token.err.contains("the request carries no token"), "{no_token:?}");
    assert_eq!(api.run(&["edit", "x"]).code, 2);
    assert_eq!(api.run(&["edit", "x", "--set", "title=bare"]).code, 2);
}

#[test]
fn every_command_explains_itself_and_shells_can_complete_it() {
    let links = ["create", "get", "edit", "delete", "list", "clicks", "qr", "export", "import"];
    for command in links.into_iter().chain(["users", "groups", "tokens", "domains", "api", "completions"]) {
        let help = run(&[command, "--help"], &[], "").ok();
        assert!(help.contains("Usage: signpost") && help.contains("--url"), "{command}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell], &[], "").ok();
        for word in ["signpost", "dry-run", "alias-prefix"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

/// Answers requests one after the other, each on a connection of its own, and says how many there were.
pub fn answering(
    answers: &'static [&'static str],
) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = asked.clone();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines();
            head.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let (head, body) = answer.split_once('|').unwrap_or((answer, ""));
            write!(
                stream,
                "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    (url, asked)
}

#[test]
fn what_was_put_off_is_asked_again_and_what_may_have_been_done_is_not() {
    const BUSY: &str = "503 x\r\nRetry-After: 0|{\"title\":\"busy\",\"status\":503,\"code\":\"busy\"}";
    const LIMITED: &str =
        "429 x\r\nRetry-After: 0|{\"title\":\"slow\",\"status\":429,\"code\":\"rate_limited\"}";
    const TOO_LONG: &str =
        "429 x\r\nRetry-After: 3600|{\"title\":\"used up\",\"status\":429,\"code\":\"quota_used_up\"}";
    const UNKNOWN: &str =
        "503 x\r\nRetry-After: 0|{\"title\":\"unknown\",\"status\":503,\"code\":\"outcome_unknown\"}";
    const DONE: &str = "204 No Content";
    for (answers, code, asked) in
        [(&[BUSY, LIMITED, DONE][..], 0, 3), (&[TOO_LONG, DONE], 1, 1), (&[UNKNOWN, DONE], 1, 1)]
    {
        let (url, counted) = answering(answers);
        let ran = run(&["delete", "x"], &[("SIGNPOST_URL", &url), ("SIGNPOST_TOKEN", "sp_x")], "");
        assert_eq!((ran.code, counted.load(std::sync::atomic::Ordering::SeqCst)), (code, asked), "{ran:?}");
    }
}
