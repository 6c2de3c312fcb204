//! `logferry spool dead`: lists the records that Kafka refused for good; `--resend` sends them again, for a stopped agent.
//!
//! What is acknowledged leaves the file, all at once at the end; whatever happens before that, the file is as it was, so that a
//! record may be sent twice and is never lost. Lines that can't be read are named and stay.

mod resend;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use self::resend::Sender;
use crate::checkpoint::DataDir;
use crate::cli::check::mistakes_text;
use crate::cli::run::start_log;
use crate::cli::status::{self, clean};
use crate::cli::{CONFIG_DEFAULT, Exit, SpoolDeadArgs, SpoolPlace};
use crate::config::checked::OutputKind;
use crate::config::{Checked, System, load};
use crate::output::dead_letter::entry::Entry;
use crate::output::dead_letter::{Line, Lines, folder_in, keep};
use crate::output::kafka::options::KafkaOptions;
use crate::output::kafka::wait_closed;

/// So much of a value is shown.
const VALUE_CHARS_MAX: usize = 60;
/// Records that are sent together: so many, or of so many bytes.
const TOGETHER_MAX: usize = 500;
const TOGETHER_BYTES_MAX: usize = 4 << 20;
/// How long librdkafka may take to let go of its connections.
const CLOSE_WITHIN: Duration = Duration::from_secs(6);

/// Lists the dead letters, or sends them again.
///
/// # Errors
/// If a file can't be read or written, the producer can't be made, or an agent runs: it is named with its pid.
pub fn run(args: &SpoolDeadArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    if args.resend { send_all(args, out) } else { list(args, out) }
}

/// The outputs that can refuse a record.
fn outputs(checked: &Checked) -> Vec<&KafkaOptions> {
    let mut kafka = Vec::new();
    for output in &checked.outputs {
        match &output.kind {
            OutputKind::Kafka(options) => kafka.push(&**options),
            OutputKind::File(_) => {}
        }
    }
    kafka
}

/// The files there are, by output.
fn files(place: &SpoolPlace) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let data_dir = status::data_dir(&place.config, place.data_dir.as_deref())?;
    let mut files = BTreeMap::new();
    let folder = folder_in(&data_dir);
    match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && data_dir.is_dir() => {}
        entries => {
            for entry in entries.with_context(|| format!("can't list the dead letters in {}", folder.display()))? {
                let path = entry?.path();
                if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl")) {
                    files.insert(name.to_owned(), path);
                }
            }
        }
    }
    // A config may name a file elsewhere. It need not be without mistakes to look at what is there.
    let default = [PathBuf::from(CONFIG_DEFAULT)];
    let config = if place.config.is_empty() { &default[..] } else { &place.config };
    if place.data_dir.is_none()
        && let Ok(checked) = load(config, &System)
    {
        for output in outputs(&checked) {
            let path = output.dead_letter.path(&checked.data_dir, &output.name);
            if path.exists() {
                files.insert(output.name.clone(), path);
            }
        }
    }
    if let Some(wanted) = &place.output {
        files.retain(|name, _| name == wanted);
    }
    Ok(files)
}

fn list(args: &SpoolDeadArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let files = files(&args.place)?;
    if files.is_empty() && !args.json {
        writeln!(out, "no record was refused")?;
    }
    let mut exit = Exit::Fine;
    for (output, path) in files {
        if !args.json {
            writeln!(out, "output {}: {}", clean(&output), path.display())?;
            let [when, reason, topic, source, offset, bytes] = ["WHEN", "REASON", "TOPIC", "SOURCE", "OFFSET", "BYTES"];
            writeln!(out, "  {when:<20} {reason:<17} {topic:<24} {source:<32} {offset:>12} {bytes:>10}  VALUE")?;
        }
        for line in read(&path)? {
            let line = line?;
            match &line.entry {
                Ok(_) if args.json => out.write_all(&line.bytes)?,
                Ok(entry) => writeln!(out, "{}", row(entry))?,
                Err(_) => {
                    complain(&path, &line)?;
                    exit = Exit::Failed;
                }
            }
        }
    }
    Ok(exit)
}

fn read(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Line>>> {
    let shown = path.display().to_string();
    let lines = Lines::open(path).with_context(|| format!("can't read {shown}"))?;
    Ok(lines.map(move |line| line.with_context(|| format!("can't read {shown}"))))
}

fn complain(path: &Path, line: &Line) -> io::Result<()> {
    let Err(error) = &line.entry else { return Ok(()) };
    writeln!(io::stderr(), "{}:{}: {}; the line stays", path.display(), line.number, clean(&error.to_string()))
}

fn row(entry: &Entry) -> String {
    let source = entry.path.as_ref().map_or_else(|| format!("#{}", entry.source), |path| clean(path));
    // Seconds are enough for people, and whole columns.
    let when = entry.time.split_once('.').map_or_else(|| entry.time.clone(), |(seconds, _)| format!("{seconds}Z"));
    let head: Vec<u8> = entry.value.iter().copied().take(VALUE_CHARS_MAX * 4).collect();
    let text = String::from_utf8_lossy(&head);
    let shown: String = clean(&text).chars().take(VALUE_CHARS_MAX).collect();
    let more = if shown.len() < entry.value.len() { "…" } else { "" };
    format!(
        "  {:<20} {:<17} {:<24} {source:<32} {:>12} {:>10}  {shown}{more}",
        clean(&when),
        clean(&entry.reason),
        clean(&entry.topic),
        entry.offset,
        entry.value.len()
    )
}

fn send_all(args: &SpoolDeadArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let default = [PathBuf::from(CONFIG_DEFAULT)];
    let config = if args.place.config.is_empty() { &default[..] } else { &args.place.config };
    let checked = match load(config, &System) {
        Ok(checked) => checked,
        Err(mistakes) => {
            io::stderr().write_all(mistakes_text(&mistakes).as_bytes())?;
            return Ok(Exit::BadConfig);
        }
    };
    start_log(checked.logging)?;
    let mut outputs = outputs(&checked);
    if let Some(wanted) = &args.place.output {
        outputs.retain(|output| output.name == *wanted);
        if outputs.is_empty() {
            bail!("the config has no Kafka output `{wanted}`");
        }
    }
    // Held until the end: an agent that writes to the file must not run.
    let data_dir = DataDir::open(&checked.data_dir)?;
    let mut exit = Exit::Fine;
    for output in outputs {
        let path = output.dead_letter.path(data_dir.path(), &output.name);
        if !path.exists() {
            writeln!(out, "output {}: no record was refused", output.name)?;
            continue;
        }
        let result = send_file(&path, output, args.timeout);
        wait_closed(CLOSE_WITHIN);
        let Sent { records, remaining } = result?;
        let sent = records - remaining;
        writeln!(out, "output {}: {sent} of {records} records sent again and acknowledged", output.name)?;
        if remaining > 0 {
            writeln!(out, "{remaining} remain in {}", path.display())?;
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

/// What became of a file.
struct Sent {
    /// Lines that were in it, and those that still are.
    records: u64,
    remaining: u64,
}

fn send_file(path: &Path, output: &KafkaOptions, timeout: Duration) -> anyhow::Result<Sent> {
    let mut sender = Sender::new(output, timeout)?;
    let mut sent: Vec<u64> = Vec::new();
    let mut records = 0;
    let (mut together, mut bytes, mut told) = (Vec::new(), 0, String::new());
    for line in read(path)? {
        let line = line?;
        records += 1;
        match line.entry {
            Ok(entry) => {
                bytes += line.bytes.len();
                together.push((line.number, entry));
            }
            Err(_) => complain(path, &line)?,
        }
        if together.len() >= TOGETHER_MAX || bytes >= TOGETHER_BYTES_MAX {
            sent.extend(send_together(path, &mut sender, &std::mem::take(&mut together), &mut told)?);
            bytes = 0;
        }
    }
    sent.extend(send_together(path, &mut sender, &together, &mut told)?);
    drop(sender);
    if !sent.is_empty() {
        // In the order of the file, as it was read.
        keep(path, |number| sent.binary_search(&number).is_err())
            .with_context(|| format!("{} can't be written: what was sent is still in it", path.display()))?;
    }
    Ok(Sent { records, remaining: records - sent.len() as u64 })
}

/// The numbers of the lines that are acknowledged. Why others are not goes to stderr, once for those that follow each other with
/// the same reason; `told` is the last one.
fn send_together(
    path: &Path,
    sender: &mut Sender,
    together: &[(u64, Entry)],
    told: &mut String,
) -> anyhow::Result<Vec<u64>> {
    let entries: Vec<&Entry> = together.iter().map(|(_, entry)| entry).collect();
    let mut sent = Vec::new();
    for ((number, _), result) in together.iter().zip(sender.send(&entries)?) {
        match result {
            Ok(()) => sent.push(*number),
            Err(why) if why == *told => {}
            Err(why) => {
                writeln!(io::stderr(), "{}:{number}: {}; it stays", path.display(), clean(&why))?;
                *told = why;
            }
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_where_from_and_how_it_begins() {
        let mut entry = Entry {
            time: "2026-11-25T23:19:16.123456789Z".into(),
            reason: "too_large".into(),
            topic: "logs.web".into(),
            source: 12,
            offset: 4096,
            value: b"one\ntwo \xff".to_vec(),
            ..Entry::default()
        };
        let words = |entry: &Entry| row(entry).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let shown = words(&entry);
        assert_eq!(shown[..6], ["2026-11-25T23:19:16Z", "too_large", "logs.web", "#12", "4096", "9"]);
        assert!(row(&entry).lines().count() == 1 && !row(&entry).ends_with('…'), "{}", row(&entry));
        (entry.path, entry.value) = (Some("/a.log".into()), vec![b'x'; 1_000]);
        assert_eq!(words(&entry)[3], "/a.log");
        assert!(row(&entry).ends_with(&format!(" {}…", "x".repeat(VALUE_CHARS_MAX))), "{}", row(&entry));
    }
}
