//! A fake HTTP server: a thread per connection, keep-alive, answers from a closure.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What a request asks for.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// What to answer; `None` closes the connection without a word.
pub(crate) type Answer = Option<Vec<u8>>;

/// Serves until the process ends.
pub(crate) fn serve(
    address: SocketAddr,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // A client that hangs up ends its thread.
            thread::spawn(move || drop(converse(stream, &*answer)));
        }
    });
    Ok(address)
}

/// As [`serve`] on a free port; returns its address as a URL.
pub(crate) fn serve_anywhere(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> String {
    format!("http://{}", serve("127.0.0.1:0".parse().unwrap(), answer).unwrap())
}

/// An answer with headers (each ending in CRLF) and a body.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Answer {
    Some(format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// A redirect to a target.
pub(crate) fn redirect(long_url: &str) -> Answer {
    answer(302, &format!("Location: {long_url}\r\n"), "")
}

fn converse(mut stream: TcpStream, respond: &dyn Fn(&Request) -> Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut bytes)? {
        let Some(answer) = respond(&request) else { return Ok(()) };
        stream.write_all(&answer)?;
        if answer.windows(17).any(|window| window.eq_ignore_ascii_case(b"connection: close")) {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some((request, length)) = parse(bytes) {
            bytes.drain(..length);
            return Ok(Some(request));
        }
        let mut piece = [0; 65536];
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Request, usize)> {
    let head_length = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_length]).into_owned();
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |text| text.parse().unwrap());
    let body = bytes.get(head_length..head_length + length)?.to_vec();
    Some((Request { method, path, body }, head_length + length))
}
