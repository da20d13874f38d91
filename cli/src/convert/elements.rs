//! The elements of the lists in JSON documents that follow each other: answers of an API, saved one after the other.
//!
//! One document is in memory at a time: as much as the API that wrote it gives in one answer, and [`DOCUMENT_BYTES_MAX`] at most.

use std::io::BufRead;

use serde_json::Value;

use super::ConvertError;
use super::bounded::metered;

/// Largest document, in bytes; in memory it takes several times as much.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// Returns the elements of the list that each document is, or has at the first of `lists` (JSON pointers) that is there. A list may also be an
/// object whose members are the elements. `prepare` sees every document before.
pub(super) fn elements(
    input: impl BufRead + Send + 'static,
    lists: &'static [&'static str],
    prepare: fn(&mut Value),
) -> impl Iterator<Item = Result<Value, ConvertError>> + Send {
    let (input, meter) = metered(input, DOCUMENT_BYTES_MAX, "a JSON document in it");
    let documents = serde_json::Deserializer::from_reader(input).into_iter::<Value>();
    documents.inspect(move |_| meter.reset()).flat_map(move |document| match document {
        Err(error) => vec![Err(error.into())],
        Ok(mut document) => {
            prepare(&mut document);
            match list(document, lists) {
                Some(elements) => elements.into_iter().map(Ok).collect(),
                None => vec![Err(ConvertError::NoList { lists: lists.join(" or ") })],
            }
        }
    })
}

fn list(mut document: Value, lists: &[&str]) -> Option<Vec<Value>> {
    if let Value::Array(elements) = document {
        return Some(elements);
    }
    let found = lists.iter().find(|pointer| document.pointer(pointer).is_some())?;
    match document.pointer_mut(found)?.take() {
        Value::Array(elements) => Some(elements),
        Value::Object(members) => Some(members.into_iter().map(|(_, element)| element).collect()),
        _ => None,
    }
}
