//! The forgetful disk as a folder (FUSE). The kernel keeps nothing of it: every read and write comes here at once.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rand::rngs::SmallRng;

use super::disk::{About, Disk, Refusal};

/// How long the kernel may believe what it was told.
const TTL: Duration = Duration::ZERO;
/// The size the disk says it has, in blocks.
const BLOCKS: u64 = 1 << 20;
const BLOCK_BYTES: u32 = 4096;

/// A mounted disk; dropping it unmounts it.
#[derive(Debug)]
pub(super) struct Mount {
    disk: Arc<Mutex<Disk>>,
    _session: BackgroundSession,
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mount {
    /// Mounts an empty disk on a folder.
    ///
    /// # Errors
    /// The machine has no FUSE, or it may not be used.
    pub(super) fn on(folder: &Path) -> anyhow::Result<Mount> {
        anyhow::ensure!(
            Path::new("/dev/fuse").exists(),
            "/dev/fuse is missing: load the kernel's module fuse (modprobe fuse), or give the container the device"
        );
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let disk = Arc::new(Mutex::new(Disk::new()));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("signpost-power-cuts".to_owned())];
        let session = fuser::spawn_mount(Forgetful(disk.clone()), folder, &config).with_context(|| {
            format!("cannot mount on {}: run as root, or install Debian's package fuse3", folder.display())
        })?;
        Ok(Mount { disk, _session: session })
    }

    /// Cuts the power of the disk. Nobody may have a file of it open.
    pub(super) fn cut(&self, random: &mut SmallRng) {
        lock(&self.disk).cut(random);
    }
}

/// The requests of the kernel.
struct Forgetful(Arc<Mutex<Disk>>);

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Errno {
        match refusal {
            Refusal::NoSuchFile => Errno::ENOENT,
            Refusal::Exists => Errno::EEXIST,
            Refusal::NotEmpty => Errno::ENOTEMPTY,
            Refusal::WrongKind => Errno::EINVAL,
        }
    }
}

fn attributes(about: About) -> FileAttr {
    let at = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(about.number),
        size: about.bytes,
        blocks: about.bytes.div_ceil(512),
        atime: at,
        mtime: at,
        ctime: at,
        crtime: at,
        kind: if about.is_folder { FileType::Directory } else { FileType::RegularFile },
        perm: about.mode & 0o7777,
        nlink: if about.is_folder { 2 } else { 1 },
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// A name as text; others are not made here.
fn text(name: &OsStr) -> &str {
    name.to_str().unwrap_or_default()
}

fn entry(reply: ReplyEntry, found: Result<About, Refusal>) {
    match found {
        Ok(about) => reply.entry(&TTL, &attributes(about), Generation(0)),
        Err(refusal) => reply.error(refusal.into()),
    }
}

fn done(reply: ReplyEmpty, outcome: Result<(), Refusal>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(refusal) => reply.error(refusal.into()),
    }
}

impl Filesystem for Forgetful {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, lock(&self.0).find(parent.0, text(name)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match lock(&self.0).about(ino.0) {
            Ok(about) => reply.attr(&TTL, &attributes(about)),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = lock(&self.0);
        let set = size.map_or(Ok(()), |bytes| disk.resize(ino.0, bytes));
        let set = set.and_then(|()| mode.map_or(Ok(()), |mode| disk.set_mode(ino.0, mode as u16)));
        match set.and_then(|()| disk.about(ino.0)) {
            Ok(about) => reply.attr(&TTL, &attributes(about)),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(reply, lock(&self.0).make(parent.0, text(name), (mode & !umask) as u16, true));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, lock(&self.0).remove(parent.0, text(name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, lock(&self.0).remove(parent.0, text(name)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(reply, lock(&self.0).rename((parent.0, text(name)), (to.0, text(new_name))));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match lock(&self.0).make(parent.0, text(name), (mode & !umask) as u16, false) {
            Ok(about) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&TTL, &attributes(about), Generation(0), FileHandle(0), flags);
            }
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match lock(&self.0).read(ino.0, offset, size as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match lock(&self.0).write(ino.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, lock(&self.0).sync(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, lock(&self.0).sync(ino.0));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = match lock(&self.0).list(ino.0) {
            Ok(listed) => listed,
            Err(refusal) => return reply.error(refusal.into()),
        };
        let dots = [".", ".."].map(|name| (name.to_owned(), ino.0, true));
        let others = listed.into_iter().map(|(name, about)| (name, about.number, about.is_folder));
        for (index, (name, number, is_folder)) in
            (1..).zip(dots.into_iter().chain(others)).skip(offset as usize)
        {
            let kind = if is_folder { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(number), index, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS / 2, BLOCKS / 2, 1 << 20, 1 << 19, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
