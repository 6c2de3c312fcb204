//! `logferry grok`: a pattern tried on lines. Fields as a table or as JSON; where a line does not match, how far the pattern got.
//! Reads no config and connects to nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::cli::{Exit, GrokArgs, GrokEngine};
use crate::process::grok::{Cast, Definitions, Engine, Explainer, Field, Grok, Int, Match, Scratch, Set, float, int};

/// Tries the pattern on the lines, or lists patterns.
///
/// # Errors
/// If a file can't be read, or the output can't be written.
pub fn run(args: &GrokArgs) -> anyhow::Result<Exit> {
    let definitions = definitions(args)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if let Some(word) = &args.list {
        return list(word, &definitions, &mut out);
    }
    let Some(pattern) = &args.pattern else { return Ok(Exit::Usage) };
    let engine = match args.engine {
        GrokEngine::Linear => Engine::Linear,
        GrokEngine::Backtracking => Engine::Backtracking,
    };
    let grok = match Grok::compile(pattern, &definitions, !args.all_names, engine) {
        Ok(grok) => grok,
        Err(error) => {
            eprintln!("error: the pattern can't be used: {error}");
            eprintln!("  {pattern}\n  {}^", " ".repeat(error.column().saturating_sub(1)));
            return Ok(Exit::Usage);
        }
    };
    let reader: Box<dyn BufRead> = match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        None => Box::new(io::stdin().lock()),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
    };
    let mut trial = Trial {
        args,
        grok: &grok,
        scratch: Scratch::default(),
        explainer: Explainer::new(pattern, &definitions, engine),
        timing: Timing::default(),
    };
    for line in reader.split(b'\n') {
        let line = line.context("can't read the lines")?;
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
        trial.line(&line, &mut out)?;
    }
    let timing = trial.timing;
    if args.timing {
        timing.show(&mut out)?;
    }
    out.flush()?;
    Ok(if timing.lines > timing.matched { Exit::Failed } else { Exit::Fine })
}

fn definitions(args: &GrokArgs) -> anyhow::Result<Definitions> {
    let mut definitions = Definitions::new(if args.v8 { Set::V8 } else { Set::Legacy });
    for folder in &args.patterns_dir {
        let mut files = Vec::new();
        if folder.is_dir() {
            let listed = std::fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))?;
            for entry in listed {
                let path = entry.with_context(|| format!("can't list {}", folder.display()))?.path();
                files.extend((!path.is_dir()).then_some(path));
            }
            files.sort();
        } else {
            files.push(folder.clone());
        }
        for file in files {
            let text = std::fs::read(&file).with_context(|| format!("can't read {}", file.display()))?;
            definitions.define_all(&String::from_utf8_lossy(&text));
        }
    }
    for definition in &args.define {
        let (name, text) = definition.split_once('=').context("--define takes NAME=REGEX")?;
        definitions.define(name, text);
    }
    Ok(definitions)
}

fn list(word: &str, definitions: &Definitions, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let wanted = word.to_uppercase();
    let mut found = false;
    for name in definitions.names().into_iter().filter(|name| name.to_uppercase().contains(&wanted)) {
        found = true;
        let definition = definitions.get(name).unwrap_or_default();
        writeln!(out, "{name}\n  {definition}")?;
        match Grok::expanded(&definition, definitions, true) {
            Ok(expanded) if expanded != *definition => writeln!(out, "  = {expanded}")?,
            Ok(_) => {}
            Err(error) => writeln!(out, "  can't be used: {error}")?,
        }
    }
    out.flush()?;
    if !found {
        eprintln!("error: no pattern has {word:?} in its name");
    }
    Ok(if found { Exit::Fine } else { Exit::Failed })
}

#[derive(Clone, Copy, Debug, Default)]
struct Timing {
    lines: u64,
    matched: u64,
    bytes: u64,
    spent: Duration,
    /// The slowest line: its number, and how long it took.
    slowest: (u64, Duration),
}

impl Timing {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let lines = self.lines.max(1);
        let each = self.spent.as_nanos() / u128::from(lines);
        let rate = self.bytes as f64 / 1e6 / self.spent.as_secs_f64().max(1e-9);
        writeln!(
            out,
            "{} lines, {} matched: {each} ns a line, {rate:.0} MB/s; slowest: line {}, {} ns",
            self.lines,
            self.matched,
            self.slowest.0,
            self.slowest.1.as_nanos()
        )
    }
}

struct Trial<'a> {
    args: &'a GrokArgs,
    grok: &'a Grok,
    scratch: Scratch,
    explainer: Explainer<'a>,
    timing: Timing,
}

impl Trial<'_> {
    fn line(&mut self, line: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let Self { args, grok, scratch, explainer, timing } = self;
        timing.lines += 1;
        timing.bytes += line.len() as u64;
        let start = Instant::now();
        let found = grok.find(scratch, line.as_bytes());
        let took = start.elapsed();
        timing.spent += took;
        if took > timing.slowest.1 {
            timing.slowest = (timing.lines, took);
        }
        match found {
            Ok(Some(found)) => {
                timing.matched += 1;
                if args.json { json_line(&found, line, out)? } else { table(&found, line, out)? }
            }
            Ok(None) => explain(explainer, args.json, line, out)?,
            Err(error) if args.json => writeln!(out, "{}", json!({ "match": null, "error": error.to_string() }))?,
            Err(error) => writeln!(out, "{line}\n  {error}")?,
        }
        Ok(())
    }
}

fn explain(explainer: &mut Explainer<'_>, as_json: bool, line: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let stop = explainer.explain(line.as_bytes());
    if as_json {
        let span = stop.matched.map(|span| [span.start, span.end]);
        writeln!(out, "{}", json!({ "match": null, "matched": span, "before": stop.before, "next": stop.next }))?;
        return Ok(());
    }
    // One column a character, so that the marks stand below the text.
    let shown: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    writeln!(out, "{shown}")?;
    match &stop.matched {
        Some(span) => {
            let columns = |range: std::ops::Range<usize>| line.get(range).map_or(0, |part| part.chars().count());
            let (before, matched) = (columns(0..span.start), columns(span.clone()));
            writeln!(out, "{}{}", " ".repeat(before), "~".repeat(matched.max(1)))?;
            writeln!(out, "  no match: this far with {}", stop.before)?;
        }
        None => writeln!(out, "  no match: nothing in it is like the first part")?,
    }
    // A blank would not be seen.
    let next = if stop.next.trim().is_empty() { format!("{:?}", stop.next) } else { stop.next.clone() };
    writeln!(out, "  next: {next}")?;
    Ok(())
}

fn value(field: &Field, text: &str) -> Value {
    match field.cast {
        None => text.into(),
        Some(Cast::Int) => match int(text) {
            Int::Small(number) => number.into(),
            Int::Big(digits) => digits.into(),
        },
        Some(Cast::Float) => float(text).into(),
    }
}

/// The fields that are not empty.
fn fields<'a>(found: &Match<'a>, line: &'a str) -> impl Iterator<Item = (&'a Field, &'a str)> {
    let texts = found.captures().filter_map(move |(field, range)| Some((field, line.get(range?)?)));
    texts.filter(|(field, text)| !text.is_empty() || field.cast.is_some())
}

fn table(found: &Match<'_>, line: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{line}")?;
    let width = fields(found, line).map(|(field, _)| field.name.chars().count()).max().unwrap_or(0);
    for (field, text) in fields(found, line) {
        match value(field, text) {
            Value::String(text) => writeln!(out, "  {:width$}  {text}", field.name)?,
            number => writeln!(out, "  {:width$}  {number} (number)", field.name)?,
        }
    }
    Ok(())
}

fn json_line(found: &Match<'_>, line: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut object = Map::new();
    for (field, text) in fields(found, line) {
        let value = value(field, text);
        match object.get_mut(&field.name) {
            None => drop(object.insert(field.name.clone(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    writeln!(out, "{}", json!({ "match": [found.start, found.end], "fields": object }))
}
