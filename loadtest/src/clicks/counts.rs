//! Counts and what must be true of them. Pure.

use serde::Serialize;

/// What a request is counted as, in the order of [`Counts`].
pub(super) const KINDS: [&str; 4] = ["person", "bot", "head", "prefetch"];

/// How many requests of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts(pub [u64; 4]);

/// What was sent for one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Requests of which at least a byte may have reached a proxy.
    pub(super) attempted: Counts,
    /// Requests whose redirect was read whole.
    pub(super) received: Counts,
}

/// The outcome of a run.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Over all links.
    pub attempted: Counts,
    /// Over all links.
    pub counted: Counts,
    /// Over all links.
    pub received: Counts,
    /// Every count that is not between what was received and what was attempted.
    pub broken: Vec<Broken>,
}

/// A count that breaks the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Broken {
    pub code: String,
    pub kind: &'static str,
    pub received: u64,
    pub counted: u64,
    pub attempted: u64,
}

/// Compares what was sent for each link with what is counted on it.
pub(super) fn compare(codes: &[String], sent: &[Sent], counted: &[Counts]) -> Compared {
    let mut compared = Compared::default();
    for ((code, sent), counted) in codes.iter().zip(sent).zip(counted) {
        for (index, kind) in KINDS.into_iter().enumerate() {
            let (received, attempted) = (sent.received.0[index], sent.attempted.0[index]);
            let counted = counted.0[index];
            compared.attempted.0[index] += attempted;
            compared.counted.0[index] += counted;
            compared.received.0[index] += received;
            if !(received..=attempted).contains(&counted) {
                compared.broken.push(Broken { code: code.clone(), kind, received, counted, attempted });
            }
        }
    }
    compared
}

impl Compared {
    /// Requests that were sent and not answered.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.attempted.0.iter().sum::<u64>() - self.received.0.iter().sum::<u64>()
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!("clicks: {:<9}{:>12}{:>12}{:>12}\n", "", "received", "counted", "attempted");
        for (index, kind) in KINDS.into_iter().enumerate() {
            let [received, counted, attempted] =
                [&self.received, &self.counted, &self.attempted].map(|counts| counts.0[index]);
            text.push_str(&format!("        {kind:<9}{received:>12}{counted:>12}{attempted:>12}\n"));
        }
        for broken in self.broken.iter().take(20) {
            let Broken { code, kind, received, counted, attempted } = broken;
            text.push_str(&format!(
                "  WRONG {code} {kind}: counted {counted}, received {received}, attempted {attempted}\n"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_right_between_received_and_attempted() {
        let sent =
            |received, attempted| Sent { attempted: Counts([attempted; 4]), received: Counts([received; 4]) };
        let codes = ["a".to_owned(), "b".to_owned()];
        let right = compare(&codes, &[sent(5, 7), sent(3, 3)], &[Counts([5, 6, 7, 7]), Counts([3; 4])]);
        assert_eq!((&right.broken[..], right.unanswered()), (&[][..], 8));
        let wrong = compare(&codes, &[sent(5, 7), sent(3, 3)], &[Counts([4, 6, 8, 7]), Counts([3; 4])]);
        let broken = |kind, counted| Broken { code: "a".into(), kind, received: 5, counted, attempted: 7 };
        assert_eq!(wrong.broken, [broken("person", 4), broken("head", 8)]);
        assert!(
            wrong.table().contains("WRONG a head: counted 8, received 5, attempted 7"),
            "{}",
            wrong.table()
        );
    }
}
