//! From bytes to lines: terminators, unterminated rests, over-long lines, filters, where reading begins.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::world::{Line, Setup, World, now};
use crate::input::file::options::StartAt;

#[test]
fn lines_come_once_and_in_order_as_the_file_grows() {
    let world = World::started(Setup::default());
    world.append("a.log", "one\ntwo\r\n\nthree");
    world.expect(&["one", "two", ""]);
    world.append("a.log", " and a half\nfour\n");
    world.expect(&["three and a half", "four"]);
    world.expect(&[]);
}

#[test]
fn offsets_and_lengths_have_no_gap() {
    let world = World::started(Setup { bytes_max: 16, ..Setup::default() });
    let text: String = (0..200).map(|n| format!("line {n}{}", if n % 3 == 0 { "\r\n" } else { "\n" })).collect();
    world.append("a.log", &text);
    world.run();
    let lines = world.host.take_lines();
    assert_eq!(lines.len(), 200);
    let mut end = 0;
    for line in &lines {
        assert_eq!(line.offset, end);
        end += line.length;
    }
    assert_eq!(end, text.len() as u64);
}

#[test]
fn an_unterminated_line_waits_and_is_shipped_when_the_file_has_left() {
    let world = World::started(Setup::default());
    world.append("a.log", "whole\npart");
    world.expect(&["whole"]);
    world.rename("a.log", "a.log.1");
    world.expect(&["part"]);
    world.append("b.log", "gone");
    world.expect(&[]);
    world.remove("b.log");
    world.expect(&["gone"]);
    assert_eq!(world.host.sources(), 0, "both are finished");
}

#[test]
fn a_file_that_left_is_given_time() {
    let mut setup = Setup::default();
    setup.timing.grace = Duration::from_millis(300);
    let world = World::started(setup);
    world.append("a.log", "one\npar");
    world.expect(&["one"]);
    world.rename("a.log", "a.log.1");
    world.look();
    world.append("a.log.1", "tly\ntwo\n");
    world.read_until(|world| world.host.sources() == 0);
    assert_eq!(world.texts(), ["partly", "two"], "the writer had it open, and was waited for");
}

fn long(size: usize) -> String {
    (0..size).map(|n| char::from(b'a' + (n % 26) as u8)).collect()
}

#[test]
fn over_long_lines_are_cut_and_counted() {
    let check = |size: usize, terminator: &str, bytes_max: usize| {
        let world = World::started(Setup { max_line_bytes: 100, bytes_max, ..Setup::default() });
        let text = long(size);
        world.append("a.log", &format!("before\n{text}{terminator}after\n"));
        world.run();
        let lines = world.host.take_lines();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["before", &text[..size.min(100)], "after"], "{size} in quanta of {bytes_max}");
        let line: &Line = &lines[1];
        assert_eq!((line.offset, line.length), (7, (size + terminator.len()) as u64));
        assert_eq!(line.cut, size > 100);
        assert_eq!(lines[2].offset, 7 + line.length);
        assert_eq!(world.host.lines_truncated(), u64::from(size > 100));
    };
    for terminator in ["\n", "\r\n"] {
        for bytes_max in [7, 64, 100, 101, 102, 5000] {
            for size in [0, 99, 100, 101, 102, 103, 500, 2000] {
                check(size, terminator, bytes_max);
            }
        }
    }
}

#[test]
fn over_long_lines_are_cut_at_a_character() {
    let world = World::started(Setup { max_line_bytes: 11, bytes_max: 16, ..Setup::default() });
    world.append("a.log", &format!("{}\nok\n", "é".repeat(100)));
    world.expect(&["ééééé", "ok"]);
}

#[test]
fn an_over_long_line_that_grows_slowly_or_never_ends() {
    let world = World::started(Setup { max_line_bytes: 100, bytes_max: 64, ..Setup::default() });
    for _ in 0..300 {
        world.append("a.log", "0123456789");
        world.expect(&[]);
    }
    world.append("a.log", "\nnext\n");
    let text = "0123456789".repeat(10);
    world.expect(&[&text, "next"]);
    world.append("a.log", &"x".repeat(500));
    world.expect(&[]);
    world.remove("a.log");
    world.expect(&[&"x".repeat(100)]);
}

#[test]
fn a_line_that_is_scanned_and_fits_is_whole() {
    let world = World::started(Setup { max_line_bytes: 200_000, bytes_max: 4096, ..Setup::default() });
    let text = long(150_000);
    world.append("a.log", &text);
    world.expect(&[]);
    world.append("a.log", "!\nnext\n");
    world.expect(&[&format!("{text}!"), "next"]);
}

#[test]
fn an_over_long_line_is_read_again_after_a_rewind() {
    let world = World::started(Setup { max_line_bytes: 100, bytes_max: 64, ..Setup::default() });
    let text = long(1000);
    world.append("a.log", &format!("one\n{text}\ntwo\n"));
    world.run_until_idle_unsettled();
    world.host.abandon_all();
    world.host.take_lines();
    world.expect(&["one", &text[..100], "two"]);
}

#[test]
fn filtered_lines_are_consumed() {
    let mut world = World::started(Setup { exclude_lines: vec!["^#"], ..Setup::default() });
    world.append("a.log", "# head\none\n# x\n");
    world.expect(&["one"]);
    world.restart();
    world.expect(&[]);
    world.append("a.log", "# y\n");
    world.expect(&[]);
    assert_eq!(world.host.lines_filtered(), 1, "since the restart");
}

#[test]
fn start_at_end_is_for_the_first_start_only() {
    let mut world = World::new(Setup { start_at: StartAt::End, ..Setup::default() });
    world.append("old.log", "before\nhalf");
    world.start();
    world.expect(&[]);
    world.append("old.log", " line\nafter\n");
    world.append("new.log", "all of it\n");
    world.expect_any_order(&["half line", "after", "all of it"]);
    world.stop();
    world.append("away.log", "came while we were away\n");
    world.append("old.log", "more\n");
    world.reopen();
    world.expect_any_order(&["came while we were away", "more"]);
}

#[test]
fn old_files_wait_until_they_are_written() {
    let world = World::new(Setup { ignore_older: Some(Duration::from_secs(60)), ..Setup::default() });
    let mut world = world;
    world.append("a.log", "old\n");
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options()
        .append(true)
        .open(world.at("a.log"))
        .and_then(|file| file.set_modified(hour_ago))
        .expect("writable");
    world.start();
    world.expect(&[]);
    assert_eq!(world.host.added(), 0, "it is not even opened");
    world.append("a.log", "new\n");
    world.expect(&["old", "new"]);
}

#[test]
fn an_abandoned_batch_is_read_again() {
    let world = World::started(Setup::default());
    world.append("a.log", "one\ntwo\n");
    world.run_until_idle_unsettled();
    assert_eq!(world.texts(), ["one", "two"]);
    world.host.abandon_all();
    world.expect(&["one", "two"]);
}

/// Says that `name` was last appended to so many seconds ago; when that was, in nanoseconds since the epoch.
fn appended_ago(world: &World, name: &str, seconds: u64) -> i64 {
    let at = SystemTime::now() - Duration::from_secs(seconds);
    let file = File::options().append(true).open(world.at(name)).expect("it is there");
    file.set_modified(at).expect("our own file");
    let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

/// Scenario: lines are appended before the start, and in two looks while nobody reads; they are read, given up and read again.
/// Guarantee: each batch says when its oldest line was appended, the second time too.
#[test]
fn a_batch_says_when_its_oldest_line_was_appended() {
    let mut world = World::new(Setup { bytes_max: 8, ..Setup::default() });
    world.append("a.log", "first\n");
    let first = appended_ago(&world, "a.log", 3_600);
    world.start();
    world.look();
    world.append("a.log", "second\n");
    let second = appended_ago(&world, "a.log", 1_800);
    world.look();
    world.append("a.log", "third\n");
    let third = appended_ago(&world, "a.log", 60);
    world.look();
    let expect = [("first", first), ("second", second), ("third", third)];
    for _ in 0..2 {
        world.run_until_idle_unsettled();
        let found: Vec<(String, i64)> =
            world.host.take_appended().into_iter().map(|(line, at)| (line, at.expect("it was looked at").0)).collect();
        assert_eq!(found, expect.map(|(line, at)| (line.to_owned(), at)));
        world.host.abandon_all();
    }
    world.run();
    world.host.take_appended();
    // What has come since counts from now, whatever the file was before.
    let before = now().0 - 100_000_000;
    world.append("a.log", "fourth\n");
    world.run();
    let found = world.host.take_appended();
    let [(_, Some(at))] = found.as_slice() else { panic!("{found:?}") };
    assert!((before..=now().0).contains(&at.0), "{before} {at:?}");
}

/// Scenario: a line is begun, and completed half an hour later. Guarantee: it counts from when it was complete.
#[test]
fn a_line_that_was_begun_long_ago_counts_from_its_end() {
    let world = World::started(Setup::default());
    world.append("a.log", "be");
    appended_ago(&world, "a.log", 1_800);
    world.run();
    world.append("a.log", "gun\n");
    let end = appended_ago(&world, "a.log", 5);
    world.run();
    let found = world.host.take_appended();
    assert_eq!(found.iter().map(|(line, at)| (&**line, at.map(|at| at.0))).collect::<Vec<_>>(), [("begun", Some(end))]);
}
