//! `logferry run`: the agent, from a checked config to an orderly end.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::budget::tune_allocator;
use crate::cli::check::{mistakes_text, warnings};
use crate::cli::{Exit, RunArgs, watch};
use crate::config::checked::Logging;
use crate::config::written::LogFormatName;
use crate::config::{System, load};
use crate::pipeline::Pipeline;
use crate::telemetry::logs;

/// Open files at most.
const DESCRIPTORS_MAX: u64 = 1 << 20;
/// How often `--until-idle` looks.
const IDLE_POLL: Duration = Duration::from_millis(20);

/// Runs the agent until it is told to stop, or until it is idle.
///
/// # Errors
/// What can't be opened, bound or started.
pub fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let checked = match load(&args.config, &System) {
        Ok(checked) => checked,
        Err(mistakes) => {
            eprint!("{}", mistakes_text(&mistakes));
            return Ok(Exit::BadConfig);
        }
    };
    start_log(checked.logging)?;
    for line in warnings(&checked).lines() {
        tracing::warn!("{line}");
    }
    raise_descriptor_limit();
    tune_allocator();
    let stop = watch::signals().context("signals can't be caught")?;
    let pipeline = Pipeline::start(checked)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "logferry runs");
    match args.until_idle {
        None => {
            // The channel closes only with the process.
            stop.recv().ok();
        }
        Some(quiet) => wait_until_idle(&pipeline, quiet, &stop),
    }
    let within = pipeline.shutdown_after();
    tracing::info!(within = ?within, "stopping");
    let all = pipeline.stop(within);
    if all {
        tracing::info!("stopped; everything that was read is acknowledged");
    } else {
        tracing::warn!(within = ?within, "stopped; what Kafka did not acknowledge in time is read again at the next start");
    }
    Ok(Exit::Fine)
}

/// Raises the soft limit of open files to the hard one: each file that has something unread is open.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    // `None` is no limit; what the kernel makes of that differs, and a million files are enough.
    let wanted = limit.maximum.map_or(DESCRIPTORS_MAX, |hard| hard.min(DESCRIPTORS_MAX));
    if limit.current.is_some_and(|soft| soft < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files can't be raised");
        }
    }
}

/// Sets up the agent's own log.
fn start_log(logging: Logging) -> anyhow::Result<()> {
    let format = match logging.format {
        LogFormatName::Text => logs::Format::Text,
        LogFormatName::Json => logs::Format::Json,
    };
    Ok(logs::init(logging.level(), format)?)
}

/// Returns once everything is read and acknowledged and nothing came for `quiet`, or at a signal.
fn wait_until_idle(pipeline: &Pipeline, quiet: Duration, stop: &std::sync::mpsc::Receiver<()>) {
    let mut idle_since: Option<(Instant, u64)> = None;
    pipeline.rescan();
    loop {
        match stop.recv_timeout(IDLE_POLL) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let read = pipeline.records_read();
        let still = idle_since.filter(|(_, then)| *then == read);
        if !pipeline.is_idle() {
            idle_since = None;
            continue;
        }
        let (since, _) = *idle_since.insert(still.unwrap_or((Instant::now(), read)));
        if since.elapsed() < quiet {
            continue;
        }
        // What inotify has not told yet is found now.
        pipeline.rescan();
        if pipeline.is_idle() && pipeline.records_read() == read {
            return;
        }
    }
}
