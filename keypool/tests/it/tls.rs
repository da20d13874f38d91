//! Who may call: with a credential bundle, writers of the same fleet and nobody else.

use tonic::Code;
use wire::channel::{endpoint, keys_client};
use wire::identity::{Identity, Issuer, Role};

use crate::daemon::{Home, request};

fn bundle(home: &Home, authority: &str, role: Role) -> Identity {
    let ca = home.path(authority);
    let issuer = if ca.exists() { Issuer::open(&ca) } else { Issuer::create(&ca) }.unwrap();
    let dir = home.path(&format!("{authority}-{role}"));
    issuer.issue(role, "member-0", &dir).unwrap();
    Identity::load(&dir).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_writers_of_the_fleet_may_lease() {
    let mut home = Home::new("low_watermark = 1000\nhigh_watermark = 2000\n");
    bundle(&home, "ca", Role::Keypool);
    home.grpc = format!("tls_dir = {:?}", home.path("ca-keypool"));
    let daemon = home.start();
    let url = format!("https://{}", daemon.grpc);
    let lease_as = async |identity: Identity| {
        let channel = endpoint(&url, Some(&identity), Role::Keypool).unwrap().connect_lazy();
        keys_client(channel).lease(request(1, 10)).await
    };
    let leased = lease_as(bundle(&home, "ca", Role::Writer)).await.unwrap().into_inner();
    assert_eq!(leased.codes.len(), 10);
    let refused = lease_as(bundle(&home, "ca", Role::Proxy)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let stranger = lease_as(bundle(&home, "other", Role::Writer)).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unavailable, "{stranger}");
    let plain = endpoint(&format!("http://{}", daemon.grpc), None, Role::Keypool).unwrap().connect_lazy();
    assert!(keys_client(plain).lease(request(2, 10)).await.is_err());
    let (status, log) = daemon.stop();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("\"leased\"").count(), 1, "{log}");
    assert!(log.contains("writer member-0"), "{log}");
}
