//! Requests by the letter of RFC 9112, read line by line, taking nothing for granted and sharing no code with what it is compared to.

/// Most headers.
const HEADERS_MAX: usize = 64;

/// A plain request: GET or HEAD of a path, one Host, no body, nothing unusual.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
    /// GET or HEAD.
    pub method: String,
    /// Up to the query.
    pub path: Vec<u8>,
    /// The Host header.
    pub host: Vec<u8>,
    /// Whether the connection may stay open.
    pub keep_alive: bool,
    /// Its length.
    pub consumed: usize,
}

/// Reads the request at the start of `bytes`. `None`: there is no plain one.
pub fn plain_request(bytes: &[u8]) -> Option<Plain> {
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let end = bytes.windows(4).skip(skipped).position(|window| window == b"\r\n\r\n")? + skipped + 4;
    let mut lines = Vec::new();
    let mut rest = &bytes[skipped..end - 2];
    while !rest.is_empty() {
        lines.push(line(&mut rest)?);
    }
    if lines.iter().any(|line| line.iter().any(|b| matches!(b, b'\r' | b'\n'))) {
        return None;
    }
    let request_line: Vec<&[u8]> = lines.first()?.split(|b| *b == b' ').collect();
    let [method, target, b"HTTP/1.1"] = request_line[..] else { return None };
    if !matches!(method, b"GET" | b"HEAD") || !target.starts_with(b"/") {
        return None;
    }
    // The query is not ours to judge, but what is no text at all cannot be a target, and no fragment is ever sent.
    let is_odd = |b: &u8| *b <= 0x20 || *b == 0x7f || *b == b'#';
    if target.iter().any(is_odd) || std::str::from_utf8(target).is_err() {
        return None;
    }
    let path: Vec<u8> = target.iter().copied().take_while(|b| *b != b'?').collect();
    if path.iter().any(|b| matches!(b, b'%' | 0x7f..)) {
        return None;
    }
    let (mut host, mut keep_alive) = (None, true);
    for line in &lines[1..] {
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = (&line[..colon], trimmed(&line[colon + 1..]));
        if !is_token(name) || value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
            return None;
        }
        match &*String::from_utf8_lossy(name).to_ascii_lowercase() {
            "host" if host.is_none() => host = Some(value.to_vec()),
            "host" | "content-length" | "transfer-encoding" | "upgrade" | "expect" | "te" | "trailer"
            | "http2-settings" => return None,
            "connection" => {
                for token in String::from_utf8_lossy(value).split(',') {
                    match &*token.trim().to_ascii_lowercase() {
                        "close" => keep_alive = false,
                        "keep-alive" | "" => {}
                        _ => return None,
                    }
                }
            }
            _ => {}
        }
    }
    let host = host?;
    if !is_host(&host) || lines.len() > HEADERS_MAX + 1 {
        return None;
    }
    let method = String::from_utf8(method.to_vec()).ok()?;
    Some(Plain { method, path, host, keep_alive, consumed: end })
}

/// A name or an address in brackets, perhaps with a port, or nothing at all.
fn is_host(host: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(host) else { return false };
    let (name, port) = match text.rfind(']') {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_address = name.starts_with('[') && name.ends_with(']') && name.matches(['[', ']']).count() == 2;
    let allowed = if is_address { ":.[]abcdefABCDEF0123456789" } else { ".-_" };
    let is_name = name.chars().all(|c| allowed.contains(c) || !is_address && c.is_ascii_alphanumeric());
    let is_port = port.is_empty() || port.starts_with(':') && port[1..].bytes().all(|b| b.is_ascii_digit());
    is_name && is_port && port.len() <= 6 && host.len() <= 260
}

/// RFC 9110 §5.6.2.
fn is_token(name: &[u8]) -> bool {
    let is_token_byte = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(is_token_byte)
}

/// Without optional white space, which is space and tab.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A chunked body.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunked {
    /// Its length.
    pub bytes: usize,
    /// Of these, bytes of extensions behind their semicolon, and of trailers without colons and line ends.
    pub extra_bytes: usize,
}

/// Reads the chunked body at the start of `bytes`. `None`: there is none, or it goes on.
pub fn chunked_body(bytes: &[u8]) -> Option<Chunked> {
    let is_text = |bytes: &[u8]| bytes.iter().all(|b| *b == b'\t' || (b' '..=b'~').contains(b));
    let (mut rest, mut extra_bytes) = (bytes, 0);
    loop {
        let line = line(&mut rest)?;
        let semicolon = line.iter().position(|b| *b == b';');
        let size = &line[..semicolon.unwrap_or(line.len())];
        let extension = semicolon.map_or(&b""[..], |at| &line[at + 1..]);
        if !(1..=8).contains(&size.len()) || !size.iter().all(u8::is_ascii_hexdigit) || !is_text(extension) {
            return None;
        }
        extra_bytes += extension.len();
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        if rest.get(size..size + 2)? != b"\r\n" {
            return None;
        }
        rest = &rest[size + 2..];
    }
    loop {
        let trailer = line(&mut rest)?;
        if trailer.is_empty() {
            return Some(Chunked { bytes: bytes.len() - rest.len(), extra_bytes });
        }
        let colon = trailer.iter().position(|b| *b == b':')?;
        let value: Vec<u8> = trailer[colon + 1..].iter().copied().filter(u8::is_ascii).collect();
        if !is_token(&trailer[..colon]) || !is_text(&value) {
            return None;
        }
        extra_bytes += trailer.len() - 1;
    }
}

/// Takes a line and its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    Some(line)
}
