//! `proxy add | drain | forget | list`: who may follow.

use linklog::entity::{Member, MemberRole, MemberState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Operator, failed};
use crate::clock;
use crate::links::view::Rfc3339;
use crate::members::{self, joining};

/// How often a command that lost against another change of the member is tried again.
const TRIES_MAX: u32 = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    name: String,
    fleet: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    name: String,
    /// SHA-256 of the certificate in hex; none: on loopback without TLS.
    credential: Option<String>,
    /// Whether it is a standby: it fsyncs what it acknowledges, and gets the managed parts.
    #[serde(default)]
    sync: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    name: String,
}

/// Says whether a proxy of this name could be added, before a bundle is made for it.
pub(super) fn check(operator: &Operator, args: &Check) -> Result<Value, String> {
    wire::identity::check_name(&args.name).map_err(|error| error.to_string())?;
    let own = operator.fleet.to_string();
    if args.fleet.as_ref().is_some_and(|fleet| *fleet != own) {
        let theirs = args.fleet.as_deref().unwrap_or_default();
        return Err(format!(
            "the certificate authority is that of fleet {theirs}, this writer belongs to fleet {own}"
        ));
    }
    match operator.members.get(&args.name) {
        None => Ok(json!({ "fleet": own })),
        Some(member) => Err(taken(&args.name, &member)),
    }
}

fn taken(name: &str, member: &Member) -> String {
    match member.state {
        MemberState::Forgotten => format!("{name} was forgotten for good: choose another name"),
        _ => format!("there is a member {name} already"),
    }
}

pub(super) async fn add(operator: &Operator, args: &Add) -> Result<Value, String> {
    check(operator, &Check { name: args.name.clone(), fleet: None })?;
    let credential = args.credential.as_deref().map(fingerprint).transpose()?;
    let role = if args.sync { MemberRole::Sync } else { MemberRole::Read };
    let state = state_to_begin_in(operator, &args.name, role);
    let change = members::add_in_state(&args.name, credential, role, state, clock::now_ms());
    if operator.write(change).await?.is_err() {
        return Err(format!("there is a member {} already", args.name));
    }
    operator.members.reload().map_err(failed)?;
    tracing::info!(member = args.name, sync = args.sync, state = state_name(state), "added a member");
    named(operator, &args.name)
}

fn state_to_begin_in(operator: &Operator, name: &str, role: MemberRole) -> MemberState {
    let (needed, level) = (operator.replication.min_sync_replicas(), operator.log.commit().format_level);
    joining::state_to_begin_in(&operator.members.table(), name, role, needed, level)
}

fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "a credential is the SHA-256 of a certificate: 64 hex digits".to_owned();
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)?;
    }
    Ok(bytes)
}

pub(super) async fn drain(operator: &Operator, args: &Named) -> Result<Value, String> {
    set_state(operator, &args.name, MemberState::Drained).await
}

pub(super) async fn activate(operator: &Operator, args: &Named) -> Result<Value, String> {
    set_state(operator, &args.name, MemberState::Active).await
}

pub(super) async fn forget(operator: &Operator, args: &Named) -> Result<Value, String> {
    let mut shown = set_state(operator, &args.name, MemberState::Forgotten).await?;
    // Asked again, it burns what was left the first time.
    let burned = operator.budgets.burn_all(&args.name).await.map_err(failed)?;
    shown["burned_clicks"] = burned.into();
    tracing::info!(
        member = args.name,
        clicks = burned,
        "burned the clicks of limited links that the member had at hand"
    );
    Ok(shown)
}

async fn set_state(operator: &Operator, name: &str, state: MemberState) -> Result<Value, String> {
    for tried in 1.. {
        let of = name.to_owned();
        let found =
            operator.log.read(move |reader| members::with_version(reader, &of)).await.map_err(failed)?;
        let Some((member, version)) = found.map_err(failed)? else {
            return Err(format!("there is no member {name}"));
        };
        if member.state == state || member.state == MemberState::Joining && state == MemberState::Active {
            return named(operator, name);
        }
        if member.state == MemberState::Forgotten {
            return Err(format!("{name} was forgotten for good"));
        }
        let state = match state {
            MemberState::Active => state_to_begin_in(operator, name, member.role),
            MemberState::Drained => {
                let needed = operator.replication.min_sync_replicas();
                joining::may_drain(&operator.members.table(), name, needed)
                    .map_err(|left| left.to_string())?;
                state
            }
            _ => state,
        };
        if operator.write(members::set_state(name, &member, version, state)).await?.is_ok() {
            break;
        }
        // It may just have announced a format level.
        if tried == TRIES_MAX {
            return Err(format!("{name} was changed meanwhile: run the command again"));
        }
    }
    operator.members.reload().map_err(failed)?;
    let shown = named(operator, name)?;
    tracing::info!(member = name, state = %shown["state"], "changed a member");
    Ok(shown)
}

const fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Active => "active",
        MemberState::Drained => "drained",
        MemberState::Forgotten => "forgotten",
        MemberState::Joining => "joining",
    }
}

fn named(operator: &Operator, name: &str) -> Result<Value, String> {
    let member = operator.members.get(name).ok_or_else(|| format!("there is no member {name}"))?;
    Ok(shown(name, &member))
}

fn shown(name: &str, member: &Member) -> Value {
    json!({
        "name": name,
        "role": match member.role { MemberRole::Read => "read", MemberRole::Sync => "sync" },
        "state": state_name(member.state),
        "tls": member.credential.is_some(),
        "format_level": member.announced_level,
        "created_at": Rfc3339(member.created_at_ms),
    })
}

/// Lists members with where they are in the log.
pub(super) async fn list(operator: &Operator) -> Result<Value, String> {
    let replication = operator.replication.clone();
    let places = operator.log.read(move |_| replication.status()).await.map_err(failed)?;
    let members = operator.members.all();
    let members: Vec<_> = members
        .iter()
        .map(|(name, member)| {
            let mut view = shown(name, member);
            if let Some(place) = places.iter().find(|place| place.id == *name) {
                view["replication"] = json!(place.state);
                view["applied_seq"] = json!(place.applied_seq);
                view["lag_records"] = json!(place.lag_records);
            }
            view
        })
        .collect();
    Ok(json!({ "members": members }))
}
