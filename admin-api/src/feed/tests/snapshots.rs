//! Snapshots over real loopback sockets: who gets which, shared, from any offset, kept and removed.

use linklog::replica::Replica;
use linklog::snapshot::{self, Manifest};
use tonic::Code;
use wire::snapshots::open_reply::Reply;
use wire::snapshots::snapshots_client::SnapshotsClient;
use wire::snapshots::{OpenRequest, ReadRequest};

use super::*;

type Client = SnapshotsClient<tonic::transport::Channel>;

async fn client(fleet: &Fleet) -> Client {
    let endpoint = wire::channel::endpoint(&format!("http://{}", fleet.address), None, Role::Writer).unwrap();
    wire::channel::snapshots_client(endpoint.connect().await.unwrap())
}

fn request(member: &str) -> OpenRequest {
    OpenRequest {
        fleet_id: vec![7; 16],
        member: member.into(),
        format_level: u32::from(FORMAT_LEVEL),
        with_manage: false,
        at_least_seq: 0,
        resume: Vec::new(),
        version: "test".into(),
        counts: false,
    }
}

async fn open(client: &mut Client, request: OpenRequest) -> Result<(Vec<u8>, Manifest), Status> {
    let mut replies = client.open(request).await?.into_inner();
    let (mut id, mut bytes, mut length) = (Vec::new(), Vec::new(), 0);
    while let Some(reply) = replies.message().await? {
        match reply.reply.unwrap() {
            Reply::Making(_) => {}
            Reply::Opened(opened) => (id, length) = (opened.snapshot_id, opened.manifest_bytes),
            Reply::Manifest(chunk) => bytes.extend_from_slice(&chunk),
        }
    }
    assert_eq!(bytes.len() as u64, length);
    Ok((id, Manifest::decode(&bytes).unwrap()))
}

async fn read(client: &mut Client, id: &[u8], part: u32, offset: u64) -> Result<Vec<u8>, Status> {
    let request = ReadRequest {
        fleet_id: vec![7; 16],
        member: "proxy-0".into(),
        snapshot_id: id.to_vec(),
        part,
        offset,
    };
    let mut chunks = client.read(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        bytes.extend_from_slice(&chunk.data);
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_follower_reads_becomes_a_replica_at_the_writers_head() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    for n in 0..50 {
        fleet.link(&format!("link-{n}")).await;
    }
    let mut client = client(&fleet).await;
    let (id, manifest) = open(&mut client, request("proxy-0")).await.unwrap();
    let received = dir.path().join("received");
    std::fs::create_dir(&received).unwrap();
    for (index, part) in manifest.parts.iter().enumerate() {
        let whole = read(&mut client, &id, index as u32, 0).await.unwrap();
        // As after a connection that broke off.
        let rest = read(&mut client, &id, index as u32, 1_000).await.unwrap();
        assert_eq!(whole[1_000..], rest);
        assert!(read(&mut client, &id, index as u32, part.bytes).await.unwrap().is_empty());
        std::fs::write(received.join(snapshot::part_name(index)), whole).unwrap();
    }
    snapshot::store_manifest(&received, &manifest).unwrap();
    let into = dir.path().join("replica");
    snapshot::install(&received, Contents::Serve, &into, &SMALL, &|| true).unwrap();
    let replica = Replica::open(&into, Contents::Serve, &SMALL).unwrap();
    let commit = fleet.writer.handle().commit();
    replica.check(commit.head.position, commit.head.digest, Some(commit.serve_sum)).unwrap();
    assert_eq!(replica.head(), commit.head);
    // And it follows on from there.
    let mut stream = fleet.follow(hello(replica.head())).await;
    assert!(matches!(stream.next().await, Some(FromWriter::Welcome(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_get_snapshots_and_those_of_role_read_never_the_managed_parts() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    let mut client = client(&fleet).await;
    let code = |result: Result<_, Status>| result.map(|_: (Vec<u8>, Manifest)| ()).unwrap_err().code();
    assert_eq!(code(open(&mut client, request("stranger")).await), Code::PermissionDenied);
    let of_another_fleet = OpenRequest { fleet_id: vec![8; 16], ..request("proxy-0") };
    assert_eq!(code(open(&mut client, of_another_fleet).await), Code::PermissionDenied);
    let full = || OpenRequest { with_manage: true, ..request("proxy-0") };
    assert_eq!(code(open(&mut client, full()).await), Code::PermissionDenied);
    let old = OpenRequest { format_level: 0, ..request("proxy-0") };
    assert_eq!(code(open(&mut client, old).await), Code::FailedPrecondition);
    let ahead = OpenRequest { at_least_seq: 1_000, ..request("proxy-0") };
    assert_eq!(code(open(&mut client, ahead).await), Code::FailedPrecondition);
    fleet.change(members::add("standby", None, MemberRole::Sync, 1)).await;
    fleet.members.reload().unwrap();
    let with_manage = OpenRequest { member: "standby".into(), ..full() };
    let (id, manifest) = open(&mut client, with_manage).await.unwrap();
    assert_eq!(manifest.contents, Contents::Full);
    // Whoever learns its id gets nothing by it.
    assert_eq!(read(&mut client, &id, 0, 0).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(open(&mut client, request("proxy-0")).await.unwrap().1.contents, Contents::Serve);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_shared_until_it_will_not_do_and_removed_when_nobody_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path(), u64::MAX).await;
    fleet.link("a").await;
    let mut client = client(&fleet).await;
    let (first, _) = open(&mut client, request("proxy-0")).await.unwrap();
    assert_eq!(open(&mut client, request("proxy-0")).await.unwrap().0, first);
    let last = fleet.link("b").await;
    assert_eq!(open(&mut client, request("proxy-0")).await.unwrap().0, first, "the feed brings the rest");
    let later = OpenRequest { at_least_seq: last.seq.0, resume: first.clone(), ..request("proxy-0") };
    let (second, manifest) = open(&mut client, later).await.unwrap();
    assert!(second != first && manifest.head.position >= last);
    let third = OpenRequest { at_least_seq: last.seq.0, ..request("proxy-0") };
    assert_eq!(open(&mut client, third).await.unwrap().0, second, "the newest that will do");
    assert!(!read(&mut client, &first, 0, 0).await.unwrap().is_empty(), "whoever has begun may read on");
    assert_eq!(read(&mut client, &[0; 16], 0, 0).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(read(&mut client, &second, 999, 0).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(read(&mut client, &second, 0, 1 << 40).await.unwrap_err().code(), Code::OutOfRange);
    let folders = || std::fs::read_dir(dir.path().join("snapshots")).unwrap().count();
    assert_eq!(folders(), 2);
    // Another process of the same log offers it again, and throws away what was never finished.
    std::fs::create_dir(dir.path().join("snapshots/0123")).unwrap();
    let options = ShelfOptions {
        dir: dir.path().join("snapshots"),
        fleet: FleetId::from_bytes([7; 16]),
        bytes_per_s: 0,
        reserve_bytes: 0,
    };
    let again =
        Shelf::open(options, (&fleet.writer.reader()).into(), fleet.writer.journal(), fleet.stop.clone())
            .unwrap();
    assert!(again.get(&second).is_some());
    drop(again);
    assert_eq!(folders(), 2);
    // Whoever still reads keeps it.
    let held = fleet.shelf.get(&second);
    fleet.shelf.remove_unused(Duration::ZERO);
    assert_eq!(folders(), 1);
    drop(held);
    fleet.shelf.remove_unused(Duration::ZERO);
    assert_eq!(folders(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_gets_no_snapshot_of_what_too_few_sync_members_have() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::waiting_for(1, dir.path(), u64::MAX).await;
    fleet.change(members::add("standby-0", None, MemberRole::Sync, 1)).await;
    fleet.members.reload().unwrap();
    let at = fleet.link("unconfirmed").await;
    let mut client = client(&fleet).await;
    // Whoever counts as a copy gets everything.
    let full = OpenRequest { member: "standby-0".into(), with_manage: true, ..request("standby-0") };
    let (_, manifest) = open(&mut client, full).await.unwrap();
    assert_eq!(manifest.head.position, at);
    let mut asking = {
        let mut client = client.clone();
        tokio::spawn(async move { open(&mut client, request("proxy-0")).await })
    };
    let early = tokio::time::timeout(std::time::Duration::from_millis(500), &mut asking).await;
    assert!(early.is_err(), "a proxy was offered record {at}, which nobody has confirmed");
    let as_standby = Hello { member: "standby-0".into(), with_manage: true, ..hello(Head::EMPTY) };
    let mut standby = fleet.follow(as_standby).await;
    standby.next().await;
    standby.records().await;
    let applied = Some(wire::feed::Position { epoch: at.epoch.0, seq: at.seq.0 });
    let ack = Ack { applied, follower_synced_seq: at.seq.0, apply_lag_us: 1 };
    standby.to_writer.send(FollowerMessage { message: Some(FromFollower::Ack(ack)) }).await.unwrap();
    let (_, manifest) = asking.await.unwrap().unwrap();
    assert_eq!(manifest.head.position, at);
}
