//! The configs in config/examples: each is sound, stands beside its Logstash original, and has tests that pass. No Kafka.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::json;

use crate::kit::agent::binary;
use crate::kit::{mmdb, process, scratch};

/// A database of cities, for the example that looks up addresses: it knows one.
static DATABASE: LazyLock<PathBuf> = LazyLock::new(|| {
    let record = json!({
        "country": {"iso_code": "US", "names": {"en": "United States"}},
        "location": {"latitude": 37.751, "longitude": -97.822},
    });
    let path = scratch::folder("examples").join("cities.mmdb");
    let bytes = mmdb::write("GeoLite2-City", &[("8.8.8.0", 24, record)]);
    std::fs::write(&path, bytes).expect("the scratch folder is writable");
    path
});

/// The configs, without their tests.
fn configs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let files =
        std::fs::read_dir(&folder).expect("the examples are there").map(|file| file.expect("it can be listed").path());
    let mut configs: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .filter(|path| !path.to_string_lossy().ends_with(".test.yaml"))
        .collect();
    configs.sort_unstable();
    assert!(configs.len() >= 7, "{configs:?}");
    configs
}

fn run(command: &[&str], path: &Path) -> (Option<i32>, String) {
    let mut logferry = Command::new(binary());
    logferry.args(command).arg(path).env("NO_COLOR", "1").env("GEOIP_DATABASE", &*DATABASE);
    let output = process::run(&mut logferry, b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

/// Scenario: every config that is given as an example.
/// Guarantee: `check` finds no mistake and nothing to warn of; what the config replaces is beside it.
#[test]
fn every_example_is_sound() {
    for config in configs() {
        let (code, said) = run(&["check", "-c"], &config);
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("warning"), "{said}");
        assert!(config.with_extension("logstash.conf").is_file(), "{} has no original", config.display());
    }
}

/// Scenario: the tests of every example.
/// Guarantee: there are some, of this config, and they pass.
#[test]
fn every_example_does_what_its_tests_say() {
    for config in configs() {
        let tests = config.with_extension("test.yaml");
        let text = std::fs::read_to_string(&tests).unwrap_or_else(|error| panic!("{}: {error}", tests.display()));
        let name = config.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        assert!(text.starts_with(&format!("config: {name}\n")), "{} is of another config", tests.display());
        let (code, said) = run(&["test"], &tests);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("\nok ") || said.starts_with("ok "), "{} has no tests: {said}", tests.display());
    }
}
