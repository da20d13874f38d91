//! A request as the answers see it, whoever read it: the fast parser, Pingora's session, HTTP/2.

use crate::clicks::record::KeptSays;
use crate::client::Client;

use super::parse::Says;

/// What a GET or HEAD asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Who asks.
    pub(super) who: Who<'a>,
    /// The host, with a port or without; empty if the request could leave it out.
    pub(super) host: &'a [u8],
    /// The path without its query, escapes undone.
    pub(super) path: &'a [u8],
    /// The path and its query, as they came.
    pub(super) target: &'a [u8],
}

impl<'a> Asked<'a> {
    pub(super) fn raw_path(&self) -> &'a [u8] {
        let end = memchr::memchr(b'?', self.target).unwrap_or(self.target.len());
        &self.target[..end]
    }

    pub(super) fn query(&self) -> &'a [u8] {
        memchr::memchr(b'?', self.target).map_or(&[], |mark| &self.target[mark + 1..])
    }
}

/// A request, kept while the disk is asked.
pub(super) struct Kept {
    head: bool,
    /// Whether it came with POST.
    pub(super) post: bool,
    says: KeptSays,
    target: Box<[u8]>,
    authorization: Box<[u8]>,
    cookie: Box<[u8]>,
    /// What it sent.
    pub(super) form: Box<[u8]>,
}

impl Kept {
    /// Copies what an answer may need.
    pub(super) fn new(asked: &Asked<'_>) -> Kept {
        let Who { head, post, says, form, .. } = &asked.who;
        Kept {
            head: *head,
            post: *post,
            says: KeptSays::new(says),
            target: asked.target.into(),
            authorization: says.authorization.into(),
            cookie: says.cookie.into(),
            form: (*form).into(),
        }
    }

    /// The request again, as far as it is needed once it is known which link is wanted.
    pub(super) fn asked<'a>(&'a self, client: &'a Client) -> Asked<'a> {
        let says = Says { authorization: &self.authorization, cookie: &self.cookie, ..self.says.says() };
        let who = Who { client, head: self.head, post: self.post, form: &self.form, says };
        Asked { who, host: &[], path: &[], target: &self.target }
    }
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    /// At the other end of its connection.
    pub(super) client: &'a Client,
    /// With HEAD.
    pub(super) head: bool,
    /// With POST, which only links with a limit know, by the button of `limited::page`, and those with a password.
    pub(super) post: bool,
    /// What it sent with that; empty if it is longer than any form of ours.
    pub(super) form: &'a [u8],
    /// What its headers say.
    pub(super) says: Says<'a>,
}
