//! Receiving a snapshot into a folder, from where it was cut off.
//!
//! A file with the snapshot's id stands beside what was received of it. A part is appended to as it comes; when it has its length it is
//! checked, and received anew, once, if it is not right.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::disk::DiskReserve;
use linklog::codec::FORMAT_LEVEL;
use linklog::snapshot::{self, MANIFEST_BYTES_MAX, Manifest, Part, SnapshotError};
use linklog::store::Contents;
use tokio::fs;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use wire::channel::{self, reason};
use wire::identity::Role;
use wire::snapshots::open_reply::Reply;
use wire::snapshots::snapshots_client::SnapshotsClient;
use wire::snapshots::{OpenReply, OpenRequest, ReadRequest};

use super::{BootstrapError, Progress, Wish, check_room};

/// Longest silence of whoever was asked: while it makes a snapshot it says so every second, and it sends chunks at least that often.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The file with the id.
const ID_FILE: &str = "ID";

/// A snapshot that is being received.
struct Receiving<'a> {
    client: SnapshotsClient<Channel>,
    wish: &'a Wish<'a>,
    dir: PathBuf,
    id: Vec<u8>,
    progress: &'a dyn Progress,
}

/// Receives a whole snapshot into the folder `dir`; what of it is there already is not received again. What `disk` reserves is left free.
///
/// # Errors
/// Why not. What was received so far is kept for the next try.
///
/// # Cancel safety
/// What was received is kept.
pub async fn receive(
    wish: &Wish<'_>,
    dir: &Path,
    disk: &DiskReserve,
    progress: &dyn Progress,
) -> Result<(), BootstrapError> {
    let endpoint = channel::endpoint(wish.url, wish.identity, Role::Writer)
        .map_err(|error| BootstrapError::Refused(error.to_string()))?;
    let channel = endpoint.connect().await.map_err(|error| BootstrapError::Lost(reason(&error)))?;
    fs::create_dir_all(dir).await?;
    let client = channel::snapshots_client(channel);
    let mut receiving = Receiving { client, wish, id: Vec::new(), dir: dir.to_owned(), progress };
    let manifest = receiving.open().await?;
    let complete = receiving.complete(&manifest).await?;
    progress.bytes(complete, manifest.bytes());
    check_room(dir, disk, manifest.bytes() - complete)?;
    tracing::info!(
        from = wish.url,
        head = %manifest.head.position,
        bytes = manifest.bytes(),
        already = complete,
        "receiving a snapshot"
    );
    let mut missing = manifest.bytes() - complete;
    for (index, part) in manifest.parts.iter().enumerate() {
        let there = length(&receiving.dir.join(snapshot::part_name(index))).await?;
        // Others may have taken the room there was.
        check_room(dir, disk, missing)?;
        receiving.part(index, part).await?;
        missing = missing.saturating_sub(part.bytes.saturating_sub(there));
    }
    let (dir, manifest) = (receiving.dir, manifest);
    tokio::task::spawn_blocking(move || snapshot::store_manifest(&dir, &manifest))
        .await
        .map_err(|_| BootstrapError::Stopping)??;
    Ok(())
}

/// Throws away what was received.
///
/// # Errors
/// The disk.
pub fn discard(dir: &Path) -> io::Result<()> {
    linklog::folders::remove(dir)
}

impl Receiving<'_> {
    /// Has a snapshot offered. What was received of another one is thrown away.
    async fn open(&mut self) -> Result<Manifest, BootstrapError> {
        let begun = fs::read(self.dir.join(ID_FILE)).await.unwrap_or_default();
        let request = OpenRequest {
            fleet_id: self.wish.fleet.map_or(Vec::new(), |fleet| fleet.to_vec()),
            member: self.wish.name.to_owned(),
            format_level: u32::from(FORMAT_LEVEL),
            with_manage: self.wish.contents == Contents::Full,
            at_least_seq: self.wish.at_least_seq,
            resume: begun.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            counts: self.wish.contents == Contents::Journal,
        };
        let mut replies =
            timeout(SILENCE_MAX, self.client.open(request)).await.map_err(silent)??.into_inner();
        self.progress.phase("waiting for a snapshot to be made");
        let opened = loop {
            match next(&mut replies).await? {
                Reply::Making(making) => self.progress.bytes(making.bytes, 0),
                Reply::Opened(opened) => break opened,
                Reply::Manifest(_) => return Err(BootstrapError::Lost("a manifest of nothing".into())),
            }
        };
        let length = usize::try_from(opened.manifest_bytes).unwrap_or(usize::MAX);
        if length > MANIFEST_BYTES_MAX {
            return Err(BootstrapError::Unfit(format!("its manifest has {length} bytes")));
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let Reply::Manifest(chunk) = next(&mut replies).await? else {
                return Err(BootstrapError::Lost("the manifest broke off".into()));
            };
            bytes.extend_from_slice(&chunk);
        }
        let manifest = Manifest::decode(&bytes).map_err(SnapshotError::from)?;
        self.wish.check(&manifest)?;
        if begun != opened.snapshot_id {
            discard(&self.dir)?;
            fs::create_dir_all(&self.dir).await?;
            fs::write(self.dir.join(ID_FILE), &opened.snapshot_id).await?;
        }
        self.id = opened.snapshot_id;
        self.progress.phase("receiving");
        Ok(manifest)
    }

    /// Returns how many bytes of the parts are there already.
    async fn complete(&self, manifest: &Manifest) -> io::Result<u64> {
        let mut complete = 0;
        for (index, part) in manifest.parts.iter().enumerate() {
            let there = length(&self.dir.join(snapshot::part_name(index))).await?;
            complete += there.min(part.bytes);
        }
        Ok(complete)
    }

    async fn part(&mut self, index: usize, part: &Part) -> Result<(), BootstrapError> {
        let path = self.dir.join(snapshot::part_name(index));
        for is_last_try in [false, true] {
            let there = length(&path).await?;
            if there < part.bytes {
                self.fetch(index, part, &path, there).await?;
            }
            let (checked, expected) = (path.clone(), part.clone());
            let right = tokio::task::spawn_blocking(move || snapshot::check_part(&checked, &expected)).await;
            match right.map_err(|_| BootstrapError::Stopping)? {
                Ok(()) => return Ok(()),
                Err(error) if is_last_try => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "a part of the snapshot is received again");
                    self.progress.again(length(&path).await?);
                    fs::remove_file(&path).await?;
                }
            }
        }
        Ok(())
    }

    async fn fetch(
        &mut self,
        index: usize,
        part: &Part,
        path: &Path,
        from: u64,
    ) -> Result<(), BootstrapError> {
        let request = ReadRequest {
            fleet_id: self.wish.fleet.map_or(Vec::new(), |fleet| fleet.to_vec()),
            member: self.wish.name.to_owned(),
            snapshot_id: self.id.clone(),
            part: index as u32,
            offset: from,
        };
        let mut chunks = timeout(SILENCE_MAX, self.client.read(request)).await.map_err(silent)??.into_inner();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).await?;
        let mut there = from;
        while there < part.bytes {
            let chunk = timeout(SILENCE_MAX, chunks.message()).await.map_err(silent)??;
            let chunk = chunk.ok_or_else(|| BootstrapError::Lost("a part ended early".into()))?;
            there += chunk.data.len() as u64;
            if there > part.bytes {
                return Err(BootstrapError::Lost("more than a part was sent".into()));
            }
            file.write_all(&chunk.data).await?;
            self.progress.received(chunk.data.len() as u64);
        }
        file.flush().await?;
        Ok(())
    }
}

async fn length(path: &Path) -> io::Result<u64> {
    match fs::metadata(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        metadata => Ok(metadata?.len()),
    }
}

async fn next(replies: &mut Streaming<OpenReply>) -> Result<Reply, BootstrapError> {
    let reply = timeout(SILENCE_MAX, replies.message()).await.map_err(silent)??;
    let reply = reply.ok_or_else(|| BootstrapError::Lost("the stream was ended".into()))?;
    reply.reply.ok_or_else(|| BootstrapError::Lost("a message had no content".into()))
}

fn silent(_: tokio::time::error::Elapsed) -> BootstrapError {
    BootstrapError::Lost("whoever was asked fell silent".into())
}

impl From<tonic::Status> for BootstrapError {
    fn from(status: tonic::Status) -> BootstrapError {
        let detail = reason(&status);
        match status.code() {
            Code::PermissionDenied | Code::FailedPrecondition | Code::Unimplemented => {
                BootstrapError::Refused(detail)
            }
            _ => BootstrapError::Lost(detail),
        }
    }
}
