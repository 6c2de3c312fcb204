//! What checking a config asks of the world around it: variables, files, the Kafka client's property table, the host.
//!
//! A parameter, so that the rest of the config layer is a function of its inputs.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::process::{Database, HostFacts};

/// Files that a config names are small: keys, certificates, passwords.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What checking a config asks of the world around it.
pub trait World {
    /// An environment variable; `None` if it is not set (or not UTF-8).
    fn variable(&self, name: &str) -> Option<String>;

    /// A whole file.
    ///
    /// # Errors
    /// What the system says, or that it is larger than 1 MiB.
    fn read(&self, path: &Path) -> Result<Vec<u8>, std::io::Error>;

    /// What is in a directory, but for directories; `None` if `path` is none.
    ///
    /// # Errors
    /// What the system says of a directory that can't be listed.
    fn list(&self, path: &Path) -> Result<Option<Vec<PathBuf>>, std::io::Error>;

    /// Whether the Kafka client takes this property with this value.
    ///
    /// # Errors
    /// What the client says of it.
    fn check_property(&self, name: &str, value: &str) -> Result<(), String>;

    /// The names of the client's properties, for "did you mean".
    fn property_names(&self) -> Vec<String>;

    /// What is known of this host.
    fn host(&self) -> HostFacts;

    /// The database in this file.
    ///
    /// # Errors
    /// What the system says of it, or that it is damaged.
    fn database(&self, path: &Path) -> Result<Arc<Database>, std::io::Error>;
}

/// The process's environment and files, and the Kafka client that is built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl World for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, std::io::Error> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(std::io::Error::other("it is larger than 1 MiB"));
        }
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<PathBuf>>, std::io::Error> {
        if !path.is_dir() {
            return Ok(None);
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            // Followed, if it is a link: what a Kubernetes volume holds are links. One that leads nowhere is a mistake
            // when it is read.
            if !path.is_dir() {
                found.push(path);
            }
        }
        Ok(Some(found))
    }

    fn check_property(&self, name: &str, value: &str) -> Result<(), String> {
        crate::output::kafka::check_property(name, value)
    }

    fn property_names(&self) -> Vec<String> {
        crate::output::kafka::property_names()
    }

    fn host(&self) -> HostFacts {
        super::host::facts()
    }

    fn database(&self, path: &Path) -> Result<Arc<Database>, std::io::Error> {
        super::database::open(path)
    }
}

/// Another world, and which of its files were read: those whose change changes what the config means.
pub(crate) struct Noting<'a> {
    world: &'a dyn World,
    read: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Noting<'a> {
    pub(crate) fn new(world: &'a dyn World) -> Self {
        Self { world, read: RefCell::default() }
    }

    /// The files that were asked for, also in vain.
    pub(crate) fn into_read(self) -> Vec<PathBuf> {
        self.read.into_inner().into_iter().collect()
    }
}

impl World for Noting<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.world.variable(name)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, std::io::Error> {
        self.read.borrow_mut().insert(path.to_owned());
        self.world.read(path)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<PathBuf>>, std::io::Error> {
        self.world.list(path)
    }

    fn check_property(&self, name: &str, value: &str) -> Result<(), String> {
        self.world.check_property(name, value)
    }

    fn property_names(&self) -> Vec<String> {
        self.world.property_names()
    }

    fn host(&self) -> HostFacts {
        self.world.host()
    }

    /// It is not noted: the pipeline looks after it.
    fn database(&self, path: &Path) -> Result<Arc<Database>, std::io::Error> {
        self.world.database(path)
    }
}
