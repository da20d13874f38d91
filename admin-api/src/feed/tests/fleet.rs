//! A writer with its feed on loopback, and a follower that is a test.

use super::*;

pub(super) const SMALL: StoreOptions =
    StoreOptions { block_cache_bytes: 4 << 20, memtable_bytes: 2 << 20, background_threads: 1 };

pub(super) struct Fleet {
    pub(super) writer: Writer,
    pub(super) members: Members,
    pub(super) replication: Replication,
    pub(super) address: SocketAddr,
    pub(super) stop: CancellationToken,
    pub(super) served: tokio::task::JoinHandle<Result<(), FeedError>>,
    pub(super) shelf: Shelf,
    pub(super) _accounts: Accounts,
}

impl Fleet {
    pub(super) async fn start(dir: &Path, journal_bytes_kept: u64) -> Fleet {
        Fleet::waiting_for(0, dir, journal_bytes_kept).await
    }

    pub(super) async fn waiting_for(min_sync_replicas: usize, dir: &Path, journal_bytes_kept: u64) -> Fleet {
        let (announce, commits) = watch::channel(Commit::default());
        let writer = Writer::open(
            dir,
            WriterOptions {
                store: SMALL,
                journal_bytes_kept,
                queue_max: 100,
                clock_us: Box::new(crate::clock::now_us),
                at_start: Box::new(|| {}),
                on_commit: Box::new(move |commit| {
                    announce.send_replace(*commit);
                }),
                nonce: Box::new(|| [7; 16]),
                on_fatal: Box::new(|error| panic!("{error}")),
            },
        )
        .unwrap();
        let members = Members::load(&writer.reader()).unwrap();
        let options = ReplicationOptions {
            min_sync_replicas,
            wait: Duration::from_secs(20),
            healthy_within: Duration::from_secs(20),
        };
        let replication = Replication::new(members.clone(), writer.journal(), options);
        let log = crate::log::Log::new(writer.handle(), writer.reader(), writer.journal());
        let fleet = FleetId::from_bytes([7; 16]);
        let budgets = Budgets::load(fleet, log.clone(), members.clone(), Default::default()).unwrap();
        let server = FeedServer::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let address = server.local_addr();
        let stop = CancellationToken::new();
        let replaced = CancellationToken::new();
        let source = FeedSource {
            fleet,
            restored: None,
            journal: writer.journal(),
            commits,
            members: members.clone(),
            replication: replication.clone(),
            levels: Levels::new(log, members.clone()),
            on_claimed_epoch: {
                let (writer, replaced) = (writer.handle(), replaced.clone());
                Arc::new(move |_| {
                    writer.fence_for_now();
                    replaced.cancel();
                })
            },
            on_higher_epoch: {
                let writer = writer.handle();
                let replaced = replaced.clone();
                Arc::new(move |by| {
                    writer.fence(by);
                    replaced.cancel();
                })
            },
            replaced,
            on_behind: {
                let writer = writer.handle();
                Arc::new(move |_, _| writer.stop_behind())
            },
        };
        let accounts = Accounts::open(
            &dir.join("clicks"),
            AccountsOptions {
                store: SMALL,
                journal_bytes_kept: u64::MAX,
                queue_max: 10,
                clock_ms: Box::new(crate::clock::now_ms),
                on_fatal: Box::new(|error| panic!("{error}")),
            },
        )
        .unwrap();
        let clicks = ClickSource {
            fleet: source.fleet,
            members: members.clone(),
            accounts: accounts.handle(),
            reporters: Reporters::default(),
            journal: accounts.journal(),
            copies: Copies::new(0),
        };
        let shelf_options =
            ShelfOptions { dir: dir.join("snapshots"), fleet, bytes_per_s: 0, reserve_bytes: 0 };
        let shelf =
            Shelf::open(shelf_options, (&writer.reader()).into(), writer.journal(), stop.clone()).unwrap();
        let side = WriterSide::new(writer.handle(), source.fleet, source.on_higher_epoch.clone());
        let succession = SuccessionService { side: Arc::new(side), journal: writer.journal() };
        let snapshots = SnapshotService::new(shelf.clone(), members.clone(), fleet)
            .once_confirmed(replication.confirmed());
        let served = tokio::spawn(server.serve(source, clicks, budgets, succession, snapshots, stop.clone()));
        let fleet = Fleet { shelf, _accounts: accounts, writer, members, replication, address, stop, served };
        fleet.add("proxy-0").await;
        fleet
    }

    pub(super) async fn change(&self, change: Change) -> Position {
        let handle = self.writer.handle();
        let decided =
            tokio::task::spawn_blocking(move || handle.propose_and_wait(vec![change])).await.unwrap();
        match decided.unwrap().remove(0) {
            Decision::Applied { position, .. } => position,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn add(&self, name: &str) {
        self.change(members::add(name, None, MemberRole::Read, 1)).await;
        self.members.reload().unwrap();
    }

    /// Brings the log to a format level.
    pub(super) async fn raise(&self, format_level: u8) {
        let serve = linklog::entity::Fleet::new([7; 16], format_level).encode();
        let operation = Operation::Put { serve, manage: Vec::new() };
        let part = Part { key: StateKey::Fleet, precondition: Precondition::Any, operation };
        self.change(Change::new("t", vec![part])).await;
    }

    pub(super) async fn link(&self, code: &str) -> Position {
        let link = Link { target: format!("https://{code}.example/"), ..Link::default() };
        let operation = Operation::Put { serve: link.encode(), manage: LinkManage::default().encode() };
        let key = StateKey::Link(Key::new(DomainId::DEFAULT, code.parse().unwrap()));
        self.change(Change::new("t", vec![Part { key, precondition: Precondition::Any, operation }])).await
    }

    pub(super) async fn follow(&self, hello: Hello) -> Connection {
        let endpoint =
            wire::channel::endpoint(&format!("http://{}", self.address), None, Role::Writer).unwrap();
        let mut client = wire::channel::feed_client(endpoint.connect().await.unwrap());
        let (to_writer, messages) = mpsc::channel(16);
        to_writer.send(FollowerMessage { message: Some(FromFollower::Hello(hello)) }).await.unwrap();
        let from_writer = client.follow(ReceiverStream::new(messages)).await.unwrap().into_inner();
        Connection { to_writer, from_writer }
    }
}

pub(super) fn hello(at: Head) -> Hello {
    Hello {
        fleet_id: vec![7; 16],
        member: "proxy-0".into(),
        format_level: u32::from(FORMAT_LEVEL),
        highest_epoch: at.position.epoch.0,
        applied: Some(wire::feed::Position { epoch: at.position.epoch.0, seq: at.position.seq.0 }),
        digest: at.digest.to_bytes().to_vec(),
        with_manage: false,
        window_bytes: 1 << 20,
        version: "test".into(),
    }
}

pub(super) struct Connection {
    pub(super) to_writer: mpsc::Sender<FollowerMessage>,
    pub(super) from_writer: Streaming<WriterMessage>,
}

impl Connection {
    pub(super) async fn next(&mut self) -> Option<FromWriter> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.from_writer.message());
        next.await.expect("a message in time").unwrap()?.message
    }

    /// Returns the next message that is not a heartbeat.
    pub(super) async fn next_but_heartbeats(&mut self) -> Option<FromWriter> {
        loop {
            match self.next().await {
                Some(FromWriter::Heartbeat(_)) => {}
                other => return other,
            }
        }
    }

    pub(super) async fn records(&mut self) -> Vec<u8> {
        match self.next_but_heartbeats().await {
            Some(FromWriter::Records(records)) => records.frame.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn refusal(&mut self) -> Reason {
        loop {
            match self.next().await {
                Some(FromWriter::Refusal(refusal)) => return refusal.reason(),
                Some(_) => {}
                None => panic!("the stream ended without a refusal"),
            }
        }
    }

    pub(super) async fn confirm(&self, at: Position) {
        let applied = Some(wire::feed::Position { epoch: at.epoch.0, seq: at.seq.0 });
        let ack = Ack { applied, follower_synced_seq: 0, apply_lag_us: 1 };
        self.to_writer.send(FollowerMessage { message: Some(FromFollower::Ack(ack)) }).await.unwrap();
    }
}
