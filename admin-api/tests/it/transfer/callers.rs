//! Who exports and imports: owners, quotas, what is refused, tokens that end meanwhile.

use super::*;
use crate::fixture::PATIENCE;

/// Makes a token and gives its client and its id.
fn token(admin: &Admin, operator: &Client, more: Value) -> (Client, String) {
    let mut body = json!({ "name": "t", "scopes": ["links:read", "links:write"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let token = operator.post("/v1/tokens", &body);
    assert_eq!(token.status, 201, "{token:?}");
    let client = Client::new(admin.addresses().http, token.json["token"].as_str().unwrap());
    (client, token.json["id"].as_str().unwrap().to_owned())
}

fn operator(admin: &Admin) -> Client {
    Client::new(admin.addresses().http, &admin.make_token(&["admin"]))
}

fn user(operator: &Client, name: &str) -> String {
    operator.post("/v1/users", &json!({ "name": name })).json["id"].as_str().unwrap().to_owned()
}

/// The code of the problem of each line that was refused.
fn refused(said: &[Value]) -> Vec<(u64, &str)> {
    let refused = said.iter().filter(|line| line["result"] == "refused");
    refused.map(|line| (line["line"].as_u64().unwrap(), line["problem"]["code"].as_str().unwrap())).collect()
}

#[test]
fn an_export_goes_to_where_its_owners_are_unknown() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let ada = user(&boss, "Ada");
    let owned = |code: &str, owner: Value| json!({ "long_url": "https://example.org/", "code": code, "owner": owner });
    let lines =
        [owned("adas", json!("0123456789abcdef")), owned("nobodys", json!(null)), owned("hers", json!(ada))];
    // Who is there is kept, who is not is said to be missing.
    let said = import(&boss, "", &lines);
    assert_eq!(done(&said), [3, 2, 0, 0, 0, 1], "{said:?}");
    assert_eq!(said[0]["problem"]["errors"][0]["code"], "user_not_found", "{said:?}");
    assert_eq!(boss.get("/v1/links/hers").json["owner"], ada);
    let (of_ada, _) = token(&admin, &boss, json!({ "user": ada, "alias_prefix": "x-" }));
    let lines = [owned("x-1", json!(null)), owned("x-2", json!("0123456789abcdef")), owned("y", json!(null))];
    for query in ["?dry_run=true", ""] {
        let said = import(&of_ada, query, &lines);
        assert_eq!(refused(&said), [(2, "owner_not_allowed"), (3, "alias_prefix_missing")], "{query}");
        assert_eq!(done(&said), [3, 1, 0, 0, 0, 2], "{query}");
    }
    let said = import(&of_ada, "?owners=none", &lines[..2]);
    assert_eq!(done(&said), [2, 1, 1, 0, 0, 0], "{said:?}");
    assert_eq!(boss.get("/v1/links/x-2").json["owner"], ada);
    assert_eq!(
        done(&import(&boss, "?owners=none", &[owned("adas", json!("0123456789abcdef"))])),
        [1, 1, 0, 0, 0, 0]
    );
    assert_eq!(boss.get("/v1/links/adas").json["owner"], Value::Null);
    let reply = boss.send(Method::POST, "/v1/import?owners=me", &[NDJSON], Some(String::new()));
    assert_eq!(reply.errors(), [("owners", "not_allowed")]);
}

#[test]
fn lines_that_are_there_already_cost_nothing_of_the_quota() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (client, _) = token(&admin, &boss, json!({ "creates": { "count": 3, "period_s": 31_536_000 } }));
    let lines: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|code| json!({ "long_url": format!("https://example.org/{code}"), "code": code }))
        .collect();
    assert_eq!(done(&import(&client, "", &lines)), [3, 3, 0, 0, 0, 0]);
    for query in ["?dry_run=true", ""] {
        assert_eq!(done(&import(&client, query, &lines)), [3, 0, 3, 0, 0, 0], "{query}");
    }
    let other = [json!({ "long_url": "https://example.org/other", "code": "one" })];
    assert_eq!(done(&import(&client, "", &other)), [1, 0, 0, 0, 1, 0]);
    assert_eq!(done(&import(&client, "?collisions=replace", &other)), [1, 0, 0, 1, 0, 0]);
    let new = [json!({ "long_url": "https://example.org/new", "code": "four" })];
    for query in ["?dry_run=true", ""] {
        let said = import(&client, query, &new);
        assert_eq!(said[0]["problem"]["code"], "quota_used_up", "{query}: {said:?}");
    }
}

#[test]
fn nothing_is_made_of_the_lines_behind_those_that_use_up_the_quota() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (client, _) = token(&admin, &boss, json!({ "creates": { "count": 1_500, "period_s": 31_536_000 } }));
    let line =
        |n: usize| json!({ "long_url": format!("https://example.org/{n}"), "code": format!("code-{n}") });
    // The last batch is small enough for what is left.
    let lines: Vec<_> = (0..2_100).map(line).collect();
    let said = import(&client, "", &lines);
    let last = said.last().unwrap();
    assert_eq!((&last["gave_up"]["line"], &last["problem"]["code"]), (&json!(1000), &json!("quota_used_up")));
    let status = |n: usize| boss.get(&format!("/v1/links/code-{n}")).status;
    assert_eq!([999, 1000, 2000, 2099].map(status), [200, 404, 404, 404]);
}

#[test]
fn a_dry_run_foresees_external_ids_and_says_no_more_than_a_collision_about_links_of_others() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (ada, bob) = (user(&boss, "Ada"), user(&boss, "Bob"));
    let ((of_ada, _), (of_bob, _)) =
        (token(&admin, &boss, json!({ "user": ada })), token(&admin, &boss, json!({ "user": bob })));
    let line = |code: &str, id: Value| json!({ "long_url": "https://example.org/", "code": code, "external_id": id });
    of_ada.create(&json!({ "long_url": "https://example.org/", "alias": "adas" }));
    of_bob.create(&json!({ "long_url": "https://example.org/", "alias": "bobs", "external_id": "7" }));
    let lines = [line("adas", json!(null)), line("new", json!("7")), line("free", json!("8"))];
    for (query, wanted) in [
        ("?dry_run=true", [3, 1, 0, 0, 2, 0]),
        ("", [3, 1, 0, 0, 2, 0]),
        ("?dry_run=true&collisions=replace", [3, 0, 1, 0, 2, 0]),
        ("?collisions=replace", [3, 0, 1, 0, 2, 0]),
    ] {
        assert_eq!(done(&import(&of_bob, query, &lines)), wanted, "{query}");
    }
}

#[test]
fn a_target_that_is_refused_refuses_its_line_and_not_the_import() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("hosts.txt");
    std::fs::write(&list, "bad.example\n").unwrap();
    let admin = Admin::with(&[], &format!("[targets]\nblocked_hosts = [{list:?}]\n"));
    let client = admin.client();
    let line = |code: &str, host: &str| json!({ "long_url": format!("https://{host}/"), "code": code });
    let lines = [line("a", "good.example"), line("b", "bad.example"), line("c", "good.example")];
    for query in ["?dry_run=true", ""] {
        assert_eq!(done(&import(&client, query, &lines)), [3, 2, 0, 0, 0, 1], "{query}");
    }
}

#[test]
fn an_import_ends_when_its_token_is_revoked() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (client, id) = token(&admin, &boss, json!({}));
    let mut stream = TcpStream::connect(admin.addresses().http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST /v1/import HTTP/1.1\r\nHost: s.test\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        client.token()
    )
    .unwrap();
    let mut chunk = |range: std::ops::Range<u32>| {
        let text: String = range
            .map(|n| format!("{{\"long_url\":\"https://example.org/{n}\",\"code\":\"code-{n}\"}}\n"))
            .collect();
        write!(stream, "{:x}\r\n{text}\r\n", text.len()).unwrap();
        stream.try_clone().unwrap()
    };
    let mut answers = chunk(0..1000);
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains("{\"progress\":{\"line\":1000,") {
        let read = answers.read(&mut buffer).unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert_eq!(boss.delete(&format!("/v1/tokens/{id}")).status, 204);
    chunk(1000..2000);
    answers.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("{\"gave_up\":{\"line\":1000,"), "{answer}");
    assert!(answer.contains("\"code\":\"token_invalid\""), "{answer}");
    assert_eq!(boss.get("/v1/links/code-1000").status, 404);
}

#[test]
fn an_export_is_cut_off_when_its_token_is_revoked() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let notes = "\u{1f980}".repeat(5_000);
    // Far more than the buffers on the way hold.
    for batch in 0..8 {
        let lines: Vec<_> = (0..250)
            .map(|n| json!({ "long_url": "https://example.org/", "code": format!("code-{batch}-{n}"), "notes": notes }))
            .collect();
        assert_eq!(done(&import(&boss, "", &lines))[1], 250);
    }
    let (client, id) = token(&admin, &boss, json!({}));
    let mut stream = TcpStream::connect(admin.addresses().http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /v1/export HTTP/1.1\r\nHost: s.test\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        client.token()
    )
    .unwrap();
    let mut answer = vec![0; 4096];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(boss.delete(&format!("/v1/tokens/{id}")).status, 204);
    // However the end is told, it is not that of a whole export.
    let _ = stream.read_to_end(&mut answer);
    let end = String::from_utf8_lossy(&answer[answer.len() - 400..]).into_owned();
    assert!(!end.contains("\"end\":true"), "{end}");
}
