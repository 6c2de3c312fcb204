//! When a running agent takes in what has changed: the whole config at SIGHUP; at any time the files that it names
//! (certificates, keys, passwords), with the config as it was last read, since a file that somebody is just editing must
//! not take effect by itself.
//!
//! A mistake changes nothing, and the log says all of them. What the changes do is the pipeline's.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::check::warnings;
use crate::config::{Checked, ConfigFile, Mistake, System, check, read};
use crate::pipeline::{Pipeline, ReloadError};

/// How often the files that the config names are looked at. Taken in is what was the same at two looks: a certificate and its
/// key are rarely written at the same time.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What could not be taken in is tried again after this long: the cluster may have been away.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Tells whether a file was written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified_ns: (i64, i64),
    inode: u64,
    device: u64,
    size: u64,
}

/// The stamp of each file; `None`: it is not there.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// The config of a running agent, as far as it is needed to take in changes.
pub struct Reloader {
    /// As named on the command line.
    paths: Vec<PathBuf>,
    /// As they were when they were last good.
    files: Vec<ConfigFile>,
    named: Vec<PathBuf>,
    /// What the agent runs with.
    taken: Stamps,
    /// What the last look saw.
    seen: Stamps,
    look_at: Instant,
    retry_at: Option<Instant>,
    /// Reloads so far.
    count: u64,
}

impl Reloader {
    /// For an agent that starts with `checked`, from `paths`.
    pub fn new(paths: Vec<PathBuf>, checked: &Checked) -> Self {
        let taken = stamps(&checked.files_named);
        Self {
            paths,
            files: checked.files.clone(),
            named: checked.files_named.clone(),
            seen: taken.clone(),
            taken,
            look_at: Instant::now() + LOOK_EVERY,
            retry_at: None,
            count: 0,
        }
    }

    /// Reads the whole config anew, and lets the agent run with it if it is good.
    pub fn reload(&mut self, pipeline: &mut Pipeline, is_interrupted: &dyn Fn() -> bool) {
        tracing::info!(reload = self.count + 1, "reloading the config");
        let files = read(&self.paths, &System);
        self.take_in(pipeline, &files, is_interrupted);
    }

    /// Looks whether files that the config names have changed, if it is time, and takes in those that have.
    pub fn look(&mut self, pipeline: &mut Pipeline, is_interrupted: &dyn Fn() -> bool) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let before = std::mem::replace(&mut self.seen, stamps(&self.named));
        let is_news = self.seen != self.taken && self.seen == before;
        if !is_news && self.retry_at.is_none_or(|at| now < at) {
            return;
        }
        for (path, stamp) in &self.seen {
            if self.taken.get(path) != Some(stamp) {
                tracing::info!(file = %path.display(), "a file that the config names has changed");
            }
        }
        // Also if it is no good: it is looked at again when it changes again, or after a while.
        self.taken.clone_from(&self.seen);
        let files = self.files.clone();
        let is_taken = self.take_in(pipeline, &files, is_interrupted);
        self.retry_at = (!is_taken).then(|| now + RETRY_AFTER);
    }

    /// Lets the agent run with `files`. Whether it does, with all of it.
    fn take_in(&mut self, pipeline: &mut Pipeline, files: &[ConfigFile], is_interrupted: &dyn Fn() -> bool) -> bool {
        // Told apart, so that the log leaves none of them out.
        self.count += 1;
        let reload = self.count;
        let before = stamps(&self.named);
        let error = match check(files, &System) {
            Ok(checked) => {
                for line in warnings(&checked).lines() {
                    tracing::warn!("{line}");
                }
                let named = checked.files_named.clone();
                let done = pipeline.reload(checked, is_interrupted);
                if matches!(done, Ok(_) | Err(ReloadError::Inputs(_))) {
                    self.runs_with(files, named, before);
                }
                match done {
                    Ok(changes) => {
                        tracing::info!(reload, "config reloaded; {changes}");
                        None
                    }
                    Err(error @ ReloadError::Inputs(_)) => Some(format!("config reloaded in part; {error}")),
                    Err(error) => Some(format!("config not reloaded; {error}")),
                }
            }
            Err(mistakes) => Some(format!("config not reloaded; nothing was changed: {}", said(&mistakes, reload))),
        };
        if let Some(error) = &error {
            tracing::error!(reload, "{error}");
        }
        let is_taken = error.is_none();
        pipeline.note_reload(error);
        is_taken
    }

    /// The agent runs with `files` now, and what was in the files `named` there; `before`: the stamps of those that were known,
    /// from before they were read.
    fn runs_with(&mut self, files: &[ConfigFile], named: Vec<PathBuf>, before: Stamps) {
        self.files = files.to_vec();
        self.taken = stamps(&named);
        self.taken.extend(before.into_iter().filter(|(path, _)| named.contains(path)));
        self.seen.clone_from(&self.taken);
        (self.named, self.retry_at) = (named, None);
    }
}

/// Logs each mistake with its place; how many there are.
fn said(mistakes: &[Mistake], reload: u64) -> String {
    for mistake in mistakes {
        tracing::error!(reload, %mistake, "the config is wrong");
    }
    match mistakes {
        [only] => only.to_string(),
        [first, ..] => format!("{} mistakes in the config, the first: {first}", mistakes.len()),
        [] => String::new(),
    }
}

fn stamps(paths: &[PathBuf]) -> Stamps {
    paths.iter().map(|path| (path.clone(), stamp(path))).collect()
}

/// Links are followed: a Kubernetes volume replaces the link, not the file.
fn stamp(path: &Path) -> Option<Stamp> {
    let stat = std::fs::metadata(path).ok()?;
    let modified_ns = (stat.mtime(), stat.mtime_nsec());
    Some(Stamp { modified_ns, inode: stat.ino(), device: stat.dev(), size: stat.size() })
}
