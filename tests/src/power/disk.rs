//! A disk that remembers what it was told: one file, served to the kernel through FUSE, under a loop
//! device with an ext4 file system on it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};
use tempfile::TempDir;

use super::image::{Image, Told, Trace};
use crate::lab::succeed;

/// How long the kernel may believe what it was told of the file, which never changes.
const FOR_EVER: Duration = Duration::from_hours(1);

/// What was written, and what it adds up to.
#[derive(Debug)]
struct Content {
    now: Image,
    trace: Trace,
}

/// A mounted disk. Dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    content: Arc<Mutex<Content>>,
    mount_point: PathBuf,
    mounted: bool,
    server: Option<BackgroundSession>,
    _directory: TempDir,
}

/// A disk of so many bytes with an empty ext4 file system on it.
pub fn formatted(length: u64) -> anyhow::Result<Image> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.as_file().set_len(length)?;
    // Blocks and journal as on a real disk, and nothing that the kernel writes later by itself.
    let options = ["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    succeed(Command::new("mkfs.ext4").args(options).arg(file.path())).context("make ext4")?;
    let mut bytes = Vec::new();
    file.as_file_mut().read_to_end(&mut bytes)?;
    Ok(Image::of(&bytes))
}

impl Disk {
    /// Mounts what `image` holds at `mount_point`, which is made. The kernel recovers the file system
    /// first, if it has to.
    pub fn attach(image: Image, mount_point: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(mount_point)?;
        let directory = tempfile::Builder::new().prefix("cutover-disk-").tempdir()?;
        let file = directory.path().join("disk");
        File::create(&file)?;
        let content = Content { now: image.clone(), trace: Trace::new(image) };
        let content = Arc::new(Mutex::new(content));
        let mut options = fuser::Config::default();
        options.mount_options = vec![MountOption::FSName("cutover-disk".to_owned())];
        let served = Served(Arc::clone(&content));
        let server = fuser::spawn_mount(served, &file, &options).context("serve the disk")?;
        let mut disk = Self {
            content,
            mount_point: mount_point.to_owned(),
            mounted: false,
            server: Some(server),
            _directory: directory,
        };
        succeed(
            Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&file).arg(mount_point),
        )
        .context("mount the disk")?;
        disk.mounted = true;
        Ok(disk)
    }

    /// How many things it has been told: the moment of a cut that happens now.
    pub fn moment(&self) -> usize {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).trace.length()
    }

    /// Everything that it has been told.
    pub fn trace(&self) -> Trace {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).trace.clone()
    }

    /// Unmounts it, and gives what it then holds.
    pub fn detach(mut self) -> anyhow::Result<Image> {
        succeed(Command::new("umount").arg(&self.mount_point)).context("unmount the disk")?;
        self.mounted = false;
        let server = self.server.take().context("the disk is served")?;
        server.umount_and_join().context("end the disk")?;
        Ok(self.content.lock().unwrap_or_else(PoisonError::into_inner).now.clone())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // On the way out of a failed test; what is in use still goes with its last user.
        if self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(&self.mount_point).status();
        }
    }
}

/// The one file.
struct Served(Arc<Mutex<Content>>);

impl Served {
    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filesystem for Served {
    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let size = self.content().now.length();
        let attributes = FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::RegularFile,
            perm: 0o600,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&FOR_EVER, &attributes);
    }

    /// Nothing of it is kept in the kernel's memory, so that every write comes here when it is made.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let content = self.content();
        let length = u64::from(size).min(content.now.length().saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        content.now.read(offset, &mut bytes);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut content = self.content();
        let fits = offset + data.len() as u64 <= content.now.length();
        let Some(count) = u32::try_from(data.len()).ok().filter(|_| fits) else {
            return reply.error(Errno::ENOSPC);
        };
        content.now.write(offset, data);
        content.trace.note(Told::Write(offset, data.to_vec()));
        reply.written(count);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.content().trace.note(Told::Flush);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Somebody closed it, which makes nothing durable.
        reply.ok();
    }
}
