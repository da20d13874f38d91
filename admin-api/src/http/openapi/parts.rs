//! What handlers name when they describe themselves: parameters, request bodies and answers. Nothing here runs; the names and bounds
//! are those of `crate::links::fields` and `super::super::query`, and tests compare the names.

use linklog::link::rules::{Device, LANGUAGES_MAX};
use serde::Deserialize;
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{RefOr, Response};
use utoipa::{IntoParams, PartialSchema, ToResponse, ToSchema};

macro_rules! answers {
    ($($name:ident $description:literal;)*) => {
        $(
            #[doc = concat!("The answer `", stringify!($name), "`: ", $description, ".")]
            pub struct $name;

            impl<'r> ToResponse<'r> for $name {
                fn response() -> (&'r str, RefOr<Response>) {
                    (stringify!($name), super::problem_answer($description).into())
                }
            }
        )*
        /// Answers that handlers name, as in `(status = 404, response = NotFound)`, and what they say.
        pub(super) const ANSWERS: &[(&str, &str)] = &[$((stringify!($name), $description)),*];
    };
}

answers! {
    NotFound "There is no such link or domain";
    Conflict "The alias is taken, or others change the link at the same time";
    Gone "The link that an earlier request with the same Idempotency-Key made was deleted";
    PreconditionFailed "The link is not at the version that If-Match names";
}

/// A problem (RFC 9457).
#[derive(Deserialize, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "only described here")]
pub struct ProblemView {
    /// Where its kind is described, relative to this API.
    #[schema(format = "uri-reference", example = "/v1/problems#alias_taken")]
    r#type: String,
    /// The same words every time.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What is wrong this time.
    detail: String,
    /// A stable word for machines.
    code: String,
    /// Every field that is wrong.
    errors: Vec<FindingView>,
    /// Free aliases like one that is taken.
    #[schema(nullable = false)]
    suggestions: Option<Vec<String>>,
}

/// Something wrong with a field.
#[derive(Deserialize, ToSchema)]
#[schema(as = Finding)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct FindingView {
    /// The field or parameter.
    field: String,
    /// A stable word for machines.
    code: String,
    /// What is allowed.
    detail: String,
}

/// A link to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewLink {
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
    /// With which status; 302 if it is not said.
    #[schema(value_type = Option<RedirectStatus>)]
    status: Option<u16>,
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
    /// Whether a link that is there and serves visitors the same way will do; not with `alias` or `external_id`.
    dedupe: Option<bool>,
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

/// What a domain is told; what is not there stays, `null` clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct DomainPatch {
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

/// A domain to be declared.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewDomain {
    /// Its host, without scheme and port.
    #[schema(example = "sho.rt")]
    host: String,
    /// What its short URLs begin with; the default domain's scheme and the host if it is not said.
    short_url_base: Option<String>,
    /// `sensitive` (if it is not said), or `folded`: aliases are found in any case.
    #[schema(pattern = "^(sensitive|folded)$")]
    case: Option<String>,
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

/// The host of a domain in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described here")]
pub struct HostParam {
    /// Any host of the domain.
    #[param(example = "sho.rt")]
    host: String,
}

/// How a QR code is drawn.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct QrParams {
    /// The host of the link's domain; without it the default domain.
    #[param(nullable = false)]
    domain: Option<String>,
    /// `svg` if it is not said.
    #[param(nullable = false, pattern = "^(svg|png)$")]
    format: Option<String>,
    /// Sides in pixels, 300 if it is not said.
    #[param(nullable = false, minimum = 64, maximum = 2048)]
    size: Option<u32>,
    /// How much of the code may be damaged; `medium` if it is not said.
    #[param(nullable = false, pattern = "^(low|medium|quartile|high)$")]
    error_correction: Option<String>,
}

/// What is to be different about a link. What is not there stays; `null` clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct LinkPatch {
    /// Where to: an absolute http or https URL with a host and without credentials, kept byte for byte.
    #[schema(format = "uri", min_length = 1, max_length = 65536, nullable = false)]
    long_url: Option<String>,
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
    /// With which status; null: 302.
    #[schema(value_type = Option<RedirectStatus>)]
    status: Option<u16>,
    /// Whether it redirects; null: it does.
    #[schema(value_type = Option<LinkState>)]
    state: Option<String>,
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

/// A whole link; what is not there is as on a new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct WholeLink {
    /// Where to: an absolute http or https URL with a host and without credentials, kept byte for byte.
    #[schema(format = "uri", min_length = 1, max_length = 65536)]
    long_url: String,
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
    /// With which status; 302 if it is not said.
    #[schema(value_type = Option<RedirectStatus>)]
    status: Option<u16>,
    /// Whether it redirects; it does if it is not said.
    #[schema(value_type = Option<LinkState>)]
    state: Option<String>,
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
}

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

/// The code in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described here")]
pub struct CodeParam {
    /// The link's code or alias. Case counts, but for aliases of a `folded` domain.
    #[param(pattern = "^[A-Za-z0-9_-]{1,64}$", example = "spring-sale")]
    code: String,
}

/// What a link is called elsewhere, in a query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct ExternalIdParam {
    /// The external id, 1 to 200 bytes.
    #[param(min_length = 1, max_length = 200)]
    external_id: String,
}

/// The id of a user, a group or a token in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described here")]
pub struct IdParam {
    /// 16 hex digits.
    #[param(pattern = "^[0-9a-f]{16}$")]
    id: String,
}

/// How many of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct LimitParam {
    /// How many at most; 50 if it is not said.
    #[param(minimum = 1, maximum = 500, nullable = false)]
    limit: Option<u32>,
}

/// Which page of a list by ids.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct PageParams {
    /// How many at most; 100 if it is not said.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
    /// `next_after` of the page before.
    #[param(nullable = false, pattern = "^[0-9a-f]{16}$")]
    after: Option<String>,
}

/// Whose tokens.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct UserParam {
    /// Only tokens of this user.
    #[param(nullable = false, pattern = "^[0-9a-f]{16}$")]
    user: Option<String>,
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewUser {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// An address for people.
    #[schema(max_length = 254)]
    email: Option<String>,
    /// The ids of groups.
    #[schema(max_items = 64)]
    groups: Option<Vec<String>>,
    /// Whether all its tokens are refused.
    disabled: Option<bool>,
}

/// What is to be different about a user. What is not there stays; `null` clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct UserPatch {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
    /// An address for people.
    #[schema(max_length = 254)]
    email: Option<String>,
    /// The ids of groups.
    #[schema(max_items = 64)]
    groups: Option<Vec<String>>,
    /// Whether all its tokens are refused.
    disabled: Option<bool>,
}

/// A group to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewGroup {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// What is to be different about a group.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct GroupPatch {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
}

/// What a token may do.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "only described here")]
pub(super) enum Scope {
    /// Read links.
    #[serde(rename = "links:read")]
    LinksRead,
    /// Make, change and delete links.
    #[serde(rename = "links:write")]
    LinksWrite,
    /// Read statistics.
    #[serde(rename = "stats:read")]
    StatsRead,
    /// Everything.
    #[serde(rename = "admin")]
    Admin,
}

/// A quota of links.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct Creates {
    /// How many links may be made in a period.
    count: u64,
    /// How long a period is, in seconds.
    #[schema(minimum = 1, maximum = 31622400)]
    period_s: u64,
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewToken {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it may do.
    #[schema(min_items = 1, max_items = 8, value_type = Vec<Scope>)]
    scopes: Vec<String>,
    /// The id of the user whose links it makes.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    user: Option<String>,
    /// From when on it is refused, RFC 3339, in the future.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// The hosts of the domains on which it makes and changes links; all if it is not said.
    #[schema(max_items = 64)]
    domains: Option<Vec<String>>,
    /// What the codes begin with that it makes and changes.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,40}$")]
    alias_prefix: Option<String>,
    /// How many links it may make.
    #[schema(value_type = Option<Creates>)]
    creates: Option<String>,
    /// How many requests it may make per second; as configured if it is not said.
    #[schema(minimum = 1, maximum = 1000000)]
    requests_per_s: Option<u32>,
    /// Whether it sees and changes its user's links only; it does if it has a user and nothing is said.
    own_links_only: Option<bool>,
}

/// What is to be different about a token. What is not there stays; `null` clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct TokenPatch {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
    /// What it may do.
    #[schema(min_items = 1, max_items = 8, value_type = Option<Vec<Scope>>)]
    scopes: Option<Vec<String>>,
    /// The id of the user whose links it makes.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    user: Option<String>,
    /// From when on it is refused, RFC 3339, in the future.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// The hosts of the domains on which it makes and changes links.
    #[schema(max_items = 64)]
    domains: Option<Vec<String>>,
    /// What the codes begin with that it makes and changes.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,40}$")]
    alias_prefix: Option<String>,
    /// How many links it may make.
    #[schema(value_type = Option<Creates>)]
    creates: Option<String>,
    /// How many requests it may make per second.
    #[schema(minimum = 1, maximum = 1000000)]
    requests_per_s: Option<u32>,
    /// Whether it sees and changes its user's links only.
    own_links_only: Option<bool>,
}

/// The domain in a query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct DomainParam {
    /// The host of the link's domain; without it the default domain.
    #[param(nullable = false)]
    domain: Option<String>,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct ListParams {
    /// Links of a page; 100 if it is not said.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
    /// `-created_at` (newest first, if it is not said) or `created_at`.
    #[param(nullable = false, pattern = "^-?created_at$")]
    sort: Option<String>,
    /// Whether to count all that fit.
    #[param(nullable = false)]
    total: Option<bool>,
    /// Only the link that `owner` (else the token's user, else nobody) calls so elsewhere.
    #[param(nullable = false, min_length = 1, max_length = 200)]
    external_id: Option<String>,
    /// Whether links that are put aside are listed; `false` if it is not said.
    #[param(nullable = false, pattern = "^(true|false|any)$")]
    archived: Option<String>,
}

/// Which links, of a list or an export: those that have all of it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct FilterParams {
    /// The host of a domain: only its links.
    #[param(nullable = false)]
    domain: Option<String>,
    /// Only links in this state.
    #[param(nullable = false, pattern = "^(active|disabled|banned|reserved)$")]
    state: Option<String>,
    /// Only links that lead to this host.
    #[param(nullable = false, example = "example.org")]
    host: Option<String>,
    /// Only links with this tag; several times for all of several.
    #[param(nullable = false, max_items = 8, explode)]
    tag: Option<Vec<String>>,
    /// Only links made then or later, RFC 3339.
    #[param(nullable = false, format = "date-time")]
    created_from: Option<String>,
    /// Only links made before then, RFC 3339.
    #[param(nullable = false, format = "date-time")]
    created_before: Option<String>,
    /// Only links of this user.
    #[param(nullable = false, pattern = "^[0-9a-f]{16}$")]
    owner: Option<String>,
}

/// Where an export begins.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct ExportParams {
    /// A `cursor` of an earlier export: go on after it.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// How to import.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct ImportParams {
    /// Change nothing, and say what would become of the lines.
    #[param(nullable = false)]
    dry_run: Option<bool>,
    /// What to do when another link has a line's code: `skip` (and say so), or `replace` it.
    #[param(nullable = false, inline, value_type = Option<OnCollision>)]
    collisions: Option<String>,
    /// Whose the links are to be: `keep` whose the lines say, or `none`: the token's user's, or nobody's.
    #[param(nullable = false, inline, value_type = Option<Owners>)]
    owners: Option<String>,
    /// The number of the first line, 1 if it is not said: for an import that goes on in the middle of a file.
    #[param(minimum = 1, nullable = false)]
    first_line: Option<u64>,
}

/// What to do about collisions.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only described here")]
pub(super) enum OnCollision {
    /// Leave the link that is there, and say so.
    Skip,
    /// Put the line's link in its place.
    Replace,
}

/// Whose imported links are to be.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only described here")]
pub(super) enum Owners {
    /// Whose the lines say; the token's user's where they say nothing.
    Keep,
    /// The token's user's, or nobody's.
    None,
}

/// The key that makes a request safe to repeat.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described here")]
pub struct IdempotencyKeyParam {
    /// Makes the request safe to repeat for 24 hours: the same key and body get the same answer.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[ -~]{1,255}$",
        nullable = false
    )]
    idempotency_key: Option<String>,
}

/// The version a change is for.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described here")]
pub struct IfMatchParam {
    /// Change the link only if it has this ETag.
    #[param(rename = "If-Match", nullable = false, example = "\"3\"")]
    if_match: Option<String>,
}

/// Whether a link may be there already.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described here")]
pub struct IfNoneMatchParam {
    /// `*`: only if there is no such link.
    #[param(rename = "If-None-Match", nullable = false, example = "*")]
    if_none_match: Option<String>,
}

/// What the client would rather have.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described here")]
pub struct PreferParam {
    /// `respond-async` answers as soon as the change is durable, without waiting for proxies (RFC 7240).
    #[param(rename = "Prefer", nullable = false, example = "respond-async")]
    prefer: Option<String>,
}
