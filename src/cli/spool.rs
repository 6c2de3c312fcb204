//! `logferry spool`: looks into the spools of a data_dir, which changes nothing in it and needs no agent and no valid config;
//! in [`dead`] and [`drain`], what sends something.

pub mod dead;
pub mod drain;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use super::{Exit, SpoolArgs, SpoolCatArgs, SpoolCommand, SpoolPlace, status};
use crate::checkpoint::DataDir;
use crate::disk::{Disk as _, RealDisk};
use crate::spool::inspect::{self, Damage, Flaws, Listing};
use crate::spool::{Frame, Meta, OpenError};

/// Where in a data_dir the spools are, each in a directory with its output's name.
const SPOOLS: &str = "spool";

/// Prints what the spools hold.
///
/// # Errors
/// If there is no data_dir, a spool can't be read, or a newer agent wrote it.
pub fn run(args: &SpoolArgs) -> anyhow::Result<Exit> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let exit = match &args.command {
        SpoolCommand::Ls(place) => ls(place, &mut out)?,
        SpoolCommand::Cat(args) => cat(args, &mut out)?,
        SpoolCommand::Verify(place) => verify(place, &mut out)?,
        SpoolCommand::Dead(args) => dead::run(args, &mut out)?,
        SpoolCommand::Drain(args) => drain::run(args, &mut out)?,
    };
    out.flush()?;
    Ok(exit)
}

/// The outputs that have a spool, and where it is; and the data_dir that they are in.
fn spools(place: &SpoolPlace) -> anyhow::Result<(PathBuf, Vec<(String, PathBuf)>)> {
    let data_dir = status::data_dir(&place.config, place.data_dir.as_deref())?;
    let dir = data_dir.join(SPOOLS);
    let entries = match RealDisk.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && data_dir.is_dir() => Vec::new(),
        entries => entries.with_context(|| format!("can't list the spools in {}", dir.display()))?,
    };
    let mut spools: Vec<(String, PathBuf)> = entries
        .into_iter()
        .filter(|entry| entry.is_dir)
        .map(|entry| (entry.name.clone(), dir.join(entry.name)))
        .collect();
    if let Some(wanted) = &place.output {
        spools.retain(|(name, _)| name == wanted);
        if spools.is_empty() {
            bail!("output {wanted} has no spool in {}; without --output all are shown", dir.display());
        }
    }
    Ok((data_dir, spools))
}

/// What the flaws of a spool make of the exit code. Bytes behind the last whole frame are none while an agent writes there.
fn exit_of(flaws: &Flaws, data_dir: &Path) -> Exit {
    let is_fine = flaws.damage.is_empty() && (flaws.torn.is_empty() || DataDir::is_used(data_dir));
    if is_fine { Exit::Fine } else { Exit::Failed }
}

/// The flaws of a spool, a line each.
fn flaws_text(flaws: &Flaws) -> impl Iterator<Item = String> {
    let damage = flaws.damage.iter().map(|damage| format!("damaged: {}", place_of(damage)));
    let torn = flaws.torn.iter().map(|torn| {
        format!(
            "torn: {}: no whole frame; it was being written when the agent or the machine stopped (then nothing is lost with it), \
             or was damaged since, or is being written now",
            place_of(torn)
        )
    });
    damage.chain(torn)
}

/// Looks at each spool; one that can't be read hides none of the others.
fn of_each(
    place: &SpoolPlace,
    mut look: impl FnMut(&str, &Path) -> anyhow::Result<Flaws>,
) -> anyhow::Result<(Exit, usize)> {
    let (data_dir, spools) = spools(place)?;
    let (mut exit, count) = (Exit::Fine, spools.len());
    for (output, dir) in spools {
        let looked = look(&output, &dir);
        let of_this = match looked {
            Ok(flaws) => exit_of(&flaws, &data_dir),
            Err(error) if error.is::<OpenError>() => {
                eprintln!("error: output {output}: {error}");
                Exit::Failed
            }
            // Who reads us has enough.
            Err(error) => return Err(error),
        };
        if of_this != Exit::Fine {
            exit = of_this;
        }
    }
    Ok((exit, count))
}

fn ls(place: &SpoolPlace, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (exit, count) = of_each(place, |output, dir| {
        let listing = inspect::list(&RealDisk, dir, now_ms())?;
        out.write_all(table(output, dir, &listing).as_bytes())?;
        Ok(listing.flaws)
    })?;
    if count == 0 {
        writeln!(out, "nothing is spooled")?;
    }
    Ok(exit)
}

fn table(output: &str, dir: &Path, listing: &Listing) -> String {
    let mut text = format!("output {output}: {}\n", dir.display());
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.push_str(&std::fmt::format(line));
        text.push('\n');
    };
    line(format_args!("  {:<28} {:>12} {:>12} {:>12} {:>12}", "SEGMENT", "BYTES", "FRAMES", "RECORDS", "LIVE BYTES"));
    for segment in &listing.segments {
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        let (frames, records) = (segment.live_frames, segment.live_records);
        line(format_args!("  {name:<28} {:>12} {frames:>12} {records:>12} {:>12}", segment.bytes, segment.live_bytes));
    }
    if !listing.lanes.is_empty() {
        line(format_args!("  {:<28} {:>12} {:>12} {:>12}   OLDEST", "LANE", "BYTES", "FRAMES", "RECORDS"));
    }
    for lane in &listing.lanes {
        let name = match lane.lane.partition {
            -1 => format!("{}/?", lane.lane.topic),
            partition => format!("{}/{partition}", lane.lane.topic),
        };
        let oldest = time(lane.oldest_ms);
        line(format_args!("  {name:<28} {:>12} {:>12} {:>12}   {oldest}", lane.bytes, lane.frames, lane.records));
    }
    for flaw in flaws_text(&listing.flaws) {
        line(format_args!("  {flaw}"));
    }
    text
}

fn place_of(damage: &Damage) -> String {
    format!("{} bytes at offset {} of {}", damage.bytes, damage.offset, damage.path.display())
}

fn cat(args: &SpoolCatArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let mut wanted = |meta: &Meta, live: bool| {
        (live || args.all)
            && args.topic.as_deref().is_none_or(|topic| topic == &*meta.lane.topic)
            && args.partition.is_none_or(|partition| partition == meta.lane.partition)
    };
    let mut written = Ok(());
    let (exit, _) = of_each(&args.place, |_, dir| {
        let mut visit = |frame: Frame| {
            // Who reads us has enough, or can't be written to: that is no fault of the spool.
            written = print(out, &frame);
            match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(error.kind().into()),
            }
        };
        let flaws = inspect::frames(&RealDisk, dir, &mut wanted, &mut visit);
        std::mem::replace(&mut written, Ok(()))?;
        let flaws = flaws?;
        flaws_text(&flaws).for_each(|flaw| eprintln!("{flaw}"));
        Ok(flaws)
    })?;
    Ok(exit)
}

fn print(out: &mut dyn Write, frame: &Frame) -> io::Result<()> {
    let (meta, content) = (&frame.meta, &frame.content);
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    for record in &content.records {
        let (marks, headers): (Vec<_>, Vec<_>) =
            record.headers_in(&content.headers).iter().partition(|header| header.is_failed_mark());
        let headers: Vec<Value> = headers
            .into_iter()
            .flat_map(|header| [Value::from(&*header.name), text(header.value_in(&content.buf))])
            .collect();
        let mut envelope = Map::new();
        envelope.insert("topic".into(), (&*meta.lane.topic).into());
        envelope.insert("partition".into(), meta.lane.partition.into());
        envelope.insert("frame".into(), meta.id.0.into());
        envelope.insert("source".into(), meta.source.0.into());
        envelope.insert("source_offset".into(), record.offset.into());
        envelope.insert("ts".into(), record.timestamp_ms.into());
        envelope.insert("headers".into(), json!(headers));
        if let Some(processor) = marks.last() {
            // For this one's failure the record goes to the dead letter.
            envelope.insert("failed_processor".into(), text(processor.value_in(&content.buf)));
        }
        envelope.insert("key".into(), record.key_in(&content.buf).map_or(Value::Null, text));
        envelope.insert("payload".into(), text(record.value_in(&content.buf)));
        writeln!(out, "{}", Value::Object(envelope))?;
    }
    Ok(())
}

fn verify(place: &SpoolPlace, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (exit, _) = of_each(place, |output, dir| {
        let (mut frames, mut records) = (0u64, 0u64);
        let mut visit = |frame: Frame| {
            frames += 1;
            records += u64::from(frame.meta.records);
            Ok(())
        };
        let flaws = inspect::frames(&RealDisk, dir, &mut |_, _| true, &mut visit)?;
        for flaw in flaws_text(&flaws) {
            writeln!(out, "{flaw}")?;
        }
        let damaged = flaws.damage.len();
        writeln!(
            out,
            "output {output}: {frames} frames with {records} records are whole, {damaged} places are damaged"
        )?;
        Ok(flaws)
    })?;
    Ok(exit)
}

fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::{Encoded, FAILED_HEADER, Header, LaneKey, NONE, Position, Record, SourceKey};
    use crate::budget::Budget;
    use crate::spool::{Log, NewFrame, Options};

    fn spooled(data_dir: &Path, partitions: &[i32]) {
        spooled_with(data_dir, partitions, Vec::new());
    }

    fn spooled_with(data_dir: &Path, partitions: &[i32], headers: Vec<Vec<Header>>) {
        let dir = data_dir.join("spool/main");
        let (mut log, _) = Log::open(Arc::new(RealDisk), &dir, Options::default(), 0).expect("opened");
        let permit = Budget::new(1).try_take(0).expect("nothing is taken");
        let records = vec![Record {
            value_start: 0,
            value_len: 5,
            key_start: NONE,
            key_len: 0,
            timestamp_ms: 1,
            headers: if headers.is_empty() { NONE } else { 0 },
            offset: 9,
        }];
        let encoded = Encoded {
            buf: b"hello".to_vec(),
            records,
            headers,
            shares: Vec::new(),
            source: SourceKey(1),
            resume: Position::default(),
            permit,
        };
        for partition in partitions {
            let lane = LaneKey { topic: "logs".into(), partition: *partition };
            let (source, resume) = (SourceKey(4), Position::default());
            let new = NewFrame { lane: &lane, source, resume, encoded: &encoded, records: 0..1, skip: &[] };
            log.append(&[new], 1_764_000_000_000).expect("appended");
        }
        log.close().expect("healthy");
    }

    fn place(data_dir: &Path) -> SpoolPlace {
        SpoolPlace { config: Vec::new(), data_dir: Some(data_dir.to_owned()), output: None }
    }

    fn printed(run: impl FnOnce(&mut dyn Write) -> anyhow::Result<Exit>) -> (String, Exit) {
        let mut out = Vec::new();
        let exit = run(&mut out).expect("readable");
        (String::from_utf8(out).expect("text"), exit)
    }

    /// Scenario: a spool with three lanes, then a byte of it changed. Guarantee: `ls` and `cat` show what waits, `verify` names
    /// the damage and fails, and nothing in the directory changes.
    #[test]
    fn what_waits_is_shown_and_damage_is_named() {
        let data_dir = tempfile::tempdir().expect("a directory");
        assert_eq!(printed(|out| ls(&place(data_dir.path()), out)).0, "nothing is spooled\n");
        spooled(data_dir.path(), &[0, 1, -1]);
        let (listed, _) = printed(|out| ls(&place(data_dir.path()), out));
        assert!(listed.contains("logs/?") && listed.contains("2025-11-24T16:00:00Z"), "{listed}");
        let args = |partition, topic: Option<&str>| SpoolCatArgs {
            place: place(data_dir.path()),
            topic: topic.map(str::to_owned),
            partition,
            all: false,
        };
        let (shown, _) = printed(|out| cat(&args(Some(-1), Some("logs")), out));
        assert_eq!(
            shown,
            "{\"topic\":\"logs\",\"partition\":-1,\"frame\":3,\"source\":4,\"source_offset\":9,\"ts\":1,\"headers\":[],\"key\":null,\
             \"payload\":\"hello\"}\n"
        );
        assert_eq!(printed(|out| cat(&args(None, Some("other")), out)).0, "");
        let (verified, exit) = printed(|out| verify(&place(data_dir.path()), out));
        assert_eq!(exit, Exit::Fine, "{verified}");
        let path = data_dir.path().join("spool/main/00000000000000000001.seg");
        let mut bytes = std::fs::read(&path).expect("there");
        let first = bytes.windows(5).position(|window| window == b"hello").expect("it is not compressed");
        bytes[first] = b'j';
        std::fs::write(&path, &bytes).expect("writable");
        let (verified, exit) = printed(|out| verify(&place(data_dir.path()), out));
        assert!(exit == Exit::Failed && verified.contains("damaged: ") && verified.contains("2 frames"), "{verified}");
        assert_eq!(std::fs::read(&path).expect("there"), bytes);
    }

    /// Scenario: bytes are changed at the end of a spool, and another one was written by a newer agent. Guarantee: all commands say
    /// both, fail, and show what is whole; beside an agent that runs, bytes at the end are no fault.
    #[test]
    fn each_spool_is_shown_whatever_is_wrong_with_others() {
        let data_dir = tempfile::tempdir().expect("a directory");
        spooled(data_dir.path(), &[0, 1]);
        let args = SpoolCatArgs { place: place(data_dir.path()), topic: None, partition: None, all: false };
        let commands = || {
            let place = &args.place;
            let run =
                [printed(|out| ls(place, out)), printed(|out| cat(&args, out)), printed(|out| verify(place, out))];
            let [(listed, a), (shown, b), (verified, c)] = run;
            assert!(a == b && b == c, "{a:?} {b:?} {c:?}");
            (listed, shown.lines().count(), verified, a)
        };
        let path = data_dir.path().join("spool/main/00000000000000000001.seg");
        let mut bytes = std::fs::read(&path).expect("there");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(&path, &bytes).expect("writable");
        let (listed, shown, verified, exit) = commands();
        assert_eq!((shown, exit), (1, Exit::Failed), "{listed}{verified}");
        assert!(listed.contains("torn: ") && verified.contains("torn: "), "{listed}{verified}");
        let agent = DataDir::open(data_dir.path()).expect("nobody has it");
        assert_eq!(commands().3, Exit::Fine);
        drop(agent);
        // Damage of the first frame's head, and a later version beside it.
        std::fs::create_dir(data_dir.path().join("spool/a")).expect("made");
        let mut prologue = crate::spool::frame::prologue();
        prologue[8] = 9;
        let crc = crc32c::crc32c(&prologue[..12]).to_le_bytes();
        prologue[12..].copy_from_slice(&crc);
        std::fs::write(data_dir.path().join("spool/a/00000000000000000001.seg"), prologue).expect("written");
        let (listed, shown, verified, exit) = commands();
        assert_eq!((shown, exit), (1, Exit::Failed), "{listed}{verified}");
        assert!(listed.contains("output main") && verified.contains("output main"), "{listed}{verified}");
    }

    /// Scenario: a record that a processor failed for waits in the spool. Guarantee: its mark is shown for what it is, not as a header.
    #[test]
    fn what_a_processor_failed_for_is_shown_as_that() {
        let data_dir = tempfile::tempdir().expect("a directory");
        let header = |name: &str| Header { name: name.into(), value: 0..5 };
        spooled_with(data_dir.path(), &[0], vec![vec![header("own"), header(FAILED_HEADER)]]);
        let args = SpoolCatArgs { place: place(data_dir.path()), topic: None, partition: None, all: false };
        let (shown, _) = printed(|out| cat(&args, out));
        assert!(shown.contains(r#""headers":["own","hello"],"failed_processor":"hello""#), "{shown}");
    }
}
