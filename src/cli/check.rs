//! `logferry check`: every mistake of a config at once. Opens and binds nothing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use crate::cli::{CheckArgs, Exit};
use crate::config::checked::InputKind;
use crate::config::{Checked, Mistake, System, World, load};

/// Prints what is wrong with the config to stderr, or that it is fine to stdout.
///
/// # Errors
/// If the output can't be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let report = report(&args.config, &System);
    std::io::stderr().write_all(report.stderr.as_bytes())?;
    std::io::stdout().write_all(report.stdout.as_bytes())?;
    Ok(report.exit)
}

/// What the command says.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    stdout: String,
    stderr: String,
    exit: Exit,
}

fn report(paths: &[PathBuf], world: &dyn World) -> Report {
    match load(paths, world) {
        Ok(checked) => Report { stdout: fine(&checked), stderr: warnings(&checked), exit: Exit::Fine },
        Err(mistakes) => Report { stdout: String::new(), stderr: mistakes_text(&mistakes), exit: Exit::BadConfig },
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
    let output = &checked.output;
    format!(
        "{} {are} fine: {} ({kinds}), {}, output `{}` to {}\n",
        names.join(", "),
        plural(checked.inputs.len(), "input"),
        plural(
            checked.processors.len() + checked.inputs.iter().map(|input| input.processors.len()).sum::<usize>(),
            "processor"
        ),
        output.name,
        plural(output.connection.brokers.len(), "broker"),
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
        let report = report(std::slice::from_ref(&path), &System);
        assert_eq!(report.exit, Exit::Fine, "{}", report.stderr);
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
        let report = report(std::slice::from_ref(&path), &System);
        assert_eq!(report.exit, Exit::BadConfig);
        assert_eq!(report.stdout, "");
        assert!(report.stderr.contains(":1:1: unknown key `input` here (did you mean `inputs`?)"), "{}", report.stderr);
        assert!(report.stderr.contains(":3:3: `brokers` is missing"), "{}", report.stderr);
        assert!(report.stderr.ends_with("3 mistakes\n"), "{}", report.stderr);
    }

    #[test]
    fn files_that_are_there() {
        let missing = report(&[PathBuf::from("/nowhere/logferry.yaml")], &System);
        assert_eq!(missing.exit, Exit::BadConfig);
        assert!(
            missing.stderr.starts_with("/nowhere/logferry.yaml: cannot read the config file"),
            "{}",
            missing.stderr
        );
        let two = report(&[PathBuf::from("/a.yaml"), PathBuf::from("/b.yaml")], &System);
        let said: Vec<&str> = two.stderr.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(said, ["/a.yaml", "/b.yaml", "2 mistakes"], "what is missing may be in them: {}", two.stderr);
        let empty = tempfile::tempdir().expect("a directory");
        let none = report(&[empty.path().to_owned()], &System);
        assert!(none.stderr.contains("no config file: no `*.yaml`"), "{}", none.stderr);
    }
}
