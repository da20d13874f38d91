//! A fleet in a temporary folder, and a key supply that tells who called it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, ClientTlsConfig, Endpoint},
};
use wire::{
    channel::{self, reason},
    identity::{Identity, Issuer, PeerIdentity, Role, Validity, authorize, peer_of},
    keys::{
        DescribeReply, DescribeRequest, LeaseReply, LeaseRequest, MarkUsedReply, MarkUsedRequest,
        ReleaseReply, ReleaseRequest, key_supply_server::KeySupply,
    },
    listen::{Listener, keys_routes},
};

/// No step of a test takes longer than this unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Fleet {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) issuer: Issuer,
}

impl Fleet {
    pub(crate) fn new() -> Fleet {
        let dir = tempfile::tempdir().unwrap();
        let issuer = Issuer::create(&dir.path().join("ca")).unwrap();
        Fleet { dir, issuer }
    }

    pub(crate) fn bundle(&self, role: Role, name: &str) -> (PathBuf, PeerIdentity) {
        let out = self.dir.path().join(name);
        let issued = self.issuer.issue(role, name, &out).unwrap();
        (out, issued)
    }

    pub(crate) fn bundle_valid(&self, role: Role, name: &str, validity: Validity) -> PathBuf {
        let out = self.dir.path().join(name);
        self.issuer.issue_valid(role, name, validity, &out).unwrap();
        out
    }

    pub(crate) fn identity(&self, role: Role, name: &str) -> Identity {
        Identity::load(&self.bundle(role, name).0).unwrap()
    }
}

/// A running server with [`Stub`] behind it; stops when told to, or with the test's runtime.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) entered: Arc<Semaphore>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    pub(crate) async fn start(identity: Option<&Identity>) -> Server {
        Server::start_draining(identity, DEADLINE).await
    }

    pub(crate) async fn start_draining(identity: Option<&Identity>, drain_timeout: Duration) -> Server {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), identity).await.unwrap();
        let listener = listener.drain_timeout(drain_timeout);
        assert_eq!(listener.is_tls(), identity.is_some());
        let (addr, gate, entered) =
            (listener.local_addr(), Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let routes = keys_routes(Stub { gate: gate.clone(), entered: entered.clone() });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(listener.serve(routes, async move {
            let _ = stopped.await;
        }));
        Server { addr, gate, entered, stop, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// Begins to stop, and gives what ends when the server has.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), tonic::transport::Error>> {
        self.stop.send(()).unwrap();
        self.task
    }
}

/// Answers `Describe` with the caller, `Lease` to a writer only, `Release` when the gate opens.
pub(crate) struct Stub {
    gate: Arc<Semaphore>,
    entered: Arc<Semaphore>,
}

#[tonic::async_trait]
impl KeySupply for Stub {
    async fn lease(&self, request: Request<LeaseRequest>) -> Result<Response<LeaseReply>, Status> {
        authorize(&request, &[Role::Writer])?;
        let codes = (0..u64::from(request.get_ref().count)).collect();
        Ok(Response::new(LeaseReply { pool_id: vec![0; 16], lease_number: 1, codes }))
    }

    async fn mark_used(&self, request: Request<MarkUsedRequest>) -> Result<Response<MarkUsedReply>, Status> {
        Ok(Response::new(MarkUsedReply { newly_marked: request.get_ref().codes.len() as u32 }))
    }

    async fn release(&self, _: Request<ReleaseRequest>) -> Result<Response<ReleaseReply>, Status> {
        self.entered.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        Ok(Response::new(ReleaseReply { quarantined: 1, ignored: 0 }))
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        let peer = peer_of(&request).map_err(|error| Status::unauthenticated(reason(&error)))?;
        let (version, pool_id) = match peer {
            Some(peer) => (peer.uri(), peer.fingerprint.to_vec()),
            None => ("nobody".to_owned(), Vec::new()),
        };
        Ok(Response::new(DescribeReply { version, pool_id, ..DescribeReply::default() }))
    }
}

/// Connects and asks who we are; an error is one line with every cause.
pub(crate) async fn describe(endpoint: Endpoint) -> Result<DescribeReply, String> {
    let asked = async {
        let channel = endpoint.connect().await.map_err(|error| reason(&error))?;
        let answer = channel::keys_client(channel).describe(DescribeRequest {}).await;
        answer.map(Response::into_inner).map_err(|error| reason(&error))
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("an answer or a refusal, not silence")
}

/// A client made by hand from the files of a bundle, without the checks of `Identity::load`.
pub(crate) fn unchecked_endpoint(
    server: &Server,
    bundle: &Path,
    authority: &Path,
    dns_name: String,
) -> Endpoint {
    let pair = tonic::transport::Identity::from_pem(read(bundle, "cert.pem"), read(bundle, "key.pem"));
    let tls = ClientTlsConfig::new()
        .identity(pair)
        .ca_certificate(Certificate::from_pem(read(authority, "ca.pem")))
        .domain_name(dns_name);
    Endpoint::from_shared(server.url()).unwrap().tls_config(tls).unwrap()
}

pub(crate) fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).unwrap()
}
