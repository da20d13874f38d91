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
        let texts = [&self.title, &self.notes, &self.external_id, &self.last_changed_by];
        let texts = texts.into_iter().flatten().chain(&self.tags).map(|text| text.len() + 4);
        let mut out = Vec::with_capacity(64 + self.created_by.len() + texts.sum::<usize>());
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
        ManageView::read(body).map(|view| view.to_owned())
    }
}

/// What the owner of a link keeps with it, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ManageView<'a> {
    /// As [`LinkManage::created_at_ms`].
    pub created_at_ms: u64,
    /// As [`LinkManage::updated_at_ms`].
    pub updated_at_ms: u64,
    created_by: &'a str,
    title: Option<&'a str>,
    tags: Tags<'a>,
    notes: Option<&'a str>,
    /// As [`LinkManage::owner`].
    pub owner: Option<PersonId>,
    external_id: Option<&'a str>,
    /// As [`LinkManage::archived_at_ms`].
    pub archived_at_ms: Option<u64>,
    last_changed_by: Option<&'a str>,
    imported_clicks: u64,
}

impl<'a> ManageView<'a> {
    /// Reads a `manage` body.
    pub(crate) fn decode(body: &'a [u8]) -> Result<ManageView<'a>, DecodeError> {
        ManageView::read(Cursor::new(body))
    }

    /// Reads a stored `manage` value.
    pub(crate) fn of_value(value: &'a [u8]) -> Result<ManageView<'a>, DecodeError> {
        let (_, body) = crate::codec::value::split(value)?;
        ManageView::read(body)
    }

    /// The tags in their order.
    pub(crate) const fn tags(&self) -> Tags<'a> {
        self.tags
    }

    fn to_owned(self) -> LinkManage {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        LinkManage {
            created_at_ms: self.created_at_ms,
            updated_at_ms: self.updated_at_ms,
            created_by: self.created_by.to_owned(),
            title: owned(self.title),
            tags: self.tags.map(str::to_owned).collect(),
            notes: owned(self.notes),
            owner: self.owner,
            external_id: owned(self.external_id),
            archived_at_ms: self.archived_at_ms,
            last_changed_by: owned(self.last_changed_by),
            imported_clicks: self.imported_clicks,
        }
    }

    fn read(body: Cursor<'a>) -> Result<ManageView<'a>, DecodeError> {
        let mut fields = FieldReader::new(body);
        let is_empty = |text: Option<&str>| text.is_some_and(str::is_empty);
        let start = fields.offset();
        let created_at_ms = fields.varint(1, "created_at")?;
        let updated_at_ms = fields.varint(2, "updated_at")?;
        let created_by = fields.str(3, "created_by")?;
        let title = fields.optional_str(4, "title")?;
        if is_empty(title) {
            return Err(DecodeError::invalid(start, "title"));
        }
        let tags = fields.optional(5)?.map(Tags::read).transpose()?.unwrap_or_default();
        let start = fields.offset();
        let notes = fields.optional_str(6, "notes")?;
        let owner = fields.optional_array(7, "owner")?.map(PersonId);
        let external_id = fields.optional_str(8, "external_id")?;
        let archived_at_ms = fields.optional_varint(9, "archived_at")?;
        let last_changed_by = fields.optional_str(10, "last_changed_by")?;
        if is_empty(notes) || is_empty(external_id) || is_empty(last_changed_by) {
            return Err(DecodeError::invalid(start, "empty text"));
        }
        let start = fields.offset();
        let imported_clicks = match fields.optional_varint(11, "imported_clicks")? {
            Some(0) => return Err(DecodeError::invalid(start, "imported_clicks")),
            clicks => clicks.unwrap_or(0),
        };
        fields.finish()?;
        Ok(ManageView {
            created_at_ms,
            updated_at_ms,
            created_by,
            title,
            tags,
            notes,
            owner,
            external_id,
            archived_at_ms,
            last_changed_by,
            imported_clicks,
        })
    }
}

/// Tags, borrowed; they were read once and decode.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tags<'a>(&'a [u8]);

impl<'a> Tags<'a> {
    fn read(mut tags: Cursor<'a>) -> Result<Tags<'a>, DecodeError> {
        if tags.is_empty() {
            return Err(DecodeError::invalid(tags.offset(), "tags"));
        }
        let all = tags.rest();
        while !tags.is_empty() {
            read_tag(&mut tags)?;
        }
        Ok(Tags(all))
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let mut tags = Cursor::new(self.0);
        let tag = read_tag(&mut tags).ok();
        self.0 = tags.rest();
        tag
    }
}

fn read_tag<'a>(tags: &mut Cursor<'a>) -> Result<&'a str, DecodeError> {
    let len = tags.varint("tag length")?;
    tags.str(len, "tag")
}
