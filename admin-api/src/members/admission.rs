//! Who is let in at the writer's port: the one rule for followers and for reporters of clicks.

use linklog::entity::{Member, MemberState};
use wire::identity::{FleetId, PeerIdentity};

use super::Members;

/// Why somebody is not let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotAdmitted {
    /// It belongs to another fleet; the words say to which we do.
    WrongFleet(String),
    /// It is no member, or not the one it says it is.
    Unknown(String),
}

impl Members {
    /// Decides whether a process that says it is `name` of fleet `fleet_id` is, and returns its record.
    ///
    /// # Errors
    /// Why not, in words for its operator.
    pub fn admit(
        &self,
        own_fleet: FleetId,
        peer: Option<&PeerIdentity>,
        fleet_id: &[u8],
        name: &str,
    ) -> Result<Member, NotAdmitted> {
        // On loopback without TLS there is no authority to make a fleet id: an empty one means "whichever this is".
        let same_fleet = fleet_id.is_empty() && peer.is_none() || fleet_id == own_fleet.as_bytes();
        if !same_fleet {
            return Err(NotAdmitted::WrongFleet(format!("this writer belongs to fleet {own_fleet}")));
        }
        let unknown = |why: &str| Err(NotAdmitted::Unknown(format!("member {name:?} {why}")));
        if peer.is_some_and(|peer| peer.name != name) {
            return unknown("is not the name in the certificate");
        }
        let Some(member) = self.get(name) else {
            return unknown("is not in the log: add it with `signpost-admin proxy add`");
        };
        if member.state == MemberState::Forgotten {
            return unknown("was forgotten: add it under another name");
        }
        if member.credential != peer.map(|peer| peer.fingerprint) {
            return unknown(
                "was added with another credential: give it the bundle that `signpost-admin proxy add` wrote",
            );
        }
        Ok(member)
    }
}
