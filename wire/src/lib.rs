//! What the parts of Signpost say to each other.
//!
//! - [`feed`], [`keys`], [`clicks`], [`budgets`], [`snapshots`] and [`succession`]: the generated messages, clients and servers; `proto/` is their source and explains them.
//! - [`limits`]: how large a message may be, the same on both ends.
//! - [`identity`]: who a process is (a certificate of the fleet's own authority) and who its peer is.
//! - [`channel`] and [`listen`]: how a client dials and how a server accepts, so that every port between machines
//!   follows one rule: mutual TLS, or plain TCP on loopback and nowhere else.
//!
//! What a service does with a message is not here; neither is reconnecting, which is the caller's policy.

pub mod channel;
pub mod dial;
pub mod identity;
pub mod limits;
pub mod listen;

/// The replication feed: package `signpost.feed.v1`, generated from `proto/feed.proto`.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, rustdoc::all, clippy::all, clippy::unwrap_used)]
pub mod feed {
    tonic::include_proto!("signpost.feed.v1");
}

/// Leases of generated codes: package `signpost.keys.v1`, generated from `proto/keys.proto`.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, rustdoc::all, clippy::all, clippy::unwrap_used)]
pub mod keys {
    tonic::include_proto!("signpost.keys.v1");
}

/// Clicks that end links: package `signpost.budgets.v1`, generated from `proto/budgets.proto`.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, rustdoc::all, clippy::all, clippy::unwrap_used)]
pub mod budgets {
    tonic::include_proto!("signpost.budgets.v1");
}

/// Snapshots of the state: package `signpost.snapshots.v1`, generated from `proto/snapshots.proto`.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, rustdoc::all, clippy::all, clippy::unwrap_used)]
pub mod snapshots {
    tonic::include_proto!("signpost.snapshots.v1");
}

/// Counts of clicks: package `signpost.clicks.v1`, generated from `proto/clicks.proto`.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, rustdoc::all, clippy::all, clippy::unwrap_used)]
pub mod clicks {
    tonic::include_proto!("signpost.clicks.v1");
}

/// Who writes next: package `signpost.succession.v1`, generated from `proto/succession.proto`.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, rustdoc::all, clippy::all, clippy::unwrap_used)]
pub mod succession {
    tonic::include_proto!("signpost.succession.v1");
}
