//! The configs in config/examples: each is sound, stands beside its Logstash original, and has tests that pass. No Kafka.

use std::path::{Path, PathBuf};

use crate::kit::agent::logferry;

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
    let output = logferry(&[command, &[path.to_str().expect("UTF-8")]].concat(), b"");
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
