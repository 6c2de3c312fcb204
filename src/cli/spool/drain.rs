//! `logferry spool drain`: sends everything that is in the spool and waits for the acknowledgements. Reads no input: it is the
//! agent's own pipeline, without any.

use std::io::Write;
use std::time::Instant;

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::cli::check::mistakes_text;
use crate::cli::run::start_log;
use crate::cli::status::clean;
use crate::cli::{Exit, SpoolDrainArgs};
use crate::config::{System, load};
use crate::pipeline::Pipeline;
use crate::telemetry::status::OutputStatus;

/// How often it is looked whether all is sent.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Sends what is in the spools of the config's outputs, and says what remains. Exit code 1 if that is anything, or if something was
/// damaged: it was passed over, and nobody will see it again.
///
/// # Errors
/// What can't be opened or started: an agent that runs is named with its pid.
pub fn run(args: &SpoolDrainArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let mut checked = match load(&args.config, &System) {
        Ok(checked) => checked,
        Err(mistakes) => {
            eprint!("{}", mistakes_text(&mistakes));
            return Ok(Exit::BadConfig);
        }
    };
    start_log(checked.logging)?;
    checked.inputs.clear();
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("signals can't be caught")?;
    let (tell, told) = channel();
    std::thread::spawn(move || {
        // Whoever asks twice does not want to wait.
        for signal in signals.forever() {
            if tell.send(()).is_err() {
                std::process::exit(128 + signal);
            }
        }
    });
    let deadline = Instant::now() + args.timeout;
    let pipeline = Pipeline::start(checked)?;
    while !pipeline.is_idle() && Instant::now() < deadline {
        match told.recv_timeout(LOOK_EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    drop(told);
    let all = pipeline.is_idle();
    let status = pipeline.status();
    let within = pipeline.shutdown_after();
    pipeline.stop(within);
    for output in &status.outputs {
        out.write_all(said(output, all).as_bytes())?;
    }
    let is_whole = status.outputs.iter().all(|output| output.spool.damaged_frames_total == 0);
    Ok(if all && is_whole { Exit::Fine } else { Exit::Failed })
}

/// What became of one output's spool.
fn said(output: &OutputStatus, all: bool) -> String {
    let name = &output.name;
    let mut text = format!("output {name}: {} records acknowledged", output.produced_records_total);
    let refused: u64 = output.failed_total.values().sum();
    if refused > 0 {
        text += &format!(", {refused} refused (logferry spool dead shows them)");
    }
    let damaged = output.spool.damaged_frames_total;
    if damaged > 0 {
        text += &format!(", {damaged} damaged in the spool: what stood there is lost");
    }
    if all || (output.spool.records == 0 && output.lanes.is_empty()) {
        return text + "; the spool is empty\n";
    }
    text += &format!("; {} records remain in the spool\n", output.spool.records);
    for lane in &output.lanes {
        let partition = lane.partition.map_or("?".to_owned(), |partition| partition.to_string());
        text += &format!("  {}/{partition} {}", lane.topic, lane.state);
        if let Some(cause) = &lane.cause {
            text += &format!(": {}", clean(cause));
        }
        if let Some(fix) = &lane.fix {
            text += &format!("; {}", clean(fix));
        }
        text.push('\n');
    }
    for broker in output.brokers.iter().filter(|broker| !broker.is_up()) {
        let error = broker.last_error.as_ref().map(|error| format!(": {}", clean(error))).unwrap_or_default();
        text += &format!("  broker {} {}{error}\n", broker.name, broker.state);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::status::{BrokerStatus, LaneStatus, SpoolStatus};

    #[test]
    fn what_remains_is_told_with_its_reason() {
        let mut output = OutputStatus {
            name: "main".into(),
            produced_records_total: 3,
            failed_total: [("too_large".into(), 1)].into(),
            ..OutputStatus::default()
        };
        let sent = "output main: 3 records acknowledged, 1 refused (logferry spool dead shows them); ";
        assert_eq!(said(&output, true), format!("{sent}the spool is empty\n"));
        output.spool.damaged_frames_total = 2;
        let text = said(&output, true);
        assert!(text.ends_with(", 2 damaged in the spool: what stood there is lost; the spool is empty\n"), "{text}");
        output.spool = SpoolStatus { records: 7, ..SpoolStatus::default() };
        output.lanes = vec![LaneStatus {
            topic: "logs.web".into(),
            partition: None,
            state: "unknown".into(),
            cause: Some("topic logs.web does not exist".into()),
            fix: Some("create it".into()),
            ..LaneStatus::default()
        }];
        output.brokers =
            vec![BrokerStatus { name: "k:1/1".into(), state: "DOWN".into(), last_error: Some("refused".into()) }];
        assert_eq!(
            said(&output, false),
            format!(
                "{sent}7 records remain in the spool\n  logs.web/? unknown: topic logs.web does not exist; create it\n  \
                 broker k:1/1 DOWN: refused\n"
            )
        );
    }
}
