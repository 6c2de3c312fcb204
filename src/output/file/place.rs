//! Where files are written: the disk, and what it does not say (which file has a name now, who may read it).

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::disk::{Disk, RealDisk};

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// A disk, and what it does not say.
pub(super) trait Place: Send {
    fn disk(&self) -> &dyn Disk;

    /// Which file has this name now; `None`: no file.
    fn identity(&self, path: &Path) -> io::Result<Option<Identity>>;

    /// Makes the directory and what is missing above it, durably.
    fn make_dir(&self, dir: &Path, mode: u32) -> io::Result<()>;

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
}

/// This machine's.
pub(super) struct Local;

impl Place for Local {
    fn disk(&self) -> &dyn Disk {
        &RealDisk
    }

    fn identity(&self, path: &Path) -> io::Result<Option<Identity>> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(Some((metadata.dev(), metadata.ino()))),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "this is no plain file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make_dir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let above = dir.parent().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.make_dir(above, mode)?;
        match DirBuilder::new().mode(mode).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        RealDisk.sync_dir(above)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
}
