//! A disk that is nearly full: the writer takes nothing new before its database fails, and reads go on.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, Reporter, batch, hello, subject_of_newest};

/// More than any disk has.
const ALL_OF_IT: &str = "[disk]\nreserve_bytes = 1125899906842624\n";

fn readiness(admin: &Admin) -> Value {
    Client::new(admin.addresses().health, "").get("/readyz").json
}

#[test]
fn with_less_room_than_is_reserved_changes_are_refused_and_reads_go_on() {
    let mut admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "before" }));
    assert_eq!(readiness(&admin)["disk"]["room"], "enough");

    admin.set_config(|text| format!("{text}{ALL_OF_IT}"));
    admin.restart();
    let client = admin.client();
    let new = json!({ "long_url": "https://a.example/", "alias": "after" });
    for refused in [
        client.post("/v1/links", &new),
        client.send(
            Method::PUT,
            "/v1/links/after",
            &[],
            Some(json!({ "long_url": "https://a.example/" }).to_string()),
        ),
        client.patch("/v1/links/before", &json!({ "long_url": "https://b.example/" })),
        client.delete("/v1/links/before"),
    ] {
        assert_eq!((refused.status, &refused.json["code"]), (507, &json!("disk_nearly_full")), "{refused:?}");
        assert_eq!(refused.header("retry-after"), Some("30"));
    }
    let batch = client.post("/v1/links/batch", &json!({ "links": [new] }));
    assert_eq!((batch.status, &batch.json["code"]), (507, &json!("disk_nearly_full")), "{batch:?}");
    let refused = admin.control("proxy.add", json!({ "name": "proxy-9" })).unwrap_err();
    assert!(refused.contains("disk is nearly full"), "{refused}");

    assert_eq!(client.get("/v1/links/before").json["long_url"], "https://a.example/");
    assert_eq!(client.get("/v1/links/after").status, 404);
    let ready = readiness(&admin);
    assert_eq!((&ready["ready"], &ready["disk"]["room"]), (&json!(true), &json!("very_low")));
    let metrics = Client::new(admin.addresses().health, "").get("/metrics").text;
    assert!(metrics.contains("signpost_admin_disk_low 1"), "{metrics}");

    admin.set_config(|text| text.replace(ALL_OF_IT, ""));
    admin.restart();
    admin.client().create(&new);
}

#[test]
fn clicks_that_there_is_no_room_for_are_left_to_the_proxies_and_counted_later() {
    let mut admin = Admin::start(&[]);
    admin.control("proxy.add", json!({ "name": "proxy-0" })).unwrap();
    admin.client().create(&json!({ "long_url": "https://a.example/", "alias": "link" }));
    let link = subject_of_newest(&admin.client(), "link");
    let (mut reporter, _) = Reporter::welcomed(admin.addresses().feed, hello(1, 0));
    reporter.send(&batch(1, 1, link, [1, 0, 0, 0]));
    reporter.counted(1);

    admin.set_config(|text| format!("{text}{ALL_OF_IT}"));
    admin.restart();
    let (mut reporter, watermark) = Reporter::welcomed(admin.addresses().feed, hello(1, 1));
    assert_eq!(watermark, 1);
    reporter.send(&batch(1, 2, link, [2, 0, 0, 0]));
    assert!(reporter.failure().message().contains("nearly full"));
    assert_eq!(admin.client().get("/v1/links/link/clicks").json["total"], 1);

    admin.set_config(|text| text.replace(ALL_OF_IT, ""));
    admin.restart();
    let (mut reporter, watermark) = Reporter::welcomed(admin.addresses().feed, hello(1, 2));
    assert_eq!(watermark, 1);
    reporter.send(&batch(1, 2, link, [2, 0, 0, 0]));
    reporter.counted(2);
    assert_eq!(admin.client().get("/v1/links/link/clicks").json["total"], 3);
}
