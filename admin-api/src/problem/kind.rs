//! Every kind of problem there is: its stable code, its status, its title, what it means and what to do about it.
//!
//! Owned here: no problem without an entry, since [`Problem`](super::Problem) is made from one. The entries are the reference that
//! the API serves under [`PAGE`], the `type` of each leads to its own place there, and `docs/problems.md` is the same text (tests keep
//! both so).

/// The page that describes every kind; relative to the address of the API, as RFC 9457 section 3.1.1 allows.
pub const PAGE: &str = "/v1/problems";

/// A kind of problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// A stable word for machines.
    pub code: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The same words every time, for people.
    pub title: &'static str,
    /// When it happens.
    pub meaning: &'static str,
    /// What the client can do about it.
    pub remedy: &'static str,
}

impl Kind {
    /// Returns the `type`: a reference to what is written about it.
    pub fn uri(&self) -> String {
        format!("{PAGE}#{}", self.code)
    }
}

macro_rules! kinds {
    ($($name:ident $status:literal $code:literal $title:literal $meaning:literal $remedy:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: Kind =
                Kind { code: $code, status: $status, title: $title, meaning: $meaning, remedy: $remedy };
        )*
        /// All of them, by status.
        pub const ALL: &[Kind] = &[$($name),*];
    };
}

kinds! {
    MALFORMED_JSON 400 "malformed_json" "Malformed JSON"
        "The body is not JSON; the detail names the line and the column."
        "Mend the body.";
    EMPTY_BODY 400 "empty_body" "The body is empty"
        "The request needs a body and has none."
        "Send JSON.";
    BODY_BROKEN 400 "body_broken" "The body broke off"
        "The connection ended, or the framing was wrong, before the body was complete."
        "Send the request again.";
    IDEMPOTENCY_KEY_INVALID 400 "idempotency_key_invalid" "The Idempotency-Key is not valid"
        "The header Idempotency-Key is empty, longer than 255 bytes, or not printable ASCII."
        "Send a random text such as a UUID.";
    IF_MATCH_INVALID 400 "if_match_invalid" "If-Match is not valid"
        "The header If-Match is no list of entity tags, or contradicts If-None-Match."
        "Send the ETag of an earlier answer unchanged, quotes included.";
    IF_NONE_MATCH_INVALID 400 "if_none_match_invalid" "If-None-Match is not valid"
        "The header If-None-Match is something else than `*`."
        "Send `If-None-Match: *` for a link that must not be there yet, or leave the header out.";
    TOKEN_MISSING 401 "token_missing" "A token is required"
        "The request has no Authorization header."
        "Send `Authorization: Bearer sp_…`.";
    TOKEN_INVALID 401 "token_invalid" "The token is not valid"
        "The token is unknown, wrong, revoked or expired, or its user is switched off; which of these is not said."
        "Check the token, or ask the operator for another one.";
    SCOPE_MISSING 403 "scope_missing" "The token may not do this"
        "The token lacks the scope that the detail and the WWW-Authenticate header name."
        "Use a token with that scope.";
    LINK_BANNED 403 "link_banned" "The link was taken down"
        "The operator took the link down, and this token may not change it."
        "Ask the operator.";
    DOMAIN_NOT_ALLOWED 403 "domain_not_allowed" "The token may not do this"
        "The token sees, makes and changes links on some domains only, and this is none of them."
        "Name one of its domains (`GET /v1/tokens/self`), or use another token.";
    ALIAS_PREFIX_MISSING 403 "alias_prefix_missing" "The token may not do this"
        "The token sees, makes and changes only links whose code begins with its prefix."
        "Name a code or give an alias that begins so; the detail says how.";
    OWNER_NOT_ALLOWED 403 "owner_not_allowed" "The token may not do this"
        "The request gives a link to another owner, which takes the scope `admin`."
        "Leave `owner` out, or use a token with that scope.";
    NOT_FOUND 404 "not_found" "No such resource"
        "The path leads nowhere."
        "Look the path up in the description of the API under /v1/docs.";
    LINK_NOT_FOUND 404 "link_not_found" "No such link"
        "No link has this code on this domain; it may have been deleted."
        "Check the code, its case included, and the domain.";
    LIMIT_NOT_FOUND 404 "limit_not_found" "The link has no limit"
        "The link is there, and does not end with a number of clicks."
        "Give it one with max_clicks.";
    DOMAIN_NOT_FOUND 404 "domain_not_found" "No such domain"
        "Nobody has declared the domain that the request names."
        "Declare it with `signpost-admin domain add`, or leave the domain out for the default one.";
    USER_NOT_FOUND 404 "user_not_found" "No such user"
        "No user has this id."
        "Look it up under /v1/users.";
    GROUP_NOT_FOUND 404 "group_not_found" "No such group"
        "No group has this id."
        "Look it up under /v1/groups.";
    TOKEN_NOT_FOUND 404 "token_not_found" "No such token"
        "No token has this id."
        "Look it up under /v1/tokens: the id is the part between the underscores.";
    SIGNING_KEY_NOT_FOUND 404 "signing_key_not_found" "No such signing key"
        "No key that links are signed with has this id; it may have been deleted when its time was over."
        "Look it up under /v1/signing-keys.";
    METHOD_NOT_ALLOWED 405 "method_not_allowed" "Method not allowed"
        "The resource exists and does not have this method; the Allow header names those it has."
        "Use one of them.";
    BODY_TOO_SLOW 408 "body_too_slow" "The body came too slowly"
        "The body did not arrive in time."
        "Send the request again, over a better connection or in smaller parts.";
    ALIAS_TAKEN 409 "alias_taken" "The alias is taken"
        "Another link has this alias on this domain."
        "Choose another alias, or leave it out for a generated code.";
    IDEMPOTENCY_KEY_IN_FLIGHT 409 "idempotency_key_in_flight" "A request with this Idempotency-Key is being worked on"
        "An earlier request with the same Idempotency-Key is not answered yet."
        "Try again after Retry-After.";
    FORMAT_LEVEL_TOO_LOW 409 "format_level_too_low" "Not every member can read this yet"
        "The request needs a newer level of the byte format than every active member of the fleet reads; the detail names those that are waited for."
        "Upgrade those members or drain them; the level then rises by itself.";
    DOMAIN_TAKEN 409 "domain_taken" "The domain cannot be declared"
        "The host belongs to a domain already, or there are as many domains as there may be."
        "Look at `GET /v1/domains`.";
    EXTERNAL_ID_TAKEN 409 "external_id_taken" "The external id is taken"
        "Another live link of the same owner has this external_id."
        "Find it with `GET /v1/links?external_id=`, or choose another one.";
    GROUP_IN_USE 409 "group_in_use" "The group is in use"
        "There are users in the group that is to be deleted."
        "Take them out of it first.";
    TOO_MANY 409 "too_many" "There may be no more"
        "As many users, groups or tokens are there as there may be; the detail says how many that is."
        "Use one that is there.";
    LINK_NOT_PRIVATE 409 "link_not_private" "The link is public"
        "A signed link is asked for of a link that everybody may follow."
        "Make it private first (`visibility`), or send the short URL as it is.";
    LIMIT_HELD 409 "limit_held" "Proxies have clicks of this link"
        "The limit is to be lowered or taken off, and proxies that cannot be reached have more clicks of the link at hand than it would allow."
        "Try again when they are back; `signpost-admin proxy forget` burns what a proxy has that will not come back.";
    CONTENDED 409 "contended" "The link is being changed by others"
        "The link was changed by others again and again while this change was tried."
        "Try again after Retry-After.";
    LINK_DELETED_SINCE 410 "link_deleted_since" "The link was deleted"
        "The request repeats an earlier one with the same Idempotency-Key, and the link that one made was deleted since, or given to somebody whose links the token does not see."
        "Use a new Idempotency-Key to make a new link.";
    VERSION_MISMATCH 412 "version_mismatch" "The link is at another version"
        "The link was changed since the version that If-Match names."
        "Read the link, look at what changed, and try again with its new ETag.";
    BODY_TOO_LARGE 413 "body_too_large" "The body is too large"
        "The body has more bytes than the server takes; the detail says how many that is."
        "Send less at once.";
    UNSUPPORTED_MEDIA_TYPE 415 "unsupported_media_type" "Unsupported media type"
        "The Content-Type is missing or is not the one that the detail names."
        "Send the Content-Type that the detail names.";
    STANDBY 421 "standby" "This is a standby"
        "The server follows the writer and answers reads alone; the detail has the writer's address."
        "Send the request to the writer.";
    VALIDATION_FAILED 422 "validation_failed" "The request is not valid"
        "Fields of the body or parameters of the query are wrong: `errors` has each with its name, a stable code and what is allowed."
        "Mend the fields that `errors` names.";
    IDEMPOTENCY_KEY_REUSED 422 "idempotency_key_reused" "The Idempotency-Key was used before"
        "The Idempotency-Key belongs to an earlier request with another body."
        "Use a new key for a new request.";
    QUOTA_USED_UP 429 "quota_used_up" "The quota of links is used up"
        "The token has made as many links as it may in this period."
        "Try again after Retry-After, or ask the operator for more.";
    RATE_LIMITED 429 "rate_limited" "Too many requests"
        "The token has used up its requests per second."
        "Try again after Retry-After.";
    INTERNAL 500 "internal" "Internal error"
        "The server failed for a reason of its own, which is in its log."
        "Tell the operator.";
    SEARCH_OFF 501 "search_off" "There is no search on this server"
        "The list was asked for by words or by clicks, and the operator has switched off the index for that."
        "Ask without `q`, in the order of creation.";
    NO_CODES_AVAILABLE 503 "no_codes_available" "No codes available"
        "The supply of generated codes is used up and no key pool answers."
        "Try again after Retry-After, or choose an alias; the operator should look at the key pools.";
    NO_VERDICT 503 "no_verdict" "The target was not judged"
        "Another service has to judge every target, and it did not answer in time."
        "Try again after Retry-After.";
    BUSY 503 "busy" "The writer is busy"
        "More changes wait for the writer than it takes."
        "Try again after Retry-After.";
    SEARCH_NOT_READY 503 "search_not_ready" "The search index is being made"
        "The list was asked for by words or by clicks, and the index for that is being made; the detail says how far it is. Other lists are not affected."
        "Try again after Retry-After.";
    TRANSFERS_BUSY 503 "transfers_busy" "Too many exports and imports"
        "As many exports or imports run as the server takes at once."
        "Try again after Retry-After.";
    WRITER_REPLACED 503 "writer_replaced" "Another writer has taken over"
        "This server no longer writes, because another one was started for the same fleet."
        "Send the request to the new writer.";
    WRITER_BEHIND 503 "writer_behind" "The server has lost changes"
        "A sync replica has changes that this server acknowledged and has lost, so it writes no more."
        "Try again after Retry-After; the operator has to run `signpost-admin recover`.";
    NO_SYNC_REPLICA 503 "no_sync_replica" "Too few sync replicas"
        "Fewer sync replicas are connected than have to confirm a change. Nothing was done."
        "Try again after Retry-After; the operator should look at the standbys.";
    STOPPING 503 "stopping" "The server is stopping"
        "The server is shutting down and takes no more changes."
        "Try again after Retry-After.";
    OUTCOME_UNKNOWN 503 "outcome_unknown" "Whether the change took place is not known"
        "The change could not be confirmed in time. It may have taken place."
        "Send the request again with the same Idempotency-Key, or look whether the link is there.";
    DISK_NEARLY_FULL 507 "disk_nearly_full" "The writer's disk is nearly full"
        "The writer keeps a reserve of its disk free and takes no more changes while there is less; redirects and reads go on."
        "Tell the operator to make room; then try again after Retry-After.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_a_code_of_its_own_and_its_place_by_status() {
        let codes: BTreeSet<_> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), ALL.len());
        assert!(ALL.is_sorted_by_key(|kind| kind.status));
        for kind in ALL {
            assert!((400..600).contains(&kind.status), "{}", kind.code);
            assert!(kind.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", kind.code);
            assert!(kind.meaning.ends_with('.') && kind.remedy.ends_with('.'), "{}", kind.code);
        }
    }
}
