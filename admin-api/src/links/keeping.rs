//! What a client says about keeping links in order: notes, owner, external id, archive. Pure.

use linklog::entity::{ExternalLink, PersonId};
use linklog::key::EXTERNAL_ID_BYTES_MAX;
use linklog::{Key, LinkManage, Operation, Part, Precondition, StateKey};

use super::fields::{Judge, LinkFields};
use crate::json::Json;

/// Longest notes, in characters.
pub const NOTES_CHARS_MAX: usize = 5_000;
/// Whose external ids those of nobody's links are.
const NOBODY: PersonId = PersonId([0; 8]);

/// What is to be different about how a link is kept; what is `None` stays, or has its default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keeping {
    notes: Option<Option<String>>,
    /// Whose it is to be.
    pub owner: Option<Option<PersonId>>,
    /// What it is to be called elsewhere.
    pub external_id: Option<Option<String>>,
    archived: Option<bool>,
}

impl Keeping {
    /// Judges the fields.
    pub(super) fn judge(judge: &mut Judge, fields: &LinkFields<'_>) -> Keeping {
        Keeping {
            notes: fields.notes.as_ref().map(|json| notes(judge, json)),
            owner: fields.owner.as_ref().map(|json| owner(judge, json)),
            external_id: fields.external_id.as_ref().map(|json| external_id(judge, json)),
            archived: fields.archived.as_ref().map(|json| match json {
                Json::Null => false,
                Json::Bool(flag) => *flag,
                other => {
                    judge.wrong_type("archived", "true or false", other);
                    false
                }
            }),
        }
    }

    /// Makes the changes.
    pub(super) fn apply(&self, manage: &mut LinkManage, now_ms: u64) {
        if let Some(notes) = &self.notes {
            manage.notes.clone_from(notes);
        }
        if let Some(owner) = self.owner {
            manage.owner = owner;
        }
        if let Some(id) = &self.external_id {
            manage.external_id.clone_from(id);
        }
        match self.archived {
            Some(true) => manage.archived_at_ms = manage.archived_at_ms.or(Some(now_ms)),
            Some(false) => manage.archived_at_ms = None,
            None => {}
        }
    }

    /// As [`Keeping::apply`] where the whole link is said anew: what is not said is cleared, but the owner stays.
    pub(super) fn replace(&self, manage: &mut LinkManage, now_ms: u64) {
        manage.notes = None;
        manage.external_id = None;
        if self.archived != Some(true) {
            manage.archived_at_ms = None;
        }
        self.apply(manage, now_ms);
    }

    /// Appends the canonical form: two requests with the same one ask for the same.
    pub(super) fn write_canonical(&self, out: &mut Vec<u8>) {
        if *self == Keeping::default() {
            return;
        }
        let mut manage = LinkManage::default();
        self.apply(&mut manage, 1);
        out.extend_from_slice(b"kept");
        out.push(u8::from(self.owner.is_some()));
        out.extend_from_slice(&manage.encode());
    }
}

fn notes(judge: &mut Judge, json: &Json<'_>) -> Option<String> {
    let text = judge.text("notes", Some(json)).filter(|text| !text.is_empty())?;
    let chars = text.chars().count();
    if chars > NOTES_CHARS_MAX {
        let detail = format!("notes have at most {NOTES_CHARS_MAX} characters, these have {chars}");
        judge.find("notes", "notes_too_long", detail);
        return None;
    }
    Some(text.to_owned())
}

fn owner(judge: &mut Judge, json: &Json<'_>) -> Option<PersonId> {
    let text = judge.text("owner", Some(json))?;
    let id = text.parse();
    id.map_err(|_| judge.find("owner", "id_not_valid", "the id of a user has 16 hex digits (0-9, a-f)")).ok()
}

fn external_id(judge: &mut Judge, json: &Json<'_>) -> Option<String> {
    let text = judge.text("external_id", Some(json))?;
    if !is_external_id(text) {
        judge.find("external_id", "external_id_not_allowed", EXTERNAL_ID_RULE);
        return None;
    }
    Some(text.to_owned())
}

/// What an external id may be, for messages.
pub const EXTERNAL_ID_RULE: &str = "an external id has 1 to 200 bytes of UTF-8 without control characters";

/// Says whether a text may be an external id.
pub fn is_external_id(text: &str) -> bool {
    (1..=EXTERNAL_ID_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// Returns the key under which an owner's external id is kept.
pub fn external_key(owner: Option<PersonId>, id: &str) -> StateKey {
    StateKey::External(owner.unwrap_or(NOBODY), id.to_owned())
}

/// Returns the parts of a change that go with a link's part, so that an owner's external id names one live link: `old` and `new` are what
/// the link was and what it becomes, `None` where there is none.
pub fn external_parts(key: &Key, old: Option<&LinkManage>, new: Option<&LinkManage>) -> Vec<Part> {
    let name = |manage: Option<&LinkManage>| {
        manage.and_then(|manage| Some(external_key(manage.owner, manage.external_id.as_deref()?)))
    };
    let (old, new) = (name(old), name(new));
    if old == new {
        return Vec::new();
    }
    let gone = old.map(|key| Part { key, precondition: Precondition::Any, operation: Operation::Delete });
    let taken = new.map(|name| Part {
        key: name,
        precondition: Precondition::Absent,
        operation: Operation::Put { serve: Vec::new(), manage: ExternalLink { key: *key }.encode() },
    });
    gone.into_iter().chain(taken).collect()
}
