//! Lines that are joined: where the file resumes, and what ends a record.

use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use super::world::{Setup, World};
use crate::decode::multiline::{Kind, Match, Multiline};
use crate::decode::{Format, JoinOptions, LineFilter};

fn joining(format: Format, timeout: Option<Duration>) -> Setup {
    let pattern = Regex::new(r"^\s").expect("a good expression");
    let kind = Kind::Pattern { pattern, negate: false, place: Match::After, flush: None };
    let options = JoinOptions {
        format,
        multiline: Some(Multiline { kind, lines_max: 500, bytes_max: 1000, timeout, skip_newline: false }),
        line_bytes_max: 1000,
        raw_bytes_max: 1 << 20,
        filter: LineFilter::default(),
    };
    Setup { joining: Some(Arc::new(options)), ..Setup::default() }
}

const SOON: Option<Duration> = Some(Duration::from_millis(20));

/// Scenario: the last record of a file that has its name; nothing follows it. Guarantee: it comes once nothing was added to it for
/// its time, not before; who asks whether all is read is told no until then.
#[test]
fn the_last_record_ends_after_its_time() {
    let world = World::started(joining(Format::Lines, Some(Duration::from_millis(300))));
    world.append("a.log", "one\n a\n");
    world.look();
    while world.host.step(100, true) {}
    world.append("a.log", " b\n");
    world.look();
    while world.host.step(100, true) {}
    assert!(!world.input().idle(), "a record is open");
    assert!(!world.host.has("one\n a"));
    world.expect(&["one\n a\n b"]);
    world.append("a.log", " too late\ntwo\n");
    world.expect(&[" too late", "two"]);
}

/// Scenario: the agent is killed, and restarted in order, while a record is being joined of which some was read and committed over.
/// Guarantee: the whole record comes, from its first line on.
#[test]
fn a_restart_resumes_before_what_is_open() {
    for crash in [true, false] {
        let mut world = World::started(joining(Format::Lines, None));
        world.append("a.log", "zero\none\n a\n");
        world.look();
        while world.host.step(100, true) {}
        assert_eq!(world.texts(), ["zero"]);
        world.commit();
        if crash {
            world.crash()
        } else {
            world.restart()
        }
        world.append("a.log", " b\ntwo\n");
        world.look();
        while world.host.step(7, true) {}
        let lines = world.host.take_lines();
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["one\n a\n b"]);
        assert_eq!((lines[0].offset, lines[0].length), (5, 10));
    }
}

/// Scenario: a file is renamed within a trace, written on under its new name, and another one takes its name.
/// Guarantee: the trace is one record, and comes before the lines of the next file.
#[test]
fn a_record_goes_on_under_the_rotated_name() {
    let world = World::started(joining(Format::Lines, SOON));
    world.append("a.log", "one\n a\n");
    world.look();
    while world.host.step(100, true) {}
    world.rename("a.log", "a.log.1");
    world.append("a.log.1", " b\n");
    world.append("a.log", "two\n");
    world.expect(&["one\n a\n b", "two"]);
}

/// Scenario: a file is copied and truncated within a trace that is read up to its middle, and settled.
/// Guarantee: its end comes from the copy.
#[test]
fn a_record_goes_on_in_the_copy_of_a_truncated_file() {
    let world = World::started(joining(Format::Lines, None));
    world.append("a.log", "one\n a\n");
    world.look();
    while world.host.step(100, true) {}
    world.append("a.log", " b\n");
    world.copytruncate("a.log", "a.log.1");
    world.run_until_idle_unsettled();
    assert_eq!(world.texts(), ["one\n a\n b"]);
}

/// Scenario: two streams between each other, one with a part that waits for its end; batches are held, and abandoned.
/// Guarantee: a hold repeats nothing; what was abandoned comes again; the position stays before the part.
#[test]
fn what_waits_in_one_stream_holds_the_position_not_the_other_stream() {
    let line = |stream: &str, tag: &str, text: &str| format!("2021-05-17T17:35:01Z {stream} {tag} {text}\n");
    let world = World::started(joining(Format::Cri, None));
    world.append("a.log", &line("stdout", "P", "o1"));
    for text in ["e1", "e2", " more", "e3"] {
        world.append("a.log", &line("stderr", "F", text));
    }
    world.look();
    assert!(world.host.step(60, true));
    for _ in 0..5 {
        assert!(world.host.hold(60));
        assert!(world.host.step(60, true));
    }
    while world.host.step(60, true) {}
    assert_eq!(world.texts(), ["e1", "e2\n more"]);
    assert_eq!(world.host.positions()[0].2.offset, 0);
    world.append("a.log", &line("stdout", "F", "o2"));
    world.append("a.log", &line("stdout", "F", "o3"));
    world.append("a.log", &line("stderr", "F", "e4"));
    world.look();
    while world.host.step(1000, false) {}
    assert_eq!(world.texts(), ["o1o2", "e3"]);
    world.host.abandon_all();
    while world.host.step(1000, true) {}
    let again = world.texts();
    assert!(["o1o2", "e3"].iter().all(|text| again.iter().any(|seen| seen == text)), "{again:?}");
    world.append("a.log", &line("stdout", "F", "end"));
    world.append("a.log", &line("stderr", "F", "end"));
    world.look();
    while world.host.step(1000, true) {}
    assert_eq!(world.texts(), ["o3", "e4"]);
}

/// Scenario: a file that is deleted while a record of it is open, and one whose last line has no newline.
/// Guarantee: what is there comes, as one record.
#[test]
fn a_file_s_end_ends_its_record() {
    let world = World::started(joining(Format::Lines, None));
    world.append("a.log", "one\n a\n b");
    world.look();
    while world.host.step(100, true) {}
    world.remove("a.log");
    world.expect(&["one\n a\n b"]);
    assert_eq!(world.host.sources(), 0);
}
