//! `logferry check`: every mistake of a config at once. Opens and binds nothing; with `--connect` it goes on to ask the
//! outputs whether they would take the records, and changes nothing there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::status::clean;
use crate::cli::{CheckArgs, Exit};
use crate::config::checked::{InputKind, OutputKind};
use crate::config::{Checked, Mistake, System, World, load};
use crate::output::kafka::probe::{Finding, Keys, Records, Wanted, Weight, probe};
use crate::output::{file, kafka};
use crate::pipeline::{CREATE_TIME_AFTER, CREATE_TIME_BEFORE};

/// How long librdkafka may take, after the last answer, to let go of its connections.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Prints what is wrong with the config to stderr, or that it is fine to stdout; with `--connect`, the same of its Kafka.
///
/// # Errors
/// If the output can't be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let (report, checked) = report(&args.config, &System);
    std::io::stderr().write_all(report.stderr.as_bytes())?;
    std::io::stdout().write_all(report.stdout.as_bytes())?;
    match checked {
        Some(checked) if args.connect => connect(&checked, args.within),
        _ => Ok(report.exit),
    }
}

/// Asks the outputs; what is wrong goes to stderr, the rest to stdout, a line each.
fn connect(checked: &Checked, within: Duration) -> anyhow::Result<Exit> {
    let records = Records { time_before: CREATE_TIME_BEFORE, time_after: CREATE_TIME_AFTER };
    let mut findings = Vec::new();
    for output in &checked.outputs {
        let mut found = match &output.kind {
            OutputKind::Kafka(kafka) => {
                let (topics, skipped) = wanted(checked, &output.name);
                let mut found = probe(kafka, &topics, records, within);
                found.extend(skipped);
                found
            }
            OutputKind::File(options) => vec![of_file(file::probe::probe(options))],
        };
        if checked.outputs.len() > 1 {
            // With one output its name says nothing.
            found.iter_mut().for_each(|finding| finding.object = format!("output {}: {}", output.name, finding.object));
        }
        findings.extend(found);
    }
    for finding in &findings {
        let line = clean(&finding.to_string());
        match finding.weight {
            Weight::Fine => writeln!(std::io::stdout(), "{line}")?,
            Weight::Note => writeln!(std::io::stdout(), "note: {line}")?,
            Weight::Wrong => writeln!(std::io::stderr(), "wrong: {line}")?,
        }
    }
    // OpenSSL must not be torn down below a thread that still uses it.
    kafka::wait_closed(CLOSE_WITHIN);
    let wrong = findings.iter().filter(|finding| finding.weight == Weight::Wrong).count();
    match wrong {
        0 => return Ok(Exit::Fine),
        1 => writeln!(std::io::stderr(), "1 thing is wrong")?,
        _ => writeln!(std::io::stderr(), "{wrong} things are wrong")?,
    }
    Ok(Exit::Failed)
}

/// A field that every event of the input has, unless a processor takes it away.
fn is_always_there(kind: &InputKind, field: &str) -> bool {
    field == "host.name" || (field == "log.file.path" && matches!(kind, InputKind::File(_)))
}

fn of_file(probed: Result<PathBuf, String>) -> Finding {
    match probed {
        Ok(dir) => Finding {
            weight: Weight::Fine,
            object: format!("directory {}", dir.display()),
            what: "can be written".to_owned(),
            fix: String::new(),
        },
        Err(why) => {
            let (what, fix) = why.rsplit_once("; ").unwrap_or((&why, ""));
            Finding { weight: Weight::Wrong, object: "path".to_owned(), what: what.to_owned(), fix: fix.to_owned() }
        }
    }
}

/// The topics of an output that are known beforehand, and what can be said of the others.
fn wanted(checked: &Checked, output: &str) -> (Vec<Wanted>, Vec<Finding>) {
    let mut topics: BTreeMap<String, (Vec<&str>, Keys)> = BTreeMap::new();
    let mut skipped = Vec::new();
    let mut fallback_keys = None;
    for input in &checked.inputs {
        let Some(route) = input.routes.iter().find(|route| route.output == output) else { continue };
        let keys = match &route.key {
            None => Keys::None,
            Some(key) if key.fields().all(|field| is_always_there(&input.kind, &field.to_string())) => Keys::All,
            Some(_) => Keys::Most,
        };
        let steps = input.processors.iter().chain(&checked.processors);
        let routes: Vec<_> = steps.flat_map(|step| step.processor.routes()).collect();
        let routed = routes.iter().filter_map(|to| {
            let keys = if to.key.is_some() { Keys::Most } else { keys };
            Some((to.topic.as_ref()?, keys))
        });
        for (template, keys) in [(&route.topic, keys)].into_iter().chain(routed) {
            if let Some(topic) = template.literal() {
                let (by, all_keys) = topics.entry(topic.to_owned()).or_insert_with(|| (Vec::new(), keys));
                if by.last() != Some(&input.name.as_str()) {
                    by.push(&input.name);
                }
                *all_keys = (*all_keys).max(keys);
            } else {
                let what = format!(
                    "its topics depend on the events ({}) and are not looked at",
                    template.fields().map(|field| format!("%{{[{field}]}}")).collect::<Vec<_>>().join(", ")
                );
                let object = format!("input {}", input.name);
                skipped.push(Finding { weight: Weight::Note, object, what, fix: String::new() });
                fallback_keys = fallback_keys.max(Some(keys));
            }
        }
    }
    let mut wanted: Vec<Wanted> = topics
        .into_iter()
        .map(|(topic, (by, keys))| {
            let inputs = if by.len() == 1 { "input" } else { "inputs" };
            Wanted { topic, by: format!("{inputs} {}", by.join(", ")), keys }
        })
        .collect();
    // Where every topic is fixed, nothing goes to the fallback topic: it need not be there.
    if let Some(keys) = fallback_keys
        && wanted.iter().all(|wanted| wanted.topic != checked.fallback_topic)
    {
        wanted.push(Wanted { topic: checked.fallback_topic.clone(), by: "fallback_topic".to_owned(), keys });
    }
    if let Some(OutputKind::Kafka(kafka)) = checked.output(output).map(|output| &output.kind)
        && let Some(topic) = &kafka.dead_letter.topic
        && wanted.iter().all(|wanted| wanted.topic != *topic)
    {
        // Any record may end there.
        let keys = wanted.iter().map(|wanted| wanted.keys).max().unwrap_or(Keys::All);
        wanted.push(Wanted { topic: topic.clone(), by: "dead_letter".to_owned(), keys });
    }
    (wanted, skipped)
}

/// What the command says.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    stdout: String,
    stderr: String,
    exit: Exit,
}

fn report(paths: &[PathBuf], world: &dyn World) -> (Report, Option<Checked>) {
    match load(paths, world) {
        Ok(checked) => {
            let report = Report { stdout: fine(&checked), stderr: warnings(&checked), exit: Exit::Fine };
            (report, Some(checked))
        }
        Err(mistakes) => {
            let stderr = mistakes_text(&mistakes);
            (Report { stdout: String::new(), stderr, exit: Exit::BadConfig }, None)
        }
    }
}

/// The mistakes of a config, a line each, and how many there are.
pub fn mistakes_text(mistakes: &[Mistake]) -> String {
    let lines: String = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
    let many = if mistakes.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", mistakes.len()) };
    format!("{lines}{many}\n")
}

/// The warnings of a config, a line each.
pub fn warnings(checked: &Checked) -> String {
    let mut text = String::new();
    for warning in &checked.warnings {
        let whole = warning.to_string();
        let (place, message) = whole.split_at(whole.len() - warning.message.len());
        // Writing to a String cannot fail.
        writeln!(text, "{place}warning: {message}").ok();
    }
    text
}

fn fine(checked: &Checked) -> String {
    let names: Vec<&str> = checked.files.iter().map(|file| file.name.as_str()).collect();
    let are = if names.len() == 1 { "is" } else { "are" };
    let files = checked.inputs.iter().filter(|input| matches!(input.kind, InputKind::File(_))).count();
    let kinds = match (files, checked.inputs.len() - files) {
        (0, _) => "stdin".to_owned(),
        (files, 0) => format!("{files} file"),
        (files, _) => format!("{files} file, stdin"),
    };
    let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let outputs: Vec<String> = checked
        .outputs
        .iter()
        .map(|output| {
            let to = match &output.kind {
                OutputKind::Kafka(kafka) => plural(kafka.connection.brokers.len(), "broker"),
                OutputKind::File(file) => file.path.clone(),
            };
            format!("output `{}` to {to}", output.name)
        })
        .collect();
    format!(
        "{} {are} fine: {} ({kinds}), {}, {}\n",
        names.join(", "),
        plural(checked.inputs.len(), "input"),
        plural(
            checked.processors.len() + checked.inputs.iter().map(|input| input.processors.len()).sum::<usize>(),
            "processor"
        ),
        outputs.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("logferry.yaml");
        std::fs::write(&path, text).expect("a file");
        (dir, path)
    }

    #[test]
    fn a_fine_config_is_said_to_be_fine_with_its_warnings() {
        let (_dir, path) = config(
            "inputs:\n  web: {type: file, paths: [/var/log/*.log]}\n  in: {type: stdin}\noutputs:\n  main:\n    type: kafka\n    brokers: [k:9092]\n    tls: {verify: false}\n",
        );
        let (report, checked) = report(std::slice::from_ref(&path), &System);
        assert_eq!(report.exit, Exit::Fine, "{}", report.stderr);
        assert!(checked.is_some());
        let file = path.display();
        assert_eq!(
            report.stdout,
            format!("{file} is fine: 2 inputs (1 file, stdin), 0 processors, output `main` to 1 broker\n")
        );
        assert!(report.stderr.starts_with(&format!("{file}:8:19: warning: `verify: false`")), "{}", report.stderr);
    }

    #[test]
    fn mistakes_are_all_said_and_the_exit_is_78() {
        let (_dir, path) = config("input: {}\noutputs:\n  main: {type: kafka}\n");
        let (report, _) = report(std::slice::from_ref(&path), &System);
        assert_eq!(report.exit, Exit::BadConfig);
        assert_eq!(report.stdout, "");
        assert!(report.stderr.contains(":1:1: unknown key `input` here (did you mean `inputs`?)"), "{}", report.stderr);
        assert!(report.stderr.contains(":3:3: `brokers` is missing"), "{}", report.stderr);
        assert!(report.stderr.ends_with("3 mistakes\n"), "{}", report.stderr);
    }

    #[test]
    fn fixed_topics_are_wanted_and_templates_are_named() {
        let (_dir, path) = config(
            "inputs:\n  a: {type: file, paths: [/a.log], topic: logs.x, key: k}\n  b: {type: stdin, topic: logs.x}\n  \
             c: {type: file, paths: [/c.log], topic: 'logs.%{[log.file.name]}'}\n\
             outputs:\n  main: {type: kafka, brokers: [k:9092], topic: logs.raw, dead_letter: {topic: logs.dead}}\n",
        );
        let (report, checked) = report(std::slice::from_ref(&path), &System);
        let checked = checked.unwrap_or_else(|| panic!("{}", report.stderr));
        let (topics, skipped) = wanted(&checked, "main");
        let expect = |topic: &str, by: &str, keys| Wanted { topic: topic.into(), by: by.into(), keys };
        assert_eq!(
            topics,
            [
                expect("logs.x", "inputs a, b", Keys::None),
                expect("logs.fallback", "fallback_topic", Keys::All),
                expect("logs.dead", "dead_letter", Keys::None)
            ],
            "the output's topic is used by nobody"
        );
        let said: Vec<String> = skipped.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["input c: its topics depend on the events (%{[log.file.name]}) and are not looked at"]);
    }

    #[test]
    fn topics_of_processors_are_wanted_too() {
        let (_dir, path) = config(
            "inputs:\n  a:\n    type: file\n    paths: [/a.log]\n    processors:\n    - when:\n        if: message contains 'x'\n        \
             then: [{ route: { topic: logs.parsed } }]\n        else: [{ route: { topic: 'logs.%{[b]}' } }]\n\
             processors:\n- route: { topic: logs.raw, if: tags exists }\n\
             outputs:\n  main: {type: kafka, brokers: [k:9092], topic: logs.raw}\n",
        );
        let (report, checked) = report(std::slice::from_ref(&path), &System);
        let checked = checked.unwrap_or_else(|| panic!("{}", report.stderr));
        let (topics, skipped) = wanted(&checked, "main");
        let topics: Vec<(&str, &str)> = topics.iter().map(|one| (one.topic.as_str(), one.by.as_str())).collect();
        assert_eq!(topics, [("logs.parsed", "input a"), ("logs.raw", "input a"), ("logs.fallback", "fallback_topic")]);
        assert_eq!(skipped.len(), 1);
    }

    #[test]
    fn files_that_are_there() {
        let (missing, _) = report(&[PathBuf::from("/nowhere/logferry.yaml")], &System);
        assert_eq!(missing.exit, Exit::BadConfig);
        assert!(
            missing.stderr.starts_with("/nowhere/logferry.yaml: cannot read the config file"),
            "{}",
            missing.stderr
        );
        let (two, _) = report(&[PathBuf::from("/a.yaml"), PathBuf::from("/b.yaml")], &System);
        let said: Vec<&str> = two.stderr.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(said, ["/a.yaml", "/b.yaml", "2 mistakes"], "what is missing may be in them: {}", two.stderr);
        let empty = tempfile::tempdir().expect("a directory");
        let (none, _) = report(&[empty.path().to_owned()], &System);
        assert!(none.stderr.contains("no config file: no `*.yaml`"), "{}", none.stderr);
    }
}
