//! The disk as the spool sees it: few operations, each of which can fail, with durability spelled out. [`RealDisk`] is the
//! system's; [`sim::SimDisk`] keeps volatile and durable bytes apart, loses what was not synced, and fails on demand.
//!
//! ```text
//!   what                          is durable once
//!   bytes appended, a truncation  DiskFile::sync of that file has returned Ok
//!   a created, renamed or removed Disk::sync_dir of the directory that holds the name
//!     name (also a directory's)     has returned Ok
//! ```
//! Before that a crash may keep all of it, some of it, or nothing; an unsynced tail may be torn or read as zeros. After a
//! *failed* sync nothing is known of the unsynced bytes, and a later sync that returns Ok says nothing about them: they have
//! to be written again, elsewhere.
//!
//! Deliberately absent: writing in the middle of a file, memory maps, links, renames between directories (not atomic in this
//! model), reading a whole file at once (its size is whatever is on the disk).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

pub mod sim;

/// A disk.
///
/// Errors are the system's, unchanged: who calls knows which object it was, and must tell a full disk
/// ([`io::ErrorKind::StorageFull`]) from a broken one.
pub trait Disk: Send + Sync {
    /// Opens the file for appending, and creates it (mode 0600) where there is none. Whether it was there: `len()`.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, for reading only.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Creates the directory (mode 0700) and what is missing above it; fine if it is there. Each directory created is synced
    /// into the one above it, so only the last name needs a [`Disk::sync_dir`].
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// What the directory holds, sorted by name. Names that are no UTF-8 are left out: none of ours is.
    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>>;

    /// Gives a file another name in the same directory, replacing what has it, atomically.
    ///
    /// # Errors
    /// Also [`io::ErrorKind::InvalidInput`] if the names are in different directories.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open handles keep its bytes.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send {
    /// Writes all of `bytes` at the end. After an error some of them may be there; [`DiskFile::truncate`] takes them back.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads at `offset` until `buf` is full or the file ends: how many bytes.
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The length in bytes, unsynced ones included.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file to `len`, which must not be beyond its end.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Reserves space so that the file can grow to `len` bytes on a disk that is full by then. Its length stays.
    fn reserve(&mut self, len: u64) -> io::Result<()>;

    /// Makes bytes and length durable; see the header for what an error means.
    fn sync(&self) -> io::Result<()>;
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    pub name: String,
    /// In bytes; 0 for what is no regular file.
    pub len: u64,
    pub is_dir: bool,
    /// A regular file. What is neither (a pipe, a link to nothing) is only in the way.
    pub is_file: bool,
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = parent(path)?;
                self.create_dir(above)?;
                self.sync_dir(parent(above)?)?;
                match fs::DirBuilder::new().mode(0o700).create(path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
                    result => result,
                }
            }
            result => result,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Through links: a directory may have been put on another disk.
            let metadata = match fs::metadata(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => match entry.metadata() {
                    // Removed since it was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    link => link?,
                },
                metadata => metadata?,
            };
            let (is_dir, is_file) = (metadata.is_dir(), metadata.is_file());
            entries.push(DiskEntry { name, len: if is_file { metadata.len() } else { 0 }, is_dir, is_file });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        same_directory(from, to)?;
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// The directory that holds the name; `.` for a bare one.
fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "this path names no entry of a directory")),
    }
}

fn same_directory(from: &Path, to: &Path) -> io::Result<()> {
    if parent(from)? == parent(to)? {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "a rename stays within its directory"))
}

fn beyond_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "truncating beyond the end would make bytes up")
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.0, bytes)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if len > self.len()? {
            return Err(beyond_the_end());
        }
        self.0.set_len(len)
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len) {
            // A filesystem without it (NFS before 4.2, some overlays) gives no guarantee, but works.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        // Not sync_all: times are nothing to us, and fdatasync writes the length, too.
        self.0.sync_data()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What both disks promise while nothing goes wrong.
    pub(crate) fn check_contract(disk: &dyn Disk, root: &Path) {
        let dir = root.join("a/b");
        disk.create_dir(&dir).expect("created with its parent");
        disk.create_dir(&dir).expect("being there is fine");
        assert_eq!(disk.list(&dir).expect("a directory"), []);

        let path = dir.join("one");
        let mut file = disk.append(&path).expect("created");
        assert!(file.is_empty().expect("open"));
        file.append(b"hello ").expect("room");
        file.append(b"world").expect("room");
        file.sync().expect("healthy");
        disk.sync_dir(&dir).expect("healthy");
        let mut buf = [0; 8];
        assert_eq!(file.read(6, &mut buf).expect("open"), 5, "the file ends before the buffer");
        assert_eq!(&buf[..5], b"world");
        assert_eq!(file.read(100, &mut buf).expect("open"), 0);

        drop(file);
        let mut file = disk.append(&path).expect("there");
        assert_eq!(file.len().expect("open"), 11, "appending goes on");
        assert_eq!(file.truncate(12).expect_err("beyond").kind(), io::ErrorKind::InvalidInput);
        file.truncate(5).expect("within");
        file.reserve(1 << 16).expect("room");
        assert_eq!(file.len().expect("open"), 5, "reserving changes no length");
        file.append(b"!").expect("room");
        let mut reader = disk.open(&path).expect("there");
        assert_eq!(reader.read(0, &mut buf).expect("open"), 6);
        assert_eq!(&buf[..6], b"hello!");
        assert!(reader.append(b"x").is_err(), "opened for reading only");

        disk.create_dir(&dir.join("sub")).expect("created");
        let two = dir.join("two");
        disk.append(&two).expect("created");
        disk.rename(&path, &two).expect("replaces");
        let names: Vec<(String, u64, bool)> = disk
            .list(&dir)
            .expect("a directory")
            .into_iter()
            .map(|entry| (entry.name, entry.len, entry.is_dir))
            .collect();
        assert_eq!(names, [("sub".into(), 0, true), ("two".into(), 6, false)]);
        let elsewhere = disk.rename(&two, &root.join("a/two")).expect_err("another directory");
        assert_eq!(elsewhere.kind(), io::ErrorKind::InvalidInput);
        disk.remove(&two).expect("there");
        assert_eq!(reader.read(0, &mut buf).expect("an open handle keeps the bytes"), 6);
        for missing in [
            disk.open(&two).err(),
            disk.remove(&two).err(),
            disk.rename(&two, &path).err(),
            disk.list(&root.join("none")).err(),
            disk.append(&root.join("none/x")).err(),
            disk.sync_dir(&root.join("none")).err(),
        ] {
            assert_eq!(missing.expect("it is not there").kind(), io::ErrorKind::NotFound);
        }
        disk.append(&path).expect("created");
        assert!(disk.create_dir(&path).is_err(), "a file has that name");
    }

    #[test]
    fn the_real_disk_keeps_the_contract() {
        let root = tempfile::tempdir().expect("a temporary directory");
        check_contract(&RealDisk, root.path());
    }

    #[test]
    fn what_the_real_disk_creates_is_for_its_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a temporary directory");
        let (dir, file) = (root.path().join("d"), root.path().join("d/f"));
        RealDisk.create_dir(&dir).expect("created");
        RealDisk.append(&file).expect("created");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
    }
}
