//! How far an index has come, as it stands in its own commit.
//!
//! ```text
//! signpost-search VERSION following EPOCH SEQ DIGEST
//! signpost-search VERSION scanning EPOCH SEQ DIGEST PLACE
//! ```
//! Numbers are decimal, digest and place hexadecimal.

use std::fmt;
use std::str::FromStr;

use linklog::digest::Digest;
use linklog::store::Place;
use linklog::{Head, Position};

use super::document::VERSION;

/// How far an index has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The last record of which everything is in it; while it is made from the state, the last one before that began.
    pub head: Head,
    /// Up to which link the state was read, oldest first; `None`: to the end.
    pub scanned: Option<Place>,
}

/// The text is no mark of this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("its mark is not one of version {VERSION}")]
pub struct NoMark;

const NAME: &str = "signpost-search";

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { position, digest } = self.head;
        let doing = if self.scanned.is_some() { "scanning" } else { "following" };
        let digest = u128::from_be_bytes(digest.to_bytes());
        write!(f, "{NAME} {VERSION} {doing} {} {} {digest:032x}", position.epoch.0, position.seq.0)?;
        match self.scanned {
            Some(place) => write!(f, " {:032x}", u128::from_be_bytes(place.to_bytes())),
            None => Ok(()),
        }
    }
}

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Mark, NoMark> {
        let hexadecimal =
            |text: &str| u128::from_str_radix(text, 16).map(u128::to_be_bytes).map_err(|_| NoMark);
        let parts: Vec<_> = text.split(' ').collect();
        let (scanned, [name, version, _, epoch, seq, digest]) = match parts[..] {
            [name, version, "following", epoch, seq, digest] => {
                (None, [name, version, "", epoch, seq, digest])
            }
            [name, version, "scanning", epoch, seq, digest, place] => {
                (Some(Place::from_bytes(hexadecimal(place)?)), [name, version, "", epoch, seq, digest])
            }
            _ => return Err(NoMark),
        };
        if name != NAME || version != VERSION.to_string() {
            return Err(NoMark);
        }
        let epoch = epoch.parse().map_err(|_| NoMark)?;
        let seq = seq.parse().map_err(|_| NoMark)?;
        let digest = Digest::from_bytes(hexadecimal(digest)?);
        Ok(Mark { head: Head { position: Position::new(epoch, seq), digest }, scanned })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_reads_what_it_writes(epoch: u32, seq: u64, digest: [u8; 16], place: Option<[u8; 16]>) {
            let head = Head { position: Position::new(epoch, seq), digest: Digest::from_bytes(digest) };
            let mark = Mark { head, scanned: place.map(Place::from_bytes) };
            prop_assert_eq!(mark.to_string().parse(), Ok(mark));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(signpost-search 1 )?(following|scanning)?[ 0-9a-f]{0,80}") {
            if let Ok(mark) = text.parse::<Mark>() {
                prop_assert_eq!(mark.to_string().parse(), Ok(mark));
            }
        }
    }
}
