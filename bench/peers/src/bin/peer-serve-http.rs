//! Redirects with Pingora's own HTTP: an app that implements `ServeHttp`, one thread, its defaults otherwise.

use async_trait::async_trait;
use bench_peers::{CACHE_CONTROL, Links, arguments};
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Redirects(Links);

#[async_trait]
impl ServeHttp for Redirects {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let code = session.req_header().uri.path().trim_start_matches('/');
        let mut response = Response::new(Vec::new());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, 0.into());
        headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
        let status = match self.0.target(code) {
            Some(target) => {
                headers.insert(header::LOCATION, target);
                StatusCode::FOUND
            }
            None => StatusCode::NOT_FOUND,
        };
        *response.status_mut() = status;
        response
    }
}

fn main() -> anyhow::Result<()> {
    let (port, links) = arguments()?;
    let conf = ServerConf { threads: 1, work_stealing: false, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = Service::new("redirects".to_owned(), Redirects(Links::read(&links)?));
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever()
}
