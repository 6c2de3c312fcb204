//! The file output: on real directories, and on the simulated disk with everything that a disk can do.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::options::FileOptions;
use super::place::{Identity, Place};
use super::writer::{Job, Writer};
use super::*;
use crate::batch::{NONE, Position, Record, SourceKey};
use crate::budget::Budget;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;

fn options(path: &Path) -> FileOptions {
    FileOptions {
        name: "copy".into(),
        path: path.display().to_string(),
        envelope: false,
        rotate_bytes_max: 1 << 30,
        keep: 3,
        fsync: true,
        mode: 0o600,
    }
}

fn encoded(values: &[&str]) -> Arc<Encoded> {
    let (mut buf, mut records) = (Vec::new(), Vec::new());
    for value in values {
        let value_start = u32::try_from(buf.len()).expect("small");
        buf.extend_from_slice(value.as_bytes());
        let value_len = u32::try_from(value.len()).expect("small");
        let record =
            Record { value_start, value_len, key_start: NONE, key_len: 0, timestamp_ms: 5, headers: NONE, offset: 0 };
        records.push(record);
    }
    let permit = Budget::new(1).try_take(0).expect("nothing is asked for");
    Arc::new(Encoded {
        buf,
        records,
        headers: Vec::new(),
        shares: Vec::new(),
        source: SourceKey(1),
        resume: Position::default(),
        permit,
    })
}

fn job(parcel: u64, topic: &str, values: &[&str]) -> Job {
    let records = 0..u32::try_from(values.len()).expect("small");
    Job { parcel: Parcel(parcel), encoded: encoded(values), topic: topic.into(), records }
}

/// Writes, and says for each run of records whether it is safe.
fn write(writer: &mut Writer, jobs: Vec<Job>) -> Vec<(u64, Range<u32>, bool)> {
    let written = writer.write(jobs).into_iter();
    written.map(|one| (one.parcel.0, one.records, one.result.is_ok())).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_record_is_a_line_and_each_topic_has_its_file() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("deep/%{topic}/out.jsonl");
    let mut writer = Writer::new(FileOptions { mode: 0o640, ..options(&path) }, Box::new(Local));
    let done = write(&mut writer, vec![job(1, "a", &["{1}", "two\nlines"]), job(2, "b", &["{3}"])]);
    assert_eq!(done, [(1, 0..2, true), (2, 0..1, true)]);
    let (a, b) = (home.path().join("deep/a/out.jsonl"), home.path().join("deep/b/out.jsonl"));
    assert_eq!((read(&a), read(&b)), ("{1}\ntwo\\nlines\n".into(), "{3}\n".into()));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&a), mode(&home.path().join("deep/a"))), (0o640, 0o750));
    let whole = FileOptions { envelope: true, ..options(&home.path().join("whole.jsonl")) };
    write(&mut Writer::new(whole, Box::new(Local)), vec![job(1, "a", &["{1}"])]);
    assert_eq!(
        read(&home.path().join("whole.jsonl")),
        "{\"topic\":\"a\",\"ts\":5,\"headers\":[],\"key\":null,\"payload\":\"{1}\"}\n"
    );
}

/// Scenario: files are full again and again. Guarantee: none is larger than the bound, the youngest keep their lines in order,
/// and no more are kept than were asked for.
#[test]
fn full_files_get_numbers_and_the_oldest_goes() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("out.jsonl");
    let mut writer = Writer::new(FileOptions { rotate_bytes_max: 8, keep: 2, ..options(&path) }, Box::new(Local));
    for round in 0..4 {
        let values = [format!("{round}a"), format!("{round}b"), format!("{round}c")];
        let done = write(&mut writer, vec![job(round, "t", &values.each_ref().map(String::as_str))]);
        assert_eq!(done, [(round, 0..3, true)]);
    }
    let name = |end: &str| home.path().join(format!("out.jsonl{end}"));
    let all: String = [".2", ".1", ""].map(|end| read(&name(end))).concat();
    assert_eq!(all, "2a\n2b\n2c\n3a\n3b\n3c\n", "two lines fit into a file");
    assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 3);
    // One line that is larger than a file may be has a file of its own.
    let done = write(&mut writer, vec![job(9, "t", &["0123456789", "x"])]);
    assert_eq!(done, [(9, 0..2, true)]);
    assert_eq!((read(&name(".1")), read(&name(""))), ("0123456789\n".into(), "x\n".into()));
}

#[test]
fn a_torn_line_is_ended_and_a_file_that_was_moved_away_is_left_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("out.jsonl");
    fs::write(&path, "whole\nto").expect("writable");
    let mut writer = Writer::new(options(&path), Box::new(Local));
    write(&mut writer, vec![job(1, "t", &["next"])]);
    assert_eq!(read(&path), "whole\nto\nnext\n");
    fs::rename(&path, home.path().join("moved")).expect("renamed");
    write(&mut writer, vec![job(2, "t", &["new"])]);
    assert_eq!((read(&path), read(&home.path().join("moved"))), ("new\n".into(), "whole\nto\nnext\n".into()));
    fs::write(&path, "").expect("somebody empties it");
    write(&mut writer, vec![job(3, "t", &["again"])]);
    assert_eq!(read(&path), "again\n");
    fs::remove_dir_all(home.path()).expect("somebody removes it all");
    assert_eq!(write(&mut writer, vec![job(4, "t", &["here"])]), [(4, 0..1, true)]);
    assert_eq!(read(&path), "here\n");
}

/// Scenario: something that is no file has the name; it goes away.
/// Guarantee: a fault that names the path and says what to do; then it goes on.
#[test]
fn what_is_in_the_way_is_a_fault_until_it_is_gone() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("out.jsonl");
    fs::create_dir(&path).expect("writable");
    let mut writer = Writer::new(options(&path), Box::new(Local));
    let refused = writer.write(vec![job(1, "t", &["a", "b"])]).pop().expect("one run");
    let message = refused.result.expect_err("a directory is in the way");
    assert!(message.contains("out.jsonl: this is no plain file; make it writable"), "{message}");
    assert_eq!(refused.records, 0..2);
    fs::remove_dir(&path).expect("empty");
    assert_eq!(write(&mut writer, vec![job(1, "t", &["a", "b"])]), [(1, 0..2, true)]);
    assert_eq!(read(&path), "a\nb\n");
}

// ---- the producer ----

fn wait(producer: &FileProducer, count: usize) -> Vec<OutputEvent> {
    let mut events = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while events.len() < count {
        assert!(Instant::now() < deadline, "{events:?}");
        producer.poll(Duration::from_secs(1), &mut events);
    }
    events
}

fn reports(events: &[OutputEvent]) -> Vec<(u64, bool)> {
    let report = |event: &OutputEvent| match event {
        OutputEvent::Report { parcel, result, .. } => (parcel.0, result.is_ok()),
        other => panic!("{other:?}"),
    };
    events.iter().map(report).collect()
}

/// Scenario: a record is refused; others are handed over before anybody has heard of it, when the way is already free.
/// Guarantee: they are refused too, so nothing overtakes; what is handed over after that is written.
#[test]
fn nothing_overtakes_what_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("out.jsonl");
    fs::create_dir(&path).expect("writable");
    let producer = FileProducer::start(&options(&path)).expect("a thread");
    let topic: Arc<str> = "t".into();
    producer.lookup(&topic);
    let found = wait(&producer, 1);
    assert!(matches!(&found[..], [OutputEvent::Topic { result: Ok(1), .. }]), "{found:?}");
    producer.produce(Parcel(1), &encoded(&["a"]), &topic, 0, 0..1);
    assert_eq!(reports(&wait(&producer, 1)), [(1, false)]);
    fs::remove_dir(&path).expect("empty");
    producer.produce(Parcel(2), &encoded(&["b"]), &topic, 0, 0..1);
    assert_eq!(reports(&wait(&producer, 1)), [(2, false)]);
    let mut none = Vec::new();
    producer.poll(Duration::ZERO, &mut none);
    producer.produce(Parcel(1), &encoded(&["a"]), &topic, 0, 0..1);
    producer.produce(Parcel(2), &encoded(&["b"]), &topic, 0, 0..1);
    assert_eq!(reports(&wait(&producer, 2)), [(1, true), (2, true)]);
    assert_eq!((none.len(), read(&path)), (0, "a\nb\n".to_owned()));
}

/// Scenario: a second producer for the same path, while the first lives (a reload). Guarantee: it writes once the first is gone.
#[test]
fn a_path_has_one_writer() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("out.jsonl");
    let (first, second) = (FileProducer::start(&options(&path)), FileProducer::start(&options(&path)));
    let (first, second) = (first.expect("a thread"), second.expect("a thread"));
    let topic: Arc<str> = "t".into();
    first.produce(Parcel(1), &encoded(&["a"]), &topic, 0, 0..1);
    second.produce(Parcel(2), &encoded(&["b"]), &topic, 0, 0..1);
    // Whichever is first, the other has to wait for its end.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut done = Vec::new();
    let (mut one, mut two) = (Some(first), Some(second));
    while done.len() < 2 {
        assert!(Instant::now() < deadline, "{done:?}");
        for producer in [&mut one, &mut two] {
            let mut events = Vec::new();
            if let Some(living) = producer.as_ref() {
                living.poll(Duration::from_millis(5), &mut events);
            }
            if !events.is_empty() {
                done.extend(reports(&events));
                *producer = None;
            }
        }
    }
    let mut lines: Vec<String> = read(&path).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b"]);
}

// ---- the simulated disk ----

/// The simulated disk, whose files have their names for ever.
struct Simulated(Arc<SimDisk>);

impl Place for Simulated {
    fn disk(&self) -> &dyn Disk {
        &*self.0
    }

    fn identity(&self, path: &Path) -> io::Result<Option<Identity>> {
        let dir = path.parent().expect("the path is deep");
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let listed = match self.0.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            listed => listed?,
        };
        // A file that is rotated away gets another name, not another number: its length tells it apart well enough.
        Ok(listed.iter().any(|entry| entry.name == name).then_some((1, 1)))
    }

    fn make_dir(&self, dir: &Path, _mode: u32) -> io::Result<()> {
        self.0.create_dir(dir)?;
        self.0.sync_dir(dir.parent().expect("it is deep"))
    }

    fn set_mode(&self, _path: &Path, _mode: u32) -> io::Result<()> {
        Ok(())
    }
}

fn lines_of(disk: &SimDisk, dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in disk.list(dir).unwrap_or_default() {
        let file = disk.open(&dir.join(&entry.name)).expect("it is listed");
        let mut bytes = vec![0; usize::try_from(entry.len).expect("small")];
        let count = file.read(0, &mut bytes).expect("no fault is on");
        bytes.truncate(count);
        lines.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
    }
    lines
}

#[derive(Clone, Debug)]
enum Deed {
    Write(usize),
    FailAfter(u64),
    Heal,
    Capacity(u64),
    Crash,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        6 => (1usize..6).prop_map(Deed::Write),
        2 => (0u64..12).prop_map(Deed::FailAfter),
        2 => Just(Deed::Heal),
        1 => (0u64..400).prop_map(Deed::Capacity),
        1 => Just(Deed::Crash),
    ];
    proptest::collection::vec(deed, 1..60)
}

/// A life of the files, full all the time: whether what was acknowledged is there after each crash and in the end.
fn live(seed: u64, deeds: Vec<Deed>) -> Result<(), TestCaseError> {
    let disk = Arc::new(SimDisk::new(seed, 1 << 20));
    let dir = Path::new("/d/out");
    let options = FileOptions { rotate_bytes_max: 64, keep: 10_000, ..options(&dir.join("o")) };
    let make = || Writer::new(options.clone(), Box::new(Simulated(Arc::clone(&disk))));
    let mut writer = make();
    let (mut next, mut acked, mut owed) = (0u64, Vec::new(), Vec::<String>::new());
    let all = deeds.into_iter().chain([Deed::Heal, Deed::Capacity(1 << 20), Deed::Write(1), Deed::Write(1)]);
    for deed in all {
        match deed {
            Deed::Write(count) => {
                owed.extend((next..).take(count).map(|number| format!("[{number:06}]")));
                next += count as u64;
                let values: Vec<&str> = owed.iter().map(String::as_str).collect();
                let mut safe = 0;
                for (_, records, ok) in write(&mut writer, vec![job(1, "t", &values)]) {
                    if ok {
                        prop_assert_eq!(records.start as usize, safe, "what is safe comes first");
                        safe = records.end as usize;
                    }
                }
                acked.extend(owed.drain(..safe));
            }
            Deed::FailAfter(calls) => disk.fail_after(calls, io::ErrorKind::Other),
            Deed::Heal => disk.heal(),
            Deed::Capacity(bytes) => disk.set_capacity_bytes(disk.used_bytes().max(bytes)),
            Deed::Crash => {
                disk.crash();
                disk.heal();
                let lines = lines_of(&disk, dir);
                for line in &acked {
                    prop_assert!(lines.contains(line), "{} is acknowledged and gone: {:?}", line, lines);
                }
                writer = make();
            }
        }
    }
    prop_assert!(owed.is_empty(), "a healed disk takes everything: {:?}", owed);
    disk.heal();
    let lines = lines_of(&disk, dir);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    lines.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    for line in &acked {
        prop_assert!(counts.contains_key(line.as_str()), "{} is gone: {:?}", line, lines);
    }
    Ok(())
}

proptest! {
    /// Scenario: groups are written to a disk that fails at any call, is full at any byte, and crashes at any time; what is refused
    /// is written again. Files are full all the time.
    /// Guarantee: what was acknowledged is there as a whole line of its own after any crash; of what is not there whole, at most
    /// the end of a file is torn; in the end everything is there, in order by first occurrence.
    #[test]
    fn what_is_acknowledged_is_there(seed in any::<u64>(), deeds in deeds()) {
        live(seed, deeds)?;
    }
}

/// Scenario: the directory can't be synced after the full file was given its other name; the next file is begun; a crash keeps what it
/// likes of what was not synced. Guarantee: the full file has one of its names: it is not replaced by the new one.
#[test]
fn a_rotation_that_fails_half_way_loses_no_file() {
    for seed in 0..20 {
        for (first, second) in (0..14).flat_map(|first| (0..14).map(move |second| (first, second))) {
            let deeds = [Deed::Write(5), Deed::FailAfter(first), Deed::Write(2), Deed::Write(1)];
            let more = [Deed::FailAfter(second), Deed::Write(1), Deed::Crash];
            let told = live(seed, deeds.into_iter().chain(more).collect());
            assert!(told.is_ok(), "seed {seed}, failing after {first} and {second} calls: {told:?}");
        }
    }
}

/// Scenario: a crash has left a torn line; the sync of the line feed that ends it fails, and a crash comes after the next one that
/// does not. Guarantee: the line behind it, which was acknowledged, is a line of its own.
#[test]
fn the_end_of_a_torn_line_is_as_durable_as_what_comes_behind_it() {
    for seed in 0..40 {
        for calls in 0..14 {
            let torn = [Deed::Capacity(11), Deed::Write(1), Deed::FailAfter(4), Deed::Write(1), Deed::Crash];
            let fails =
                [Deed::Capacity(400), Deed::FailAfter(calls), Deed::Write(1), Deed::Heal, Deed::Write(1), Deed::Crash];
            let told = live(seed, torn.into_iter().chain(fails).collect());
            assert!(told.is_ok(), "seed {seed}, failing after {calls} calls: {told:?}");
        }
    }
}

#[test]
fn the_probe_says_what_is_in_the_way() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |path: &str| probe::probe(&options(&home.path().join(path)));
    assert_eq!(at("new/%{topic}/x.jsonl"), Ok(home.path().to_owned()));
    fs::write(home.path().join("file"), "").expect("writable");
    assert_eq!(at("file"), Ok(home.path().to_owned()));
    let refused = at("file/x.jsonl").expect_err("no directory");
    assert!(refused.ends_with("file is no directory; name another path"), "{refused}");
    assert!(at("").expect_err("a directory").contains("is no plain file"));
    assert!(fs::metadata(home.path()).expect("there").mode() & 0o700 == 0o700);
}
