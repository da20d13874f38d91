//! create, redirect and verify against servers that behave, and servers that do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::run;
use crate::server::{Answer, Request, answer, redirect, serve_anywhere};

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An admin API and a proxy over the same links; `change` may put another answer in the place of the proxy's.
fn system(change: impl Fn(&str, Answer) -> Answer + Send + Sync + 'static) -> (String, String) {
    let links: &'static Mutex<Vec<String>> = Box::leak(Box::default());
    let admin = serve_anywhere(move |request: &Request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let mut links = links.lock().unwrap();
        let mut create = |link: &Value| {
            let long_url = link["long_url"].as_str().unwrap();
            if long_url.contains("refuse") {
                return json!({ "status": 422, "error": { "code": "bad_url" } });
            }
            links.push(long_url.replace('ü', "%C3%BC"));
            json!({ "status": 201, "link": { "code": format!("c{}", links.len() - 1), "long_url": links.last() } })
        };
        if request.path == "/v1/links" {
            let result = create(&body);
            return match result["status"].as_u64() {
                Some(201) => answer(201, "", &result["link"].to_string()),
                _ => answer(422, "", &result["error"].to_string()),
            };
        }
        let results: Vec<Value> = body["links"].as_array().unwrap().iter().map(&mut create).collect();
        let number = |(index, mut result): (usize, Value)| {
            result["index"] = json!(index);
            result
        };
        let results: Vec<Value> = results.into_iter().enumerate().map(number).collect();
        answer(200, "", &json!({ "results": results }).to_string())
    });
    let proxy = serve_anywhere(move |request: &Request| {
        let code = &request.path[1..];
        let index = code.trim_start_matches('c').parse::<usize>().unwrap();
        change(
            code,
            links
                .lock()
                .unwrap()
                .get(index)
                .map_or_else(|| answer(404, "", ""), |long_url| redirect(long_url)),
        )
    });
    (admin, proxy)
}

#[test]
fn every_created_link_is_followed_on_every_proxy_and_verify_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let urls: String = (0..50).map(|index| format!("https://a.example/{index}?q=\"x\"\\\n")).collect();
    let urls = file(dir.path(), "urls.txt", &format!("{urls}https://a.example/ü\n"));
    let expect = dir.path().join("expect.tsv");
    let (admin, proxy) = system(|_, answer| answer);
    let (other_proxy, proxies) = (proxy.clone(), format!("{proxy},{proxy}"));
    let created = run(
        dir.path(),
        &["create", "--urls", arg(&urls), "--concurrency", "4", "--admin", &admin, "--token", "sp_1_secret"]
            .into_iter()
            .chain(["--out", arg(&expect), "--proxies", &proxies, "--follow"])
            .collect::<Vec<_>>(),
    );
    assert!(created.output.status.success(), "{}", created.stderr());
    assert_eq!(
        (&created.results["created"], &created.results["followed"]["right"]),
        (&51.into(), &102.into())
    );
    assert!(created.stdout().contains("102 right, 0 wrong, 0 missing, 0 unanswered"), "{}", created.stdout());
    assert!(!created.report.to_string().contains("sp_1_secret"));
    assert!(created.report["host"]["cpu"].is_string() && created.report["started_at"].is_string());
    assert!(fs::read_to_string(&expect).unwrap().contains("\thttps://a.example/%C3%BC\n"));
    let verified = run(dir.path(), &["verify", "--expect", arg(&expect), "--proxies", &proxy, &other_proxy]);
    assert!(verified.output.status.success(), "{}", verified.stderr());
    assert_eq!(verified.results["checked"]["right"], 102);
}

#[test]
fn wrong_missing_and_unanswered_links_are_told_apart_and_fail_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let expect: String = (0..20).map(|index| format!("c{index}\thttps://a.example/{index}\n")).collect();
    let expect = file(dir.path(), "expect.tsv", &expect);
    let proxy = serve_anywhere(|request: &Request| match &request.path[1..] {
        "c3" => redirect("https://a.example/33"),
        "c5" | "c6" => answer(404, "", ""),
        "c7" => None,
        code => redirect(&format!("https://a.example/{}", &code[1..])),
    });
    let verified =
        run(dir.path(), &["verify", "--expect", arg(&expect), "--proxies", &proxy, "--connections", "2"]);
    assert_eq!(verified.output.status.code(), Some(1));
    let checked = &verified.results["checked"];
    let counts = ["right", "wrong", "missing", "unanswered"].map(|name| checked[name].as_u64().unwrap());
    assert_eq!(counts, [16, 1, 2, 1]);
    let told = format!("{proxy}/c3: expected 302 https://a.example/3, got 302 https://a.example/33");
    assert!(verified.stdout().contains(&told), "{}", verified.stdout());
}

#[test]
fn a_link_missing_on_a_proxy_right_after_its_201_fails_the_run_although_it_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let urls = file(dir.path(), "urls.txt", "https://a.example/0\nhttps://a.example/1\n");
    let asked = AtomicU64::new(0);
    let late = move |code: &str, right: Answer| {
        if code == "c1" && asked.fetch_add(1, Ordering::Relaxed) == 0 { answer(404, "", "") } else { right }
    };
    let (admin, proxy) = system(late);
    let arguments = ["create", "--urls", arg(&urls), "--concurrency", "1", "--admin", &admin, "--token", "t"];
    let created = run(dir.path(), &[&arguments[..], &["--proxies", &proxy, "--follow"]].concat());
    assert_eq!(created.output.status.code(), Some(1));
    assert_eq!(
        (&created.results["followed"]["right"], &created.results["followed"]["missing"]),
        (&1.into(), &1.into())
    );
    assert!(created.stderr().contains("not right, right after the 201"), "{}", created.stderr());
}

#[test]
fn refused_links_are_counted_by_reason_and_fail_the_run_unless_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let urls = file(
        dir.path(),
        "urls.txt",
        "https://a.example/0\nrefuse\nhttps://a.example/1\nrefuse\nhttps://a.example/2\n",
    );
    let (admin, _proxy) = system(|_, answer| answer);
    let arguments = ["create", "--urls", arg(&urls), "--concurrency", "1", "--admin", &admin, "--token", "t"];
    for (more, code) in [(&[][..], 1), (&["--allow-errors"], 0), (&["--allow-errors", "--batch", "2"], 0)] {
        let created = run(dir.path(), &[&arguments[..], more].concat());
        assert_eq!(created.output.status.code(), Some(code), "{more:?} {}", created.stderr());
        assert_eq!(
            (&created.results["created"], &created.results["errors"]),
            (&3.into(), &json!({ "422 bad_url": 2 }))
        );
    }
}

#[test]
fn a_code_given_to_two_links_or_an_altered_target_fails_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let urls = file(dir.path(), "urls.txt", "https://a.example/0\nhttps://a.example/1\n");
    let link = json!({ "code": "same", "long_url": "https://a.example/0" }).to_string();
    let admin = serve_anywhere(move |_| answer(201, "", &link));
    let arguments = [
        "create",
        "--urls",
        arg(&urls),
        "--rate",
        "100",
        "--admin",
        &admin,
        "--token",
        "t",
        "--allow-errors",
    ];
    let created = run(dir.path(), &arguments);
    assert_eq!(created.output.status.code(), Some(1));
    assert_eq!((&created.results["duplicate_codes"], &created.results["altered"]), (&1.into(), &1.into()));
}

/// Runs `redirect` without warm-up for 1 s.
fn redirects(target: &str, rate: &str, connections: &str, more: &[&str]) -> crate::Run {
    let dir = tempfile::tempdir().unwrap();
    let keys = file(dir.path(), "keys.txt", "a\nb\nc\n");
    let arguments =
        ["redirect", "--rate", rate, "--duration", "1", "--warm-up", "0", "--connections", connections];
    run(dir.path(), &[&arguments[..], &["--keys", arg(&keys), "--target", target], more].concat())
}

/// The requests of the histogram that took `ns` or longer.
fn slower_than(results: &Value, ns: u64) -> u64 {
    let buckets = results["latency"]["buckets_ns"].as_array().unwrap().iter();
    buckets.filter(|bucket| bucket[0].as_u64().unwrap() >= ns).map(|bucket| bucket[1].as_u64().unwrap()).sum()
}

#[test]
fn every_request_of_the_schedule_is_sent_and_counted_once() {
    let target = serve_anywhere(|_| redirect("https://a.example/"));
    for more in [&[][..], &["--threads", "2", "--arrivals", "constant"]] {
        let measured = redirects(&target, "400", "6", more);
        assert!(measured.output.status.success(), "{}", measured.stderr());
        assert_eq!((&measured.results["redirected"], &measured.results["unsent"]), (&400.into(), &0.into()));
        assert!(measured.report["command_line"].as_str().unwrap().contains("redirect --rate 400"));
        assert_eq!((&measured.results["errors"], &measured.results["reconnects"]), (&json!({}), &0.into()));
        assert_eq!(slower_than(&measured.results, 0), 400);
    }
}

/// Runs `redirect` in a closed loop without warm-up for up to 5 s.
fn redirects_flat_out(target: &str, more: &[&str]) -> crate::Run {
    let dir = tempfile::tempdir().unwrap();
    let keys = file(dir.path(), "keys.txt", "a\nb\nc\nd\ne\n");
    let arguments = ["redirect", "--flat-out", "--duration", "5", "--warm-up", "0", "--keys", arg(&keys)];
    run(dir.path(), &[&arguments[..], &["--target", target], more].concat())
}

/// Uses that much processor time, which even a clock that counts in ticks shows.
fn work_for(time: Duration) {
    let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let until = used() + time;
    while used() < until {
        std::hint::spin_loop();
    }
}

#[test]
fn a_closed_loop_can_ask_for_every_key_once_and_tell_what_that_cost_the_server() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let target = serve_anywhere(move |request| {
        seen.lock().unwrap().push(request.path.clone());
        work_for(Duration::from_millis(20));
        redirect("https://a.example/")
    });
    let own_pid = std::process::id().to_string();
    let more = ["--once", "--connections", "2", "--server-pid", &own_pid];
    let measured = redirects_flat_out(&target, &more);
    assert!(measured.output.status.success(), "{}", measured.stderr());
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["/a", "/b", "/c", "/d", "/e"]);
    let results = &measured.results;
    assert_eq!((&results["kind"], &results["rate_wanted"]), (&json!("closed loop"), &Value::Null));
    assert_eq!((&results["redirected"], &results["errors"]), (&5.into(), &json!({})));
    assert!(results["server"]["cpu_us_per_answer"].as_f64().unwrap() > 0.0, "{}", measured.stdout());
}

#[test]
fn a_request_with_a_connection_of_its_own_says_so_and_lets_the_server_close_it() {
    let target = serve_anywhere(|_| answer(302, "Location: https://a.example/\r\nConnection: close\r\n", ""));
    let measured = redirects_flat_out(&target, &["--once", "--connections", "1", "--connection-per-request"]);
    let results = &measured.results;
    assert_eq!((&results["redirected"], &results["errors"]), (&5.into(), &json!({})));
    // A server that keeps such a connection open is told on, not hung up on.
    let target = serve_anywhere(|_| redirect("https://a.example/"));
    let more = ["--connections", "1", "--connection-per-request", "--timeout", "1"];
    let measured = redirects_flat_out(&target, &more);
    assert!(measured.results["errors"]["not_closed"].as_u64().unwrap() >= 1, "{}", measured.stdout());
}

#[test]
fn a_stall_of_the_server_is_charged_to_every_request_that_was_due_during_it() {
    let requests = AtomicU64::new(0);
    let target = serve_anywhere(move |_| {
        if requests.fetch_add(1, Ordering::Relaxed) == 20 {
            thread::sleep(Duration::from_millis(500));
        }
        redirect("https://a.example/")
    });
    let measured = redirects(&target, "100", "1", &[]);
    assert_eq!(measured.results["redirected"], 100);
    // 50 requests were due during the stall; a generator that waits with the server would see one slow request.
    assert!(slower_than(&measured.results, 50_000_000) >= 40, "{}", measured.stdout());
    assert!(measured.results["no_connection_free"].as_u64().unwrap() >= 40);
}

#[test]
fn connections_closed_in_good_order_are_opened_again_without_an_error() {
    let target = serve_anywhere(|_| answer(302, "Location: https://a.example/\r\nConnection: close\r\n", ""));
    let measured = redirects(&target, "200", "4", &[]);
    assert_eq!((&measured.results["redirected"], &measured.results["errors"]), (&200.into(), &json!({})));
    assert!(measured.results["reconnects"].as_u64().unwrap() >= 196);
}

#[test]
fn errors_are_counted_by_reason_apart_from_the_latencies() {
    let requests = AtomicU64::new(0);
    let target = serve_anywhere(move |_| match requests.fetch_add(1, Ordering::Relaxed) % 4 {
        0 => answer(404, "", ""),
        1 => None,
        _ => redirect("https://a.example/"),
    });
    let measured = redirects(&target, "200", "1", &[]);
    assert_eq!(measured.results["errors"], json!({ "status_404": 50, "closed": 50 }));
    assert_eq!(
        (measured.results["redirected"].as_u64(), slower_than(&measured.results, 0)),
        (Some(100), 100)
    );
}

#[test]
fn a_server_that_is_not_there_leaves_every_request_unsent_and_fails_the_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let measured = redirects(&target, "50", "2", &["--timeout", "1"]);
    assert_eq!(measured.output.status.code(), Some(1));
    assert_eq!((&measured.results["redirected"], &measured.results["unsent"]), (&0.into(), &50.into()));
}
