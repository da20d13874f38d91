//! A link as the index has it: what it is found by, and where it stands in the order of creation. The link itself is not kept there.
//!
//! | field | what |
//! |---|---|
//! | `id` | the encoded link key, stored: by it a link is taken out, and looked up once it is found |
//! | `word` | words of title, tags, notes, target host and path |
//! | `code` | words of the code |
//! | `is` | facets ([`Facet`]) |
//! | `created`, `seq` | columns: when it was created, milliseconds since the Unix epoch, and by which record |
//! | `imported` | column: how many clicks it had before it was imported |
//!
//! Terms are plain bytes; no frequencies, no positions: links are ordered by time and clicks, never by relevance.

use linklog::entity::PersonId;
use linklog::store::target_host;
use linklog::{DomainId, Key, Link, LinkManage, LinkState, Seq};
use tantivy::TantivyDocument;
use tantivy::schema::{BytesOptions, FAST, Field, Schema};

use super::words;

/// Raised whenever documents or words change their meaning: an index of another version is made anew.
pub const VERSION: u8 = 1;
/// The columns' names.
pub const CREATED: &str = "created";
/// See [`CREATED`].
pub const SEQ: &str = "seq";
/// See [`CREATED`].
pub const IMPORTED: &str = "imported";

/// The fields of the index.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Encoded link key.
    pub id: Field,
    /// Words.
    pub word: Field,
    /// Words of the code.
    pub code: Field,
    /// Facets.
    pub is: Field,
    created: Field,
    seq: Field,
    imported: Field,
}

/// Returns the index's schema and its fields.
pub fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let term = || BytesOptions::default().set_indexed();
    let fields = Fields {
        id: schema.add_bytes_field("id", term().set_stored()),
        word: schema.add_bytes_field("word", term()),
        code: schema.add_bytes_field("code", term()),
        is: schema.add_bytes_field("is", term()),
        created: schema.add_u64_field(CREATED, FAST),
        seq: schema.add_u64_field(SEQ, FAST),
        imported: schema.add_u64_field(IMPORTED, FAST),
    };
    (schema.build(), fields)
}

/// Something that links have in common, wholly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Facet<'a> {
    /// The domain.
    Domain(DomainId),
    /// The state.
    State(LinkState),
    /// Whether it is put aside.
    Archived(bool),
    /// The owner, or nobody.
    Owner(Option<PersonId>),
    /// A tag.
    Tag(&'a str),
    /// The target's host, as [`target_host`] gives it.
    Host(&'a str),
}

impl Facet<'_> {
    /// Returns the facet's term.
    pub fn term(&self) -> Vec<u8> {
        let term = |kind: u8, rest: &[u8]| [&[kind], rest].concat();
        match self {
            Facet::Domain(domain) => term(b'd', &domain.0.to_be_bytes()),
            Facet::State(state) => term(b's', &[*state as u8]),
            Facet::Archived(archived) => term(b'a', &[u8::from(*archived)]),
            Facet::Owner(owner) => term(b'o', owner.as_ref().map_or(&[], |owner| &owner.0)),
            Facet::Tag(tag) => term(b't', tag.as_bytes()),
            Facet::Host(host) => term(b'h', host.as_bytes()),
        }
    }
}

/// Makes the document of a link.
pub fn of_link(
    fields: &Fields,
    key: &Key,
    link: &Link,
    manage: &LinkManage,
    created: Seq,
) -> TantivyDocument {
    let mut document = TantivyDocument::with_capacity(512);
    document.add_bytes(fields.id, &key.encode());
    for word in words::of_link(link, manage) {
        document.add_bytes(fields.word, word.as_bytes());
    }
    for word in words::of_code(key) {
        document.add_bytes(fields.code, word.as_bytes());
    }
    let mut is = |facet: Facet<'_>| document.add_bytes(fields.is, &facet.term());
    is(Facet::Domain(key.domain));
    is(Facet::State(link.state));
    is(Facet::Archived(manage.archived_at_ms.is_some()));
    is(Facet::Owner(manage.owner));
    manage.tags.iter().for_each(|tag| is(Facet::Tag(tag)));
    if let Some(host) = target_host(link.target.as_bytes()) {
        is(Facet::Host(&host));
    }
    document.add_u64(fields.created, manage.created_at_ms);
    document.add_u64(fields.seq, created.0);
    document.add_u64(fields.imported, manage.imported_clicks);
    document
}
