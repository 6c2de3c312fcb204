//! Many files: limits of the system, and what idle ones cost.

use std::time::{Duration, Instant};

use crate::kafka_or_skip;
use crate::kit::{agent::Agent, wait};

/// Scenario: far more files than the process may have open; later each gets a line more. (`MANY_FILES` and `MANY_IDLE_SECONDS`
/// make it larger and look at the idle agent for longer; `tests/campaign/many-files` does.)
/// Guarantee: every line arrives, once; when all is read, few files are open and nothing is spent on the others. What they
/// cost is printed.
#[test]
fn many_files_are_read_with_few_descriptors() {
    const OPEN_FILES: u64 = 1024;
    let kafka = kafka_or_skip!();
    let setting =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (files, idle) = (setting("MANY_FILES", 3_000), Duration::from_secs(setting("MANY_IDLE_SECONDS", 0)));
    let topic = kafka.topic("many", 3);
    let mut agent = Agent::shipping("many", kafka, &format!("topic: {topic}\ncodec: raw"));
    agent.limit_open_files(OPEN_FILES);
    let path = |agent: &Agent, n: u64| agent.log(&format!("{n:05}.log"));
    for n in 0..files {
        std::fs::write(path(&agent, n), format!("{n} first\n{n} second\n")).expect("writable");
    }
    agent.start();
    let count = |lines: u64| i64::try_from(lines).expect("small");
    kafka.wait_count_within(&topic, count(2 * files), wait::LAST_RESORT * 3);
    agent.wait_status("everything to be acknowledged", |status| {
        (status["inputs"][0]["acked_records_total"] == 2 * files).then_some(())
    });
    let (cpu_before, _) = agent.usage_now();
    let begun = Instant::now();
    wait::until_or(
        "the idle time to pass",
        idle * 2 + wait::LAST_RESORT,
        || (begun.elapsed() >= idle).then_some(()),
        String::new,
    );
    let (cpu, resident) = agent.usage_now();
    let (seconds, mebibytes) = (begun.elapsed().as_secs_f64(), resident as f64 / f64::from(1 << 20));
    let percent = (cpu - cpu_before) / seconds * 100.0;
    eprintln!("{files} idle files: {mebibytes:.1} MiB resident, {percent:.2} % of a core over {seconds:.0} s");
    // Said of a release build: the campaign sets them.
    let bound = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<f64>().ok());
    assert!(bound("MANY_RESIDENT_MIB_MAX").is_none_or(|max| mebibytes < max), "{mebibytes:.1} MiB are resident");
    assert!(bound("MANY_CPU_PERCENT_MAX").is_none_or(|max| percent < max), "{percent:.2} % of a core are used");
    for n in 0..files {
        let mut file = std::fs::File::options().append(true).open(path(&agent, n)).expect("it is there");
        std::io::Write::write_all(&mut file, format!("{n} third\n").as_bytes()).expect("writable");
    }
    kafka.wait_count_within(&topic, count(3 * files), wait::LAST_RESORT * 3);
    agent.stop();
    let mut found: Vec<String> =
        kafka.records(&topic).iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect();
    let mut expect: Vec<String> =
        (0..files).flat_map(|n| ["first", "second", "third"].map(|what| format!("{n} {what}"))).collect();
    found.sort_unstable();
    expect.sort_unstable();
    assert!(found == expect, "{} lines arrived of {}", found.len(), expect.len());
}
