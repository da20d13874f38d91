//! Links that ended long ago, and links nobody follows, are swept; all others stay.

use clicklog::{Batch, BatchNumber, Cell, Counts, LedgerId};
use reqwest::Method;
use serde_json::{Value, json};
use wire::clicks::UpTo;
use wire::clicks::reporter_message::Message;

use super::fixture::{Admin, Client, Reporter, hello, subject_of_newest, until};

const DAY_MS: u64 = 24 * 3_600_000;
const TARGET: &str = "https://a.example/";

fn admin(sweep: &str) -> Admin {
    Admin::with(&[], &format!("[sweep]\nwindow = \"always\"\n{sweep}"))
}

fn operator(admin: &Admin) -> Client {
    Client::new(admin.addresses().http, &admin.make_token(&["admin"]))
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn days_ago(days: u64) -> String {
    let at = now_ms() - days * DAY_MS;
    jiff::Timestamp::from_millisecond(i64::try_from(at).unwrap()).unwrap().to_string()
}

fn import(client: &Client, lines: &[Value]) {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let ndjson = [("content-type", "application/x-ndjson")];
    let reply = client.send(Method::POST, "/v1/import", &ndjson, Some(body));
    let done = reply.text.lines().last().unwrap().to_owned();
    assert!(done.contains(&format!("\"created\":{}", lines.len())), "{reply:?}");
}

fn sweep(client: &Client) -> Value {
    let reply = client.get("/v1/sweep");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json
}

fn statuses<const N: usize>(client: &Client, codes: [&str; N]) -> [u16; N] {
    codes.map(|code| client.get(&format!("/v1/links/{code}")).status)
}

#[test]
fn links_are_deleted_so_many_days_after_their_end_and_all_others_stay() {
    let mut admin = Admin::with(&[], "[sweep]\nkeep_expired_days = 30\n");
    let client = operator(&admin);
    let line = |code: &str, ended: u64| json!({ "code": code, "long_url": TARGET, "created_at": days_ago(90), "updated_at": days_ago(80), "expires_at": days_ago(ended) });
    import(&client, &[line("long-ago", 31), line("banned", 31), line("prolonged", 31), line("lately", 29)]);
    import(&client, &[json!({ "code": "endless", "long_url": TARGET, "created_at": days_ago(90) })]);
    for (code, change) in [("banned", json!({ "state": "banned" })), ("prolonged", json!({ "ttl": 3600 }))] {
        assert_eq!(client.patch(&format!("/v1/links/{code}"), &change).status, 200);
    }
    // Off unless it is asked for; then what is due can be seen before anything happens.
    let off = sweep(&client);
    assert_eq!(
        (&off["window"], &off["open"], &off["due"]),
        (&json!("off"), &json!(false), &json!({ "links": 1, "exact": true }))
    );
    let due = admin.control("sweep.dry_run", json!({ "limit": 5 })).unwrap();
    let named: Vec<_> = due["links"].as_array().unwrap().iter().map(|link| &link["code"]).collect();
    assert_eq!((&due["due"], named), (&json!(1), vec![&json!("long-ago")]));

    admin.set_config(|text| text.replace("[sweep]\n", "[sweep]\nwindow = \"always\"\n"));
    admin.restart();
    let client = Client::new(admin.addresses().http, client.token());
    until("the sweep", || (client.get("/v1/links/long-ago").status == 404).then_some(()));
    let all = statuses(&client, ["long-ago", "banned", "prolonged", "lately", "endless"]);
    assert_eq!(all, [404, 200, 200, 200, 200]);
    let run = until("the end of the run", || {
        let run = sweep(&client)["last_run"].clone();
        (!run["ended_at"].is_null()).then_some(run)
    });
    assert_eq!(["ended", "idle", "kept"].map(|name| run[name].as_u64().unwrap()), [1, 0, 0], "{run}");
    assert_eq!(sweep(&client)["due"], json!({ "links": 0, "exact": true }));
    let metrics = Client::new(admin.addresses().health, "").get("/metrics").text;
    assert!(metrics.contains("signpost_admin_sweep_links_ended_total 1"), "{metrics}");
    // Somebody else may have the name.
    client.create(&json!({ "long_url": "https://b.example/", "alias": "long-ago" }));
    let refused = admin.client().get("/v1/sweep");
    assert_eq!(refused.problem().0, 403);
}

#[test]
fn links_are_put_aside_if_that_is_asked_for() {
    let admin = admin("keep_expired_days = 0\naction = \"archive\"\n");
    let client = operator(&admin);
    client.create(&json!({ "long_url": TARGET, "alias": "short-lived", "ttl": 1, "title": "kept" }));
    let link = until("the sweep", || {
        let link = client.get("/v1/links/short-lived").json;
        (!link["archived_at"].is_null()).then_some(link)
    });
    assert_eq!((&link["title"], &link["last_changed_by"]), (&json!("kept"), &json!("sweep")), "{link}");
    until("nothing to be due", || (sweep(&client)["due"]["links"] == 0).then_some(()));
    let seq = client.get("/v1/replication").json["head"]["seq"].as_u64().unwrap();
    // It is put aside once.
    until("another look", || (sweep(&client)["last_run"]["ended_at"] != Value::Null).then_some(()));
    assert_eq!(client.get("/v1/replication").json["head"]["seq"].as_u64(), Some(seq));
}

#[test]
fn a_link_that_nobody_followed_or_changed_is_swept_only_when_all_clicks_are_known() {
    let mut admin = Admin::with(&[], "");
    admin.control("proxy.add", json!({ "name": "proxy-0" })).unwrap();
    let client = operator(&admin);
    let line = |code: &str| json!({ "code": code, "long_url": TARGET, "created_at": days_ago(9), "updated_at": days_ago(9) });
    import(&client, &[line("forgotten"), line("renamed")]);
    client.patch("/v1/links/renamed", &json!({ "title": "new" }));
    import(&client, &[line("followed")]);
    let followed = subject_of_newest(&client, "followed");
    admin.set_config(|text| {
        format!("{text}[sweep]\nwindow = \"always\"\naction = \"archive\"\nidle_days = 7\n")
    });
    admin.restart();
    let client = Client::new(admin.addresses().http, client.token());
    // Nobody has heard of the proxy yet: it may be leading visitors along any of them.
    let waits = until("a reason to wait", || sweep(&client)["idle"]["waits"].as_str().map(str::to_owned));
    assert!(waits.contains("proxy-0"), "{waits}");
    let (reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    let cell =
        Cell { subject: followed, counts: Counts::new([1, 0, 0, 0]), last_click_ms: now_ms() - DAY_MS };
    reporter.send(&Batch::new(LedgerId([1; 16]), BatchNumber(1), now_ms() - 2 * DAY_MS, 0, vec![cell]));
    until("the reason to change", || {
        reporter.say(Message::UpTo(UpTo { complete_until_ms: now_ms() - 2 * DAY_MS }));
        let waits = sweep(&client)["idle"]["waits"].as_str().map(str::to_owned);
        waits.filter(|waits| waits.contains("not all counted"))
    });
    let archived = |code: &str| client.get(&format!("/v1/links/{code}")).json["archived_at"] != Value::Null;
    assert_eq!(["forgotten", "renamed", "followed"].map(archived), [false; 3]);
    until("the sweep", || {
        reporter.say(Message::UpTo(UpTo { complete_until_ms: now_ms() }));
        archived("forgotten").then_some(())
    });
    until("all to be looked at", || (sweep(&client)["idle"]["all_looked_at"] != Value::Null).then_some(()));
    assert_eq!(["forgotten", "renamed", "followed"].map(archived), [true, false, false]);
}

#[test]
fn a_window_that_is_none_is_refused_with_what_is_allowed() {
    let text = super::fixture::config_text(
        std::path::Path::new("/x"),
        &[],
        "[sweep]\nwindow = \"at night\"\nsweep_per_s = 0\n",
    );
    let error = daemon::config::parse("x.toml", &text, signpost_admin::config::read).unwrap_err().to_string();
    assert!(error.contains("sweep.window") && error.contains("02:00-05:00"), "{error}");
    assert!(error.contains("sweep.sweep_per_s"), "{error}");
}
