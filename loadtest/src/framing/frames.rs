//! How the table writes HTTP/2: a line, a frame. The head of `framing/http2.txt` says how.

use super::bytes::{Names, bytes};

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// SETTINGS with HEADER_TABLE_SIZE 0.
const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0";

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Puts a line into bytes.
///
/// # Errors
/// What is wrong with the line.
pub fn frames(line: &str, names: &Names) -> Result<Vec<u8>, String> {
    if let Some((times, line)) = line.split_once("* ")
        && let Ok(times) = times.parse::<u32>()
    {
        let each = (0..times).map(|n| frames(&line.replace('%', &(2 * n + 1).to_string()), names));
        return each.collect::<Result<Vec<_>, _>>().map(|each| each.concat());
    }
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut words = rest.splitn(3, ' ');
    let mut word = || words.next().unwrap_or("");
    let written = match verb {
        "preface" => [MAGIC, SETTINGS].concat(),
        "raw" => bytes(rest, names)?,
        "get" => request("GET", rest, END_STREAM | END_HEADERS, names)?,
        "post" => request("POST", rest, END_HEADERS, names)?,
        // A request and its reset.
        "pair" => {
            let stream = number(word())?;
            let mut pair = request("GET", &format!("{stream} /one"), END_STREAM | END_HEADERS, names)?;
            pair.extend(frame(3, 0, stream, &8u32.to_be_bytes()));
            pair
        }
        "headers" | "continuation" => {
            let (stream, flags) = (number(word())?, flags(word()));
            let kind = if verb == "headers" { 1 } else { 9 };
            frame(kind, flags, stream, &headers(word().trim_start_matches("; "), names)?)
        }
        "data" => {
            let (stream, flags) = (number(word())?, flags(word()));
            frame(0, flags, stream, &bytes(word(), names)?)
        }
        "reset" => {
            let (stream, code) = (number(word())?, number(word())?);
            frame(3, 0, stream, &code.to_be_bytes())
        }
        "window" => {
            let (stream, by) = (number(word())?, number(word())?);
            frame(8, 0, stream, &by.to_be_bytes())
        }
        "ping" => frame(6, 0, 0, b"whatever"),
        "settings" => {
            let mut payload = Vec::new();
            for setting in rest.split(' ') {
                let (id, value) = setting.split_once('=').ok_or("write a setting as ID=VALUE")?;
                payload.extend_from_slice(&number(id)?.to_be_bytes()[2..]);
                payload.extend_from_slice(&number(value)?.to_be_bytes());
            }
            frame(4, 0, 0, &payload)
        }
        "frame" => {
            let (kind, flags) = (number(word())?, number(word())?);
            let (stream, payload) =
                words.next().unwrap_or("").split_once(' ').ok_or("frame TYPE FLAGS N BYTES")?;
            frame(kind as u8, flags as u8, number(stream)?, &bytes(payload, names)?)
        }
        other => return Err(format!("{other} is no frame")),
    };
    Ok(written)
}

/// A frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn number(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

fn flags(word: &str) -> u8 {
    let flag = |letter, flag| if word.contains(letter) { flag } else { 0 };
    flag('e', END_STREAM) | flag('h', END_HEADERS)
}

/// `N PATH ; NAME: VALUE …`
fn request(method: &str, rest: &str, flags: u8, names: &Names) -> Result<Vec<u8>, String> {
    let (start, more) = rest.split_once(" ; ").unwrap_or((rest, ""));
    let (stream, path) = start.split_once(' ').ok_or("write a stream and a path")?;
    let pseudo = format!(":method: {method} ; :scheme: http ; :authority: a ; :path: {path}");
    let list = if more.is_empty() { pseudo } else { format!("{pseudo} ; {more}") };
    Ok(frame(1, flags, number(stream)?, &headers(&list, names)?))
}

/// A header block of literals that are never indexed, without Huffman (RFC 7541 §6.2.2).
fn headers(list: &str, names: &Names) -> Result<Vec<u8>, String> {
    let mut block = Vec::new();
    for header in list.split(" ; ").filter(|header| !header.is_empty()) {
        let colon = header[1..].find(':').ok_or("write a header as NAME: VALUE")? + 1;
        let (name, value) = (&header[..colon], header[colon + 1..].trim_start_matches(' '));
        block.push(0);
        // `\x20` stands for an empty value.
        let value = if value == "\\x20" { Vec::new() } else { bytes(value, names)? };
        for text in [bytes(name, names)?, value] {
            put_length(&mut block, text.len());
            block.extend(text);
        }
    }
    Ok(block)
}

/// RFC 7541 §5.1, with a prefix of 7 bits.
fn put_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_frame() {
        let names = Names::new();
        for (line, expected) in [
            ("ping", &b"\0\0\x08\x06\0\0\0\0\0whatever"[..]),
            ("reset 3 8", b"\0\0\x04\x03\0\0\0\0\x03\0\0\0\x08"),
            ("data 1 e a\\r", b"\0\0\x02\0\x01\0\0\0\x01a\r"),
            ("headers 1 eh ; :a: b", b"\0\0\x06\x01\x05\0\0\0\x01\0\x02:a\x01b"),
            ("frame 250 7 0 x", b"\0\0\x01\xfa\x07\0\0\0\0x"),
            ("settings 4=1", b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01"),
            ("2* window % 1", b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x01\0\0\x04\x08\0\0\0\0\x03\0\0\0\x01"),
        ] {
            assert_eq!(frames(line, &names).unwrap(), expected, "{line}");
        }
        let long = frames("get 1 /one ; x: {300*x}", &names).unwrap();
        assert!(long.windows(4).any(|bytes| bytes == [1, b'x', 127, 173]), "{long:?}");
        for wrong in ["dance", "reset x 1", "settings 4", "headers 1 e ; x"] {
            assert!(frames(wrong, &names).is_err(), "{wrong}");
        }
    }
}
