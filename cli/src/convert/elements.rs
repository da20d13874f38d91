//! The elements of the lists in JSON documents that follow each other: answers of an API, saved one after the other.
//!
//! One document is in memory at a time: as much as the API that wrote it gives in one answer.

use std::io::BufRead;

use serde_json::Value;

use super::ConvertError;

/// Returns the elements of the list that each document is, or has at the first of `lists` (JSON pointers) that is there. A list may also be an
/// object whose members are the elements.
pub(super) fn elements(
    input: impl BufRead + Send + 'static,
    lists: &'static [&'static str],
) -> impl Iterator<Item = Result<Value, ConvertError>> + Send {
    let documents = serde_json::Deserializer::from_reader(input).into_iter::<Value>();
    documents.flat_map(move |document| match document {
        Err(error) => vec![Err(error.into())],
        Ok(document) => match list(document, lists) {
            Some(elements) => elements.into_iter().map(Ok).collect(),
            None => vec![Err(ConvertError::NoList { lists: lists.join(" or ") })],
        },
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
