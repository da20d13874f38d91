//! What can be asked without a token.

use serde_json::json;

use super::fixture::{Admin, Client, FakePool};

#[test]
fn health_is_there_without_a_token_on_both_ports() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(1);
    for address in [admin.addresses().http, admin.addresses().health] {
        let client = Client::new(address, "");
        let live = client.get("/healthz");
        assert_eq!((live.status, &live.json["status"]), (200, &json!("pass")));
        let ready = client.get("/readyz");
        assert_eq!((ready.status, &ready.json["ready"]), (200, &json!(true)));
        assert_eq!(ready.json["head"]["epoch"], 1);
        assert!(ready.json["head"]["seq"].as_u64().unwrap() >= 3, "{ready:?}");
        assert!(ready.json["codes_left"].as_u64().unwrap() > 0);
        assert_eq!(ready.json["members"], json!([]));
    }
}

#[test]
fn metrics_count_what_happened_without_naming_it() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    admin.control("proxy.add", json!({ "name": "proxy-0" })).unwrap();
    let client = admin.client();
    client.create(&json!({ "long_url": "https://secret.example/", "alias": "hidden-alias" }));
    client.create(&json!({ "long_url": "https://secret.example/" }));
    client.get("/v1/links/nobody-has-this");
    client.get("/nowhere/to/be/found");
    let metrics = super::fixture::until("metrics with members", || {
        let text = Client::new(admin.addresses().health, "").get("/metrics").text;
        text.contains("member=\"proxy-0\"").then_some(text)
    });
    for expected in [
        "signpost_admin_http_requests_total{route=\"/v1/links\",method=\"POST\",status=\"2xx\"} 2",
        "signpost_admin_http_requests_total{route=\"/v1/links/{code}\",method=\"GET\",status=\"4xx\"} 1",
        "signpost_admin_http_requests_total{route=\"other\",method=\"GET\",status=\"4xx\"} 1",
        "signpost_admin_create_duration_seconds_count 2",
        "signpost_admin_links_created_total 2",
        "signpost_admin_leases_total 1",
        "signpost_admin_keypools_up 1",
        "signpost_admin_codes_left 9999",
        "signpost_admin_member_lag_records{member=\"proxy-0\"}",
        "signpost_admin_writer_groups_total",
        "signpost_admin_writer_write_seconds_total",
    ] {
        assert!(metrics.contains(expected), "no {expected} in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    for hidden in ["secret.example", "hidden-alias", "nobody-has-this", "nowhere", &admin.token] {
        assert!(!metrics.contains(hidden), "{hidden}");
    }
}
