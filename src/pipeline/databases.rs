//! The thread that looks whether the databases of processors have been replaced, off the path of events: a stat each, now and
//! then. A new one is taken; one that can't be read is named once, and the one before it stays.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::report::Inner;
use crate::config::database;
use crate::process::{Database, Stamp};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The thread, and how it is ended.
pub struct Databases {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Databases {
    /// Starts looking at what the inputs of `inner` use, whatever these are at the time.
    ///
    /// # Errors
    /// If the system has no thread.
    pub fn start(inner: &Arc<Inner>) -> std::io::Result<Self> {
        let inner = Arc::downgrade(inner);
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("databases".into()).spawn(move || {
            let mut seen: HashMap<PathBuf, Stamp> = HashMap::new();
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                look(&in_use(&inner), &mut seen);
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!(thread = "databases", "a thread has panicked");
        }
    }
}

fn in_use(inner: &Weak<Inner>) -> Vec<Arc<Database>> {
    let Some(inner) = inner.upgrade() else { return Vec::new() };
    let mut found: Vec<Arc<Database>> = Vec::new();
    for database in inner.inputs().iter().flat_map(|live| live.plan.chain.databases()) {
        if !found.iter().any(|known| Arc::ptr_eq(known, &database)) {
            found.push(database);
        }
    }
    found
}

fn look(databases: &[Arc<Database>], seen: &mut HashMap<PathBuf, Stamp>) {
    seen.retain(|path, _| databases.iter().any(|database| database.path() == path));
    let before = seen.clone();
    for one in databases {
        // Two of one path have different contents, for as long as it takes to look: both are compared with what was seen before.
        let mut stamp = before.get(one.path()).copied().unwrap_or_else(|| one.stamp());
        let path = one.path().display();
        match database::refresh(one, &mut stamp) {
            Ok(true) => tracing::info!(database = %path, "a new database is used"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(database = %path, %error, "the new database can't be used; the one before it stays")
            }
        }
        seen.insert(one.path().to_owned(), stamp);
    }
}
