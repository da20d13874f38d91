//! Links as clients describe them: new ones, whole ones, patches, and what their fields hold.

use linklog::link::rules::{COUNTRIES_MAX, Device, LANGUAGES_MAX};
use serde::Deserialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Makes the descriptions of a link of what is their own and what all of them have.
macro_rules! links {
    ($($(#[$about:meta])* $name:ident { $($where_to:tt)* } { $($how:tt)* } { $($more:tt)* })*) => {
        $(
            $(#[$about])*
            #[derive(Deserialize, ToSchema)]
            #[serde(deny_unknown_fields)]
            #[expect(dead_code, reason = "only described here")]
            pub struct $name {
                $($where_to)*
                /// Until when, RFC 3339, in the future.
                #[schema(format = "date-time")]
                expires_at: Option<String>,
                /// From when on, RFC 3339; before it the link answers 404.
                #[schema(format = "date-time")]
                not_before: Option<String>,
                /// How long from now on in seconds, in place of `expires_at`.
                #[schema(minimum = 1, maximum = 3162240000u64)]
                ttl: Option<u64>,
                /// After how many clicks it ends, exactly, over the whole fleet.
                #[schema(minimum = 1, maximum = 1000000000000u64)]
                max_clicks: Option<u64>,
                /// What it answers when it has ended; without it as its domain says, or 410.
                when_ended: Option<EndedInput>,
                /// What caches may do; without it the rule for its status.
                cache: Option<CacheInput>,
                /// Whether a visitor's parameters go on to the target.
                forward_query: Option<bool>,
                /// Whether the rest of a visitor's path does.
                forward_path: Option<bool>,
                /// Where some visitors go instead: the first that holds decides.
                #[schema(max_items = 16)]
                rules: Option<Vec<RuleInput>>,
                /// Where visitors go for whom no rule holds, by weight.
                #[schema(max_items = 16)]
                variants: Option<Vec<VariantInput>>,
                $($how)*
                /// For people.
                #[schema(max_length = 512)]
                title: Option<String>,
                /// For people, each of 1 to 64 characters.
                #[schema(max_items = 32, value_type = Option<Vec<Tag>>)]
                tags: Option<Vec<String>>,
                /// Notes for people.
                #[schema(max_length = 5000)]
                notes: Option<String>,
                /// The id of the user it belongs to; the token's user if it is not said. Others take the scope `admin`.
                #[schema(pattern = "^[0-9a-f]{16}$")]
                owner: Option<String>,
                /// What it is called elsewhere, 1 to 200 bytes: no two live links of one owner have the same.
                #[schema(min_length = 1, max_length = 200)]
                external_id: Option<String>,
                /// Whether it is put aside: left out of lists unless they ask for it.
                archived: Option<bool>,
                $($more)*
            }
        )*
    };
}

links! {
    /// A link to be made.
    NewLink {
        /// Where to: an absolute http or https URL with a host and without credentials, kept byte for byte. Required, unless `reserve` is true.
        #[schema(
            format = "uri",
            min_length = 1,
            max_length = 65536,
            example = "https://example.org/a/long/path",
            nullable = false
        )]
        long_url: Option<String>,
        /// Keeps the alias for 30 days without a target.
        reserve: Option<bool>,
        /// The code asked for; without one a generated code is given out. 3 to 50 characters unless the configuration or the domain says otherwise.
        #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", example = "spring-sale")]
        alias: Option<String>,
        /// The host of the domain; without one the default domain.
        #[schema(example = "sho.rt")]
        domain: Option<String>,
    } {
        /// With which status; 302 if it is not said.
        #[schema(value_type = Option<RedirectStatus>)]
        status: Option<u16>,
    } {
        /// Whether a link that is there and serves visitors the same way will do; not with `alias` or `external_id`.
        dedupe: Option<bool>,
    }
    /// What is to be different about a link. What is not there stays; `null` clears.
    LinkPatch {
        /// Where to: an absolute http or https URL with a host and without credentials, kept byte for byte.
        #[schema(format = "uri", min_length = 1, max_length = 65536, nullable = false)]
        long_url: Option<String>,
    } {
        /// With which status; null: 302.
        #[schema(value_type = Option<RedirectStatus>)]
        status: Option<u16>,
        /// Whether it redirects; null: it does.
        #[schema(value_type = Option<LinkState>)]
        state: Option<String>,
    } {}
    /// A whole link; what is not there is as on a new one.
    WholeLink {
        /// Where to: an absolute http or https URL with a host and without credentials, kept byte for byte.
        #[schema(format = "uri", min_length = 1, max_length = 65536)]
        long_url: String,
    } {
        /// With which status; 302 if it is not said.
        #[schema(value_type = Option<RedirectStatus>)]
        status: Option<u16>,
        /// Whether it redirects; it does if it is not said.
        #[schema(value_type = Option<LinkState>)]
        state: Option<String>,
    } {}
}

/// What is answered when something has ended: a status, or another place.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewWhenEnded)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct EndedInput {
    /// 410, 404, or 302 with a `fallback_url`.
    #[schema(nullable = false)]
    status: Option<u16>,
    /// Where to instead.
    #[schema(format = "uri", nullable = false)]
    fallback_url: Option<String>,
}

/// What caches may do with the redirect (RFC 9111). Times in seconds, at most a year.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewCache)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct CacheInput {
    /// `private` if it is not said.
    #[schema(pattern = "^(private|public)$", nullable = false)]
    scope: Option<String>,
    #[schema(maximum = 31536000)]
    max_age: Option<u64>,
    /// Only with scope public.
    #[schema(maximum = 31536000)]
    s_maxage: Option<u64>,
    #[schema(maximum = 31536000)]
    stale_while_revalidate: Option<u64>,
}

/// A parameter of a visitor's query.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewRuleParameter)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct ParameterInput {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// Any value if it is not said.
    #[schema(max_length = 128)]
    value: Option<String>,
}

/// A rule: at least one condition, and where to. Lists of one may be written without the brackets.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewRule)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct RuleInput {
    /// The visitor's device is one of these.
    #[schema(nullable = false, value_type = Option<RuleDevices>)]
    device: Option<Vec<String>>,
    /// The language the visitor likes best is one of these.
    #[schema(nullable = false, value_type = Option<RuleLanguages>)]
    language: Option<Vec<String>>,
    /// The country the visitor comes from is one of these (ISO 3166-1 alpha-2). It holds only on proxies with a database of countries.
    #[schema(nullable = false, value_type = Option<RuleCountries>)]
    country: Option<Vec<String>>,
    /// A parameter of the query.
    query: Option<ParameterInput>,
    /// From then on, RFC 3339.
    #[schema(format = "date-time")]
    from: Option<String>,
    /// Until then, RFC 3339.
    #[schema(format = "date-time")]
    until: Option<String>,
    #[schema(format = "uri")]
    long_url: String,
}

/// A word, or a list of some.
fn one_or_more(word: Object, max: Option<usize>) -> RefOr<Schema> {
    let list = ArrayBuilder::new().items(word.clone()).max_items(max);
    OneOfBuilder::new().item(word).item(list).into()
}

/// Devices of a rule.
pub(super) struct RuleDevices;

impl PartialSchema for RuleDevices {
    fn schema() -> RefOr<Schema> {
        let names = Device::NAMES.map(|(name, _)| name);
        one_or_more(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build(), None)
    }
}

impl ToSchema for RuleDevices {}

/// Languages of a rule, such as `de` or `pt-br`.
pub(super) struct RuleLanguages;

impl PartialSchema for RuleLanguages {
    fn schema() -> RefOr<Schema> {
        let tag = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9-]{1,35}$"));
        one_or_more(tag.build(), Some(LANGUAGES_MAX))
    }
}

impl ToSchema for RuleLanguages {}

/// Countries of a rule, such as `DE`.
pub(super) struct RuleCountries;

impl PartialSchema for RuleCountries {
    fn schema() -> RefOr<Schema> {
        let letters = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z]{2}$"));
        one_or_more(letters.build(), Some(COUNTRIES_MAX))
    }
}

impl ToSchema for RuleCountries {}

/// A variant.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewVariant)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct VariantInput {
    /// 1 if it is not said.
    #[schema(minimum = 1, maximum = 1000)]
    weight: Option<u64>,
    #[schema(format = "uri")]
    long_url: String,
}

/// The status of a redirect (RFC 9110 section 15.4).
pub(super) struct RedirectStatus;

impl PartialSchema for RedirectStatus {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([301, 302, 307, 308])).into()
    }
}

impl ToSchema for RedirectStatus {}

/// A tag.
pub(super) struct Tag;

impl PartialSchema for Tag {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(64)).into()
    }
}

impl ToSchema for Tag {}

/// Whether a link redirects.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only described here")]
pub(super) enum LinkState {
    /// It does.
    Active,
    /// Its owner switched it off: answered like an unknown link.
    Disabled,
    /// The operator took it down: 451.
    Banned,
}

/// Links to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewLinks {
    /// 1 to 1,000 of them.
    #[schema(min_items = 1, max_items = 1000)]
    links: Vec<NewLink>,
}
