//! The OpenTelemetry Collector as a peer: filelog with the operators container and regex_parser, batch, and the Kafka exporter.
//!
//! It is built by its own builder (`ocb`) from what `collector.yaml` lists, once, into the cache. One Kafka message of
//! it holds a batch of lines in OTLP's protobuf, the cheapest of its encodings, so lines are counted by what each must have.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::kit::cluster::Cluster;
use super::kit::jars;

const VERSION: &str = "0.160.0";
/// Lines in a message: below Kafka's limit of a message, 1 MiB, and large enough to cost nothing.
const BATCH: u64 = 400;
/// Each line has this field once, and its text nowhere else.
const FIELD: &[u8] = b"clientip";

/// Its program, built first if need be: minutes.
fn binary() -> PathBuf {
    let home = jars::cache().join(format!("collector-{VERSION}"));
    let program = home.join("collector");
    if program.exists() {
        return program;
    }
    println!("building the collector {VERSION}, once");
    let run = |command: &mut Command| {
        let status = command.status().expect("go is installed");
        assert!(status.success(), "{command:?}: {status}");
    };
    std::fs::create_dir_all(&home).expect("the cache is writable");
    let builder = format!("go.opentelemetry.io/collector/cmd/builder@v{VERSION}");
    run(Command::new("go").args(["install", &builder]).env("GOBIN", &home));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/compare/collector.yaml");
    run(Command::new(home.join("builder")).arg("--config").arg(manifest).current_dir(&home));
    std::fs::rename(home.join("build/collector"), &program).expect("it was built");
    program
}

/// The Collector on `log`, ready to be started.
pub fn command(kafka: &Cluster, topic: &str, folder: &Path, log: &Path) -> Command {
    let config = format!(
        r#"receivers:
  filelog:
    include: [{log}]
    start_at: beginning
    operators:
      - {{ type: container, format: containerd, add_metadata_from_filepath: false }}
      - type: regex_parser
        regex: '^(?P<clientip>\S+) (?P<ident>\S+) (?P<auth>\S+) \[(?P<timestamp>[^\]]+)\] "(?P<verb>\S+) (?P<request>\S+) HTTP/(?P<httpversion>[0-9.]+)" (?P<response>[0-9]{{3}}) (?P<bytes>[0-9]+|-) "(?P<referrer>[^"]*)" "(?P<agent>[^"]*)"$'
        timestamp: {{ parse_from: attributes.timestamp, layout: '%d/%b/%Y:%H:%M:%S %z' }}
processors:
  batch: {{ send_batch_size: {BATCH}, send_batch_max_size: {BATCH}, timeout: 200ms }}
exporters:
  kafka:
    brokers: [{broker}]
    logs: {{ topic: {topic}, encoding: otlp_proto }}
    producer: {{ compression: lz4, required_acks: -1 }}
service:
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines:
    logs: {{ receivers: [filelog], processors: [batch], exporters: [kafka] }}
"#,
        log = log.display(),
        broker = kafka.bootstrap(),
    );
    let mut command = Command::new(binary());
    command.arg("--config").arg(super::write_config(folder, "collector.yaml", &config));
    command
}

/// How many lines are in the topic; they are only counted when there are messages enough.
pub fn arrived(kafka: &Cluster, topic: &str, lines: u64) -> Option<i64> {
    let messages = kafka.count(topic)?;
    if (messages as u64).saturating_mul(BATCH) < lines {
        return Some(0);
    }
    let values = kafka.records(topic).into_iter().map(|record| record.value);
    let count = values.map(|value| memchr::memmem::find_iter(&value, FIELD).count()).sum::<usize>();
    i64::try_from(count).ok()
}
