//! Looks for a file's bytes in its directory: by inode, or by content among the rotated names (I8).
//!
//! Compressed ones are looked at by their decompressed bytes. Nothing is decided here about what a sibling is used for.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::content::Content;
use super::identity::{Prefix, Stat, open};
use super::names::{Rotated, rotated};

/// A file with a rotated name of another.
pub struct Sibling {
    pub path: PathBuf,
    pub content: Content,
    pub stat: Stat,
    pub prefix: Prefix,
}

impl Sibling {
    /// The file at `path`. `None` if it can't be opened or is no file: then it can't be read either.
    pub fn at(path: PathBuf) -> Option<Sibling> {
        let file = open(&path).ok()?;
        let stat = Stat::of_file(&file).ok().filter(|stat| stat.is_file)?;
        let prefix = Prefix::read(&file).ok()?;
        Some(Sibling { path, content: Content::Plain(file), stat, prefix })
    }

    /// The same by its decompressed bytes. `None` also if they are damaged where they begin, or not compressed.
    fn packed_at(path: PathBuf) -> Option<Sibling> {
        let content = Content::unpacked(&path).ok()??;
        let stat = Stat::of_file(content.file()).ok().filter(|stat| stat.is_file)?;
        let prefix = Prefix::read(&content).ok()?;
        Some(Sibling { path, content, stat, prefix })
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
    let mut found: Vec<Sibling> =
        named_after(base, Rotated::Plain, wanted)?.into_iter().filter_map(Sibling::at).collect();
    found.sort_by_key(|sibling| (sibling.stat.born_ns, sibling.stat.modified_ns));
    Ok(found)
}

/// As [`rotated_siblings`], the compressed ones, by their decompressed bytes; the youngest first. Only their beginning is decoded.
///
/// # Errors
/// If the directory can't be listed.
pub fn packed_siblings(base: &Path) -> io::Result<Vec<Sibling>> {
    let paths = named_after(base, Rotated::Compressed, |_| true)?.into_iter();
    let mut found: Vec<Sibling> = paths.filter_map(Sibling::packed_at).collect();
    found.sort_by_key(|sibling| std::cmp::Reverse((sibling.stat.modified_ns, sibling.stat.born_ns)));
    Ok(found)
}

/// The files in the directory of `base` whose names are rotated forms of its name, of one kind.
fn named_after(base: &Path, kind: Rotated, wanted: impl Fn(&Stat) -> bool) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (base.parent(), base.file_name()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if rotated(name.as_bytes(), OsStr::as_bytes(&entry.file_name())) != Some(kind) {
            continue;
        }
        let path = entry.path();
        if Stat::of_path(&path).is_ok_and(|stat| stat.is_file && wanted(&stat)) {
            found.push(path);
        }
    }
    Ok(found)
}
