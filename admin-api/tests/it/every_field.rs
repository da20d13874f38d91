//! Every field of every request in the API's own description, with a value of another type: refused by its name, with what is allowed.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::fixture::{Admin, Client};

/// What a schema or anything else is that is written elsewhere in the document.
fn found<'a>(document: &'a Value, mut value: &'a Value) -> &'a Value {
    while let Some(place) = value["$ref"].as_str() {
        value = document.pointer(place.trim_start_matches('#')).unwrap();
    }
    value
}

/// What the fields have that have to be there.
fn right(field: &str) -> Value {
    match field {
        "name" => json!("Somebody"),
        "host" => json!("three.test"),
        "long_url" => json!("https://a.example/"),
        "scopes" => json!(["links:read"]),
        "target_host" => json!("nowhere.test"),
        "links" => json!([]),
        _ => panic!("a right value of {field} is not known here"),
    }
}

/// A value that no field takes: each takes texts, numbers, truth, lists, or objects with names of their own.
fn wrong(schema: &Value) -> Value {
    let kinds = schema.to_string();
    match kinds.contains("\"array\"") || kinds.contains("\"object\"") {
        true => json!(5),
        false => json!({ "no-such-name": [] }),
    }
}

struct Places {
    id_of: Vec<(&'static str, String)>,
}

impl Places {
    /// Makes one of everything that has an address of its own.
    fn make(operator: &Client) -> Places {
        let id = |path: &str, body: Value, name: &str| {
            let made = operator.post(path, &body);
            assert_eq!(made.status, 201, "{made:?}");
            made.json[name].as_str().unwrap().to_owned()
        };
        let link = json!({ "long_url": "https://a.example/", "alias": "there", "visibility": "private" });
        let id_of = vec![
            ("/v1/domains/", id("/v1/domains", json!({ "host": "two.test" }), "host")),
            ("/v1/links/", id("/v1/links", link, "code")),
            ("/v1/users/", id("/v1/users", json!({ "name": "Ada" }), "id")),
            ("/v1/groups/", id("/v1/groups", json!({ "name": "All" }), "id")),
            ("/v1/tokens/", id("/v1/tokens", json!({ "name": "t", "scopes": ["links:read"] }), "id")),
        ];
        Places { id_of }
    }

    fn path(&self, method: &str, template: &str) -> String {
        // What is put by its external id has that in the address.
        if (method, template) == ("put", "/v1/links") {
            return "/v1/links?external_id=crm-1".to_owned();
        }
        let Some((before, rest)) = template.split_once('{') else { return template.to_owned() };
        let (_, after) = rest.split_once('}').unwrap();
        let (_, id) = self.id_of.iter().find(|(of, _)| *of == before).unwrap();
        format!("{before}{id}{after}")
    }
}

#[test]
fn every_field_of_the_description_refuses_a_value_of_another_type_by_its_name() {
    let admin = Admin::start(&[]);
    let operator =
        Client::new(admin.addresses().http, &admin.make_token(&["admin", "links:read", "links:write"]));
    let places = Places::make(&operator);
    let document = operator.get("/v1/openapi.json").json;
    let (mut tried, mut problems) = (0, Vec::new());
    for (template, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let body = found(&document, &operation["requestBody"]);
            let Some(contents) = body["content"].as_object() else { continue };
            for (content_type, content) in
                contents.iter().filter(|(kind, _)| kind.ends_with("json") && !kind.contains("ndjson"))
            {
                let schema = found(&document, &content["schema"]);
                let required = schema["required"].as_array().into_iter().flatten();
                let whole: Map<String, Value> = required
                    .map(|field| field.as_str().unwrap())
                    .map(|field| (field.to_owned(), right(field)))
                    .collect();
                for (field, kind) in schema["properties"].as_object().unwrap() {
                    let mut body = whole.clone();
                    body.insert(field.clone(), wrong(found(&document, kind)));
                    let path = places.path(method, template);
                    let method: Method = method.to_uppercase().parse().unwrap();
                    let sent = Value::Object(body).to_string();
                    let reply = operator.send(
                        method.clone(),
                        &path,
                        &[("content-type", content_type)],
                        Some(sent.clone()),
                    );
                    tried += 1;
                    let errors = reply.json["errors"].as_array();
                    let error = errors.into_iter().flatten().find(|error| error["field"] == **field);
                    let says = error.is_some_and(|error| {
                        error["detail"].as_str().is_some_and(|detail| detail.len() > 10)
                    });
                    if reply.status != 422 || !says {
                        problems.push(format!("{method} {path} {sent}: {} {}", reply.status, reply.text));
                    }
                }
            }
        }
    }
    assert!(tried > 150, "only {tried} fields were tried");
    assert!(problems.is_empty(), "of {tried} fields:\n{}", problems.join("\n"));
}
