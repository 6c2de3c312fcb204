//! `logferry try`: lines (or events) in, the records that a config makes of them out. Connects to nothing.
//!
//! One record out for each event in that the output gets, in order; where the input joins lines, one for each record that they
//! make, and the end of the lines ends the last one. What the agent decides only with Kafka's help (the partition) is not shown.
//! The [`Trial`] is that of `logferry test`, too.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use crate::batch::{Batch, Position, Record};
use crate::budget::Budget;
use crate::cli::check::mistakes_text;
use crate::cli::{Exit, TryArgs};
use crate::config::checked::{CheckedInput, InputKind};
use crate::config::{Checked, System, load};
use crate::decode::{Charset, Joiner, LineFilter, LineHasher, LineOptions, last_line, split_encoded, split_lines};
use crate::event::{Common, Event, EventView, FieldPath, Object, Timestamp, ValueRef};
use crate::output::envelope::envelope;
use crate::pipeline::{Encoder, Outgoing, Part, Plan, RouteCache, Topics, dry_plan, shared_of};

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
    let Some(input) = choose_input(&checked, args.input.as_deref()) else {
        let names: Vec<&str> = checked.inputs.iter().map(|input| input.name.as_str()).collect();
        eprintln!("error: which input do the lines come from? Say --input with one of: {}", names.join(", "));
        return Ok(Exit::Usage);
    };
    let Some(output) = choose_output(input, args.output.as_deref()) else {
        let names: Vec<&str> = input.routes.iter().map(|route| route.output.as_str()).collect();
        eprintln!("error: which output do the records go to? Say --output with one of: {}", names.join(", "));
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
    let mut trial = Trial::new(&checked, input, output, &path, args.now);
    let mut out = io::BufWriter::new(io::stdout());
    let mut number = 0;
    let mut print = |made: Made<'_>| {
        number += 1;
        if let Made::Record { failed: Some(processor), .. } = made {
            writeln!(io::stderr(), "event {number} goes to the dead letter: the processor `{processor}` failed")?;
        }
        print(&mut out, &made, args.envelope)
    };
    if args.json {
        trial.events(reader, &mut print)?
    } else {
        trial.lines(reader, &mut print)?
    }
    out.flush()?;
    Ok(Exit::Fine)
}

fn print(out: &mut impl Write, made: &Made<'_>, is_wrapped: bool) -> anyhow::Result<()> {
    let Made::Record { topic, record, outgoing, .. } = made else { return Ok(()) };
    if is_wrapped {
        writeln!(out, "{}", envelope(topic, record, &outgoing.buf, &outgoing.headers))?;
        return Ok(());
    }
    out.write_all(record.value_in(&outgoing.buf))?;
    out.write_all(b"\n")?;
    Ok(())
}

/// The input of this name; without one, the only one.
pub(super) fn choose_input<'a>(checked: &'a Checked, name: Option<&str>) -> Option<&'a CheckedInput> {
    match (name, &checked.inputs[..]) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), inputs) => inputs.iter().find(|input| input.name == name),
    }
}

/// The output's place among those of the input.
pub(super) fn choose_output(input: &CheckedInput, name: Option<&str>) -> Option<usize> {
    match (name, &input.routes[..]) {
        (None, [_]) => Some(0),
        (None, _) => None,
        (Some(name), routes) => routes.iter().position(|route| route.output == name),
    }
}

/// What became of one event.
pub(super) enum Made<'a> {
    /// `failed`: it goes to the output's dead letter instead, since the processor of this name failed.
    Record { topic: &'a str, record: &'a Record, outgoing: &'a Outgoing, failed: Option<&'static str> },
    /// It is no record. Why, as it is counted; for lines that the input leaves out and events that are not for the output, in words.
    Dropped(&'static str),
}

/// Who is told what became of the events, in order.
pub(super) type Sink<'a> = dyn FnMut(Made<'_>) -> anyhow::Result<()> + 'a;

/// What a config makes of lines and events, one by one.
pub(super) struct Trial {
    plan: Plan,
    /// The target of the plan whose records are shown.
    target: usize,
    common: Arc<Common>,
    filter: LineFilter,
    /// `None`: each line is a record.
    joiner: Option<Joiner>,
    max_line_bytes: usize,
    charset: Charset,
    encoder: Encoder,
    cache: RouteCache,
    budget: Budget,
    /// The time of reading; `None`: that of the machine.
    clock: Option<Timestamp>,
    offset: u64,
    message: FieldPath,
    /// Events whose messages are being joined.
    waiting: VecDeque<Event>,
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
    /// Lines come from the file `path`, and are for the target of this number.
    pub(super) fn new(
        checked: &Checked,
        input: &CheckedInput,
        target: usize,
        path: &str,
        clock: Option<Timestamp>,
    ) -> Self {
        let (filter, joining, max_line_bytes, charset) = match &input.kind {
            InputKind::File(file) => (&file.lines, &file.joining, file.max_line_bytes, file.charset),
            InputKind::Stdin(stdin) => (&stdin.lines, &stdin.joining, stdin.max_line_bytes, stdin.charset),
        };
        // Where lines are joined, the filter is for what they become.
        let filter = if joining.is_some() { LineFilter::default() } else { filter.clone() };
        let joiner = joining.as_ref().map(|options| Joiner::new(Arc::clone(options)));
        let shared = shared_of(input);
        let common = match &input.kind {
            InputKind::File(_) => shared.file(path, "try"),
            InputKind::Stdin(_) => shared.stream("try"),
        };
        Self {
            plan: dry_plan(checked, input),
            target,
            common: Arc::new(common),
            filter,
            joiner,
            max_line_bytes,
            charset,
            encoder: Encoder::default(),
            cache: RouteCache::default(),
            budget: Budget::new(checked.memory_bytes_max),
            clock,
            offset: 0,
            message: FieldPath::parse("message").expect("a path"),
            waiting: VecDeque::new(),
        }
    }

    /// Lines that are UTF-8, whatever the files of the input are.
    pub(super) fn texts(&mut self, lines: &[String], sink: &mut Sink<'_>) -> anyhow::Result<()> {
        self.charset = Charset::Utf8;
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        self.lines(Box::new(io::Cursor::new(text)), sink)
    }

    fn lines(&mut self, mut reader: Box<dyn BufRead>, sink: &mut Sink<'_>) -> anyhow::Result<()> {
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
            let (mut events, mut text, now) = (Vec::new(), Vec::new(), self.now());
            if charset.first_line(&line, self.offset).is_none() {
                events.extend(last_line(&line, 0..line.len(), self.offset, &options, now, &mut text));
            } else if charset.is_utf8() {
                split_lines(&line, self.offset, &options, now, &mut events);
            } else {
                split_encoded(&line, self.offset, &options, now, &mut text, &mut events);
            }
            self.offset += line.len() as u64;
            let mut buf = if charset.is_utf8() { line } else { text };
            match &mut self.joiner {
                Some(joiner) => {
                    joiner.take(&mut buf, &mut events, self.offset, now);
                    self.show_made(buf, events, sink)?;
                }
                None => self.show(buf, events, sink)?,
            }
        }
        if let Some(joiner) = &mut self.joiner {
            let (mut buf, mut events) = (Vec::new(), Vec::new());
            joiner.end_all(&mut buf, &mut events, false);
            self.show_made(buf, events, sink)?;
        }
        Ok(())
    }

    fn events(&mut self, reader: Box<dyn BufRead>, sink: &mut Sink<'_>) -> anyhow::Result<()> {
        for (number, line) in reader.lines().enumerate() {
            let line = line.context("can't read the events")?;
            if line.trim().is_empty() {
                continue;
            }
            let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(&line) else {
                bail!("line {} is no JSON object: with --json each line is an event's fields", number + 1);
            };
            self.event(fields, &line, sink)?;
        }
        self.end_joined(sink)
    }

    /// One event with these fields, of which `line` is the text. Where lines are joined, say [`Trial::end_joined`] behind the last.
    pub(super) fn event(&mut self, fields: Map<String, Value>, line: &str, sink: &mut Sink<'_>) -> anyhow::Result<()> {
        let mut event = Event::from_object(Object::from_json(fields).expanded(), self.now());
        let mut hasher = LineHasher::default();
        hasher.update(line.as_bytes());
        event.offset = self.offset;
        event.length = line.len() as u64 + 1;
        event.line_hash = hasher.finish(false);
        self.offset += event.length;
        match self.joiner.is_some() {
            true => self.join(event, sink),
            false => self.show(Vec::new(), vec![event], sink),
        }
    }

    /// In whole milliseconds, as the agent reads.
    fn now(&self) -> Timestamp {
        let machine = || Timestamp(jiff::Timestamp::now().as_millisecond().saturating_mul(1_000_000));
        self.clock.unwrap_or_else(machine)
    }

    /// Takes the message of an event as a line, with or without its line break; the record that it becomes has the other fields of its first event.
    fn join(&mut self, event: Event, sink: &mut Sink<'_>) -> anyhow::Result<()> {
        let view = EventView { event: &event, buf: &[], common: &self.common };
        let text = match view.get(&self.message) {
            Some(ValueRef::Str(text)) => text.into_owned(),
            // What has no text is no line, and nothing goes on behind it.
            _ => {
                self.end_joined(sink)?;
                return self.show(Vec::new(), vec![event], sink);
            }
        };
        // Its line has none; one in the middle of the text stays.
        let line_end = if text.ends_with("\r\n") { 2 } else { usize::from(text.ends_with('\n')) };
        let mut buf = text.into_bytes();
        buf.truncate(buf.len() - line_end);
        let range = 0..u32::try_from(buf.len()).context("a message is too long")?;
        let line = Event::line(range, event.offset, event.length, event.line_hash, event.timestamp, event.flags());
        let (end, now) = (event.offset + event.length, self.now());
        self.waiting.push_back(event);
        let mut events = vec![line];
        if let Some(joiner) = &mut self.joiner {
            joiner.take(&mut buf, &mut events, end, now);
        }
        self.show_joined(buf, events, sink)
    }

    /// There are no more events: what is being joined is whole.
    pub(super) fn end_joined(&mut self, sink: &mut Sink<'_>) -> anyhow::Result<()> {
        let (mut buf, mut events) = (Vec::new(), Vec::new());
        if let Some(joiner) = &mut self.joiner {
            joiner.end_all(&mut buf, &mut events, false);
        }
        self.show_joined(buf, events, sink)
    }

    fn show_joined(&mut self, buf: Vec<u8>, records: Vec<Event>, sink: &mut Sink<'_>) -> anyhow::Result<()> {
        for record in records {
            let first = self.waiting.iter().position(|event| event.offset == record.offset);
            let mut whole = first.and_then(|at| self.waiting.remove(at)).unwrap_or_else(|| record.clone());
            let view = EventView { event: &record, buf: &buf, common: &self.common };
            let message = view.get(&self.message).map(ValueRef::into_value);
            whole.take_over(&record);
            if let Some(message) = message {
                whole.set(&self.message, message, &buf, &self.common)?;
            }
            self.show(buf.clone(), vec![whole], sink)?;
        }
        // The others went on in a record, or the filter did not keep it.
        let resume = self.joiner.as_mut().and_then(Joiner::resume);
        self.waiting.retain(|event| resume.is_some_and(|resume| event.offset >= resume.offset));
        Ok(())
    }

    /// What becomes of each of the records that a line has ended, if any.
    fn show_made(&mut self, buf: Vec<u8>, events: Vec<Event>, sink: &mut Sink<'_>) -> anyhow::Result<()> {
        events.into_iter().try_for_each(|event| self.show(buf.clone(), vec![event], sink))
    }

    /// What becomes of the event of a line, if it has one.
    fn show(&mut self, buf: Vec<u8>, events: Vec<Event>, sink: &mut Sink<'_>) -> anyhow::Result<()> {
        if events.is_empty() {
            return sink(Made::Dropped("the input leaves this line out"));
        }
        let permit = self.budget.try_take(0).context("memory.max_bytes is taken by one line")?;
        let common = Arc::clone(&self.common);
        let mut batch = Batch { buf, events, common, resume: Position::default(), permit };
        let now = self.now();
        let counts = Encoder::process(&self.plan, &mut batch, now);
        // As if deliver had taken it.
        self.plan.counters.add(&counts);
        if let Some((reason, _)) = counts.processing.dropped.first() {
            return sink(Made::Dropped(reason));
        }
        let failed = batch.events.first().and_then(Event::failed);
        let mut routed = vec![false; batch.events.len()];
        let part = Part { from: 0, routed: &mut routed };
        let (plan, target, cache) = (&self.plan, &self.plan.targets[self.target], &mut self.cache);
        let outgoing = self.encoder.encode_for(plan, target, part, cache, &NoTopics, &batch, now, Vec::new());
        if outgoing.records.is_empty() {
            return sink(Made::Dropped("the output's `when` does not hold"));
        }
        for share in &outgoing.shares {
            for record in share.records.clone() {
                let record = &outgoing.records[record as usize];
                sink(Made::Record { topic: &share.topic, record, outgoing: &outgoing, failed })?;
            }
        }
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
