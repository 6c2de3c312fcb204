//! Tests that can't run here say so at the very end, where it is seen; with `REQUIRE_KAFKA=1` they fail instead.
//!
//! libtest knows no "skipped", and it swallows what a passing test prints. So the notice is written by an exit handler of
//! the process, below libtest's result, and left in a file that the last test target (`what-was-skipped`) shows again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, Once};

/// What a test needs beside the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// `java`, 17 or later: runs the broker and the Java client.
    Java,
    /// `mvn`: fetches the jars, once.
    Maven,
    /// `kcat`: where it is judged against the Java client, or produces.
    Kcat,
    /// `promtool` and `prometheus`: judge `/metrics`.
    Prometheus,
    /// `logrotate`: rotates as it does on every Debian host.
    Logrotate,
    /// Root and `/dev/fuse`: for a file that fails.
    Fuse,
    /// Root, and the right to mount: for a small disk.
    Mount,
    /// The static binary, named by `LOGFERRY_STATIC`.
    StaticBinary,
    /// Expected answers of others, beside the repository.
    Conformance,
}

impl Need {
    fn how_to_get_it(self) -> &'static str {
        match self {
            Self::Java => "Java 17: apt-get install default-jre-headless",
            Self::Maven => "Maven: apt-get install maven (it fetches Apache Kafka's jars once, 54 MB)",
            Self::Kcat => "kcat: apt-get install kcat",
            Self::Prometheus => "Prometheus and promtool: apt-get install prometheus",
            Self::Logrotate => "logrotate: apt-get install logrotate",
            Self::Fuse => "root and /dev/fuse",
            Self::Mount => "root and the right to mount a tmpfs",
            Self::StaticBinary => "the static binary: packaging/build static, then LOGFERRY_STATIC=dist/logferry",
            Self::Conformance => "the conformance data in ../shared/conformance",
        }
    }
}

/// Where the notice is left for `what-was-skipped`.
pub fn notice_path() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped.txt")
}

/// Whether the caller's tests must run: `REQUIRE_KAFKA` is set to something but `0`.
pub fn required() -> bool {
    std::env::var("REQUIRE_KAFKA").is_ok_and(|value| !value.is_empty() && value != "0")
}

static SKIPPED: LazyLock<Mutex<BTreeMap<Need, usize>>> = LazyLock::new(|| {
    // A notice of an earlier run would be a lie about this one.
    let _gone_already = std::fs::remove_file(notice_path());
    Mutex::new(BTreeMap::new())
});

/// Called when a run begins: forgets the notice of an earlier run.
pub fn forget_earlier_notice() {
    LazyLock::force(&SKIPPED);
}

/// Notes that a test can't run for want of `need`.
///
/// # Panics
/// With `REQUIRE_KAFKA=1`: then a skipped test is a failed one.
pub fn skip(need: Need) {
    assert!(!required(), "REQUIRE_KAFKA is set, and this test needs {}", need.how_to_get_it());
    note(need);
}

/// As [`skip`], for what `REQUIRE_KAFKA` does not speak of.
pub fn note(need: Need) {
    static AT_EXIT: Once = Once::new();
    AT_EXIT.call_once(|| super::process::at_exit(say));
    *SKIPPED.lock().expect("no holder panics").entry(need).or_default() += 1;
}

/// What `found` holds, or a note that this test was skipped.
pub fn or_skip<T>(found: Result<T, Need>) -> Option<T> {
    found.map_err(skip).ok()
}

fn say() {
    let Ok(skipped) = SKIPPED.lock() else { return };
    let mut text = String::from("\nSKIPPED, not passed:\n");
    for (need, tests) in skipped.iter() {
        text.push_str(&format!("  {tests} test(s) that need {}\n", need.how_to_get_it()));
    }
    if skipped.keys().any(|need| !matches!(need, Need::StaticBinary | Need::Fuse | Need::Mount)) {
        text.push_str("  (REQUIRE_KAFKA=1 makes this a failure)\n");
    }
    // Not eprint!: the capture of libtest must not get it. Nothing is left to do if standard error is closed.
    let _unwritable = std::io::stderr().write_all(text.as_bytes());
    let _unwritable = std::fs::write(notice_path(), text);
}

/// Whether kcat can be run here; if not, a note that this test was skipped.
pub fn kcat_or_skip() -> bool {
    or_skip(if has("kcat") { Ok(()) } else { Err(Need::Kcat) }).is_some()
}

/// Whether promtool and Prometheus can be run here; if not, a note that this test was skipped.
pub fn prometheus_or_skip() -> bool {
    let is_here = has("promtool") && has("prometheus");
    or_skip(if is_here { Ok(()) } else { Err(Need::Prometheus) }).is_some()
}

/// A file or folder of the conformance data; if it is not there, a note that this test was skipped.
pub fn conformance_or_skip(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance").join(name);
    or_skip(if path.exists() { Ok(path) } else { Err(Need::Conformance) })
}

/// Whether `program` can be run here.
pub fn has(program: &str) -> bool {
    let Some(paths) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// The major version of `java`, if there is one that starts.
pub fn java_major() -> Option<u32> {
    static MAJOR: LazyLock<Option<u32>> = LazyLock::new(|| {
        let output = Command::new("java").arg("-version").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let version = text.split('"').nth(1)?;
        version.split(['.', '-', '+']).next()?.parse().ok()
    });
    *MAJOR
}
