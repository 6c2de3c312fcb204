//! What an operator sees and relies on: endpoints, counters, bounded memory.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::kafka_or_skip;
use crate::kit::agent::{binary, logferry};
use crate::kit::broker::free_port;
use crate::kit::jars::Release;
use crate::kit::{agent::Agent, check::Check, cluster::Cluster, process, skip, wait, writer::Writer};

/// Scenario: an agent that ships one file.
/// Guarantee: the endpoints answer what docs/operating.md says: healthy, ready, counters that agree with what arrived, in
/// OpenMetrics and in JSON; `logferry status` finds the agent by its data_dir.
#[test]
fn the_endpoints_tell_what_happened() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("endpoints", 2);
    let mut agent = Agent::shipping("endpoints", kafka, &format!("topic: {topic}"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(1_000);
    agent.start();
    kafka.wait_count(&topic, 1_000);
    let bytes = std::fs::metadata(agent.log("a.log")).expect("it is there").len();
    let status = agent.wait_status("all to be acknowledged", |status| {
        (status["inputs"][0]["acked_records_total"] == 1_000).then(|| status.clone())
    });
    assert_eq!(status["inputs"][0]["acked_bytes_total"], bytes);
    assert_eq!(status["outputs"][0]["produced_records_total"], 1_000);
    for (metric, label, value) in [
        ("logferry_input_read_bytes_total", "input=\"files\"", bytes as f64),
        ("logferry_input_acked_records_total", "input=\"files\"", 1_000.0),
        ("logferry_output_produced_records_total", "output=\"main\"", 1_000.0),
    ] {
        assert_eq!(agent.metric(metric, &[label]), Some(value), "{metric}");
    }
    assert!(agent.metric("logferry_memory_used_bytes", &[]).is_some());
    let (_, metrics) = agent.get("/metrics").expect("it answers");
    assert!(metrics.trim_end().ends_with("# EOF"), "OpenMetrics text ends so");
    assert_eq!(agent.get("/healthz").map(|(code, _)| code), Some(200));
    assert_eq!(agent.get("/readyz").map(|(code, _)| code), Some(200));
    assert_eq!(agent.get("/no-such-page").map(|(code, _)| code), Some(404));
    let output = logferry(&["status", "-c", &agent.config().display().to_string()], b"");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // It names the files that lag and the lanes that do not flow: there are none.
    assert!(["files", "main", "1,000"].iter().all(|word| table.contains(word)), "{table}");
    assert!(!table.contains("a.log") && !table.contains(&topic), "{table}");
    let output = logferry(&["status", "--json", "-c", &agent.config().display().to_string()], b"");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(json["inputs"][0]["files"][0]["path"].as_str().is_some_and(|path| path.ends_with("a.log")), "{json}");
    agent.stop();
    let output = logferry(&["status", "-c", &agent.config().display().to_string()], b"");
    assert_eq!(output.status.code(), Some(1), "no agent runs");
}

/// Scenario: the broker dies, and several times more than `memory.max_bytes` is written to many files. (`MEMORY_MB` and
/// `MEMORY_MINUTES` make it larger and longer; `tests/campaign/memory` does.)
/// Guarantee: resident memory stays under `memory.max_bytes` and a fixed cost; once the broker is back, all arrives.
#[test]
fn memory_is_bounded_while_kafka_is_away() {
    const MAX_BYTES: u64 = 16 << 20;
    /// Code, librdkafka with what it keeps for each of its 42,000 records, allocator and metadata; stated in
    /// docs/operating.md. Measured: 39 MiB; 41 to 49 MiB in the dev profile, whose code is larger and slower.
    const FIXED_BYTES: u64 = if cfg!(debug_assertions) { 60 << 20 } else { 48 << 20 };
    let setting =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (megabytes, minutes) = (setting("MEMORY_MB", 80), setting("MEMORY_MINUTES", 0));
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("memory", 6);
    let mut agent = Agent::new("memory");
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}\ncodec: raw"));
    let config = std::fs::read_to_string(agent.config()).expect("it was written");
    std::fs::write(agent.config(), format!("{config}memory: {{ max_bytes: 16MiB }}\n")).expect("it is writable");
    let mut writers: Vec<Writer> =
        (0..20).map(|number| Writer::new(&agent.log(&format!("{number}.log")), &format!("s{number}"))).collect();
    writers.iter_mut().for_each(|writer| _ = writer.write(100));
    agent.start();
    kafka.wait_count(&topic, 2_000);
    kafka.kill9(1);
    // A line is 125 bytes on average.
    let each = megabytes * 1_000_000 / 125 / 20;
    writers.iter_mut().for_each(|writer| _ = writer.write(each));
    let mut waiting = false;
    let begun = std::time::Instant::now();
    let bound = wait::LAST_RESORT + std::time::Duration::from_secs(60 * minutes);
    wait::until_or(
        "every file to wait",
        bound,
        || {
            let status = agent.status();
            waiting |= status["inputs"][0]["waiting_count"].as_u64()? >= 20;
            let used = status["memory"]["used_bytes"].as_u64()?;
            assert!(used <= MAX_BYTES, "{used} bytes of payload are held");
            (waiting && begun.elapsed().as_secs() >= 60 * minutes).then_some(())
        },
        || format!("{:#}", agent.status()),
    );
    kafka.all_up();
    let written: u64 = writers.iter().map(|writer| writer.written).sum();
    kafka.wait_count_within(&topic, i64::try_from(written).expect("small"), bound);
    let peak = agent.resident_bytes_max();
    let usage = agent.stop();
    let mebibytes = peak as f64 / f64::from(1 << 20);
    eprintln!("peak {mebibytes:.1} MiB with {megabytes} MB unread, {:.1} CPU-seconds in all", usage.cpu_seconds);
    assert!(peak <= MAX_BYTES + FIXED_BYTES, "{peak} bytes resident at the peak");
    if minutes == 0 {
        Check::raw(&kafka.records(&topic), &writers.iter().collect::<Vec<_>>()).exact();
    }
}

/// Scenario: the agent is told to reread nothing and to stop while Kafka is away.
/// Guarantee: it ends within `shutdown_after` and a little, says what is left, and the next run ships it.
#[test]
fn a_stop_without_kafka_ends_in_time() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("stop-away", 1);
    let mut agent = Agent::new("stop-away");
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}"));
    let config = std::fs::read_to_string(agent.config()).expect("it was written");
    std::fs::write(agent.config(), format!("{config}shutdown_after: 1s\n")).expect("it is writable");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(100);
    agent.start();
    kafka.wait_count(&topic, 100);
    agent.wait_status("all to be acknowledged", |status| {
        (status["inputs"][0]["acked_records_total"] == 100).then_some(())
    });
    kafka.kill9(1);
    writer.write(100);
    agent.wait_status("the rest to be read", |status| {
        (status["inputs"][0]["read_records_total"].as_u64()? >= 200).then_some(())
    });
    let begun = std::time::Instant::now();
    agent.signal(libc::SIGTERM);
    let status = agent.wait().status;
    assert!(begun.elapsed().as_secs() < 20, "it took {:?}", begun.elapsed());
    assert!(status.code().is_some(), "it ended by itself, not by a signal");
    kafka.all_up();
    agent.start();
    kafka.wait_count(&topic, 200);
    agent.stop();
    let check = Check::of(&kafka.records(&topic), &[&writer]);
    check.complete();
    assert!(check.repeated <= 100, "what was acknowledged before is not sent again: {}", check.repeated);
}

/// An agent that ships one topic while another is missing, with names that are no identifiers; both are known to it.
fn agent_with_a_missing_topic(hint: &str, kafka: &Cluster) -> Agent {
    let (topic, missing) = (kafka.topic(hint, 2), Cluster::name(&format!("{hint}.missing")));
    let mut agent = Agent::new(hint);
    agent.configure(&format!(
        "inputs:\n  \
           there: {{ type: file, paths: [{}], topic: {topic} }}\n  \
           not-there_2: {{ type: file, paths: [{}], topic: {missing} }}\n\
         outputs:\n  main: {{ type: kafka, brokers: [\"{}\"] }}\n",
        agent.log("a.log").display(),
        agent.log("b.log").display(),
        kafka.bootstrap(),
    ));
    Writer::new(&agent.log("a.log"), "a").write(1_000);
    Writer::new(&agent.log("b.log"), "b").write(10);
    agent.start();
    kafka.wait_count(&topic, 1_000);
    agent.wait_status("the missing topic to be told", |status| {
        let lanes = status["outputs"][0]["lanes"].as_array()?;
        lanes.iter().any(|lane| lane["topic"] == missing.as_str() && lane["cause"].is_string()).then_some(())
    });
    agent
}

/// The address of an agent's admin endpoint.
fn address(agent: &Agent) -> String {
    std::fs::read_to_string(agent.data().join("admin.addr")).expect("the agent runs").trim().to_owned()
}

/// Scenario: a running agent with healthy and missing topics; Prometheus' own linter.
/// Guarantee: `promtool check metrics` has nothing to say against `/metrics` in the format that it reads.
#[test]
fn promtool_accepts_the_metrics() {
    let kafka = kafka_or_skip!();
    if !skip::prometheus_or_skip() {
        return;
    }
    let agent = agent_with_a_missing_topic("promtool", kafka);
    let request = ureq::get(format!("http://{}/metrics", address(&agent))).header("Accept", "text/plain;version=0.0.4");
    let metrics = request.call().expect("the agent answers").body_mut().read_to_string().expect("text");
    assert!(metrics.lines().filter(|line| !line.starts_with('#')).count() > 50, "{metrics}");
    let judged = process::run(Command::new("promtool").args(["check", "metrics"]), metrics.as_bytes());
    let said = String::from_utf8_lossy(&judged.stdout).into_owned() + &String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success() && said.trim().is_empty(), "{}: {said}\n{metrics}", judged.status);
    // That it judges at all.
    let bad = process::run(Command::new("promtool").args(["check", "metrics"]), b"no_help_total{ 1\n");
    assert!(!bad.status.success());
}

/// Scenario: a real Prometheus scrapes a running agent; it asks for OpenMetrics.
/// Guarantee: it takes the answer as OpenMetrics without an error, and has the series.
#[test]
fn prometheus_scrapes_openmetrics() {
    let kafka = kafka_or_skip!();
    if !skip::prometheus_or_skip() {
        return;
    }
    let agent = agent_with_a_missing_topic("prometheus", kafka);
    let folder = agent.folder().join("prometheus");
    std::fs::create_dir_all(&folder).expect("the scratch folder is writable");
    let port = free_port();
    let config = format!(
        "scrape_configs:\n- job_name: logferry\n  scrape_interval: 1s\n  static_configs: [{{ targets: ['{}'] }}]\n",
        address(&agent)
    );
    std::fs::write(folder.join("prometheus.yml"), config).expect("the scratch folder is writable");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(&folder).stdin(Stdio::null());
    let log = std::fs::File::create(folder.join("log")).expect("the scratch folder is writable");
    command.stdout(log.try_clone().expect("a descriptor can be doubled")).stderr(log);
    let _prometheus = process::spawn("prometheus", command);
    let ask = |path: &str| -> Option<serde_json::Value> {
        let mut answer = ureq::get(format!("http://127.0.0.1:{port}/api/v1/{path}")).call().ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    };
    let show = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let scraped = || {
        let target = ask("targets")?["data"]["activeTargets"][0].clone();
        target["health"].as_str().is_some_and(|health| health != "unknown").then_some(target)
    };
    let target = wait::until_or("a scrape", wait::LAST_RESORT, scraped, show);
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target:#}");
    let produced = || {
        let found = ask("query?query=logferry_output_produced_records_total")?;
        let value = found["data"]["result"][0]["value"][1].as_str()?.to_owned();
        (value == "1000").then_some(())
    };
    wait::until_or("the series", wait::LAST_RESORT, produced, show);
    // Only OpenMetrics has a type for it: Prometheus' text format knows no info.
    let kind = wait::until("the type", || {
        ask("metadata?metric=logferry_build")?["data"]["logferry_build"][0]["type"].as_str().map(str::to_owned)
    });
    assert_eq!(kind, "info");
}

/// Scenario: `status --watch`, not on a terminal, over a restart of the agent; then Ctrl-C.
/// Guarantee: one status follows the other; while no agent answers it says so and goes on; it ends with 0.
#[test]
fn the_status_is_watched_until_ctrl_c() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("watch", 1);
    let mut agent = Agent::shipping("watch", kafka, &format!("topic: {topic}"));
    agent.start();
    let path = agent.folder().join("watch.txt");
    let mut command = Command::new(binary());
    command.args(["status", "--watch", "--data-dir"]).arg(agent.data()).stdin(Stdio::null());
    command.stdout(std::fs::File::create(&path).expect("the scratch folder is writable"));
    let mut watching = process::spawn("status", command);
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    let wait_for = |what: &str, done: &dyn Fn(&str) -> bool| {
        wait::until_or(what, wait::LAST_RESORT, || done(&text()).then_some(()), text);
    };
    wait_for("two pictures", &|text| text.matches("memory: ").count() >= 2);
    agent.stop();
    wait_for("no agent to be told", &|text| text.contains("no agent"));
    agent.start();
    let seen = text().matches("memory: ").count();
    wait_for("the new agent to be seen", &|text| text.matches("memory: ").count() > seen);
    assert!(!text().contains('\x1b'), "no terminal, no escapes: {:?}", text());
    watching.signal(libc::SIGINT);
    let ended = wait::until("the watch to end", || watching.ended());
    assert_eq!(ended.status.code(), Some(0));
    let nobody = logferry(&["status", "--watch", "--data-dir", "/nonexistent"], b"");
    assert_eq!(nobody.status.code(), Some(1), "who never answered is not waited for");
}

/// How many records of an input counted as how old when they were acknowledged: the upper bound of the bucket in seconds, and
/// their number.
fn ages(input: &serde_json::Value) -> Vec<(f64, u64)> {
    let histogram = &input["append_to_ack_seconds"];
    let bounds = histogram["bounds_seconds"].as_array().expect("a list").iter().filter_map(serde_json::Value::as_f64);
    let counts = histogram["counts"].as_array().expect("a list").iter().filter_map(serde_json::Value::as_u64);
    bounds.chain([f64::INFINITY]).zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// Scenario: a file was last written to 1,000 seconds before the agent starts, and its topic is missing; lines are appended while
/// it waits, and it is not before they are over a second old that the topic is created. Guarantee: the histogram from append to
/// acknowledged counts both delays, in the status and in the metrics; what flows later is not counted as late.
#[test]
fn what_lies_in_its_file_is_counted_from_its_append_on() {
    const BACKLOG: u64 = 150_000;
    const HELD: u64 = 20_000;
    let kafka = kafka_or_skip!();
    let topic = Cluster::name("late");
    let mut agent = Agent::shipping("late", kafka, &format!("topic: {topic}"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(BACKLOG);
    let file = std::fs::File::options().append(true).open(agent.log("a.log")).expect("it was written");
    file.set_modified(SystemTime::now() - Duration::from_secs(1_000)).expect("our own file");
    agent.start();
    agent.wait_status("the topic to be waited for", |status| (status["inputs"][0]["waiting_count"] == 1).then_some(()));
    let size = std::fs::metadata(agent.log("a.log")).expect("it is there").len();
    writer.write(HELD);
    let seen = agent.wait_status("the new lines to be seen", |status| {
        let is_seen = status["inputs"][0]["files"][0]["size_bytes"].as_u64()? > size;
        is_seen.then(|| status["uptime_seconds"].as_f64()).flatten()
    });
    agent.wait_status("the new lines to have lain there for a second", |status| {
        (status["uptime_seconds"].as_f64()? > seen + 1.0).then_some(())
    });
    kafka.create(&topic, 1);
    let settled = |records: u64| {
        agent.wait_status("everything to be acknowledged", |status| {
            (status["inputs"][0]["acked_records_total"] == records).then(|| status["inputs"][0].clone())
        })
    };
    let input = settled(BACKLOG + HELD);
    let found = ages(&input);
    let over = |seconds: f64| found.iter().filter(|(bound, _)| *bound > seconds).map(|(_, count)| count).sum::<u64>();
    assert_eq!(over(1.0), BACKLOG + HELD, "none is younger than a second: {found:?}");
    // One read may have lines of both.
    assert!((BACKLOG..BACKLOG + HELD / 2).contains(&over(600.0)), "{found:?}");
    writer.write(1);
    let input = settled(BACKLOG + HELD + 1);
    assert_eq!(
        ages(&input).iter().filter(|(bound, _)| *bound <= 60.0).map(|(_, count)| count).sum::<u64>(),
        BACKLOG + HELD + 1 - over(600.0)
    );
    let name = "logferry_input_append_to_ack_seconds_bucket";
    assert_eq!(
        agent.metric(name, &["le=\"600.0\"", "input=\"files\""]),
        Some((BACKLOG + HELD + 1 - over(600.0)) as f64)
    );
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}
