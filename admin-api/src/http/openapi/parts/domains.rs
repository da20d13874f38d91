//! Domains as clients describe them.

use serde::Deserialize;
use utoipa::ToSchema;

use super::links::EndedInput;

/// Makes the descriptions of a domain of what is their own and what all of them have.
macro_rules! domains {
    ($($(#[$about:meta])* $name:ident { $($own:tt)* })*) => {
        $(
            $(#[$about])*
            #[derive(Deserialize, ToSchema)]
            #[serde(deny_unknown_fields)]
            #[expect(dead_code, reason = "only described here")]
            pub struct $name {
                $($own)*
                /// Where `/` leads.
                #[schema(format = "uri")]
                root_url: Option<String>,
                /// Where codes lead that do not exist.
                #[schema(format = "uri")]
                not_found_url: Option<String>,
                /// What links answer that have ended and do not say so themselves.
                when_ended: Option<EndedInput>,
                /// What `/robots.txt` says.
                #[schema(min_length = 1, max_length = 16384)]
                robots_txt: Option<String>,
                /// Files under `/.well-known/`.
                #[schema(max_items = 16)]
                well_known: Option<Vec<FileInput>>,
                /// How long new links live that say nothing about it, in seconds.
                #[schema(minimum = 1, maximum = 3162240000u64)]
                default_ttl: Option<u64>,
                /// How long aliases are.
                alias_length: Option<LengthsInput>,
            }
        )*
    };
}

domains! {
    /// What a domain is told; what is not there stays, `null` clears.
    DomainPatch {}

    /// A domain to be declared.
    NewDomain {
        /// Its host, without scheme and port.
        #[schema(example = "sho.rt")]
        host: String,
        /// What its short URLs begin with; the default domain's scheme and the host if it is not said.
        short_url_base: Option<String>,
        /// `sensitive` (if it is not said), or `folded`: aliases are found in any case.
        #[schema(pattern = "^(sensitive|folded)$")]
        case: Option<String>,
    }
}

/// A file under `/.well-known/`.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewFile)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct FileInput {
    /// What follows `/.well-known/`.
    #[schema(max_length = 100, example = "assetlinks.json")]
    name: String,
    /// `application/json` if it is not said.
    content_type: Option<String>,
    #[schema(max_length = 131072)]
    body: String,
}

/// Fewest and most characters.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewAliasLength)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct LengthsInput {
    #[schema(minimum = 1, maximum = 64)]
    min: u8,
    #[schema(minimum = 1, maximum = 64)]
    max: u8,
}
