//! A store of objects that speaks as much of S3 as backups of a small log need, in memory: PUT, GET and HEAD of objects, lists with a prefix and a
//! delimiter (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>). Whoever does not sign with its key is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use signpost_loadtest::fleet::Variable;

const KEY: &str = "key-of-the-test";
const NAME: &str = "backups";

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// One bucket. Its threads end with the process.
pub(super) struct Bucket {
    address: SocketAddr,
    objects: Objects,
}

impl Bucket {
    pub(super) fn start() -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let objects = Objects::default();
        let on_thread = objects.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let objects = on_thread.clone();
                // A connection that fails is one whose other end has gone.
                std::thread::spawn(move || serve(stream, &objects));
            }
        });
        Bucket { address, objects }
    }

    /// What is given as the place for backups.
    pub(super) fn url(&self, prefix: &str) -> String {
        format!("s3://{NAME}/{prefix}")
    }

    /// What a part has to have in its environment to get in.
    pub(super) fn environment(&self, part: &str) -> Vec<Variable> {
        let variables = [
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ];
        let variable =
            |(name, value): (&str, String)| Variable { part: part.into(), name: name.into(), value };
        variables.map(variable).into()
    }

    /// The names of all objects.
    pub(super) fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }
}

/// Answers one request after the other.
fn serve(stream: TcpStream, objects: &Objects) -> std::io::Result<()> {
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut length, mut is_signed) = (0, false);
        loop {
            let mut header = String::new();
            from.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "authorization" => {
                    is_signed = value.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY}/"));
                }
                _ => {}
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        let (status, body) = match is_signed {
            true => answer(&method, &target, body, &mut objects.lock().unwrap()),
            false => ("403 Forbidden", Vec::new()),
        };
        write!(
            to,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"1\"\r\nLast-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\n\r\n",
            body.len()
        )?;
        if method != "HEAD" {
            to.write_all(&body)?;
        }
    }
}

fn answer(
    method: &str,
    target: &str,
    body: Vec<u8>,
    objects: &mut BTreeMap<String, Vec<u8>>,
) -> (&'static str, Vec<u8>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(key) = path.strip_prefix(&format!("/{NAME}")) else { return ("404 Not Found", Vec::new()) };
    let key = key.trim_start_matches('/').to_owned();
    match (method, objects.get(&key)) {
        ("GET", _) if key.is_empty() => ("200 OK", list(query, objects).into_bytes()),
        ("PUT", _) if query.is_empty() => {
            objects.insert(key, body);
            ("200 OK", Vec::new())
        }
        ("GET" | "HEAD", Some(object)) => ("200 OK", object.clone()),
        ("GET" | "HEAD", None) => ("404 Not Found", Vec::new()),
        _ => ("501 Not Implemented", Vec::new()),
    }
}

fn list(query: &str, objects: &BTreeMap<String, Vec<u8>>) -> String {
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.map(|value| value.replace("%2F", "/")).unwrap_or_default()
    };
    let (prefix, delimiter) = (parameter("prefix"), parameter("delimiter"));
    let (mut entries, mut folders) = (String::new(), BTreeSet::new());
    for (key, object) in objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        let folder = key[prefix.len()..].split_once('/').filter(|_| !delimiter.is_empty());
        match folder {
            Some((folder, _)) => drop(folders.insert(format!("{prefix}{folder}/"))),
            None => entries.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified><ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                object.len()
            )),
        }
    }
    let folders =
        folders.iter().map(|name| format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"));
    format!("<ListBucketResult>{entries}{}</ListBucketResult>", folders.collect::<String>())
}
