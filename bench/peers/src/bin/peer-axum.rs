//! Redirects with axum on one thread of tokio.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use bench_peers::{CACHE_CONTROL, Links, arguments};
use http::{StatusCode, header};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

async fn redirect(State(links): State<Arc<Links>>, Path(code): Path<String>) -> Response {
    match links.target(&code) {
        Some(target) => {
            (StatusCode::FOUND, [(header::LOCATION, target), (header::CACHE_CONTROL, CACHE_CONTROL)])
                .into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (port, links) = arguments()?;
    let router = Router::new().route("/{code}", get(redirect)).with_state(Arc::new(Links::read(&links)?));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?.tap_io(|stream| {
        // As the others do. A connection that is gone already shows when it is read.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
