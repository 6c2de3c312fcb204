//! The data directory: created with mode 0700, and locked so that two agents never share one.
//!
//! ```text
//! data_dir/
//!   lock               flock(2) held while the agent lives; holds its pid, for the message to the second one
//!   checkpoints.redb   see store.rs
//! ```
//! The lock goes with the process, however it ends: a stale file is no obstacle.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// An agent's data directory, locked while this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock; closing it lets go.
    _lock: File,
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can't be created or written.
    #[error("data_dir {}: {source}; it must be a directory that the agent may write", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Another agent has it.
    #[error("data_dir {} is used by another agent (pid {pid}); stop it, or give this one its own data_dir", path.display())]
    Locked { path: PathBuf, pid: String },
}

impl DataDir {
    /// Creates the directory (mode 0700; an existing one keeps its mode) and locks it.
    ///
    /// # Errors
    /// [`OpenError::Locked`] names the pid of the agent that has it.
    pub fn open(path: &Path) -> Result<DataDir, OpenError> {
        let fault = |source| OpenError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fault)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(fault)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // Whatever can't be read of the other's pid must not hide the message that there is another.
                if lock.read_to_string(&mut pid).is_err() || pid.trim().is_empty() {
                    pid = "unknown".to_owned();
                }
                return Err(OpenError::Locked { path: path.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(errno) => return Err(fault(errno.into())),
        }
        lock.set_len(0).map_err(fault)?;
        lock.rewind().map_err(fault)?;
        writeln!(lock, "{}", std::process::id()).map_err(fault)?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// Whether an agent has the directory `path` now. Nothing is written; what can't be looked at is not used.
    pub fn is_used(path: &Path) -> bool {
        let lock = File::open(path.join("lock"));
        lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_agent_is_refused_by_the_pid_of_the_first() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("a/b");
        let first = DataDir::open(&path).expect("nobody has it");
        let mode = std::fs::metadata(&path).expect("it was created").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let refused = DataDir::open(&path).expect_err("the first has it").to_string();
        assert!(DataDir::is_used(&path));
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        assert!(refused.contains(path.to_str().expect("UTF-8")), "{refused}");
        drop(first);
        assert!(!DataDir::is_used(&path));
        DataDir::open(&path).expect("the first has let go");
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("data");
        std::fs::write(&path, "").expect("writable");
        let refused = DataDir::open(&path).expect_err("not a directory").to_string();
        assert!(refused.contains(path.to_str().expect("UTF-8")), "{refused}");
    }
}
