//! Key pools that come and go.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use linklog::{Code, Code7};
use serde_json::{Value, json};
use signpost_admin::config;
use signpost_admin::server::Running;
use wire::identity::{Identity, Issuer, Role};

use super::fixture::{Admin, Client, FakePool, Reply, config_text, until};

const SMALL: &str = "[codes]\nblock = 10\nlow_watermark = 5\n";

fn create(client: &Client) -> Reply {
    client.post("/v1/links", &json!({ "long_url": "https://a.example/" }))
}

fn code(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json["code"].as_str().unwrap().to_owned()
}

fn text(code: u64) -> String {
    Code7::new(code).unwrap().to_string()
}

#[test]
fn creation_goes_on_without_key_pools_until_the_block_is_used_up() {
    let mut pool = FakePool::start(1, 0);
    let admin = Admin::with(&[&pool], SMALL);
    admin.wait_for_codes(10);
    pool.switch_off();
    let client = admin.client();
    let mut codes = HashSet::new();
    let refused = loop {
        let reply = create(&client);
        if reply.status != 201 {
            break reply;
        }
        assert!(codes.insert(code(&reply)));
        assert!(codes.len() <= 10);
    };
    assert_eq!(codes.len(), 10);
    assert_eq!(refused.problem(), (503, "no_codes_available"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let alias =
        client.post("/v1/links", &json!({ "long_url": "https://a.example/", "alias": "still-works" }));
    assert_eq!(alias.status, 201);

    pool.switch_on();
    let next = until("codes from the pool that is back", || {
        Some(create(&client)).filter(|reply| reply.status == 201)
    });
    assert!(codes.insert(code(&next)));
}

#[test]
fn a_restart_continues_the_block_without_key_pools_and_wastes_nothing() {
    let mut pool = FakePool::start(1, 0);
    let mut admin = Admin::with(&[&pool], SMALL);
    admin.wait_for_codes(10);
    pool.switch_off();
    let mut codes = Vec::new();
    for _ in 0..10 {
        codes.push(code(&create(&admin.client())));
        admin.restart();
    }
    assert_eq!(codes, (0..10).map(text).collect::<Vec<_>>());
    assert_eq!(create(&admin.client()).problem(), (503, "no_codes_available"));
}

/// Copies a folder with everything in it and all its attributes.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_copy_of_a_writers_folder_hands_out_none_of_the_codes_that_the_first_one_has_left() {
    let pool = FakePool::start(1, 0);
    let mut first = Admin::with(&[&pool], SMALL);
    first.wait_for_codes(10);
    let mut codes: Vec<_> = (0..3).map(|_| code(&create(&first.client()))).collect();
    first.stop();
    let second = tempfile::tempdir().unwrap();
    copy(&first.dir().join("data"), &second.path().join("data"));
    // Both of them run, in the same epoch, over the same pool.
    first.restart();
    let config = config_text(second.path(), &[&pool], SMALL);
    let config = daemon::config::parse("test", &config, config::read).unwrap().config;
    let running = Running::start(&config).unwrap();
    let copied = Client::new(running.addresses().http, &first.token);
    assert_eq!(
        first.control("status", Value::Null).unwrap()["head"],
        daemon::control::call(&second.path().join("control.sock"), "status", Value::Null).unwrap()["head"]
    );
    for _ in 0..40 {
        codes.extend([code(&create(&first.client())), code(&create(&copied))]);
    }
    assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len(), "{codes:?}");
    running.stop().unwrap();
    // The first one lost nothing by it.
    let first_lease: HashSet<_> = (0..10).map(text).collect();
    assert!(first_lease.is_subset(&codes.into_iter().collect()));
}

#[test]
fn an_old_copy_that_is_put_back_hands_out_no_code_that_was_handed_out_since() {
    let pool = FakePool::start(1, 0);
    let mut admin = Admin::with(&[&pool], SMALL);
    admin.wait_for_codes(10);
    let mut codes = vec![code(&create(&admin.client()))];
    admin.stop();
    let (data, kept) = (admin.dir().join("data"), admin.dir().join("kept"));
    copy(&data, &kept);
    admin.restart();
    codes.extend((0..4).map(|_| code(&create(&admin.client()))));
    admin.forget_data();
    std::fs::rename(&kept, &data).unwrap();
    admin.restart();
    codes.extend((0..40).map(|_| code(&create(&admin.client()))));
    assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len(), "{codes:?}");
}

#[test]
fn a_batch_is_made_as_far_as_the_codes_go() {
    let mut pool = FakePool::start(1, 0);
    let admin = Admin::with(&[&pool], SMALL);
    admin.wait_for_codes(10);
    pool.switch_off();
    let links: Vec<_> = (0..12).map(|n| json!({ "long_url": format!("https://a.example/{n}") })).collect();
    let reply = admin.client().post("/v1/links/batch", &json!({ "links": links }));
    assert_eq!(reply.status, 200, "{reply:?}");
    let statuses: Vec<_> = reply.json["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [vec![201; 10], vec![503; 2]].concat());
    assert_eq!(reply.json["results"][11]["error"]["code"], "no_codes_available");
}

#[test]
fn the_next_pool_is_asked_when_one_does_not_answer() {
    let mut first = FakePool::with_slots(1, 0, (0, 2047));
    let second = FakePool::with_slots(2, 0, (2048, 4095));
    first.switch_off();
    let admin = Admin::with(&[&first, &second], SMALL);
    for _ in 0..30 {
        code(&create(&admin.client()));
    }
    assert!(second.leases() >= 3);
    assert_eq!(first.leases(), 0);
}

#[test]
fn two_pools_that_claim_one_slot_are_not_both_used() {
    let first = FakePool::with_slots(1, 0, (0, 2048));
    let second = FakePool::with_slots(2, 0, (2048, 4095));
    let mut admin = Admin::with(&[&first, &second], SMALL);
    for _ in 0..30 {
        code(&create(&admin.client()));
    }
    assert_eq!(second.leases(), 0);
    admin.stop();
}

#[test]
fn a_pool_that_lost_its_memory_is_not_used() {
    let mut pool = FakePool::start(1, 0);
    let mut admin = Admin::with(&[&pool], SMALL);
    admin.wait_for_codes(10);
    pool.switch_off();
    {
        // A backup of an hour ago, under the old id: it counts leases from the beginning.
        let mut state = pool.state.lock().unwrap();
        (state.lease_number, state.next_code) = (0, 0);
        state.leases.clear();
    }
    pool.switch_on();
    let codes: Vec<_> = (0..10).map(|_| code(&create(&admin.client()))).collect();
    assert_eq!(codes.iter().collect::<HashSet<_>>().len(), 10);
    assert_eq!(create(&admin.client()).problem(), (503, "no_codes_available"));
    admin.restart();
    assert_eq!(create(&admin.client()).problem(), (503, "no_codes_available"), "nor after a restart");
}

#[test]
fn an_alias_that_looks_like_a_code_is_told_to_its_pool_sooner_or_later() {
    let mut pool = FakePool::start(1, 1 << 30);
    let mut admin = Admin::with(&[&pool], SMALL);
    let client = admin.client();
    let alias = |code: u64| json!({ "long_url": "https://a.example/", "alias": text(code) });
    client.create(&alias(123_456_789));
    client.create(&json!({ "long_url": "https://a.example/", "alias": "longer-than-a-code" }));
    until("the mark", || (pool.marked() == [123_456_789].into()).then_some(()));

    pool.switch_off();
    client.create(&alias(222_222_222));
    let links: Vec<_> = [333_333_333, 444_444_444].map(alias).into();
    client.post("/v1/links/batch", &json!({ "links": links }));
    // It is remembered although nobody could be told before the end.
    admin.restart();
    pool.switch_on();
    until("all marks", || {
        (pool.marked() == [123_456_789, 222_222_222, 333_333_333, 444_444_444].into()).then_some(())
    });
}

#[test]
fn the_stock_is_filled_before_it_is_empty() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::with(&[&pool], "[codes]\nblock = 100\nlow_watermark = 50\n");
    let client = admin.client();
    for _ in 0..500 {
        code(&create(&client));
    }
    until("a full stock", || {
        let ready = Client::new(admin.addresses().health, "").get("/readyz");
        (ready.json["codes_left"].as_u64() >= Some(50)).then_some(())
    });
    assert!((5..=7).contains(&pool.leases()), "{} leases", pool.leases());
}

#[test]
fn codes_come_over_mutual_tls_and_never_from_another_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = |ca: &str, role, name: &str| {
        let ca = dir.path().join(ca);
        let issuer = Issuer::open(&ca).or_else(|_| Issuer::create(&ca)).unwrap();
        let out = dir.path().join(name);
        issuer.issue(role, name, &out).unwrap();
        (Identity::load(&out).unwrap(), out)
    };
    let (_, writer) = bundle("ours", Role::Writer, "writer");
    let own = FakePool::with_identity(1, 0, bundle("ours", Role::Keypool, "pool-a").0);
    let strange = FakePool::with_identity(2, 0, bundle("theirs", Role::Keypool, "pool-b").0);
    let wrong_role = FakePool::with_identity(3, 0, bundle("ours", Role::Proxy, "proxy-0").0);
    let tls = format!("tls_dir = \"{}\"", writer.display());
    let with = |pools: &[&FakePool]| {
        let mut admin = Admin::with(&[], SMALL);
        let pools: String =
            pools.iter().map(|pool| format!("[[keypool]]\nurl = \"{}\"\n", pool.url())).collect();
        admin.set_config(|text| text.replace("[feed]\n", &format!("[feed]\n{tls}\n")) + &pools);
        admin.forget_data();
        admin.restart();
        admin.token = admin.make_token(&["links:write"]);
        admin
    };
    code(&create(&with(&[&own]).client()));
    for pool in [&strange, &wrong_role] {
        assert_eq!(create(&with(&[pool]).client()).problem(), (503, "no_codes_available"));
        assert_eq!(pool.leases(), 0);
    }
}

#[test]
fn a_service_without_key_pools_makes_aliases_only() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let started = std::time::Instant::now();
    let batch = client.post("/v1/links/batch", &json!({ "links": [{ "long_url": "https://a.example" }] }));
    assert_eq!(batch.json["results"][0]["status"], 503);
    assert_eq!(create(&client).problem(), (503, "no_codes_available"));
    assert!(started.elapsed() < Duration::from_secs(20));
    let ready: Value = Client::new(admin.addresses().health, "").get("/readyz").json;
    assert_eq!((&ready["keypools"], &ready["codes_left"]), (&json!("down"), &json!(0)));
}

/// Makes links until the pool's next two leases are used up; returns their codes.
fn create_through_two_leases(client: &Client, pool: &FakePool) -> Vec<String> {
    let leases = pool.leases() + 2;
    let mut codes = Vec::new();
    while pool.leases() < leases || codes.len() < 25 {
        codes.push(code(&create(client)));
    }
    codes
}

#[test]
fn the_code_of_a_deleted_link_comes_back_only_if_the_operator_says_so_and_its_time_is_over() {
    for (reuse, is_released, comes_back) in [
        ("", false, false),
        ("reuse = true\nreuse_after_days = 1\n", true, false),
        ("reuse = true\nreuse_after_days = 0\n", true, true),
    ] {
        let pool = FakePool::start(1, 0);
        let mut admin = Admin::with(&[&pool], &format!("{SMALL}{reuse}"));
        admin.wait_for_codes(10);
        let client = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
        let made = client.create(&json!({ "long_url": "https://first.example/", "tags": ["old"] }));
        let (freed, at) = (made["code"].as_str().unwrap().to_owned(), "/v1/links/");
        let banned = code(&create(&client));
        assert_eq!(client.patch(&format!("{at}{banned}"), &json!({ "state": "banned" })).status, 200);
        for code in [&freed, &banned] {
            assert_eq!(client.delete(&format!("{at}{code}")).status, 204);
        }
        let value = |text: &str| Code7::from_bytes(text.as_bytes().try_into().unwrap()).unwrap().value();
        if is_released {
            // Also when the process ends before it has told anybody.
            admin.restart();
            until("the code to be given back", || (!pool.released().is_empty()).then_some(()));
            assert_eq!(pool.released(), [value(&freed)], "what was taken down stays taken");
        } else {
            // As a pool would that has lost its memory.
            pool.state.lock().unwrap().released.push(value(&freed));
        }
        pool.state.lock().unwrap().released.push(value(&banned));
        let client = Client::new(admin.addresses().http, client.token());
        let codes = create_through_two_leases(&client, &pool);
        assert!(!codes.contains(&banned), "{reuse}");
        assert_eq!(codes.iter().filter(|code| **code == freed).count(), usize::from(comes_back), "{reuse}");
        let link = client.get(&format!("{at}{freed}"));
        if comes_back {
            // Nothing of the old link is left, for whoever has the new one.
            assert_eq!(
                (&link.json["long_url"], &link.json["tags"]),
                (&json!("https://a.example/"), &json!([]))
            );
            let history = client.get(&format!("{at}{freed}/history")).json;
            assert!(!history.to_string().contains("first.example"), "{history}");
            // The mark is gone with its use: a pool that hands the code out once more makes no second link.
            assert_eq!(client.delete(&format!("{at}{freed}")).status, 204);
        } else {
            assert_eq!(link.status, 404);
        }
    }
}

#[test]
fn a_pool_that_was_restored_or_replaced_is_told_which_codes_are_in_use_before_it_leases_any() {
    let mut pool = FakePool::start(1, 0);
    let admin = Admin::with(&[&pool], SMALL);
    let client = admin.client();
    let mut used: Vec<String> = (0..5).map(|_| code(&create(&client))).collect();
    assert_eq!(client.delete(&format!("/v1/links/{}", used[0])).status, 204);
    client.create(&json!({ "long_url": "https://a.example/", "alias": "Alias77" }));
    used.push("Alias77".to_owned());
    until("the alias to be marked", || (pool.marked().len() == 1).then_some(()));

    // Another pool with the same slots and an old memory.
    pool.switch_off();
    {
        let mut state = pool.state.lock().unwrap();
        (state.pool_id, state.lease_number) = ([2; 16], 0);
        state.marked.clear();
        state.leases.clear();
    }
    let first = 1_000_000;
    pool.state.lock().unwrap().next_code = first;
    pool.switch_on();
    until("a code of the new pool", || {
        let made = Some(create(&client)).filter(|reply| reply.status == 201)?;
        used.push(code(&made));
        let code7 = code(&made).parse::<Code>().unwrap().as_code7().unwrap();
        (code7.value() >= first).then_some(())
    });
    let marked: HashSet<String> = pool.marked().into_iter().map(text).collect();
    used.pop();
    assert!(used.iter().all(|code| marked.contains(code)), "{used:?} and {marked:?}");
}
