//! The part of a link that proxies never see. [`super`] has the table of its fields.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError, put_varint};
use crate::entity::PersonId;

/// What the owner of a link keeps with it; proxies never see it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkManage {
    /// When it was created, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was last changed, milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
    /// Which token created it (its public id).
    pub created_by: String,
    /// A title for people.
    pub title: Option<String>,
    /// Tags for people, in the order given.
    pub tags: Vec<String>,
    /// Notes for people.
    pub notes: Option<String>,
    /// Whose it is.
    pub owner: Option<PersonId>,
    /// What it is called elsewhere: no two live links of one owner have the same.
    pub external_id: Option<String>,
    /// When it was put aside, milliseconds since the Unix epoch.
    pub archived_at_ms: Option<u64>,
    /// Which token changed it last (its public id); `None`: nobody since it was made, or it is not known.
    pub last_changed_by: Option<String>,
    /// How many people had followed it elsewhere before it was imported; they are in no count of ours.
    pub imported_clicks: u64,
}

impl LinkManage {
    /// Returns the `manage` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.varint(1, self.created_at_ms);
        fields.varint(2, self.updated_at_ms);
        fields.text(3, &self.created_by);
        if let Some(title) = self.title.as_ref().filter(|title| !title.is_empty()) {
            fields.text(4, title);
        }
        if !self.tags.is_empty() {
            let mut tags = Vec::new();
            for tag in &self.tags {
                put_varint(&mut tags, tag.len() as u64);
                tags.extend_from_slice(tag.as_bytes());
            }
            fields.bytes(5, &tags);
        }
        if let Some(notes) = self.notes.as_ref().filter(|notes| !notes.is_empty()) {
            fields.text(6, notes);
        }
        if let Some(owner) = &self.owner {
            fields.bytes(7, &owner.0);
        }
        if let Some(id) = self.external_id.as_ref().filter(|id| !id.is_empty()) {
            fields.text(8, id);
        }
        fields.optional_varint(9, self.archived_at_ms);
        if let Some(who) = self.last_changed_by.as_ref().filter(|who| !who.is_empty()) {
            fields.text(10, who);
        }
        fields.optional_varint(11, Some(self.imported_clicks).filter(|clicks| *clicks > 0));
        out
    }

    /// Reads a `manage` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: &[u8]) -> Result<LinkManage, DecodeError> {
        LinkManage::read(Cursor::new(body))
    }

    /// Reads a stored `manage` value.
    ///
    /// # Errors
    /// What is wrong and at which byte of the value.
    pub fn of_value(value: &[u8]) -> Result<LinkManage, DecodeError> {
        let (_, body) = crate::codec::value::split(value)?;
        LinkManage::read(body)
    }

    fn read(body: Cursor<'_>) -> Result<LinkManage, DecodeError> {
        let mut fields = FieldReader::new(body);
        let start = fields.offset();
        let mut link = LinkManage {
            created_at_ms: fields.varint(1, "created_at")?,
            updated_at_ms: fields.varint(2, "updated_at")?,
            created_by: fields.text(3, "created_by")?,
            title: fields.optional_text(4, "title")?,
            ..LinkManage::default()
        };
        if link.title.as_ref().is_some_and(String::is_empty) {
            return Err(DecodeError::invalid(start, "title"));
        }
        if let Some(mut tags) = fields.optional(5)? {
            if tags.is_empty() {
                return Err(DecodeError::invalid(tags.offset(), "tags"));
            }
            while !tags.is_empty() {
                let len = tags.varint("tag length")?;
                link.tags.push(tags.text(len, "tag")?);
            }
        }
        let start = fields.offset();
        link.notes = fields.optional_text(6, "notes")?;
        link.owner = fields.optional_array(7, "owner")?.map(PersonId);
        link.external_id = fields.optional_text(8, "external_id")?;
        link.archived_at_ms = fields.optional_varint(9, "archived_at")?;
        link.last_changed_by = fields.optional_text(10, "last_changed_by")?;
        let empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
        if empty(&link.notes) || empty(&link.external_id) || empty(&link.last_changed_by) {
            return Err(DecodeError::invalid(start, "empty text"));
        }
        let start = fields.offset();
        link.imported_clicks = match fields.optional_varint(11, "imported_clicks")? {
            Some(0) => return Err(DecodeError::invalid(start, "imported_clicks")),
            clicks => clicks.unwrap_or(0),
        };
        fields.finish()?;
        Ok(link)
    }
}
