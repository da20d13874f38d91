//! The feed over real loopback sockets: who is let in, what is sent, when it stops.

mod fleet;
mod snapshots;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clicklog::accounts::{Accounts, AccountsOptions};
use linklog::codec::{FORMAT_LEVEL, frame};
use linklog::entity::{MemberRole, MemberState};
use linklog::store::{Contents, StoreOptions};
use linklog::writer::{Decision, Writer, WriterOptions};
use linklog::{
    Change, DomainId, Head, Key, Link, LinkManage, Operation, Part, Position, Precondition, StateKey,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::feed::follower_message::Message as FromFollower;
use wire::feed::{Ack, Hello};
use wire::identity::Role;

use super::*;
use crate::budgets::Budgets;
use crate::clicks::{Copies, Reporters};
use crate::members;
use crate::replication::ReplicationOptions;
use crate::snapshots::{Shelf, ShelfOptions};
use crate::succession::WriterSide;
use fleet::{Fleet, SMALL, hello};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gets_everything_and_its_replica_agrees_with_the_heartbeat() {
    let (dir, replica_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    fleet.link("before").await;
    let mut replica = linklog::replica::Replica::open(replica_dir.path(), Contents::Serve, &SMALL).unwrap();
    let mut connection = fleet.follow(hello(Head::EMPTY)).await;
    assert!(
        matches!(connection.next().await, Some(FromWriter::Welcome(welcome)) if welcome.fleet_id == [7; 16])
    );
    let last = fleet.link("after").await;
    let mut checked = false;
    while !checked {
        match connection.next().await.unwrap() {
            FromWriter::Records(records) => {
                let applied = replica.apply(&records.frame).unwrap();
                connection.confirm(applied.head.position).await;
            }
            FromWriter::Heartbeat(beat) => {
                let at = beat.position.unwrap();
                let digest = linklog::Digest::from_bytes(beat.digest.as_slice().try_into().unwrap());
                let sum = beat.serve_sum.as_slice().try_into().map(linklog::SlotSum::from_bytes).ok();
                replica.check(Position::new(at.epoch, at.seq), digest, sum).unwrap();
                checked = at.seq == last.seq.0 && sum.is_some();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(replica.head(), fleet.writer.handle().commit().head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_shown_nothing_that_too_few_sync_members_have() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::waiting_for(1, dir.path(), u64::MAX).await;
    fleet.change(members::add("standby-0", None, MemberRole::Sync, 1)).await;
    fleet.members.reload().unwrap();
    let at = fleet.link("unconfirmed").await;
    let mut proxy = fleet.follow(hello(Head::EMPTY)).await;
    proxy.next().await;
    // A heartbeat comes in place of records, and does not tell of any.
    match proxy.next().await {
        Some(FromWriter::Heartbeat(beat)) => assert_eq!(beat.head.unwrap().seq, 0),
        other => panic!("{other:?}"),
    }
    let as_standby = Hello { member: "standby-0".into(), with_manage: true, ..hello(Head::EMPTY) };
    let mut standby = fleet.follow(as_standby).await;
    standby.next().await;
    let frame = standby.records().await;
    assert_eq!(frame::decode(&frame).unwrap().records.last().unwrap().position, at);
    let applied = Some(wire::feed::Position { epoch: at.epoch.0, seq: at.seq.0 });
    for synced in [at.seq.0 - 1, at.seq.0] {
        let ack = Ack { applied, follower_synced_seq: synced, apply_lag_us: 1 };
        standby.to_writer.send(FollowerMessage { message: Some(FromFollower::Ack(ack)) }).await.unwrap();
        let frame = proxy.records().await;
        let last = frame::decode(&frame).unwrap().records.last().unwrap().position;
        assert_eq!(last.seq.0, synced);
        proxy.confirm(last).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_has_lost_what_a_sync_member_has_stops_writing() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    fleet.change(members::add("standby-0", None, MemberRole::Sync, 1)).await;
    fleet.members.reload().unwrap();
    let head = fleet.writer.handle().commit().head;
    let ahead = Head { position: Position::new(1, head.position.seq.0 + 5), ..head };
    let mut standby = fleet.follow(Hello { member: "standby-0".into(), ..hello(ahead) }).await;
    assert_eq!(standby.refusal().await, Reason::WriterBehind);
    let handle = fleet.writer.handle();
    let refused = tokio::task::spawn_blocking(move || handle.propose_and_wait(Vec::new())).await.unwrap();
    assert_eq!(refused, Err(linklog::writer::ProposeError::Behind));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_get_hashes_in_place_of_the_managed_parts() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    fleet.link("secret-title").await;
    let mut connection = fleet.follow(hello(Head::EMPTY)).await;
    connection.next().await;
    let frame = connection.records().await;
    for record in frame::decode(&frame).unwrap().records {
        assert!(record.manage.bytes().is_none() && record.serve.bytes().is_some());
    }
    let mut greedy = fleet.follow(Hello { with_manage: true, ..hello(Head::EMPTY) }).await;
    assert_eq!(greedy.refusal().await, Reason::UnknownMember);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_other_histories_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    fleet.link("one").await;
    let head = fleet.writer.handle().commit().head;
    let other_digest = Head { digest: linklog::Digest::from_bytes([9; 16]), ..head };
    let ahead = Head { position: Position::new(1, head.position.seq.0 + 5), ..head };
    let cases = [
        (Hello { member: "nobody".into(), ..hello(head) }, Reason::UnknownMember),
        (Hello { fleet_id: vec![8; 16], ..hello(head) }, Reason::WrongFleet),
        (Hello { format_level: 0, ..hello(head) }, Reason::FormatLevel),
        (Hello { digest: vec![1; 3], ..hello(head) }, Reason::BadRequest),
        (hello(other_digest), Reason::Diverged),
        (hello(ahead), Reason::WriterBehind),
    ];
    for (hello, reason) in cases {
        assert_eq!(fleet.follow(hello).await.refusal().await, reason);
    }
    assert!(matches!(fleet.follow(hello(head)).await.next().await, Some(FromWriter::Welcome(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_member_is_sent_away_and_stays_away() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    let mut connection = fleet.follow(hello(Head::EMPTY)).await;
    connection.next().await;
    let (member, version) = members::with_version(&fleet.writer.reader(), "proxy-0").unwrap().unwrap();
    fleet.change(members::set_state("proxy-0", &member, version, MemberState::Forgotten)).await;
    fleet.members.reload().unwrap();
    assert_eq!(connection.refusal().await, Reason::UnknownMember);
    assert_eq!(fleet.follow(hello(Head::EMPTY)).await.refusal().await, Reason::UnknownMember);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_stream_of_the_same_member_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    let mut old = fleet.follow(hello(Head::EMPTY)).await;
    old.next().await;
    let mut new = fleet.follow(hello(Head::EMPTY)).await;
    assert_eq!(old.refusal().await, Reason::AlreadyConnected);
    new.next().await;
    new.records().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_does_not_confirm_gets_no_more_than_its_window() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    let mut connection = fleet.follow(Hello { window_bytes: 1, ..hello(Head::EMPTY) }).await;
    connection.next().await;
    let window = 64 * 1024;
    let (mut received, mut frame_bytes_max) = (0, 0);
    let mut last = Position::ZERO;
    let long = "x".repeat(60);
    // Far more than the smallest window; records are sent one commit at a time, so the window fills in small steps.
    for n in 0..1_200 {
        fleet.link(&format!("{long}{n}")).await;
    }
    let head = fleet.writer.handle().commit().head.position;
    loop {
        match connection.next().await.unwrap() {
            FromWriter::Records(records) => {
                received += records.frame.len();
                frame_bytes_max = frame_bytes_max.max(records.frame.len());
                last = frame::decode(&records.frame).unwrap().records.last().unwrap().position;
            }
            // A heartbeat that speaks of an older position: there is more, and it is held back.
            FromWriter::Heartbeat(beat) => {
                let (at, writer) = (beat.position.unwrap().seq, beat.head.unwrap().seq);
                if at == last.seq.0 && writer == head.seq.0 && at < writer {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let (least, most) = (window, window + frame_bytes_max);
    assert!((least..=most).contains(&received), "{received} bytes");
    while last < head {
        connection.confirm(last).await;
        let frame = connection.records().await;
        last = frame::decode(&frame).unwrap().records.last().unwrap().position;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_behind_what_is_kept_is_told_that_it_needs_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), 1 << 20).await;
    let journal = fleet.writer.journal();
    let long = "x".repeat(50_000);
    let mut n = 0;
    while linklog::journal::JournalRead::first_retained(&journal) == linklog::Seq(1) {
        let link = Link { target: format!("https://a.example/{long}"), ..Link::default() };
        let operation = Operation::Put { serve: link.encode(), manage: LinkManage::default().encode() };
        let key = StateKey::Link(Key::new(DomainId::DEFAULT, format!("n-{n}").parse().unwrap()));
        fleet.change(Change::new("t", vec![Part { key, precondition: Precondition::Any, operation }])).await;
        n += 1;
    }
    assert_eq!(fleet.follow(hello(Head::EMPTY)).await.refusal().await, Reason::SnapshotRequired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_waits_for_the_proxy_and_reports_who_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    let first = fleet.link("first").await;
    let report = fleet.replication.wait(first, false).await.unwrap();
    assert_eq!((report.applied, report.of, report.missing), (0, 1, vec!["proxy-0".to_owned()]));
    let mut connection = fleet.follow(hello(Head::EMPTY)).await;
    connection.next().await;
    connection.records().await;
    connection.confirm(first).await;
    // The acknowledgement has arrived when the member counts as in sync.
    let in_sync = async {
        while fleet.replication.status()[0].state != "in_sync" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), in_sync).await.expect("in sync in time");
    let second = fleet.link("second").await;
    let replication = fleet.replication.clone();
    let waiting = tokio::spawn(async move { replication.wait(second, false).await });
    connection.records().await;
    assert!(!waiting.is_finished());
    connection.confirm(second).await;
    let report = waiting.await.unwrap().unwrap();
    assert_eq!((report.applied, report.of, report.missing), (1, 1, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_learns_of_a_higher_epoch_stops_writing() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    let head = fleet.writer.handle().commit().head;
    let mut connection = fleet.follow(Hello { highest_epoch: 2, ..hello(head) }).await;
    assert_eq!(connection.refusal().await, Reason::StaleWriter);
    let handle = fleet.writer.handle();
    let refused = tokio::task::spawn_blocking(move || handle.propose_and_wait(Vec::new())).await.unwrap();
    assert_eq!(refused, Err(linklog::writer::ProposeError::Fenced));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_confirms_what_it_was_not_sent_is_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    let mut connection = fleet.follow(hello(Head::EMPTY)).await;
    connection.next().await;
    connection.records().await;
    connection.confirm(Position::new(1, 1_000)).await;
    assert_eq!(connection.refusal().await, Reason::BadRequest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_says_so_to_every_follower() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    let mut connection = fleet.follow(hello(Head::EMPTY)).await;
    connection.next().await;
    fleet.stop.cancel();
    assert_eq!(connection.refusal().await, Reason::ShuttingDown);
    drop(connection);
    fleet.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gets_no_record_of_a_level_that_it_does_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    fleet.raise(1).await;
    let head = fleet.writer.handle().commit().head;
    let mut connection = fleet.follow(Hello { format_level: 1, ..hello(head) }).await;
    assert!(matches!(connection.next().await, Some(FromWriter::Welcome(_))));
    fleet.raise(FORMAT_LEVEL).await;
    match connection.next_but_heartbeats().await {
        Some(FromWriter::Refusal(refusal)) => assert_eq!(refusal.reason(), Reason::FormatLevel),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_announcement_of_a_member_is_the_one_that_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    fleet.add("proxy-1").await;
    let (member, version) = members::with_version(&fleet.writer.reader(), "proxy-0").unwrap().unwrap();
    fleet.change(members::set_announced_level("proxy-0", &member, version, 1)).await;
    fleet.members.reload().unwrap();
    let log = crate::log::Log::new(fleet.writer.handle(), fleet.writer.reader(), fleet.writer.journal());
    let levels = Levels::new(log, fleet.members.clone());
    // Upgraded, and back again before anybody wrote that down.
    levels.announced("proxy-0", 2);
    levels.announced("proxy-0", 1);
    levels.announced("proxy-1", 2);
    let mut changes = fleet.members.changes();
    let running = tokio::spawn(levels.run(fleet.stop.clone()));
    let recorded = changes.wait_for(|table| table["proxy-1"].announced_level == Some(2));
    tokio::time::timeout(Duration::from_secs(20), recorded).await.expect("in time").unwrap();
    assert_eq!(fleet.members.get("proxy-0").unwrap().announced_level, Some(1));
    fleet.stop.cancel();
    running.await.unwrap();
}
