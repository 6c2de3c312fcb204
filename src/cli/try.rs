//! `logferry try`: lines (or events) in, the records that a config makes of them out. Connects to nothing.
//!
//! One record out for each event in, in order. What the agent decides only with Kafka's help (the partition) is not shown.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use crate::batch::{Batch, Position};
use crate::budget::Budget;
use crate::cli::check::mistakes_text;
use crate::cli::{Exit, TryArgs};
use crate::config::checked::{CheckedInput, InputKind};
use crate::config::{Checked, System, load};
use crate::decode::{Charset, LineFilter, LineHasher, LineOptions, last_line, split_encoded, split_lines};
use crate::event::{Common, Event, Object, Timestamp};
use crate::pipeline::{Encoder, Outgoing, Plan, RouteCache, Topics, plan_of, shared_of};

/// Prints the records that the config makes of the lines.
///
/// # Errors
/// If the lines can't be read, a line is no JSON object (with `--json`), or the output can't be written.
pub fn run(args: &TryArgs) -> anyhow::Result<Exit> {
    let checked = match load(&args.config, &System) {
        Ok(checked) => checked,
        Err(mistakes) => {
            eprint!("{}", mistakes_text(&mistakes));
            return Ok(Exit::BadConfig);
        }
    };
    let Some(input) = choose(&checked, args.input.as_deref()) else {
        let names: Vec<&str> = checked.inputs.iter().map(|input| input.name.as_str()).collect();
        eprintln!("error: which input do the lines come from? Say --input with one of: {}", names.join(", "));
        return Ok(Exit::Usage);
    };
    let reader: Box<dyn BufRead> = match args.input_file() {
        None => Box::new(io::stdin().lock()),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
    };
    let path = args.input_file().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
    let mut trial = Trial::new(&checked, input, &path, args.envelope);
    if args.json {
        trial.events(reader)?
    } else {
        trial.lines(reader)?
    }
    Ok(Exit::Fine)
}

fn choose<'a>(checked: &'a Checked, name: Option<&str>) -> Option<&'a CheckedInput> {
    match (name, &checked.inputs[..]) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), inputs) => inputs.iter().find(|input| input.name == name),
    }
}

/// One run of the command.
struct Trial {
    plan: Plan,
    common: Arc<Common>,
    filter: LineFilter,
    max_line_bytes: usize,
    charset: Charset,
    encoder: Encoder,
    cache: RouteCache,
    budget: Budget,
    envelope: bool,
    offset: u64,
    out: io::BufWriter<io::Stdout>,
}

/// No topic's partitions are known, and none is one too many.
struct NoTopics;

impl Topics for NoTopics {
    fn partitions(&self, _topic: &str) -> Option<u32> {
        None
    }

    fn version(&self) -> u64 {
        0
    }

    fn has_room(&self) -> bool {
        true
    }
}

impl Trial {
    fn new(checked: &Checked, input: &CheckedInput, path: &str, envelope: bool) -> Self {
        let (filter, max_line_bytes, charset) = match &input.kind {
            InputKind::File(file) => (file.lines.clone(), file.max_line_bytes, file.charset),
            InputKind::Stdin(stdin) => (stdin.lines.clone(), stdin.max_line_bytes, stdin.charset),
        };
        let shared = shared_of(input);
        let common = match &input.kind {
            InputKind::File(_) => shared.file(path, "try"),
            InputKind::Stdin(_) => shared.stream("try"),
        };
        Self {
            plan: plan_of(checked, input, &Arc::default()),
            common: Arc::new(common),
            filter,
            max_line_bytes,
            charset,
            encoder: Encoder::default(),
            cache: RouteCache::default(),
            budget: Budget::new(checked.memory_bytes_max),
            envelope,
            offset: 0,
            out: io::BufWriter::new(io::stdout()),
        }
    }

    fn lines(&mut self, mut reader: Box<dyn BufRead>) -> anyhow::Result<()> {
        let filter = self.filter.clone();
        let mut first = Vec::new();
        reader.by_ref().take(2).read_to_end(&mut first).context("can't read the lines")?;
        let charset = self.charset.resolved(&first);
        let mut reader = io::Cursor::new(first).chain(reader);
        let (max_line_bytes, events_max) = (self.max_line_bytes, usize::MAX);
        let options = LineOptions { max_line_bytes, events_max, filter: &filter, charset };
        loop {
            let mut line = Vec::new();
            read_line(&mut reader, charset, self.offset, &mut line).context("can't read the lines")?;
            if line.is_empty() {
                break;
            }
            let (mut events, mut text) = (Vec::new(), Vec::new());
            if charset.first_line(&line, self.offset).is_none() {
                events.extend(last_line(&line, 0..line.len(), self.offset, &options, now(), &mut text));
            } else if charset.is_utf8() {
                split_lines(&line, self.offset, &options, now(), &mut events);
            } else {
                split_encoded(&line, self.offset, &options, now(), &mut text, &mut events);
            }
            self.offset += line.len() as u64;
            self.show(if charset.is_utf8() { line } else { text }, events)?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn events(&mut self, reader: Box<dyn BufRead>) -> anyhow::Result<()> {
        for (number, line) in reader.lines().enumerate() {
            let line = line.context("can't read the events")?;
            if line.trim().is_empty() {
                continue;
            }
            let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(&line) else {
                bail!("line {} is no JSON object: with --json each line is an event's fields", number + 1);
            };
            let mut event = Event::from_object(Object::from_json(fields).expanded(), now());
            let mut hasher = LineHasher::default();
            hasher.update(line.as_bytes());
            event.offset = self.offset;
            event.length = line.len() as u64 + 1;
            event.line_hash = hasher.finish(false);
            self.offset += event.length;
            self.show(Vec::new(), vec![event])?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn show(&mut self, buf: Vec<u8>, events: Vec<Event>) -> anyhow::Result<()> {
        let permit = self.budget.try_take(0).context("memory.max_bytes is taken by one line")?;
        let common = Arc::clone(&self.common);
        let mut batch = Batch { buf, events, common, resume: Position::default(), permit };
        let outgoing = self.encoder.encode(&self.plan, &mut self.cache, &NoTopics, &mut batch, now(), Vec::new());
        for share in &outgoing.shares {
            for record in share.records.clone() {
                self.print(&outgoing, &share.topic, record as usize)?;
            }
        }
        Ok(())
    }

    fn print(&mut self, outgoing: &Outgoing, topic: &str, record: usize) -> anyhow::Result<()> {
        let record = &outgoing.records[record];
        let value = record.value_in(&outgoing.buf);
        if !self.envelope {
            self.out.write_all(value)?;
            self.out.write_all(b"\n")?;
            return Ok(());
        }
        let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
        let headers: Vec<Value> = record
            .headers_in(&outgoing.headers)
            .iter()
            .flat_map(|header| [Value::from(&*header.name), text(header.value_in(&outgoing.buf))])
            .collect();
        let mut envelope = Map::new();
        envelope.insert("topic".into(), topic.into());
        envelope.insert("ts".into(), record.timestamp_ms.into());
        envelope.insert("headers".into(), json!(headers));
        envelope.insert("key".into(), record.key_in(&outgoing.buf).map_or(Value::Null, text));
        envelope.insert("payload".into(), text(value));
        writeln!(self.out, "{}", Value::Object(envelope))?;
        Ok(())
    }
}

/// Appends the next line, which stands at `offset`, with its newline; without one it is the last.
fn read_line(reader: &mut impl BufRead, charset: Charset, offset: u64, line: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let got = reader.read_until(b'\n', line)?;
        if !(offset + line.len() as u64).is_multiple_of(charset.unit_bytes() as u64) {
            // The byte may be the first half of a unit.
            reader.by_ref().take(1).read_to_end(line)?;
        }
        if got == 0 || charset.first_line(line, offset).is_some() {
            return Ok(());
        }
    }
}

/// In whole milliseconds, as the agent reads.
fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond().saturating_mul(1_000_000))
}
