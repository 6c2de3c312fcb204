//! `logferry status`: asks the running agent and prints a table, or the JSON as it came; with `--watch` again and again.
//!
//! It needs no valid config: somebody who asks what the agent does may have just broken the file, so only `data_dir` is
//! looked for in it. It changes nothing.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::{CONFIG_DEFAULT, Exit, StatusArgs, watch};
use crate::config::{self, System};
use crate::telemetry::admin::ADDRESS_FILE;
use crate::telemetry::status::{ByReason, InputStatus, LaneStatus, OutputStatus, Status};

/// The `data_dir` of a config that names none.
const DATA_DIR_DEFAULT: &str = "/var/lib/logferry";

/// How long the agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is read of an answer; a thousand files per input fit a hundred times.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Files and lanes shown, each.
const ROWS_MAX: usize = 20;

/// Prints the status of the agent.
///
/// # Errors
/// If no agent answers; the message says where it was looked for and why it was not found.
pub fn run(args: &StatusArgs) -> anyhow::Result<Exit> {
    let first = shown(args)?;
    if !args.watch {
        io::stdout().write_all(first.as_bytes())?;
        return Ok(Exit::Fine);
    }
    let stop = watch::signals().context("signals can't be caught")?;
    let mut first = Some(first);
    // An agent that answered once may be away for a moment: it is looked for anew each time.
    let picture = || first.take().map_or_else(|| shown(args), Ok).unwrap_or_else(|error| format!("{error:#}\n"));
    let out = io::stdout();
    watch::watch(&mut out.lock(), out.is_terminal(), watch::EVERY, &stop, picture)?;
    Ok(Exit::Fine)
}

/// The status, as a table or as JSON.
fn shown(args: &StatusArgs) -> anyhow::Result<String> {
    let address = match &args.address {
        Some(address) => address.clone(),
        None => find(&data_dir(&args.config, args.data_dir.as_deref())?)?.to_string(),
    };
    let json = ask(&address)?;
    let status: Status =
        serde_json::from_str(&json).with_context(|| format!("what answers at {address} is not a Logferry agent"))?;
    Ok(if args.json { json.trim_end().to_owned() + "\n" } else { table(&status) })
}

/// The agent's directory: as it is given, or of the config, or the default.
pub(super) fn data_dir(config: &[PathBuf], data_dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(data_dir) = data_dir {
        return Ok(data_dir.to_owned());
    }
    let default = PathBuf::from(CONFIG_DEFAULT);
    match config {
        [] if default.exists() => data_dir_of(&[default]),
        [] => Ok(DATA_DIR_DEFAULT.into()),
        config => data_dir_of(config),
    }
}

/// The `data_dir` that a config names: the first of its files that does.
fn data_dir_of(paths: &[PathBuf]) -> anyhow::Result<PathBuf> {
    for path in paths {
        let files =
            config::files(path, &System).with_context(|| format!("cannot list the config {}", path.display()))?;
        for file in files {
            if let Some(data_dir) = data_dir_in(&file)? {
                return Ok(data_dir);
            }
        }
    }
    Ok(DATA_DIR_DEFAULT.into())
}

fn data_dir_in(file: &Path) -> anyhow::Result<Option<PathBuf>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the config {shown}"))?;
    let yaml: serde_yaml::Value = serde_yaml::from_str(&text)
        .with_context(|| format!("{shown} is not YAML; name the agent's directory with --data-dir"))?;
    match yaml.get("data_dir") {
        None => Ok(None),
        Some(serde_yaml::Value::String(path)) if !path.contains("${") => Ok(Some(path.into())),
        Some(_) => bail!(
            "data_dir in {shown} is not a plain path (its variables are those of the agent, not of this shell); \
             name it with --data-dir"
        ),
    }
}

/// The address that the agent of `data_dir` left there.
fn find(data_dir: &Path) -> anyhow::Result<SocketAddr> {
    let file = data_dir.join(ADDRESS_FILE);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "no agent runs with data_dir {}: there is no {ADDRESS_FILE} in it; start one with `logferry run`, or name \
             another directory with -c FILE or --data-dir DIR",
            data_dir.display()
        ),
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => "; run this as the agent's user, or name its --address",
                _ => "",
            };
            bail!("cannot read {}: {error}{hint}", file.display());
        }
    };
    let address: SocketAddr = text
        .trim()
        .parse()
        .with_context(|| format!("{} holds no address; restart the agent, or name its --address", file.display()))?;
    Ok(reachable(address))
}

/// An agent that listens on all interfaces is asked over the loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn ask(address: &str) -> anyhow::Result<String> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).max_redirects(0).build(),
    );
    let asked = agent.get(format!("http://{address}/status")).call();
    let mut reply = asked.with_context(|| {
        format!("no agent answers at {address}: it has ended, or does not listen there; see its log")
    })?;
    reply
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string()
        .with_context(|| format!("the answer of the agent at {address} broke off"))
}

/// The status for people.
fn table(status: &Status) -> String {
    let mut out = String::new();
    let memory = &status.memory;
    let mut line = |text: String| {
        out.push_str(&clean(&text));
        out.push('\n');
    };
    line(format!(
        "logferry {} on {} (pid {}): {} for {}",
        status.version,
        status.host,
        status.pid,
        status.state,
        seconds(status.uptime_seconds)
    ));
    line(format!(
        "memory: {} of {} for payload, {} resident; CPU {}",
        bytes(memory.used_bytes),
        bytes(memory.max_bytes),
        bytes(memory.rss_bytes),
        seconds(status.cpu_seconds_total)
    ));
    line(format!("a kill -9 now would repeat at most {}", bytes(status.duplicates_bound_bytes)));
    if let Some(trouble) = &status.checkpoints_trouble {
        line(format!("checkpoints can't be saved, so that grows: {trouble}"));
    }
    line(format!("given up: {}", reasons(&status.drops)));
    if let Some(error) = &status.config.last_error {
        line(format!("the last reload of the config failed: {error}"));
    }
    inputs(&mut out, &status.inputs);
    files(&mut out, &status.inputs);
    outputs(&mut out, &status.outputs);
    lanes(&mut out, &status.outputs);
    brokers(&mut out, &status.outputs);
    out
}

fn inputs(out: &mut String, inputs: &[InputStatus]) {
    let rows = inputs.iter().map(|input| {
        vec![
            input.name.clone(),
            input.kind.to_string(),
            count(input.files_count),
            count(input.waiting_count),
            bytes(input.read_bytes_total),
            count(input.acked_records_total),
            bytes(input.lag_bytes),
            input.oldest_unacked_seconds.map_or("-".into(), seconds),
            input.append_to_ack_seconds.quantile_seconds(0.99).map_or("-".into(), seconds),
            count(input.dropped.values().sum()),
        ]
    });
    let columns = [
        "INPUT",
        "TYPE",
        ">SOURCES",
        ">WAITING",
        ">READ",
        ">RECORDS ACKED",
        ">LAG",
        ">OLDEST UNACKED",
        ">APPEND TO ACK P99",
        ">DROPPED",
    ];
    push_rows(out, &columns, rows.collect());
    for input in inputs {
        if let Some(error) = &input.last_error {
            push_line(
                out,
                &format!("  {}: {} read errors, the last: {error}", input.name, count(input.read_errors_total)),
            );
        }
        if input.lost_bytes_total > 0 {
            push_line(
                out,
                &format!("  {}: {} gone before they could be read", input.name, bytes(input.lost_bytes_total)),
            );
        }
        if input.unlinked_bytes > 0 {
            let held = bytes(input.unlinked_bytes);
            push_line(out, &format!("  {}: {held} only in deleted files, which die with the process", input.name));
        }
    }
}

fn files(out: &mut String, inputs: &[InputStatus]) {
    let mut files: Vec<_> = inputs.iter().flat_map(|input| &input.files).filter(|file| file.lag_bytes > 0).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.lag_bytes));
    let lagging = files.len();
    let rows = files.into_iter().take(ROWS_MAX).map(|file| {
        let state = match &file.waiting_for {
            Some(what) => format!("{} for {what}", file.state),
            None => file.state.to_string(),
        };
        let state = if file.unlinked { format!("{state}, deleted") } else { state };
        vec![bytes(file.lag_bytes), bytes(file.acked_bytes), bytes(file.size_bytes), state, file.path.clone()]
    });
    push_rows(out, &[">LAG", ">ACKED", ">SIZE", "STATE", "FILE"], rows.collect());
    push_more(out, lagging, "files lag");
}

fn outputs(out: &mut String, outputs: &[OutputStatus]) {
    let rows = outputs.iter().map(|output| {
        let quantile = |q| output.delivery_seconds.quantile_seconds(q).map_or("-".into(), seconds);
        vec![
            output.name.clone(),
            output.kind.to_string(),
            count(output.produced_records_total),
            bytes(output.produced_bytes_total),
            count(output.retried_total),
            count(output.failed_total.values().sum()),
            format!("{} of {}", bytes(output.window.used_bytes), bytes(output.window.max_bytes)),
            format!("{} / {}", quantile(0.5), quantile(0.99)),
            count(output.rebuilds_total),
        ]
    });
    let columns = [
        "OUTPUT",
        "TYPE",
        ">RECORDS ACKED",
        ">BYTES",
        ">SENT AGAIN",
        ">FAILED",
        ">WINDOW",
        ">LATENCY P50 / P99",
        ">REBUILDS",
    ];
    push_rows(out, &columns, rows.collect());
    for output in outputs {
        let spool = &output.spool;
        if spool.records > 0 || spool.trouble.is_some() {
            let oldest = spool.oldest_seconds.map_or(String::new(), |age| format!(", the oldest {} old", seconds(age)));
            let holds = format!("{} records{oldest}", count(spool.records));
            let of = format!("{} of {} on the disk", bytes(spool.used_bytes), bytes(spool.max_bytes));
            push_line(out, &format!("  {}: the spool holds {holds} ({of})", output.name));
        }
        if spool.full {
            let waiting = plural(spool.waiting_sources, "source waits", "sources wait");
            push_line(
                out,
                &format!(
                    "  {}: the spool is full, as spool.max_bytes or its disk bounds it; {waiting} for room",
                    output.name
                ),
            );
        }
        if let Some(trouble) = &spool.trouble {
            push_line(out, &format!("  {}: {trouble}", output.name));
        }
        let letter = &output.dead_letter;
        if letter.records > 0 {
            let holds = format!(
                "{} records ({} of {})",
                count(letter.records),
                bytes(letter.used_bytes),
                bytes(letter.max_bytes)
            );
            push_line(
                out,
                &format!("  {}: the dead letter has {holds}; `logferry spool dead` lists them", output.name),
            );
        }
        if let Some(trouble) = &letter.trouble {
            push_line(out, &format!("  {}: the dead letter takes nothing: {trouble}", output.name));
        }
        let dropped: u64 = output.dropped.values().sum();
        if dropped > 0 {
            let by_reason: Vec<String> = output
                .dropped
                .iter()
                .filter(|(_, records)| **records > 0)
                .map(|(reason, records)| format!("{reason} {}", count(*records)))
                .collect();
            let what = format!("{} records dropped ({})", count(dropped), by_reason.join(", "));
            push_line(out, &format!("  {}: {what}", output.name));
        }
        if let Some(error) = &output.last_error {
            push_line(out, &format!("  {}: the last fault: {error}", output.name));
        }
    }
}

fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

fn lanes(out: &mut String, outputs: &[OutputStatus]) {
    let stuck = |lane: &&LaneStatus| lane.state != "direct" || lane.cause.is_some();
    let lanes: Vec<_> = outputs
        .iter()
        .flat_map(|output| output.lanes.iter().filter(stuck).map(move |lane| (output.name.as_str(), lane)))
        .collect();
    for (at, (output, lane)) in lanes.iter().take(ROWS_MAX).enumerate() {
        if at == 0 {
            out.push('\n');
        }
        // With one output its name says nothing.
        let output = if outputs.len() > 1 { format!("{output}/") } else { String::new() };
        let partition = lane.partition.map_or_else(String::new, |partition| format!("/{partition}"));
        let why = match (&lane.cause, &lane.fix) {
            (Some(cause), Some(fix)) => format!("{cause}; {fix}"),
            (Some(what), None) | (None, Some(what)) => what.clone(),
            (None, None) => "what was in flight is waited for".to_owned(),
        };
        let (topic, state) = (&lane.topic, &lane.state);
        let in_flight = plural(lane.in_flight_records, "record in flight", "records in flight");
        let waiting = plural(lane.waiting_sources, "source waits", "sources wait");
        push_line(out, &format!("lane {output}{topic}{partition} waits: {why} ({state}; {in_flight}, {waiting})"));
    }
    push_more(out, lanes.len(), "lanes do not flow");
}

fn brokers(out: &mut String, outputs: &[OutputStatus]) {
    let rows = outputs.iter().flat_map(|output| {
        output.brokers.iter().map(|broker| {
            let error = broker.last_error.clone().unwrap_or_default();
            vec![broker.name.clone(), output.name.clone(), broker.state.clone(), error]
        })
    });
    push_rows(out, &["BROKER", "OUTPUT", "STATE", "LAST ERROR"], rows.collect());
}

/// A table with aligned columns, after an empty line; nothing if it has no rows. A column that starts with `>` is aligned to
/// the right.
fn push_rows(out: &mut String, columns: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let head = columns.iter().map(|column| column.trim_start_matches('>').to_owned()).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(rows).map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    out.push('\n');
    for row in &rows {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(columns).zip(widths.iter().copied()) {
            let written = match column.starts_with('>') {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
            written.expect("writing to a string does not fail");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn push_more(out: &mut String, all: usize, what: &str) {
    if all > ROWS_MAX {
        push_line(out, &format!("  {} {what} in all; --json lists more", count(all as u64)));
    }
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(&clean(line));
    out.push('\n');
}

/// Names that others chose must not speak to the terminal.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => clean.extend(character.escape_default()),
            false => clean.push(character),
        }
    }
    clean
}

fn reasons(drops: &ByReason) -> String {
    if drops.is_empty() {
        return "nothing".into();
    }
    let each: Vec<String> = drops.iter().map(|(reason, records)| format!("{reason} {}", count(*records))).collect();
    format!("{} records ({})", count(drops.values().sum()), each.join(", "))
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `512 B`, `1.5 MiB`.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `4 ms`, `1.5 s`, `12 min`, `3.2 h`, `2.0 d`.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::metrics::tests::full_status;
    use crate::telemetry::{AdminServer, StatusSource};

    struct Full;

    impl StatusSource for Full {
        fn status(&self) -> Status {
            full_status()
        }

        fn healthy(&self) -> Result<(), String> {
            Ok(())
        }

        fn ready(&self) -> Result<(), String> {
            Ok(())
        }
    }

    fn args(data_dir: &Path) -> StatusArgs {
        StatusArgs { config: Vec::new(), data_dir: Some(data_dir.into()), address: None, json: false, watch: false }
    }

    #[test]
    fn finds_and_asks_a_running_agent() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let listen = "127.0.0.1:0".parse().expect("an address");
        let server = AdminServer::start(listen, dir.path(), Arc::new(Full)).expect("any port");
        let address = find(dir.path()).expect("the agent left its address");
        assert_eq!(address, server.address());
        let json = ask(&address.to_string()).expect("the agent answers");
        assert_eq!(serde_json::from_str::<Status>(&json).expect("a status"), full_status());
        assert_eq!(run(&args(dir.path())).expect("the agent answers"), Exit::Fine);
    }

    #[test]
    fn says_where_it_looked_when_no_agent_runs() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let error = |args: &StatusArgs| format!("{:#}", run(args).expect_err("no agent runs"));
        let message = error(&args(dir.path()));
        assert!(message.contains("no agent runs") && message.contains(&*dir.path().to_string_lossy()), "{message}");

        // The port was free a moment ago and nobody listens: what a killed agent leaves.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let free = free.expect("any port");
        std::fs::write(dir.path().join(ADDRESS_FILE), format!("{free}\n")).expect("written");
        let message = error(&args(dir.path()));
        assert!(message.contains(&format!("no agent answers at {free}")), "{message}");
        std::fs::write(dir.path().join(ADDRESS_FILE), "garbage").expect("written");
        assert!(error(&args(dir.path())).contains("holds no address"));
    }

    #[test]
    fn the_data_dir_is_found_in_a_config_that_has_other_mistakes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = dir.path().join("logferry.yaml");
        let check = |text: &str, expect: Result<&str, &str>| {
            std::fs::write(&config, text).expect("written");
            match (data_dir_of(std::slice::from_ref(&config)), expect) {
                (Ok(found), Ok(expected)) => assert_eq!(found, Path::new(expected)),
                (Err(error), Err(part)) => assert!(format!("{error:#}").contains(part), "{error:#}"),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        };
        check("data_dir: /data\nimputs: 5\n", Ok("/data"));
        check("inputs: {}\n", Ok(DATA_DIR_DEFAULT));
        check("", Ok(DATA_DIR_DEFAULT));
        check("data_dir: ${DIR}\n", Err("--data-dir"));
        check("data_dir: [\n", Err("not YAML"));
        std::fs::write(&config, "inputs: {}\n").expect("written");
        std::fs::write(dir.path().join("site.yml"), "data_dir: /site\n").expect("written");
        assert_eq!(data_dir_of(&[dir.path().to_owned()]).expect("it is in one of them"), Path::new("/site"));
    }

    #[test]
    fn an_agent_on_all_interfaces_is_asked_over_the_loopback() {
        let check = |listens: &str, expect: &str| {
            let address = listens.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), expect);
        };
        check("0.0.0.0:9660", "127.0.0.1:9660");
        check("[::]:9660", "[::1]:9660");
        check("10.0.0.7:9660", "10.0.0.7:9660");
    }

    #[test]
    fn the_table_shows_what_is_wrong_and_what_to_do() {
        let expect = r#"logferry 0.1.0 on node-1 (pid 7): running for 12.5 s
memory: 5 B of 50 B for payload, 500 B resident; CPU 250 ms
a kill -9 now would repeat at most 77 B
checkpoints can't be saved, so that grows: checkpoint store x: no space
given up: 11 records (drop_oldest 5, exclude_lines 4, too_large 2)
the last reload of the config failed: restart to change data_dir

INPUT  TYPE  SOURCES  WAITING    READ  RECORDS ACKED    LAG  OLDEST UNACKED  APPEND TO ACK P99  DROPPED
nginx  file        1        0  1000 B              9  200 B           1.5 s              2.5 s        4
  nginx: 2 read errors, the last: cannot read /var/log/a.log: permission denied
  nginx: 200 B only in deleted files, which die with the process

  LAG  ACKED     SIZE  STATE                                  FILE
200 B  900 B  1.1 KiB  waiting for main/logs.gone/3, deleted  /var/log/<b>"\n.log

OUTPUT  TYPE   RECORDS ACKED    BYTES  SENT AGAIN  FAILED         WINDOW  LATENCY P50 / P99  REBUILDS
main    kafka              9  2.0 KiB           3       2  10 B of 100 B      18 ms / 25 ms         1
  main: the spool holds 7 records, the oldest 2.5 s old (300 B of 1000 B on the disk)
  main: the spool is full, as spool.max_bytes or its disk bounds it; 2 sources wait for room
  main: the spool s can't be written: the disk is full; it is tried again
  main: the dead letter has 2 records (300 B of 400 B); `logferry spool dead` lists them
  main: the dead letter takes nothing: dead letter /d/main.jsonl is full
  main: 5 records dropped (drop_oldest 5)

lane logs.gone/3 waits: the topic does not exist; create logs.gone (probing; 1 record in flight, 1 source waits)

BROKER      OUTPUT  STATE  LAST ERROR
k-0:9092/0  main    UP
k-0:9092/0  main    DOWN
k-1:9092/1  main    DOWN   refused
"#;
        assert_eq!(table(&full_status()), expect, "\n{}", table(&full_status()));
    }

    #[test]
    fn numbers_read_well() {
        for (number, expect) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), expect);
        }
        for (number, expect) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(number), expect);
        }
        for (number, expect) in [(0.0, "0 ms"), (0.0254, "25 ms"), (90.0, "90.0 s"), (600.0, "10 min"), (1e6, "11.6 d")]
        {
            assert_eq!(seconds(number), expect);
        }
    }
}
