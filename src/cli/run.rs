//! `logferry run`: the agent, from a checked config to an orderly end. In between it takes in what has changed ([`reload`]).

mod reload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::budget::tune_allocator;
use crate::cli::check::{mistakes_text, warnings};
use crate::cli::{Exit, RunArgs};
use crate::config::checked::Logging;
use crate::config::written::LogFormatName;
use crate::config::{System, load};
use crate::pipeline::Pipeline;
use crate::telemetry::logs;

use reload::{LOOK_EVERY, Reloader};

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
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals can't be caught")?;
    let stopping = Arc::new(AtomicBool::new(false));
    let told = watch_signals(signals, Arc::clone(&stopping));
    let mut reloader = Reloader::new(args.config.clone(), &checked);
    let mut pipeline = Pipeline::start(checked)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "logferry runs");
    let mut idle = args.until_idle.map(Idle::new);
    if idle.is_some() {
        pipeline.rescan();
    }
    let wait = if idle.is_some() { IDLE_POLL } else { LOOK_EVERY };
    loop {
        match told.recv_timeout(wait) {
            Ok(Told::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(Told::Reload) => reloader.reload(&mut pipeline, &|| stopping.load(Ordering::Acquire)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        reloader.look(&mut pipeline, &|| stopping.load(Ordering::Acquire));
        if idle.as_mut().is_some_and(|idle| idle.is_over(&pipeline)) {
            break;
        }
    }
    let within = pipeline.shutdown_after();
    tracing::info!(within = ?within, "stopping");
    let all = pipeline.stop(within);
    if all {
        tracing::info!("stopped; everything that was read is acknowledged or in the spool");
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
pub(super) fn start_log(logging: Logging) -> anyhow::Result<()> {
    let format = match logging.format {
        LogFormatName::Text => logs::Format::Text,
        LogFormatName::Json => logs::Format::Json,
    };
    Ok(logs::init(logging.level(), format)?)
}

/// What a signal says.
enum Told {
    Stop,
    Reload,
}

/// SIGHUP and the first signal to stop are messages; the second to stop ends the process at once.
fn watch_signals(mut signals: Signals, stopping: Arc<AtomicBool>) -> Receiver<Told> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                tell.send(Told::Reload).ok();
            } else if stopping.swap(true, Ordering::AcqRel) {
                std::process::exit(128 + signal);
            } else {
                tell.send(Told::Stop).ok();
            }
        }
        // `tell` lives as long as the process: a closed channel would read as a signal.
        drop(tell);
    });
    told
}

/// Whether everything is read and acknowledged and nothing came for a while.
struct Idle {
    quiet: Duration,
    /// Since when, and how many records were read then.
    since: Option<(Instant, u64)>,
}

impl Idle {
    fn new(quiet: Duration) -> Self {
        Self { quiet, since: None }
    }

    fn is_over(&mut self, pipeline: &Pipeline) -> bool {
        let read = pipeline.records_read();
        let still = self.since.filter(|(_, then)| *then == read);
        if !pipeline.is_idle() {
            self.since = None;
            return false;
        }
        let (since, _) = *self.since.insert(still.unwrap_or((Instant::now(), read)));
        if since.elapsed() < self.quiet {
            return false;
        }
        // What inotify has not told yet is found now.
        pipeline.rescan();
        pipeline.is_idle() && pipeline.records_read() == read
    }
}
