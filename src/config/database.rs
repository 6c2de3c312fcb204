//! The files of the processor `geoip`: opened when the config is read, looked at again while the agent runs.
//!
//! A file that several processors name, or that a config names as the one before it did, is in memory once. It is read as a whole
//! and not mapped: one that is cut while it is mapped would end the process. Not here: when to look again (pipeline).

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::process::{Database, Stamp};

/// More than any database has that is published.
const DATABASE_BYTES_MAX: u64 = 2 << 30;

/// All that are in use.
static OPENED: Mutex<Vec<Weak<Database>>> = Mutex::new(Vec::new());

/// The database in this file.
///
/// # Errors
/// What the system says of it, that it is larger than 2 GiB, or that it is damaged.
pub(super) fn open(path: &Path) -> std::io::Result<Arc<Database>> {
    let stamp = stamp(path)?;
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    opened.retain(|database| database.strong_count() > 0);
    let known = opened.iter().filter_map(Weak::upgrade).find(|one| one.path() == path && one.stamp() == stamp);
    if let Some(known) = known {
        return Ok(known);
    }
    let database = Database::new(path, read(path)?, stamp).map_err(std::io::Error::other)?;
    let database = Arc::new(database);
    opened.push(Arc::downgrade(&database));
    Ok(database)
}

/// Looks whether the file of a database is another one than that which was looked at last, `seen`, and takes it then.
/// Whether it did; `seen` is what was looked at.
///
/// # Errors
/// Why it could not, once for each content: what the database had stays.
pub fn refresh(database: &Database, seen: &mut Stamp) -> std::io::Result<bool> {
    let found = stamp(database.path());
    let now = found.as_ref().copied().unwrap_or_default();
    if now == *seen {
        return Ok(false);
    }
    *seen = now;
    found?;
    if now == database.stamp() {
        return Ok(false);
    }
    // The stamp is older than the bytes: what is written in between is read the next time.
    database.replace(read(database.path())?, now).map_err(std::io::Error::other)?;
    Ok(true)
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let found = std::fs::metadata(path)?;
    let nanos = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
    Ok([found.dev(), found.ino(), found.len(), nanos.unsigned_abs() as u64, 1])
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(DATABASE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DATABASE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 2 GiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::mmdb;
    use serde_json::json;

    fn write(path: &Path, country: &str) {
        let record = json!({"country": {"iso_code": country, "names": {"en": country}}});
        let beside = path.with_extension("new");
        std::fs::write(&beside, mmdb::write("GeoLite2-Country", &[("192.0.2.0", 24, record)])).expect("writes");
        std::fs::rename(beside, path).expect("renames");
    }

    /// Scenario: a database is opened twice, replaced, damaged, removed, and put there again.
    /// Guarantee: it is in memory once; what is good is taken, what is not is said once and changes nothing.
    #[test]
    fn a_file_is_shared_and_looked_at_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db.mmdb");
        assert!(open(&path).is_err(), "there is none");
        write(&path, "SE");
        let database = open(&path).expect("a good one");
        assert!(Arc::ptr_eq(&database, &open(&path).expect("a good one")));
        let mut seen = database.stamp();
        assert!(!refresh(&database, &mut seen).expect("nothing is new"));
        write(&path, "DK");
        assert!(refresh(&database, &mut seen).expect("a good one"));
        let taken = database.stamp();
        assert_eq!(taken, seen);
        std::fs::write(&path, b"damaged").expect("writes");
        assert!(open(&path).is_err());
        assert!(refresh(&database, &mut seen).is_err());
        assert!(!refresh(&database, &mut seen).expect("it was said"));
        std::fs::remove_file(&path).expect("removes");
        assert!(refresh(&database, &mut seen).is_err());
        assert!(!refresh(&database, &mut seen).expect("it was said"));
        assert_eq!(database.stamp(), taken);
        write(&path, "NO");
        assert!(refresh(&database, &mut seen).expect("a good one"));
        assert_ne!(database.stamp(), taken);
    }
}
