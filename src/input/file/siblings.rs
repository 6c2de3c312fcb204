//! Looks for a file's bytes in its directory: by inode, or by content among the rotated names (I8).
//!
//! Compressed siblings are named by [`super::names::Rotated::Compressed`] and skipped here: this is where they will be opened
//! as readers of their decompressed bytes. Nothing is decided here about what a sibling is used for.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::identity::{Prefix, Stat, open};
use super::names::{Rotated, rotated};

/// A file with a rotated name of another.
pub struct Sibling {
    pub path: PathBuf,
    pub file: File,
    pub stat: Stat,
    pub prefix: Prefix,
}

impl Sibling {
    /// The file at `path`. `None` if it can't be opened or is no file: then it can't be read either.
    pub fn at(path: PathBuf) -> Option<Sibling> {
        let file = open(&path).ok()?;
        let stat = Stat::of_file(&file).ok().filter(|stat| stat.is_file)?;
        let prefix = Prefix::read(&file).ok()?;
        Some(Sibling { path, file, stat, prefix })
    }
}

/// The path in `directory` that leads to the file `is_it` knows, if there is one; `inode` is its number.
///
/// # Errors
/// If the directory can't be listed.
pub fn find_inode(directory: &Path, inode: u64, is_it: impl Fn(&Stat) -> bool) -> io::Result<Option<(PathBuf, Stat)>> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.ino() != inode || entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        match Stat::of_path(&path) {
            Ok(stat) if is_it(&stat) => return Ok(Some((path, stat))),
            // It moved on, or is another: a later name may be it.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

/// The uncompressed files in the directory of `base` whose names are rotated forms of its name and that are `wanted`, oldest
/// first. Others are not even opened: there may be thousands.
///
/// # Errors
/// If the directory can't be listed.
pub fn rotated_siblings(base: &Path, wanted: impl Fn(&Stat) -> bool) -> io::Result<Vec<Sibling>> {
    let (Some(directory), Some(name)) = (base.parent(), base.file_name()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if rotated(name.as_bytes(), OsStr::as_bytes(&entry.file_name())) != Some(Rotated::Plain) {
            continue;
        }
        let path = entry.path();
        if Stat::of_path(&path).is_ok_and(|stat| stat.is_file && wanted(&stat)) {
            found.extend(Sibling::at(path).filter(|sibling| wanted(&sibling.stat)));
        }
    }
    found.sort_by_key(|sibling| (sibling.stat.born_ns, sibling.stat.modified_ns));
    Ok(found)
}
