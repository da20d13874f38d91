//! What a link can have besides a target, a status, a state and an end: the fields of its `serve` body that came with format level 2.
//!
//! ```text
//! 2: not_before, varint, milliseconds since the Unix epoch, not 0
//! 3: ended: u8 0 410 · 1 404 · 2 redirect, then where to: ASCII, at least one byte
//! 4: cache: u8 flags 1 public · 2 max_age · 4 s_maxage · 8 stale_while_revalidate, then a varint of seconds for each that is there
//! 5: forward: u8 1 query · 2 path · 3 both
//! 6: limit: varints max, used, burned; max not 0; then, once it is used up, the time it was noticed, milliseconds since the Unix epoch
//! 8: rules  9: variants: see [`super::rules`]
//! 20: quota: 8 bytes, the id of the quota that its redirects are counted in
//! ```
//! A link without any of them is encoded as level 1 has it. On a proxy they travel as one slice ([`crate::LinkView::extras`]), which is read
//! only when the link is asked for.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError, put_varint};
use crate::entity::QuotaId;
use crate::limits::TARGET_BYTES_MAX;

use super::rules::{Rule, Rules, Variant, Variants, encode_rules, encode_variants};

const NOT_BEFORE: u8 = 2;
const ENDED: u8 = 3;
const CACHE: u8 = 4;
const FORWARD: u8 = 5;
const LIMIT: u8 = 6;
const RULES: u8 = 8;
const VARIANTS: u8 = 9;
const QUOTA: u8 = 20;

/// Longest time a cache policy may name, in seconds: a year (RFC 9111 has no bound, caches do).
pub const CACHE_SECONDS_MAX: u64 = 365 * 24 * 3600;

/// How a link answers that has ended. `T` is `&[u8]` as read, `String` as kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ended<T = String> {
    /// 410: there was a link here.
    #[default]
    Gone,
    /// 404: as if there had never been one.
    NotFound,
    /// 302 to another place.
    Redirect(T),
}

impl Ended {
    /// Appends the encoding.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Ended::Gone => vec![0],
            Ended::NotFound => vec![1],
            Ended::Redirect(target) => [&[2], target.as_bytes()].concat(),
        }
    }
}

impl<'a> Ended<&'a [u8]> {
    pub(crate) fn read(mut field: Cursor<'a>) -> Result<Ended<&'a [u8]>, DecodeError> {
        let at = field.offset();
        let ended = match field.u8("ended")? {
            0 => Ended::Gone,
            1 => Ended::NotFound,
            2 => Ended::Redirect(read_target(&mut field)?),
            _ => return Err(DecodeError::invalid(at, "ended")),
        };
        field.finish("ended")?;
        Ok(ended)
    }

    /// Returns an owned copy.
    pub fn to_owned(self) -> Ended {
        match self {
            Ended::Gone => Ended::Gone,
            Ended::NotFound => Ended::NotFound,
            Ended::Redirect(target) => Ended::Redirect(text(target)),
        }
    }
}

/// Reads the rest of a field as a target: visible ASCII, which is what keeps it inside a header.
pub(crate) fn read_target<'a>(field: &mut Cursor<'a>) -> Result<&'a [u8], DecodeError> {
    let (at, len) = (field.offset(), field.rest().len());
    let target = field.bytes(len, "target")?;
    let fits = (1..=TARGET_BYTES_MAX).contains(&len) && target.iter().all(|b| (0x21..0x7f).contains(b));
    if fits { Ok(target) } else { Err(DecodeError::invalid(at, "target")) }
}

fn text(ascii: &[u8]) -> String {
    String::from_utf8_lossy(ascii).into_owned()
}

/// A link that ends with a number of clicks. What members hold of them besides is in [`crate::entity::Budget`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limit {
    /// How many redirects it may answer, at least 1.
    pub max: u64,
    /// How many it has answered, as far as nobody holds a budget any more.
    pub used: u64,
    /// How many were lost with the memory of a member.
    pub burned: u64,
    /// Since when it is used up, milliseconds since the Unix epoch, not 0; `None` while it is not.
    pub ended_at_ms: Option<u64>,
}

impl Limit {
    /// Returns the limit with the time since when it is used up, if it is: since `now_ms` unless it was before.
    #[must_use]
    pub fn noticed(self, now_ms: u64) -> Limit {
        let ended_at_ms = self.is_used_up().then(|| self.ended_at_ms.unwrap_or(now_ms.max(1)));
        Limit { ended_at_ms, ..self }
    }

    /// Says whether it has ended.
    pub const fn is_used_up(&self) -> bool {
        self.used.saturating_add(self.burned) >= self.max
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8);
        [self.max, self.used, self.burned].into_iter().for_each(|number| put_varint(&mut out, number));
        if let Some(at) = self.ended_at_ms {
            put_varint(&mut out, at);
        }
        out
    }

    fn read(mut field: Cursor<'_>) -> Result<Limit, DecodeError> {
        let at = field.offset();
        let mut limit = Limit {
            max: field.varint("limit")?,
            used: field.varint("used")?,
            burned: field.varint("burned")?,
            ended_at_ms: None,
        };
        if !field.is_empty() {
            limit.ended_at_ms = Some(field.varint("ended")?);
        }
        field.finish("limit")?;
        if limit.max == 0 || limit.ended_at_ms == Some(0) {
            Err(DecodeError::invalid(at, "limit"))
        } else {
            Ok(limit)
        }
    }
}

/// What caches may do with a redirect (RFC 9111 §5.2.2, RFC 5861 §3). All times in seconds, at most [`CACHE_SECONDS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CachePolicy {
    /// Whether shared caches may keep it.
    pub public: bool,
    /// How long it is fresh.
    pub max_age_s: Option<u64>,
    /// How long it is fresh in shared caches.
    pub s_maxage_s: Option<u64>,
    /// How long it may be served stale while it is asked for again.
    pub stale_while_revalidate_s: Option<u64>,
}

impl CachePolicy {
    fn encode(&self) -> Vec<u8> {
        let times = [self.max_age_s, self.s_maxage_s, self.stale_while_revalidate_s];
        let flags = times.iter().zip([2, 4, 8]).map(|(time, flag)| if time.is_some() { flag } else { 0 });
        let mut out = vec![u8::from(self.public) + flags.sum::<u8>()];
        times.into_iter().flatten().for_each(|time| put_varint(&mut out, time));
        out
    }

    fn read(mut field: Cursor<'_>) -> Result<CachePolicy, DecodeError> {
        let at = field.offset();
        let flags = field.u8("cache")?;
        let mut time = |flag: u8| -> Result<Option<u64>, DecodeError> {
            if flags & flag == 0 {
                return Ok(None);
            }
            let seconds = field.varint("cache")?;
            if seconds > CACHE_SECONDS_MAX {
                Err(DecodeError::invalid(at, "cache"))
            } else {
                Ok(Some(seconds))
            }
        };
        let policy = CachePolicy {
            public: flags & 1 != 0,
            max_age_s: time(2)?,
            s_maxage_s: time(4)?,
            stale_while_revalidate_s: time(8)?,
        };
        if flags > 15 {
            return Err(DecodeError::invalid(at, "cache"));
        }
        field.finish("cache")?;
        Ok(policy)
    }
}

/// What of a visitor's request goes on to the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forward {
    /// Parameters of the query that the target does not have itself.
    pub query: bool,
    /// What follows the code in the path.
    pub path: bool,
}

impl Forward {
    fn byte(self) -> u8 {
        u8::from(self.query) + 2 * u8::from(self.path)
    }
}

/// The fields beyond level 1, owned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extras {
    /// Before this instant (milliseconds since the Unix epoch) the link answers like an unknown one.
    pub not_before_ms: Option<u64>,
    /// How it answers when it has ended; `None`: as its domain says.
    pub ended: Option<Ended>,
    /// What caches may do; `None`: the rule for its status.
    pub cache: Option<CachePolicy>,
    /// What of a request goes on to the target.
    pub forward: Forward,
    /// After how many clicks it ends.
    pub limit: Option<Limit>,
    /// Where some visitors go instead, in order.
    pub rules: Vec<Rule>,
    /// Where visitors go for whom no rule holds, by weight; none: to the target.
    pub variants: Vec<Variant>,
    /// The quota its redirects are counted in; one that does not exist limits nothing.
    pub quota: Option<QuotaId>,
}

impl Extras {
    /// Appends the fields.
    pub(crate) fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.optional_varint(NOT_BEFORE, self.not_before_ms);
        if let Some(ended) = &self.ended {
            fields.bytes(ENDED, &ended.encode());
        }
        if let Some(cache) = &self.cache {
            fields.bytes(CACHE, &cache.encode());
        }
        if self.forward != Forward::default() {
            fields.bytes(FORWARD, &[self.forward.byte()]);
        }
        if let Some(limit) = &self.limit {
            fields.bytes(LIMIT, &limit.encode());
        }
        if !self.rules.is_empty() {
            fields.bytes(RULES, &encode_rules(&self.rules));
        }
        if !self.variants.is_empty() {
            fields.bytes(VARIANTS, &encode_variants(&self.variants));
        }
        if let Some(quota) = &self.quota {
            fields.bytes(QUOTA, &quota.0);
        }
    }
}

/// The fields beyond level 1, borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExtrasView<'a> {
    /// As [`Extras::not_before_ms`].
    pub not_before_ms: Option<u64>,
    /// As [`Extras::ended`].
    pub ended: Option<Ended<&'a [u8]>>,
    /// As [`Extras::cache`].
    pub cache: Option<CachePolicy>,
    /// As [`Extras::forward`].
    pub forward: Forward,
    /// As [`Extras::limit`].
    pub limit: Option<Limit>,
    /// As [`Extras::rules`].
    pub rules: Rules<'a>,
    /// As [`Extras::variants`].
    pub variants: Variants<'a>,
    /// As [`Extras::quota`].
    pub quota: Option<QuotaId>,
}

impl<'a> ExtrasView<'a> {
    /// Reads the slice of a link ([`crate::LinkView::extras`]).
    ///
    /// # Errors
    /// What is wrong and at which byte of the slice.
    pub fn decode(extras: &'a [u8]) -> Result<ExtrasView<'a>, DecodeError> {
        ExtrasView::read(FieldReader::new(Cursor::new(extras)))
    }

    pub(crate) fn read(mut fields: FieldReader<'a>) -> Result<ExtrasView<'a>, DecodeError> {
        let at = fields.offset();
        let not_before_ms = fields.optional_varint(NOT_BEFORE, "not_before")?;
        if not_before_ms == Some(0) {
            return Err(DecodeError::invalid(at, "not_before"));
        }
        let ended = fields.optional(ENDED)?.map(Ended::read).transpose()?;
        let cache = fields.optional(CACHE)?.map(CachePolicy::read).transpose()?;
        let forward = fields.optional(FORWARD)?.map(read_forward).transpose()?.unwrap_or_default();
        let limit = fields.optional(LIMIT)?.map(Limit::read).transpose()?;
        let rules = fields.optional(RULES)?.map(Rules::read).transpose()?.unwrap_or_default();
        let variants = fields.optional(VARIANTS)?.map(Variants::read).transpose()?.unwrap_or_default();
        let quota = fields.optional_array(QUOTA, "quota")?.map(QuotaId);
        fields.finish()?;
        Ok(ExtrasView { not_before_ms, ended, cache, forward, limit, rules, variants, quota })
    }

    /// Says whether the target depends on who asks, or when.
    pub const fn may_differ(&self) -> bool {
        !self.rules.is_empty() || !self.variants.is_empty()
    }

    /// Returns an owned copy.
    pub fn to_owned(&self) -> Extras {
        Extras {
            not_before_ms: self.not_before_ms,
            ended: self.ended.map(Ended::to_owned),
            cache: self.cache,
            forward: self.forward,
            limit: self.limit,
            rules: self.rules.to_owned(),
            variants: self.variants.to_owned(),
            quota: self.quota,
        }
    }
}

fn read_forward(mut field: Cursor<'_>) -> Result<Forward, DecodeError> {
    let at = field.offset();
    let bits = field.u8("forward")?;
    field.finish("forward")?;
    match bits {
        1..=3 => Ok(Forward { query: bits & 1 != 0, path: bits & 2 != 0 }),
        _ => Err(DecodeError::invalid(at, "forward")),
    }
}
