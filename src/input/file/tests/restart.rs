//! Restarts in the middle of everything: read on where it was settled, wherever the bytes are now.

use super::world::{Setup, World};

/// Reads some, stops with `three` unread, lets `away` happen, starts again.
#[track_caller]
fn come_back(paths: &[&'static str], away: impl FnOnce(&World)) -> World {
    let mut world = World::started(Setup::of(paths));
    world.append("a.log", "one\ntwo\n");
    world.expect(&["one", "two"]);
    world.append("a.log", "three\n");
    world.stop();
    world.tick();
    away(&world);
    world.reopen();
    world
}

/// What comes after [`come_back`], and that nothing of it comes twice.
#[track_caller]
fn check(paths: &[&'static str], away: impl FnOnce(&World), expect: &[&str]) {
    let mut world = come_back(paths, away);
    world.expect_any_order(expect);
    world.restart();
    world.expect(&[]);
    world.append("a.log", "more\n");
    world.expect(&["more"]);
    world.crash();
    world.run();
    let again = world.texts();
    assert!(again.len() <= 1, "a crash repeats what was not committed: {again:?}");
}

#[test]
fn nothing_happened() {
    check(&["*.log"], |_| {}, &["three"]);
}

#[test]
fn appended() {
    check(&["*.log"], |world| world.append("a.log", "four\n"), &["three", "four"]);
}

#[test]
fn renamed() {
    for paths in [&["a.log"][..], &["a.log*"][..]] {
        let away = |world: &World| {
            world.rename("a.log", "a.log.1");
            world.append("a.log", "new\n");
        };
        check(paths, away, &["three", "new"]);
        let away = |world: &World| world.rename("a.log", "a.log.1");
        check(paths, away, &["three"]);
    }
}

#[test]
fn renamed_more_than_once() {
    for paths in [&["a.log"][..], &["a.log*"][..]] {
        let away = |world: &World| {
            world.rename("a.log", "a.log.2");
            world.append("a.log.1", "between\n");
            world.append("a.log", "new\n");
        };
        check(paths, away, &["three", "between", "new"]);
    }
}

#[test]
fn copied_and_truncated() {
    for paths in [&["a.log"][..], &["a.log*"][..]] {
        let away = |world: &World| world.copytruncate("a.log", "a.log.1");
        check(paths, away, &["three"]);
        let away = |world: &World| {
            world.copytruncate("a.log", "a.log.1");
            world.append("a.log", "new and longer than everything that was there before\n");
        };
        check(paths, away, &["three", "new and longer than everything that was there before"]);
    }
}

#[test]
fn copied_and_truncated_more_than_once() {
    for paths in [&["a.log"][..], &["a.log*"][..]] {
        let away = |world: &World| {
            world.copytruncate("a.log", "a.log.2");
            world.append("a.log", "between\n");
            world.copytruncate("a.log", "a.log.1");
            world.append("a.log", "new\n");
        };
        check(paths, away, &["three", "between", "new"]);
    }
}

#[test]
fn truncated_without_a_copy() {
    let away = |world: &World| std::fs::write(world.at("a.log"), "new\n").expect("writable");
    check(&["*.log"], away, &["new"]);
}

#[test]
fn deleted() {
    check(&["*.log"], |world| world.remove("a.log"), &[]);
}

#[test]
fn replaced() {
    let away = |world: &World| {
        world.remove("a.log");
        world.append("a.log", "one\ntwo\nthree\nfour\n");
    };
    check(&["*.log"], away, &["one", "two", "three", "four"]);
}

#[test]
fn moved_to_another_filesystem_and_back_it_is_found_by_content() {
    let away = |world: &World| {
        std::fs::copy(world.at("a.log"), world.at("a.log.1")).expect("writable");
        world.remove("a.log");
    };
    check(&["a.log"], away, &["three"]);
}

#[test]
fn in_the_middle_of_a_copy() {
    for paths in [&["a.log"][..], &["a.log*"][..]] {
        let mut world = World::started(Setup::of(paths));
        world.append("a.log", "one\n");
        world.expect(&["one"]);
        world.commit();
        world.append("a.log", &"two\n".repeat(100));
        world.copytruncate("a.log", "a.log.1");
        world.append("a.log", "three\n");
        world.look();
        // A part of the copy is read and settled.
        for _ in 0..4 {
            world.host.step(64, true);
        }
        let before = world.texts().len();
        world.commit();
        world.restart();
        let mut expect = vec!["two"; 100 - before];
        expect.push("three");
        world.expect_any_order(&expect);
        world.restart();
        world.expect(&[]);
    }
}

#[test]
fn unsettled_lines_come_again_and_settled_ones_do_not() {
    let mut world = World::started(Setup::default());
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    world.append("a.log", "two\n");
    world.run_until_idle_unsettled();
    assert_eq!(world.texts(), ["two"]);
    world.restart();
    world.expect(&["two"]);
}

#[test]
fn a_crash_repeats_and_loses_nothing() {
    let mut world = World::started(Setup::default());
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    world.commit();
    world.append("a.log", "two\n");
    world.expect(&["two"]);
    world.crash();
    world.expect(&["two"]);
    let fresh = World::started(Setup::default());
    fresh.append("a.log", "one\n");
    fresh.expect(&["one"]);
    let mut fresh = fresh;
    fresh.crash();
    fresh.expect(&["one"]);
}

#[test]
fn ids_are_the_same_after_a_restart_and_a_lost_data_dir() {
    let mut world = World::started(Setup::default());
    world.append("a.log", "one\n");
    world.run();
    let before = world.host.take_lines();
    world.crash();
    world.run();
    let after = world.host.take_lines();
    assert_eq!(before[0].id, after[0].id);
}

#[test]
fn a_rotated_file_that_was_read_is_not_read_again() {
    let mut world = World::started(Setup::of(&["a.log*"]));
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    world.rename("a.log", "a.log.1");
    world.append("a.log", "two\n");
    world.expect(&["two"]);
    for n in 2..5 {
        world.stop();
        world.rename(&format!("a.log.{}", n - 1), &format!("a.log.{n}"));
        world.reopen();
        world.expect(&[]);
    }
    assert_eq!(world.host.added(), 0, "nothing was opened that has nothing new");
}

#[test]
fn an_output_that_comes_later_or_is_behind_decides_where_reading_begins() {
    use crate::batch::OutputId;
    let mut world = World::started(Setup::default());
    world.append("a.log", "one\ntwo\n");
    world.run();
    let key = world.host.take_lines()[0].key;
    let after_two = world.host.positions()[0].2;
    // Another output was there before, and is further.
    world.store.commit(&[(key, OutputId(9), after_two)]).expect("writable");
    world.crash();
    world.expect(&["one", "two"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn rotated_and_compressed_it_is_read_on_in_the_compressed_file() {
    let pack = |world: &World, to: &str, compress: fn(&[u8]) -> Vec<u8>| {
        let bytes = std::fs::read(world.at("a.log")).expect("it is there");
        std::fs::write(world.at(to), compress(&bytes)).expect("writable");
        world.remove("a.log");
    };
    for paths in [&["a.log"][..], &["a.log*"][..]] {
        check(paths, |world| pack(world, "a.log.1.gz", gzip), &["three"]);
        let away = |world: &World| {
            pack(world, "a.log-20261124.zst", |bytes| zstd::encode_all(bytes, 3).expect("memory"));
            world.append("a.log", "new\n");
        };
        check(paths, away, &["three", "new"]);
        // An older file of the log begins in the same way, and another log is compressed too: nothing of them is read.
        let away = |world: &World| {
            std::fs::write(world.at("a.log.3.gz"), gzip(b"one\ntwo and not the same\n")).expect("writable");
            std::fs::write(world.at("b.log.1.gz"), gzip(b"one\ntwo\nof another log\n")).expect("writable");
            pack(world, "a.log.2.gz", gzip);
            world.append("a.log", "new\n");
        };
        check(paths, away, &["three", "new"]);
        // Its end is lost, and nothing else.
        let away = |world: &World| {
            world.append("a.log", &"more of it\n".repeat(100_000));
            pack(world, "a.log.1.gz", |bytes| gzip(bytes)[..60].to_vec());
            world.append("a.log", "new\n");
        };
        check_all_but_damaged(paths, away);
    }
}

/// The rest of the file is compressed and damaged: whatever can be had of it comes, and what comes after it.
#[track_caller]
fn check_all_but_damaged(paths: &[&'static str], away: impl FnOnce(&World)) {
    let mut world = come_back(paths, away);
    world.run();
    let texts = world.texts();
    assert!(texts.contains(&"new".to_owned()), "{:?}", texts.len());
    world.restart();
    world.expect(&[]);
}

#[test]
fn truncated_while_held_back_and_its_copy_compressed() {
    let world = World::started(Setup::of(&["a.log"]));
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    world.append("a.log", "two\nthree\n");
    let bytes = std::fs::read(world.at("a.log")).expect("it is there");
    std::fs::write(world.at("a.log.1.gz"), gzip(&bytes)).expect("writable");
    world.truncate("a.log");
    world.append("a.log", "four\n");
    world.expect(&["two", "three", "four"]);
    world.expect(&[]);
}

/// Scenario: a file is found while it is empty; its first lines are read, and the process dies before anything is committed.
/// Meanwhile the file is truncated and written anew. Guarantee: it is another generation: two lines never have the same
/// `log.file.id` and offset. So nothing of a file is read before what tells it apart is in the store.
#[test]
fn what_was_read_before_a_crash_is_not_taken_for_what_is_there_after_it() {
    let mut world = World::started(Setup::default());
    world.append("a.log", "");
    world.look();
    world.append("a.log", "one\n");
    // Nobody looks: the source itself finds what has come.
    world.read_until(|world| world.host.has("one"));
    world.kill();
    std::fs::write(world.at("a.log"), "").expect("writable");
    world.append("a.log", "two\n");
    world.reopen();
    world.run();
    let lines = world.host.take_lines();
    let [one, two] = lines.as_slice() else { panic!("{lines:#?}") };
    assert_eq!((&*one.text, &*two.text), ("one", "two"));
    assert_ne!(one.id, two.id, "{lines:#?}");
}
