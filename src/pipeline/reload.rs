//! Another config for a running pipeline: compared with the one it runs with, by name; only what differs is touched.
//!
//! What can't change while it runs is refused before anything is done, and so is an output whose new settings do not reach
//! the cluster: then nothing has changed. An input that changed is stopped (what it has in flight is waited for, so that
//! nothing is repeated) and started from its checkpoints; an output gets a new producer, make before break. Inputs and
//! outputs that did not change keep their sources, lanes and connections, and do not pause. An output that comes or goes changes
//! the inputs that feed it: it is started before them, and ended after them.
//!
//! Not here: reading and checking configs, and when to.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::build::{
    CLOSE_POLL, Pipeline, adopt_files, feed, letters_of, limits_of, now_seconds, plan_of, start_output,
};
use super::cloud;
use super::plan::Plan;
use super::report::{Live, LiveOutput, OutputTraits};
use super::sources::Doing;
use crate::batch::SourceKey;
use crate::checkpoint::Entry;
use crate::config::Checked;
use crate::config::checked::{CheckedInput, CheckedOutput, InputKind};
use crate::input::file::Legacy;
use crate::telemetry::logs;

/// How often what waits for a topic that can't take it is given up, while an input ends.
const GIVE_UP_EVERY: Duration = Duration::from_millis(100);

/// What a reload has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub inputs_added: Vec<String>,
    pub inputs_changed: Vec<String>,
    pub inputs_removed: Vec<String>,
    pub outputs_added: Vec<String>,
    /// Those whose producer was replaced, among them.
    pub outputs_changed: Vec<String>,
    pub outputs_removed: Vec<String>,
    /// Sections of the top level that took effect.
    pub sections: Vec<&'static str>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("nothing was changed: restart to change {}", .0.join(", "))]
    Fixed(Vec<String>),
    #[error("nothing was changed: output {output}: {message}; its producer stays")]
    Output { output: String, message: String },
    #[error("nothing was changed: {0}")]
    NewOutput(String),
    /// Everything else was changed.
    #[error("all else was changed, but {}", .0.join("; "))]
    Inputs(Vec<String>),
}

impl Changes {
    /// What a new config changes.
    ///
    /// # Errors
    /// [`ReloadError::Fixed`]
    fn between(old: &Checked, new: &Checked) -> Result<Self, ReloadError> {
        let find = |inputs: &[CheckedInput], name: &str| inputs.iter().position(|input| input.name == name);
        let mut changes = Self::default();
        for input in &new.inputs {
            match find(&old.inputs, &input.name).map(|at| &old.inputs[at]) {
                None => changes.inputs_added.push(input.name.clone()),
                Some(before) if before.meaning != input.meaning => changes.inputs_changed.push(input.name.clone()),
                Some(_) => {}
            }
        }
        let gone = old.inputs.iter().filter(|input| find(&new.inputs, &input.name).is_none());
        changes.inputs_removed = gone.map(|input| input.name.clone()).collect();
        for output in &new.outputs {
            match old.output(&output.name) {
                None => changes.outputs_added.push(output.name.clone()),
                Some(before)
                    if (&before.kind, before.required, before.spool)
                        != (&output.kind, output.required, output.spool) =>
                {
                    changes.outputs_changed.push(output.name.clone());
                }
                Some(_) => {}
            }
        }
        let gone = old.outputs.iter().filter(|output| new.output(&output.name).is_none());
        changes.outputs_removed = gone.map(|output| output.name.clone()).collect();
        let sections = [
            (old.logging.level != new.logging.level, "logging.level"),
            (old.shutdown_after != new.shutdown_after, "shutdown_after"),
        ];
        changes.sections = sections.into_iter().filter_map(|(differs, name)| differs.then_some(name)).collect();
        let fixed = changes.fixed(old, new);
        if fixed.is_empty() { Ok(changes) } else { Err(ReloadError::Fixed(fixed)) }
    }

    /// What can't be changed, by name.
    fn fixed(&self, old: &Checked, new: &Checked) -> Vec<String> {
        let differs = [
            (old.data_dir != new.data_dir, "data_dir"),
            (old.memory_bytes_max != new.memory_bytes_max, "memory.max_bytes"),
            (old.admin != new.admin, "admin.listen"),
            (old.logging.format != new.logging.format, "logging.format"),
        ];
        let mut fixed: Vec<String> =
            differs.into_iter().filter(|(differs, _)| *differs).map(|(_, name)| name.to_owned()).collect();
        let stopped = |name: &String| self.inputs_changed.contains(name) || self.inputs_removed.contains(name);
        let is_stdin = |input: &&CheckedInput| matches!(input.kind, InputKind::Stdin(_));
        for input in old.inputs.iter().chain(&new.inputs).filter(is_stdin).filter(|input| stopped(&input.name)) {
            let what = format!("input {} (what is read from a pipe can't be read again)", input.name);
            if !fixed.contains(&what) {
                fixed.push(what);
            }
        }
        fixed
    }

    /// Inputs that end: those that are gone, and those that start anew.
    fn inputs_ended(&self) -> HashSet<&str> {
        self.inputs_changed.iter().chain(&self.inputs_removed).map(String::as_str).collect()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |what: &str, names: &[String]| {
            if names.is_empty() { None } else { Some(format!("{what} {}", names.join(", "))) }
        };
        let parts = [
            list("inputs added:", &self.inputs_added),
            list("inputs changed:", &self.inputs_changed),
            list("inputs removed:", &self.inputs_removed),
            list("outputs added:", &self.outputs_added),
            list("outputs changed:", &self.outputs_changed),
            list("outputs removed:", &self.outputs_removed),
            list("changed:", &self.sections.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") }.as_str())
    }
}

impl Pipeline {
    /// Runs with another config from now on. Waits for what ended inputs have in flight, `shutdown_after` at most, or until
    /// `is_interrupted`: somebody wants the whole agent to end.
    ///
    /// # Errors
    /// Why nothing was changed; but for [`ReloadError::Inputs`], which names inputs that can't be started.
    pub fn reload(&mut self, checked: Checked, is_interrupted: &dyn Fn() -> bool) -> Result<Changes, ReloadError> {
        let changes = Changes::between(&self.current, &checked)?;
        cloud::look_up(&checked.clouds, &self.current.clouds, is_interrupted);
        let added = self.new_outputs(&changes, &checked)?;
        if let Err(error) = self.replace_producers(&changes, &checked, is_interrupted) {
            added.iter().for_each(|output| output.end());
            return Err(error);
        }
        self.inner.add_outputs(added);
        for (live, output) in self.inner.outputs_of(&checked) {
            live.deliver.set_limits(limits_of(&checked, output));
            live.deliver.set_spool(output.spool.bytes_max, output.spool.when_full);
            if self.current.output(&output.name).is_some_and(|before| before.kind != output.kind) {
                live.deliver.set_letters(letters_of(&checked, output, &self.inner.budget));
            }
            live.set_traits(OutputTraits::of(output));
        }
        if changes.sections.contains(&"logging.level") {
            logs::set_level(checked.logging.level());
        }
        let legacies = self.end_inputs(&changes.inputs_ended(), is_interrupted);
        self.current = checked;
        if is_interrupted() {
            return Ok(changes);
        }
        let failed = self.start_inputs(&changes, legacies);
        for output in self.inner.take_outputs(&changes.outputs_removed) {
            output.end();
        }
        if failed.is_empty() { Ok(changes) } else { Err(ReloadError::Inputs(failed)) }
    }

    /// Starts the outputs that are new. Nobody feeds them yet.
    fn new_outputs(&self, changes: &Changes, checked: &Checked) -> Result<Vec<Arc<LiveOutput>>, ReloadError> {
        let names: Vec<&str> = changes.outputs_added.iter().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let ids = self.store.outputs(&names).map_err(|error| ReloadError::NewOutput(error.to_string()))?;
        let mut added: Vec<Arc<LiveOutput>> = Vec::new();
        for (name, id) in names.into_iter().zip(ids) {
            let Some(output) = checked.output(name) else { continue };
            let produce = (self.make)(output);
            let (sources, budget, disk) = (&self.inner.sources, &self.inner.budget, Arc::clone(&self.disk));
            match start_output(checked, output, id, produce, sources, &self.pool, &self.last_seq, budget, disk) {
                Ok(started) => added.push(started),
                Err(error) => {
                    added.iter().for_each(|output| output.end());
                    return Err(ReloadError::NewOutput(format!("{error:#}")));
                }
            }
        }
        Ok(added)
    }

    /// Gives outputs that changed other producers. If one of them does not reach its cluster, those before it get their old
    /// settings back.
    fn replace_producers(
        &self,
        changes: &Changes,
        checked: &Checked,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ReloadError> {
        let mut done: Vec<(Arc<LiveOutput>, &CheckedOutput)> = Vec::new();
        for (live, output) in self.inner.outputs_of(checked) {
            let Some(before) = self.current.output(&output.name) else { continue };
            if !changes.outputs_changed.contains(&output.name) || before.kind == output.kind {
                continue;
            }
            match live.deliver.replace((self.make)(output), is_interrupted) {
                Ok(()) => done.push((live, before)),
                Err(message) => {
                    for (live, before) in done {
                        if let Err(error) = live.deliver.replace((self.make)(before), is_interrupted) {
                            tracing::error!(output = %live.name, %error, "the old settings can't be put back; the new ones stay");
                        }
                    }
                    return Err(ReloadError::Output { output: output.name.clone(), message });
                }
            }
        }
        Ok(())
    }

    /// For status and metrics; `error`: why the reload failed.
    pub fn note_reload(&self, error: Option<String>) {
        self.inner.config.lock().unwrap_or_else(PoisonError::into_inner).reloaded(error, now_seconds());
    }

    /// Ends the inputs of these names, once what they have in flight is settled and committed. What they leave.
    fn end_inputs(&self, names: &HashSet<&str>, is_interrupted: &dyn Fn() -> bool) -> HashMap<String, Legacy> {
        let mut legacies = HashMap::new();
        if names.is_empty() {
            return legacies;
        }
        let mut plans = Vec::new();
        let mut running = Vec::new();
        for live in self.inner.inputs().iter_mut().filter(|live| names.contains(live.plan.name.as_str())) {
            plans.push(Arc::clone(&live.plan));
            running.extend(live.running.take().map(|running| (live.plan.name.clone(), running)));
        }
        // First who adds sources, then the sources.
        for (name, input) in running {
            legacies.insert(name, input.stop());
        }
        for plan in &plans {
            for token in self.inner.sources.retire(plan) {
                plan.targets.iter().for_each(|target| target.deliver().forget(token.0));
            }
        }
        self.await_settled(&plans, is_interrupted);
        for plan in &plans {
            let bytes = self.inner.sources.forget_retired(plan);
            if bytes > 0 {
                let within = self.current.shutdown_after;
                tracing::warn!(input = %plan.name, bytes, ?within, "not all was acknowledged in time; it is read again");
            }
        }
        self.commit_now();
        legacies
    }

    /// Waits until nothing of the sources of these plans is in flight; what waits for a topic that can't take it is given up.
    fn await_settled(&self, plans: &[Arc<Plan>], is_interrupted: &dyn Fn() -> bool) {
        let began = Instant::now();
        let mut give_up_at = began;
        let mut keys = None;
        loop {
            let (mut receipts, mut running) = (0, 0);
            for plan in plans {
                self.inner.sources.each(plan, |doing, ack| {
                    receipts += ack.receipts();
                    running += u64::from(doing != Doing::Retired);
                });
            }
            if receipts + running == 0 || began.elapsed() >= self.current.shutdown_after || is_interrupted() {
                return;
            }
            // What a worker still has comes behind what is waiting, and would arrive before it is read again (I3).
            if running == 0 && Instant::now() >= give_up_at {
                let keys = keys.get_or_insert_with(|| self.sources_of(plans));
                // What an output that is not required has may be read again by nobody: its source does not wait for it.
                let required = plans.iter().flat_map(|plan| &plan.targets).filter(|target| target.required);
                required.for_each(|target| target.deliver().give_up(keys));
                give_up_at = Instant::now() + GIVE_UP_EVERY;
            }
            std::thread::sleep(CLOSE_POLL);
        }
    }

    /// Who of these inputs may have something in flight: their sources, and those of which an earlier reload has left something
    /// that comes before it in its lane or behind it.
    fn sources_of(&self, plans: &[Arc<Plan>]) -> HashSet<SourceKey> {
        let mut keys = HashSet::new();
        for plan in plans {
            self.inner.sources.each(plan, |_, ack| {
                keys.insert(ack.key());
            });
        }
        let is_theirs = |entry: &Entry| plans.iter().any(|plan| *plan.name == *entry.input);
        let visited = self.store.entries(|key, entry| {
            if is_theirs(&entry) {
                keys.insert(key);
            }
        });
        if let Err(error) = visited {
            tracing::warn!(%error, "which files ended inputs had is not known; some of it may arrive in another order");
        }
        keys
    }

    /// Starts what was added and what changed. Why some of it does not start.
    fn start_inputs(&mut self, changes: &Changes, mut legacies: HashMap<String, Legacy>) -> Vec<String> {
        self.inner.inputs().retain(|live| !changes.inputs_removed.contains(&live.plan.name));
        let mut failed = Vec::new();
        if !changes.inputs_added.is_empty()
            && let Err(error) = adopt_files(&self.current, &self.store)
        {
            // Its files are read from their beginning then: repeated, not lost.
            tracing::warn!(error = %format!("{error:#}"), "a renamed input can't go on in its files");
        }
        let is_new = |name: &String| changes.inputs_added.contains(name) || changes.inputs_changed.contains(name);
        let outputs = self.inner.outputs().clone();
        let new_inputs = || self.current.inputs.iter().filter(|input| is_new(&input.name));
        let plans: Vec<Arc<Plan>> =
            new_inputs().map(|input| Arc::new(plan_of(&self.current, input, &outputs))).collect();
        let fed = if plans.is_empty() { Ok(()) } else { feed(&plans, &self.store) };
        for input in new_inputs() {
            if let Err(error) = &fed {
                let message = format!("input {} can't be started: {error:#}", input.name);
                failed.push((input.name.clone(), message));
                continue;
            }
            let mut plan = plan_of(&self.current, input, &outputs);
            let mut inputs = self.inner.inputs();
            let before = inputs.iter().position(|live| live.plan.name == input.name).map(|at| inputs.remove(at));
            if let Some(before) = before {
                plan.counters = Arc::clone(&before.plan.counters);
            }
            let plan = Arc::new(plan);
            inputs.push(Live { plan: Arc::clone(&plan), running: None });
            inputs.sort_by(|one, other| one.plan.name.cmp(&other.plan.name));
            drop(inputs);
            match self.start_input(input, plan, legacies.remove(&input.name).unwrap_or_default()) {
                Ok(running) => {
                    let mut inputs = self.inner.inputs();
                    if let Some(live) = inputs.iter_mut().find(|live| live.plan.name == input.name) {
                        live.running = Some(running);
                    }
                }
                Err(error) => {
                    failed.push((input.name.clone(), format!("input {} can't be started: {error:#}", input.name)))
                }
            }
        }
        // The next reload starts them as new ones.
        self.current.inputs.retain(|input| !failed.iter().any(|(name, _)| *name == input.name));
        failed.into_iter().map(|(_, message)| message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{System, check_text};

    const BASE: &str = "data_dir: /d
inputs:
  heir: {type: file, paths: [/a]}
  own: {type: file, paths: [/b], topic: t, codec: raw, key: k}
outputs:
  main:
    type: kafka
    brokers: ['k:1']
";

    fn checked(text: &str) -> Checked {
        check_text("f", text, &System).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes:#?}"))
    }

    /// What [`BASE`] becomes with `from` replaced by `to`, as the log says it.
    fn check(from: &str, to: &str, expect: &str) {
        check_between(BASE, from, to, expect);
    }

    #[track_caller]
    fn check_between(base: &str, from: &str, to: &str, expect: &str) {
        assert!(base.contains(from), "{from}");
        let changes = Changes::between(&checked(base), &checked(&base.replace(from, to)));
        let said = changes.map_or_else(|error| error.to_string(), |changes| changes.to_string());
        assert_eq!(said, expect, "{from} → {to}");
    }

    #[test]
    fn only_what_means_something_else_has_changed() {
        check("", "", "nothing");
        check("data_dir: /d", "# a remark\ndata_dir: '/d'\nmemory: {max_bytes: 32MiB}", "nothing");
        check("[/a]}", "[/a], tags: []}", "nothing");
        check("[/a]}", "[/a], tags: [x]}", "inputs changed: heir");
        check("  own:", "  else:", "inputs added: else; inputs removed: own");
        check("brokers: ['k:1']", "brokers: ['k:1']\n    linger: 5ms", "outputs changed: main");
        check("brokers: ['k:1']", "brokers: ['k:1']\n    topic: u", "inputs changed: heir");
        check("brokers: ['k:1']", "brokers: ['k:1']\n    codec: raw", "inputs changed: heir");
        check("brokers: ['k:1']", "brokers: ['k:1']\n    headers: {a: b}", "inputs changed: heir, own");
        check(
            "brokers: ['k:1']",
            "brokers: ['k:1']\n    max_record_bytes: 2MB",
            "inputs changed: heir, own; outputs changed: main",
        );
        check(
            "brokers: ['k:1']",
            "brokers: ['k:1']\n    required: false",
            "inputs changed: heir, own; outputs changed: main",
        );
        let other = "  main:\n    type: kafka\n    brokers: ['k:1']\n  other: {type: file, path: /o}";
        check(
            "  main:\n    type: kafka\n    brokers: ['k:1']",
            other,
            "inputs changed: heir, own; outputs added: other",
        );
        check("  main:", "  other:", "inputs changed: heir, own; outputs added: other; outputs removed: main");
        let two = BASE.replace("[/b],", "[/b], outputs: [main],") + "  other: {type: file, path: /o}\n";
        check_between(&two, "path: /o", "path: /p", "outputs changed: other");
        check_between(&two, "path: /o", "path: /o, topic: x", "inputs changed: heir");
        check_between(&two, "  other: {type: file, path: /o}\n", "", "inputs changed: heir; outputs removed: other");
        check("data_dir: /d", "data_dir: /d\nprocessors: [{drop_event: {}}]", "inputs changed: heir, own");
        check("data_dir: /d", "data_dir: /d\nfallback_topic: f", "inputs changed: heir, own");
        check(
            "data_dir: /d",
            "data_dir: /d\nlogging: {level: debug}\nshutdown_after: 1s\nspool: {after: 1s}",
            "outputs changed: main; changed: logging.level, shutdown_after",
        );
        check_between(&two, "path: /o", "path: /o, spool: {max_bytes: 2GiB}", "outputs changed: other");
        check_between(&two, "path: /o", "path: /o, spool: {max_bytes: 1GiB}", "nothing");
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let refused = |what: &str| format!("nothing was changed: restart to change {what}");
        check("data_dir: /d", "data_dir: /e\nlogging: {level: debug}", &refused("data_dir"));
        check("data_dir: /d", "data_dir: /d\nmemory: {max_bytes: 64MiB}", &refused("memory.max_bytes"));
        check(
            "data_dir: /d",
            "data_dir: /e\nadmin: {listen: 'off'}\nlogging: {format: json}",
            &refused("data_dir, admin.listen, logging.format"),
        );
        let stdin = BASE.replace("heir: {type: file, paths: [/a]}", "in: {type: stdin}");
        let pipe = refused("input in (what is read from a pipe can't be read again)");
        check_between(&stdin, "{type: stdin}", "{type: stdin, tags: [x]}", &pipe);
        check_between(&stdin, "in: {type: stdin}", "", &pipe);
        check_between(&stdin, "[/b]", "[/c]", "inputs changed: own");
        check("heir:", "in: {type: stdin}\n  heir:", "inputs added: in");
    }

    /// Scenario: the certificate authority is renewed under its old name. Guarantee: the output has changed.
    #[test]
    fn other_contents_of_a_certificate_are_another_output() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("ca.pem");
        let text = format!("{BASE}    tls: {{ca_file: {}}}\n", file.display());
        let with = |contents: &str| {
            std::fs::write(&file, format!("-----BEGIN CERTIFICATE-----\n{contents}\n")).expect("written");
            checked(&text)
        };
        let (one, same, other) = (with("one"), with("one"), with("other"));
        let said = |new| Changes::between(&one, new).map(|changes| changes.to_string()).expect("nothing is refused");
        assert_eq!((said(&same), said(&other)), ("nothing".to_owned(), "outputs changed: main".to_owned()));
        assert_eq!(one.files_named, [file]);
    }
}
