//! Whether a `file` output could write, without writing: for `logferry check --connect`.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::options::{FileOptions, TOPIC_IN_PATH};

/// The directory that is written to (or the nearest one above it that is there), or why nothing could be written.
///
/// # Errors
/// What is in the way, and what to do.
pub fn probe(options: &FileOptions) -> Result<PathBuf, String> {
    let fixed = options.path.split(TOPIC_IN_PATH).next().unwrap_or_default();
    let whole = Path::new(&options.path);
    if fixed.len() == options.path.len() && whole.exists() {
        if !whole.is_file() {
            return Err(format!("{} is no plain file; name another", whole.display()));
        }
        allowed(whole, Access::WRITE_OK)?;
    }
    let dir = if fixed.ends_with('/') { Path::new(fixed) } else { Path::new(fixed).parent().unwrap_or(Path::new("/")) };
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(format!("{} is no directory; name another path", there.display()));
    }
    allowed(there, Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(there.to_owned())
}

fn allowed(path: &Path, what: Access) -> Result<(), String> {
    access(path, what).map_err(|errno| {
        let error = std::io::Error::from(errno);
        format!("{} can't be written: {error}; let this user write there", path.display())
    })
}
