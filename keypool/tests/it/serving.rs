//! What the daemon does for others while all is well.

use std::collections::HashSet;

use linklog::Code7;
use tonic::Code;
use wire::keys::{DescribeRequest, LeaseRequest, MarkUsedRequest, ReleaseRequest, SlotRange};

use crate::daemon::{Home, request, until};

const SMALL: &str = "low_watermark = 20000\nhigh_watermark = 40000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_admin_leases_codes_and_a_stop_is_clean() {
    let home = Home::new(&format!("{SMALL}slots = '0-99,200'"));
    let daemon = home.start();
    let mut client = daemon.client().await;
    let first = client.lease(request(1, 1_000)).await.unwrap().into_inner();
    let second = client.lease(request(2, 500)).await.unwrap().into_inner();
    assert_eq!(client.lease(request(1, 1_000)).await.unwrap().into_inner(), first);
    assert_eq!((first.lease_number, second.lease_number), (1, 2));
    let codes: HashSet<u64> = first.codes.iter().chain(&second.codes).copied().collect();
    assert_eq!(codes.len(), 1_500);
    let slot_of = |value: &u64| Code7::new(*value).unwrap().pool_slot();
    assert!(codes.iter().map(slot_of).all(|slot| slot < 100 || slot == 200));
    let pool = client.describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!(pool.slots, [SlotRange { first: 0, last: 99 }, SlotRange { first: 200, last: 200 }]);
    assert_eq!((pool.pool_id.clone(), pool.used, pool.last_lease_number), (first.pool_id, 1_500, 2));
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("\"stopped\"") && !log.contains("\"ERROR\"") && !log.contains("\"WARN\""), "{log}");
    let daemon = home.start();
    let mut client = daemon.client().await;
    assert_eq!(client.lease(request(2, 500)).await.unwrap().into_inner(), second);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_stock_is_refilled_below_the_low_watermark() {
    let home = Home::new(SMALL);
    let daemon = home.start();
    let mut client = daemon.client().await;
    let mut codes = HashSet::new();
    for id in 0..10 {
        let leased = client.lease(request(id, 15_000)).await.unwrap().into_inner();
        codes.extend(leased.codes);
        until(|| daemon.get("/readyz").1.contains("\"refilling\":false"));
        until(|| !daemon.get("/metrics").1.contains("signpost_keypool_unused_codes 0\n"));
    }
    assert!(codes.len() > 100_000, "{}", codes.len());
    daemon.logged("\"refilled\"");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn health_readiness_and_metrics_say_how_the_pool_is() {
    let home = Home::new(SMALL);
    let daemon = home.start();
    daemon.logged("\"refilled\"");
    daemon.client().await.lease(request(1, 123)).await.unwrap();
    until(|| daemon.get("/readyz").1.contains("\"unused\":39877"));
    let (status, body) = daemon.get("/readyz");
    assert_eq!(status, 200);
    assert!(body.contains("\"ready\":true") && body.contains("\"used\":123"), "{body}");
    assert_eq!(daemon.get("/healthz").0, 200);
    let (status, metrics) = daemon.get("/metrics");
    assert_eq!(status, 200);
    for line in [
        "signpost_keypool_unused_codes 39877",
        "signpost_keypool_used_codes 123",
        "signpost_keypool_leases_total 1",
        "signpost_keypool_leased_codes_total 123",
        "signpost_keypool_lease_duration_seconds_count 1",
        "signpost_keypool_generated_codes_total 40000",
        "signpost_keypool_refilling 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in\n{metrics}");
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_that_make_no_sense_are_refused_with_the_reason() {
    let home = Home::new(&format!("{SMALL}slots = '0-2047'"));
    let daemon = home.start();
    let mut client = daemon.client().await;
    let good = request(1, 10);
    for (bad, reason) in [
        (LeaseRequest { request_id: vec![1; 15], ..good.clone() }, "request_id has 16 random bytes, not 15"),
        (LeaseRequest { count: 0, ..good.clone() }, "count is 1 to 100000, not 0"),
        (LeaseRequest { count: 100_001, ..good.clone() }, "count is 1 to 100000, not 100001"),
        (LeaseRequest { holder: "x".repeat(65), ..good.clone() }, "holder has at most 64 bytes"),
    ] {
        let status = client.lease(bad).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, reason));
    }
    client.lease(good.clone()).await.unwrap();
    let stolen = client.lease(LeaseRequest { epoch: 2, ..good }).await.unwrap_err();
    assert_eq!(stolen.code(), Code::FailedPrecondition);
    for (codes, reason) in [
        (vec![Code7::COUNT], "is the number of no code"),
        (vec![1, 2_048], "slot 2048, which this pool does not own"),
        (vec![1; 10_001], "at most 10000 codes at once, not 10001"),
    ] {
        let status = client.mark_used(MarkUsedRequest { codes }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(reason), "{status}");
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn marks_and_releases_arrive_over_the_wire() {
    let home = Home::new(&format!("{SMALL}quarantine_days = 1"));
    let daemon = home.start();
    let mut client = daemon.client().await;
    let marked = client.mark_used(MarkUsedRequest { codes: vec![5, 6, 5] }).await.unwrap().into_inner();
    assert_eq!(marked.newly_marked, 2);
    let marked = client.mark_used(MarkUsedRequest { codes: vec![5, 6] }).await.unwrap().into_inner();
    assert_eq!(marked.newly_marked, 0);
    let leased = client.lease(request(1, 3)).await.unwrap().into_inner();
    let codes = [&leased.codes[..], &[7_777]].concat();
    let released = client.release(ReleaseRequest { codes }).await.unwrap().into_inner();
    assert_eq!((released.quarantined, released.ignored), (3, 1));
    daemon.stop();
}

#[test]
fn commands_reach_the_daemon_through_its_socket() {
    let home = Home::new(SMALL);
    let none = home.run(&["stats"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("is it running"));
    let daemon = home.start();
    until(|| daemon.get("/readyz").1.contains("\"unused\":40000"));
    let output = |args: &[&str]| {
        let output = home.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let stats = output(&["stats"]);
    for part in [
        "unused: 40000\n",
        "used: 0\n",
        "last_lease_number: 0\n",
        "slots: 0-4095\n",
        "refill_codes_per_second: ",
    ] {
        assert!(stats.contains(part), "no {part:?} in\n{stats}");
    }
    assert!(output(&["slots"]).contains("slots: 0-4095\n"));
    assert_eq!(output(&["mark-used", "Ab3xY9z", "0000000"]), "newly_marked: 2\n");
    assert!(output(&["stats"]).contains("used: 2\n"));
    assert_eq!(output(&["release", "Ab3xY9z"]), "ignored: 1\nquarantined: 0\n");
    assert!(output(&["refill"]).contains("unused: 40000\n"));
    let wrong = home.run(&["release", "too-long-for-a-code"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("is no generated code"));
    daemon.stop();
}
