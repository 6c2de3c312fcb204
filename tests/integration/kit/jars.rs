//! Apache Kafka's jars, by Maven, into a cache beside the user's others. Fetched once; safe with several runs at a time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::process;
use super::skip::{self, Need};

/// A Kafka release: `kafka.version` of `tests/kafka/pom.xml`, or another one given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// What `pom.xml` names: the newest.
    Current,
    /// The last one before 4.0, for the oldest protocol versions that brokers in the field still speak.
    Old,
}

impl Release {
    fn version(self) -> String {
        match self {
            Self::Current => {
                let pom = std::fs::read_to_string(source("pom.xml")).expect("pom.xml is part of the checkout");
                let (_, rest) = pom.split_once("<kafka.version>").expect("pom.xml names the version");
                rest.split('<').next().expect("split gives one").to_owned()
            }
            Self::Old => "3.9.1".into(),
        }
    }
}

/// A file of `tests/kafka`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka").join(name)
}

/// Where what tests and benchmarks fetch or build is kept, outside the checkout.
pub fn cache() -> PathBuf {
    let home = match std::env::var_os("XDG_CACHE_HOME") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache"),
    };
    home.join("logferry-test")
}

/// The folder with the jars of `release`.
///
/// # Errors
/// What is missing here: Java, or Maven to fetch the jars.
///
/// # Panics
/// When Maven fails, with what it says.
pub fn jars(release: Release) -> Result<PathBuf, Need> {
    if skip::java_major().is_none_or(|major| major < 17) {
        return Err(Need::Java);
    }
    // A changed pom.xml is another folder, so a cache is never stale and never half changed.
    let pom = std::fs::read(source("pom.xml")).expect("pom.xml is part of the checkout");
    let version = release.version();
    let folder = cache().join(format!("kafka-{version}-{:08x}", xxhash_rust::xxh3::xxh3_64(&pom) as u32));
    static FETCH: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FETCH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !folder.is_dir() {
        if !skip::has("mvn") {
            return Err(Need::Maven);
        }
        fetch(&version, &folder);
    }
    Ok(folder)
}

fn fetch(version: &str, folder: &Path) {
    let temporary = folder.with_file_name(format!("fetching-{}-{version}", std::process::id()));
    let _left_by_a_killed_run = std::fs::remove_dir_all(&temporary);
    std::fs::create_dir_all(&temporary).unwrap_or_else(|error| panic!("cannot make {}: {error}", temporary.display()));
    // Maven makes no promise for two of them filling one repository, so each run that fetches takes the lock of the cache.
    let lock = std::fs::File::create(cache().join("lock")).expect("the cache folder is writable");
    lock.lock().expect("a file can be locked");
    if !folder.is_dir() {
        let output = process::run(
            Command::new("mvn")
                .args(["-q", "-B", "-f"])
                .arg(source("pom.xml"))
                .arg(format!("-Dkafka.version={version}"))
                .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
                .arg(format!("-DoutputDirectory={}", temporary.display())),
            b"",
        );
        assert!(
            output.status.success(),
            "Maven could not fetch Apache Kafka {version}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::rename(&temporary, folder)
            .unwrap_or_else(|error| panic!("cannot rename {} to {}: {error}", temporary.display(), folder.display()));
    }
    let _renamed = std::fs::remove_dir_all(&temporary);
}

/// `java` with the jars of `release` as its class path, made to start fast rather than to run long.
pub fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"])
        .arg(format!("{}/*", jars.display()));
    command
}
