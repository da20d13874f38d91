//! What a run is made of: sizes and faults, all of them drawn from its seed, and the bug that is planted, if any.

use crate::random::Random;

/// A bug that is planted to see that it is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Plant {
    /// The writer answers before sync members have confirmed.
    AnswerUnconfirmed,
    /// A standby says that it has accepted an epoch, and does not note it.
    ForgetEpoch,
    /// A promotion begins whoever answers.
    PromoteWithFew,
    /// A promotion does not take over what others have beyond its own log.
    AdoptNothing,
    /// Proxies are shown what sync members have not confirmed.
    ShowUnconfirmed,
    /// Disks say that they have synced, and have not.
    LieAboutSync,
    /// A writer that was told of a higher epoch goes on.
    WriteWhenReplaced,
    /// A client's second try comes under another command.
    RetryAsNew,
    /// A proxy loses a row that it has applied.
    LoseRow,
    /// A standby that has accepted an epoch takes records of earlier ones from nobody any more.
    StayBehind,
    /// A sync member that is added counts at once.
    CountAtOnce,
    /// A follower switches to a snapshot before it is whole.
    SwitchTooSoon,
    /// What was received of one snapshot is taken for a part of the next one.
    MixSnapshots,
    /// A snapshot says that it ends one record before it does.
    SnapshotOffByOne,
    /// Proxies are given snapshots of what sync members have not confirmed.
    ShowSnapshots,
    /// A standby with a new log does not know which epoch it had accepted.
    RenewForgetsEpoch,
    /// A standby with a new log lacks what it had confirmed beyond the snapshot.
    RenewDropsRecords,
}

/// The sizes of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Servers, the writer among them.
    pub servers: usize,
    /// Standbys that are members from the beginning; more are added later.
    pub members_at_first: usize,
    /// How many sync members have to confirm a change.
    pub min_sync_replicas: usize,
    /// Proxies.
    pub proxies: usize,
    /// Names that clients fight for.
    pub aliases: u64,
    /// Events after which faults end.
    pub steps: u64,
    /// The mean time between two faults, microseconds; 0: there are none.
    pub fault_every_us: u64,
    /// The longest a message takes, microseconds.
    pub delay_max_us: u64,
    /// The longest a fsync takes, microseconds.
    pub fsync_max_us: u64,
    /// How far clocks are apart at most, milliseconds.
    pub skew_max_ms: u64,
    /// Whether writers are replaced.
    pub promotes: bool,
    /// Whether several standbys may be promoted at once, or one after the other by an operator who cannot see the first, and whether sync
    /// members come and go.
    pub contests: bool,
    /// How journals are trimmed and snapshots made; `None`: journals keep everything.
    pub snapshots: Option<Snapshots>,
    /// The planted bug.
    pub plant: Option<Plant>,
}

/// What makes followers fall behind, and how they come back.
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// How many bytes of records journals keep at least.
    pub journal_bytes_kept: u64,
    /// How large a part becomes before the next one is begun.
    pub part_bytes: u64,
    /// How many bytes of a part are sent at once.
    pub chunk_bytes: u64,
    /// How long a snapshot is kept that nobody reads, microseconds.
    pub kept_us: u64,
    /// The longest it takes to make or verify one, microseconds.
    pub work_max_us: u64,
    /// The mean time between two disks that are found damaged or replaced by empty ones, microseconds.
    pub damage_every_us: u64,
}

impl Snapshots {
    /// Drawn from a stream of their own, so that they change nothing else of a plan.
    fn of_seed(seed: u64) -> Option<Snapshots> {
        let mut random = Random::of_seed(seed ^ 0x736e_6170);
        let trims = random.percent(75);
        let slow = random.percent(30);
        trims.then(|| Snapshots {
            journal_bytes_kept: random.between(4_000, 16_000),
            part_bytes: random.between(300, 6_000),
            chunk_bytes: random.between(100, 2_000),
            kept_us: random.between(500_000, 30_000_000),
            work_max_us: if slow {
                random.between(100_000, 3_000_000)
            } else {
                random.between(1_000, 100_000)
            },
            damage_every_us: random.between(300_000, 6_000_000),
        })
    }
}

impl Plan {
    /// Draws a plan with a careful operator.
    pub fn of_seed(seed: u64, steps: u64, plant: Option<Plant>) -> Plan {
        let plan = Plan::contested(seed, steps, plant);
        // More than half, and promotions need not know of one another.
        let min_sync_replicas = plan.min_sync_replicas.min(plan.members_at_first.div_ceil(2));
        Plan { min_sync_replicas, contests: false, ..plan }
    }

    /// The same plan with journals that keep everything, so that nobody needs a snapshot.
    pub fn with_whole_journals(self) -> Plan {
        Plan { snapshots: None, ..self }
    }

    /// Draws a plan with an operator who is not careful.
    pub fn contested(seed: u64, steps: u64, plant: Option<Plant>) -> Plan {
        let mut random = Random::of_seed(seed ^ 0x706c_616e);
        let standbys = random.below(3) as usize;
        let members_at_first =
            if standbys == 0 { 0 } else { random.between(1, standbys as u64 + 1) as usize };
        let delay_below = if random.percent(20) { 400_000 } else { 5_000 };
        let fsync_below = if random.percent(20) { 200_000 } else { 3_000 };
        Plan {
            seed,
            servers: 1 + standbys,
            members_at_first,
            min_sync_replicas: random.below(members_at_first as u64 + 1) as usize,
            proxies: random.between(1, 4) as usize,
            aliases: random.between(1, 12),
            steps,
            fault_every_us: if random.percent(10) { 0 } else { random.between(20_000, 800_000) },
            delay_max_us: random.between(300, delay_below),
            fsync_max_us: random.between(100, fsync_below),
            skew_max_ms: if random.percent(30) { 90_000 } else { 50 },
            promotes: standbys > 0 && random.percent(80),
            contests: true,
            snapshots: Snapshots::of_seed(seed),
            plant,
        }
    }
}
