//! The description for people: the document and the kinds of problems as two pages of plain HTML. No script, nothing from elsewhere.

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::problem::kind;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1f;background:#fff}\
code,.path{font-family:ui-monospace,monospace}h2{margin-top:2.5rem;border-bottom:1px solid #ccc}section{margin:1.5rem 0 2.5rem}\
.method{display:inline-block;min-width:4.5rem;font-weight:700}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #ddd}:target{background:#fff6d5}\
@media(prefers-color-scheme:dark){body{color:#e6e6ea;background:#17171a}a{color:#9db8ff}:target{background:#3a3413}}";

/// A text in HTML.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            c => f.write_char(c),
        })
    }
}

/// A text in which `this` is code.
struct Marked<'a>(&'a str);

impl fmt::Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, piece) in self.0.split('`').enumerate() {
            match at % 2 {
                0 => write!(f, "{}", Escaped(piece))?,
                _ => write!(f, "<code>{}</code>", Escaped(piece))?,
            }
        }
        Ok(())
    }
}

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1>\n{body}</html>\n"
    )
}

/// Writes to memory, which does not fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { write!($out, $($text)*).expect("memory takes every text") };
}

/// Returns the page of every kind of problem.
pub fn problems() -> String {
    let mut out = String::from(
        "<p>Errors are <code>application/problem+json</code> (RFC 9457). <code>type</code> leads to a place on this page, <code>code</code> \
         never changes; <code>errors</code> names each field that is wrong. What the API can do is under <a href=\"/v1/docs\">/v1/docs</a>.</p>\n",
    );
    for kind in kind::ALL {
        put!(out, "<section id=\"{}\"><h2><code>{}</code></h2>", kind.code, kind.code);
        put!(out, "<p><b>{}</b> · {}</p>", kind.status, Marked(kind.title));
        put!(out, "<p>{}</p><p>{}</p></section>\n", Marked(kind.meaning), Marked(kind.remedy));
    }
    whole("Problems", &out)
}

/// Returns the page of a document.
pub fn reference(document: &Value) -> String {
    let mut out = String::new();
    put!(out, "<p>{}</p>", Marked(text(&document["info"]["description"])));
    out.push_str(
        "<p>For programs: <a href=\"/v1/openapi.json\">openapi.json</a>. Errors: <a href=\"/v1/problems\">problems</a>.</p>\n<ul>",
    );
    let operations = operations(document);
    for (path, method, operation) in &operations {
        let summary = Marked(text(&operation["summary"]));
        let (id, path) = (Escaped(text(&operation["operationId"])), Escaped(path));
        put!(out, "<li><a href=\"#{id}\" class=\"path\">{} {path}</a> {summary}</li>", method.to_uppercase());
    }
    out.push_str("</ul>\n");
    for (path, method, operation) in &operations {
        write_operation(&mut out, path, method, operation, document);
    }
    out.push_str("<h2>Schemas</h2>\n");
    for (name, schema) in object(&document["components"]["schemas"]) {
        put!(out, "<section id=\"schema-{0}\"><h3><code>{0}</code></h3>", Escaped(name));
        put!(out, "<p>{}</p>", Marked(text(&schema["description"])));
        if schema.get("properties").is_none() {
            put!(out, "<p>{}</p>", shown(schema));
        }
        write_properties(&mut out, schema);
        out.push_str("</section>\n");
    }
    whole("Signpost: the API", &out)
}

fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let items = object(&document["paths"]);
    items
        .flat_map(|(path, item)| {
            object(item).map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .filter(|(_, _, operation)| operation.get("responses").is_some())
        .collect()
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn last(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

fn write_operation(out: &mut String, path: &str, method: &str, operation: &Value, document: &Value) {
    put!(out, "<section id=\"{}\"><h2><span class=\"method\">", Escaped(text(&operation["operationId"])));
    put!(out, "{}</span> <span class=\"path\">{}</span></h2>", method.to_uppercase(), Escaped(path));
    put!(out, "<p><b>{}</b></p>", Marked(text(&operation["summary"])));
    put!(out, "<p>{}</p>", Marked(text(&operation["description"])));
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        out.push_str("<table><tr><th>parameter<th>in<th>type<th></tr>");
        for parameter in parameters {
            let (name, place) = (Escaped(text(&parameter["name"])), Escaped(text(&parameter["in"])));
            put!(out, "<tr><td><code>{name}</code><td>{place}<td>{}", shown(&parameter["schema"]));
            put!(out, "<td>{}</tr>", Marked(text(&parameter["description"])));
        }
        out.push_str("</table>");
    }
    for (media_type, content) in object(&operation["requestBody"]["content"]) {
        put!(out, "<p>Body, <code>{}</code>: {}</p>", Escaped(media_type), shown(&content["schema"]));
    }
    out.push_str("<table><tr><th>status<th>body<th></tr>");
    for (status, answer) in object(&operation["responses"]) {
        let answer = match answer.get("$ref").map(text) {
            Some(reference) => &document["components"]["responses"][last(reference)],
            None => answer,
        };
        let body = object(&answer["content"]).next().map(|(_, content)| shown(&content["schema"]));
        put!(out, "<tr><td>{}<td>{}", Escaped(status), body.unwrap_or_default());
        put!(out, "<td>{}</tr>", Marked(text(&answer["description"])));
    }
    out.push_str("</table></section>\n");
}

fn write_properties(out: &mut String, schema: &Value) {
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    if schema.get("properties").is_none() {
        return;
    }
    out.push_str("<table><tr><th>field<th>type<th></tr>");
    for (name, property) in object(&schema["properties"]) {
        let is_required =
            if required.iter().any(|required| required == name) { ", always there" } else { "" };
        put!(out, "<tr><td><code>{}</code><td>{}{is_required}", Escaped(name), shown(property));
        put!(out, "<td>{}</tr>", Marked(text(&property["description"])));
    }
    out.push_str("</table>");
}

/// Returns what a schema allows in a few words of HTML.
fn shown(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").map(text).map(last) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", Escaped(name));
    }
    let several = schema.get("oneOf").or_else(|| schema.get("allOf")).and_then(Value::as_array);
    if let Some(several) = several {
        return several.iter().map(shown).collect::<Vec<_>>().join(" or ");
    }
    let mut types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(some) => some.iter().map(text).collect(),
        _ => vec!["anything"],
    };
    types.dedup();
    let mut words = types.join(" or ");
    if types.contains(&"array") {
        words = words.replace("array", &format!("list of {}", shown(&schema["items"])));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(|value| Escaped(&value.to_string()).to_string()).collect();
        put!(words, ": {}", values.join(", "));
    }
    for (name, word) in [
        ("format", ""),
        ("pattern", ""),
        ("minimum", "from "),
        ("maximum", "to "),
        ("minLength", "characters: from "),
        ("maxLength", "to "),
        ("minItems", "from "),
        ("maxItems", "up to "),
    ] {
        match schema.get(name) {
            Some(Value::String(value)) => put!(words, ", {word}<code>{}</code>", Escaped(value)),
            Some(value) => put!(words, ", {word}{}", Escaped(&value.to_string())),
            None => {}
        }
    }
    words
}
