//! What becomes of names: rotation by rename and by copy, truncation, deletion, links. Nothing lost, nothing twice.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::world::{Setup, World};
use crate::input::file::identity::Stat;
use crate::input::file::link::Signal;
use crate::input::file::options::Watch;
use crate::input::file::tail::Timing;

#[test]
fn rename_out_of_the_glob() {
    let world = World::started(Setup::default());
    for n in 0..5 {
        world.append("a.log", &format!("a{n}\n"));
        world.run();
        world.append("a.log", &format!("b{n}\n"));
        world.rename("a.log", &format!("a.log.{n}"));
        world.append("a.log", &format!("c{n}\n"));
        world.run();
        assert_eq!(world.texts(), [format!("a{n}"), format!("b{n}"), format!("c{n}")]);
    }
    assert_eq!(world.host.sources(), 1, "only the live one is still read");
}

#[test]
fn rename_within_the_glob() {
    let world = World::started(Setup::of(&["a.log*"]));
    for n in 0..5 {
        for old in (1..5).rev() {
            if world.at(&format!("a.log.{old}")).exists() {
                world.rename(&format!("a.log.{old}"), &format!("a.log.{}", old + 1));
            }
        }
        if n > 0 {
            world.append("a.log", &format!("last{n}\n"));
            world.rename("a.log", "a.log.1");
        }
        world.append("a.log", &format!("first{n}\n"));
        world.run();
        let expect: Vec<String> =
            if n > 0 { vec![format!("last{n}"), format!("first{n}")] } else { vec!["first0".to_owned()] };
        assert_eq!(world.texts(), expect);
    }
    let lines = world.input().snapshot();
    assert!(lines.iter().all(|file| file.path.ends_with("a.log")), "the first name stays for life: {lines:?}");
}

#[test]
fn the_next_file_waits_for_the_one_before_it() {
    let world = World::started(Setup::default());
    world.append("a.log", &"old\n".repeat(100));
    world.look();
    world.rename("a.log", "a.log.1");
    world.append("a.log", "new\n");
    world.look();
    world.append("a.log.1", "late\n");
    let mut expect = vec!["old"; 100];
    expect.extend(["late", "new"]);
    world.expect(&expect);
}

/// Scenario: an input ends; the source of the older file is dropped with a line that is not handed over, while a worker still has
/// that of the next file of its name. Guarantee: nothing of the next one is read: it would arrive before that line.
#[test]
fn a_file_whose_source_is_dropped_has_not_caught_up() {
    let world = World::started(Setup::default());
    world.append("a.log", "old\n");
    world.look();
    world.rename("a.log", "a.log.1");
    world.append("a.log", "new\n");
    world.look();
    assert_eq!(world.host.sources(), 2);
    world.host.let_go_of_the_first();
    while world.host.step(world.setup.bytes_max, true) {}
    assert_eq!(world.texts(), Vec::<String>::new());
}

/// Scenario: a file that was read to its end is closed; before that is heard it gets a late line and is rotated, and the next file of
/// its name is found. Guarantee: the next one is read behind the late line, and is read.
#[test]
fn the_next_file_waits_for_one_that_is_opened_again() {
    let mut world = World::started(Setup {
        timing: Timing { grace: Duration::from_secs(60), close_idle: Duration::ZERO },
        ..Setup::default()
    });
    world.stop();
    let mut registry = world.registry();
    let read = || while world.host.step(world.setup.bytes_max, true) {};
    world.append("a.log", "old\n");
    for _ in 0..2 {
        registry.scan(&registry.walk());
        read();
    }
    assert_eq!(world.host.sources(), 0, "it is closed");
    let key = registry.files.iter().map(|(key, _)| key).next().expect("it is known");
    world.append("a.log", "late\n");
    world.rename("a.log", "a.log.1");
    world.append("a.log", "new\n");
    registry.scan(&registry.walk());
    registry.heard(&Signal::Finished(key));
    read();
    registry.heard(&Signal::CaughtUp(key));
    read();
    assert_eq!(world.texts(), ["old", "late", "new"]);
}

#[test]
fn held_back_through_many_renames() {
    let world = World::started(Setup::default());
    let mut expect = Vec::new();
    for n in 0..20 {
        for old in (1..20).rev() {
            if world.at(&format!("a.log.{old}")).exists() {
                world.rename(&format!("a.log.{old}"), &format!("a.log.{}", old + 1));
            }
        }
        if n > 0 {
            world.rename("a.log", "a.log.1");
        }
        world.append("a.log", &format!("x{n}\ny{n}\n"));
        expect.extend([format!("x{n}"), format!("y{n}")]);
        world.look();
    }
    world.run();
    assert_eq!(world.texts(), expect);
}

#[test]
fn rotations_between_two_looks_are_not_missed() {
    let world = World::started(Setup::default());
    world.append("a.log", "zero\n");
    world.expect(&["zero"]);
    world.tick();
    for n in 1..4 {
        for old in (1..4).rev() {
            if world.at(&format!("a.log.{old}")).exists() {
                world.rename(&format!("a.log.{old}"), &format!("a.log.{}", old + 1));
            }
        }
        world.append("a.log", &format!("tail {n}\n"));
        world.rename("a.log", "a.log.1");
        world.append("a.log", &format!("head {n}\n"));
    }
    world.expect_any_order(&["tail 1", "head 1", "tail 2", "head 2", "tail 3", "head 3"]);
    world.expect(&[]);
}

#[test]
fn files_with_rotated_names_that_were_there_before_are_not_ours() {
    let world = World::new(Setup::default());
    world.append("a.log.1", "not in the glob\n");
    world.tick();
    let mut world = world;
    world.start();
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    world.rename("a.log", "a.log.2");
    world.append("a.log", "two\n");
    world.expect(&["two"]);
}

#[test]
fn copytruncate_outside_the_glob() {
    let world = World::started(Setup::default());
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    world.append("a.log", "two\n");
    world.copytruncate("a.log", "a.log.1");
    world.append("a.log", "three\n");
    world.expect(&["two", "three"]);
    world.copytruncate("a.log", "a.log.1");
    world.append("a.log", "four and a longer line than there was before\n");
    world.expect(&["four and a longer line than there was before"]);
}

#[test]
fn copytruncate_within_the_glob() {
    let world = World::started(Setup::of(&["a.log*"]));
    for n in 0..6 {
        world.append("a.log", &format!("a{n}\nb{n}\n"));
        world.expect(&[&format!("a{n}"), &format!("b{n}")]);
        world.append("a.log", &format!("c{n}\n"));
        for old in (1..6).rev() {
            if world.at(&format!("a.log.{old}")).exists() {
                world.rename(&format!("a.log.{old}"), &format!("a.log.{}", old + 1));
            }
        }
        world.copytruncate("a.log", "a.log.1");
        world.expect(&[&format!("c{n}")]);
    }
    world.expect(&[]);
}

/// Scenario: a log is moved to a directory that nobody looks into, or unlinked, and its writer appends to it until it opens
/// the new file. Guarantee: what it wrote late comes before what it wrote first into the new file.
#[test]
fn late_lines_come_before_those_of_the_next_file() {
    for is_unlinked in [false, true] {
        let mut setup = Setup { watch: Watch::Auto, ..Setup::of(&["a.log"]) };
        setup.timing.grace = std::time::Duration::from_secs(600);
        let world = World::started(setup);
        world.append("old/b.log", "");
        world.append("a.log", "one\n");
        world.expect(&["one"]);
        let mut held = std::fs::File::options().append(true).open(world.at("a.log")).expect("it is there");
        if is_unlinked {
            world.remove("a.log");
        } else {
            world.rename("a.log", "old/a.log");
        }
        world.expect(&[]);
        world.append("a.log", "");
        world.expect(&[]);
        for n in 0..50 {
            std::io::Write::write_all(&mut held, format!("late {n}\n").as_bytes()).expect("writable");
        }
        world.append("a.log", "new\n");
        let mut expect: Vec<String> = (0..50).map(|n| format!("late {n}")).collect();
        expect.push("new".to_owned());
        // By what inotify tells, which is of the new file alone.
        world.read_until(|world| world.host.has("new"));
        assert_eq!(world.texts(), expect);
    }
}

/// Scenario: a file is copied and truncated, and all is read. Guarantee: the copy is not shown as bytes to be read.
#[test]
fn a_copy_is_no_lag() {
    for paths in [&["a.log"][..], &["a.log*"][..]] {
        let world = World::started(Setup::of(paths));
        world.append("a.log", "one\ntwo\n");
        world.expect(&["one", "two"]);
        world.copytruncate("a.log", "a.log.1");
        world.append("a.log", "three\n");
        world.expect(&["three"]);
        let late = world.input().snapshot().into_iter().filter(|file| file.offset_settled < file.size).count();
        assert_eq!(late, 0, "{:#?}", world.input().snapshot());
    }
}

#[test]
fn copytruncate_seen_step_by_step() {
    let world = World::started(Setup::of(&["a.log*"]));
    world.append("a.log", "one\ntwo\nthree\n");
    world.expect(&["one", "two", "three"]);
    // The copy appears empty, then in part, then whole; the original grows meanwhile.
    world.append("a.log.1", "");
    world.expect(&[]);
    world.append("a.log.1", "one\ntw");
    world.expect(&[]);
    world.append("a.log.1", "o\nthree\n");
    world.append("a.log", "four\n");
    world.expect(&["four"]);
    world.append("a.log.1", "four\n");
    world.expect(&[]);
    world.truncate("a.log");
    world.expect(&[]);
    world.append("a.log", "five\n");
    world.expect(&["five"]);
}

#[test]
fn copytruncate_while_held_back() {
    for paths in [&["a.log"][..], &["a.log*"][..]] {
        let world = World::started(Setup::of(paths));
        let mut expect = Vec::new();
        for n in 0..6 {
            let lines: Vec<String> = (0..=n).map(|line| format!("generation {n} line {line}")).collect();
            for line in &lines {
                world.append("a.log", &format!("{line}\n"));
            }
            expect.extend(lines);
            world.look();
            for old in (1..8).rev() {
                if world.at(&format!("a.log.{old}")).exists() {
                    world.rename(&format!("a.log.{old}"), &format!("a.log.{}", old + 1));
                }
            }
            world.look();
            world.copytruncate("a.log", "a.log.1");
            world.look();
        }
        world.run();
        assert_eq!(world.texts(), expect, "{paths:?}");
        world.expect(&[]);
    }
}

#[test]
fn a_plain_copy_is_not_shipped_twice_and_a_namesake_is_shipped() {
    let world = World::started(Setup::of(&["a.log*"]));
    world.append("a.log", "one\ntwo\n");
    world.expect(&["one", "two"]);
    std::fs::copy(world.at("a.log"), world.at("a.log.1")).expect("writable");
    world.expect(&[]);
    world.append("a.log", "three\n");
    world.append("a.log.2", "one\nanother\n");
    world.expect_any_order(&["three", "one", "another"]);
}

#[test]
fn what_looked_like_a_copy_and_goes_on_is_shipped() {
    let world = World::started(Setup::of(&["a.log*"]));
    world.append("a.log", "#header\none\n");
    world.expect(&["#header", "one"]);
    world.append("a.log-20261124", "#header\n");
    world.expect(&[]);
    world.append("a.log-20261124", "two\n");
    world.expect(&["#header", "two"]);
}

#[test]
fn truncated_and_rewritten() {
    let check = |before: &str, after: &str, expect: &[&str]| {
        let world = World::started(Setup::default());
        world.append("a.log", before);
        world.run();
        world.texts();
        std::fs::write(world.at("a.log"), after).expect("writable");
        world.expect(expect);
        let generations: Vec<String> = world.input().snapshot().into_iter().map(|file| file.id).collect();
        assert_eq!(generations.len(), 1, "the old generation is forgotten");
    };
    check("one\ntwo\n", "3\n", &["3"]);
    check("one\ntwo\n", "", &[]);
    check("one\ntwo\n", "uno\ndos\n", &["uno", "dos"]);
    check("one\ntwo\n", "one\nzwei\n", &["one", "zwei"]);
    check("one\ntwo\n", "uno\ndos\ntres\n", &["uno", "dos", "tres"]);
    let head = "x".repeat(99) + "\n";
    let head: String = head.repeat(12);
    let longer = format!("{head}other\nthan before\n");
    let mut expect: Vec<&str> = head.lines().collect();
    expect.extend(["other", "than before"]);
    check(&format!("{head}same\nfirst\n"), &longer, &expect);
}

#[test]
fn a_new_generation_has_a_new_id_and_the_path_stays() {
    let world = World::started(Setup::default());
    world.append("a.log", "one\n");
    world.run();
    world.truncate("a.log");
    world.look();
    world.append("a.log", "two\n");
    world.run();
    let lines = world.host.take_lines();
    assert_eq!(lines.len(), 2);
    assert_ne!(lines[0].id, lines[1].id);
    assert_ne!(lines[0].key, lines[1].key);
    assert_eq!(lines[0].path, lines[1].path);
    assert_eq!(lines[0].id.len(), 16);
}

/// Scenario: a file that is closed was truncated, and is renamed (and its name taken by another) while that is being found out.
/// Guarantee: what was read of it before and after have two ids, and neither is that of the other file (I8).
#[test]
fn renamed_while_its_truncation_is_found_out() {
    for taken in [false, true] {
        let mut world = World::started(Setup::default());
        world.append("a.log", "the first line\n");
        world.expect(&["the first line"]);
        let before = world.input().snapshot()[0].id.clone();
        world.stop();
        let mut registry = world.registry();
        registry.scan(&registry.walk());
        let (key, is_closed) =
            registry.files.iter().map(|(key, known)| (key, known.open.is_none())).next().expect("known");
        assert!(is_closed);
        world.copytruncate("a.log", "a.log.1");
        world.append("a.log", "two\n");
        let seen = Stat::of_path(&world.at("a.log")).expect("it is there");
        world.rename("a.log.1", "a.log.2");
        world.rename("a.log", "a.log.1");
        if taken {
            world.append("a.log", "three\n");
        }
        registry.in_one_look(|registry| registry.look(key, &seen));
        registry.flush();
        drop(registry);
        world.reopen();
        world.run();
        let lines = world.host.take_lines();
        let texts: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        assert_eq!(texts, if taken { &["two", "three"][..] } else { &["two"] });
        let ids: BTreeSet<&str> = lines.iter().map(|line| &*line.id).chain([&*before]).collect();
        assert_eq!(ids.len(), lines.len() + 1, "{before} and {lines:?}");
    }
}

/// Scenario: a file that is closed is copied, truncated and renamed; while other paths are worked off, the copy is met before the
/// file itself. Guarantee: it is known as its copy, not read again under another id (I8).
#[test]
fn a_copy_that_is_met_before_its_original_has_moved() {
    let mut world = World::started(Setup { paths: vec!["*.log", "*.log.*"], ..Setup::default() });
    world.append("a.log", "the first line\n");
    world.expect(&["the first line"]);
    world.stop();
    let mut registry = world.registry();
    registry.scan(&registry.walk());
    world.copytruncate("a.log", "a.log.1");
    world.rename("a.log.1", "a.log.2");
    world.rename("a.log", "a.log.1");
    world.append("a.log.1", "two\n");
    registry.in_one_look(|registry| registry.again_at(&world.at("a.log.2")));
    registry.flush();
    drop(registry);
    world.reopen();
    world.run();
    world.expect(&["two"]);
}

#[test]
fn deleted_while_open_is_read_to_its_end() {
    let world = World::started(Setup::default());
    world.append("a.log", &"line\n".repeat(500));
    world.look();
    world.remove("a.log");
    world.look();
    world.append("a.log", "new\n");
    let mut expect = vec!["line"; 500];
    expect.push("new");
    world.expect(&expect);
    assert_eq!(world.host.sources(), 1);
}

#[test]
fn deleted_files_are_given_up_where_the_user_bounds_them() {
    let world = World::started(Setup { deleted_bytes_max: Some(100), ..Setup::default() });
    for name in ["a.log", "b.log"] {
        world.append(name, &format!("{}\n", "x".repeat(69)));
    }
    world.look();
    world.remove("a.log");
    world.look();
    world.remove("b.log");
    world.look();
    world.run();
    assert_eq!(world.texts().len(), 1, "140 bytes are unread, 100 may be: the first that was deleted goes");
    assert_eq!(world.input().stats().bytes_given_up.load(std::sync::atomic::Ordering::Relaxed), 70);
    assert_eq!(world.host.sources(), 0);
}

#[test]
fn what_died_with_a_deleted_file_is_counted_at_the_next_start() {
    let mut world = World::started(Setup::default());
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    world.append("a.log", "two\nthree\n");
    world.look();
    world.remove("a.log");
    world.look();
    world.commit();
    world.crash();
    world.run();
    assert!(world.texts().is_empty());
    assert_eq!(world.input().stats().bytes_given_up.load(std::sync::atomic::Ordering::Relaxed), 10);
}

#[test]
fn deleted_and_not_settled_is_kept_open() {
    let world = World::started(Setup::default());
    world.append("a.log", "one\ntwo\n");
    world.look();
    world.remove("a.log");
    world.run_until_idle_unsettled();
    assert_eq!(world.texts(), ["one", "two"]);
    assert_eq!(world.host.sources(), 1, "it is the only copy of unsettled bytes");
    world.host.abandon_all();
    world.run_until_idle_unsettled();
    assert_eq!(world.texts(), ["one", "two"]);
    world.host.settle_all();
    world.run();
    assert_eq!(world.host.sources(), 0);
}

#[test]
fn inode_reuse_is_another_file() {
    // Scenario: a file is deleted and another is created until it gets the inode number of the first.
    // Guarantee: all lines of all of them, once, under different ids.
    let world = World::started(Setup::default());
    world.append("a.log", "first\n");
    world.expect(&["first"]);
    let inode = |world: &World| std::os::unix::fs::MetadataExt::ino(&world.at("a.log").metadata().expect("there"));
    let mut seen = std::collections::BTreeSet::from([inode(&world)]);
    for n in 0..50 {
        world.remove("a.log");
        world.look();
        // Its source lets go, so that the number is free.
        world.run();
        world.append("a.log", &format!("again {n}\n"));
        world.expect(&[&format!("again {n}")]);
        if !seen.insert(inode(&world)) {
            return;
        }
    }
    // This filesystem does not reuse numbers; then there is nothing to confuse.
}

#[test]
fn replaced_by_rename_as_editors_do() {
    let world = World::started(Setup::default());
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    world.append("a.log.tmp", "one\ntwo\n");
    world.rename("a.log.tmp", "a.log");
    // Another file: its lines are its own.
    world.expect(&["one", "two"]);
}

#[test]
fn links_are_one_source() {
    let world = World::started(Setup::of(&["*.log"]));
    world.append("a.log", "one\n");
    std::fs::hard_link(world.at("a.log"), world.at("b.log")).expect("writable");
    symlink(world.at("a.log"), world.at("c.log")).expect("writable");
    world.expect(&["one"]);
    world.append("b.log", "two\n");
    world.expect(&["two"]);
    // The first name goes; the others still lead to it.
    world.remove("a.log");
    world.append("b.log", "three\n");
    world.expect(&["three"]);
    world.append("b.log", "four\n");
    world.expect(&["four"]);
}

#[test]
fn a_link_that_is_swapped() {
    let world = World::started(Setup::of(&["current.log"]));
    world.append("app-1", "one\n");
    symlink(world.at("app-1"), world.at("current.log")).expect("writable");
    world.expect(&["one"]);
    world.append("app-1", "two\n");
    world.append("app-2", "three\n");
    world.remove("current.log");
    symlink(world.at("app-2"), world.at("current.log")).expect("writable");
    world.expect(&["two", "three"]);
}

#[test]
fn a_target_rotates_behind_its_link() {
    let mut world = World::started(Setup::of(&["links/*.log"]));
    std::fs::create_dir(world.at("links")).expect("writable");
    world.append("pods/0.log", "one\n");
    symlink(world.at("pods/0.log"), world.at("links/pod.log")).expect("writable");
    world.expect(&["one"]);
    world.append("pods/0.log", "two\n");
    world.rename("pods/0.log", "pods/0.log.20261124-101112");
    world.append("pods/0.log", "three\n");
    world.expect(&["two", "three"]);
    world.append("pods/0.log", "four\n");
    world.stop();
    world.rename("pods/0.log", "pods/0.log.20261124-111213");
    world.append("pods/0.log", "five\n");
    world.reopen();
    world.expect_any_order(&["four", "five"]);
}

#[test]
fn appended_to_after_it_was_finished() {
    let world = World::started(Setup::of(&["a.log*"]));
    world.append("a.log", "one\n");
    world.look();
    world.rename("a.log", "a.log.1");
    world.expect(&["one"]);
    assert_eq!(world.host.sources(), 0);
    world.append("a.log.1", "late\n");
    world.expect(&["late"]);
}

#[test]
fn what_is_no_file_is_left_alone() {
    let world = World::started(Setup::default());
    std::fs::create_dir(world.at("dir.log")).expect("writable");
    rustix::fs::mknodat(rustix::fs::CWD, world.at("fifo.log"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("writable");
    symlink(world.at("nowhere"), world.at("dangling.log")).expect("writable");
    world.append("a.log", "one\n");
    world.expect(&["one"]);
    assert_eq!(world.paths().into_iter().collect::<Vec<_>>(), ["a.log"]);
}

#[test]
fn excluded_files_are_not_read() {
    let world = World::started(Setup { exclude: vec!["b.log"], ..Setup::default() });
    world.append("a.log", "one\n");
    world.append("b.log", "two\n");
    world.expect(&["one"]);
}

/// Scenario: a file is copied under a rotated name and closed; then another file takes its path, and the copy is touched. The copy
/// is looked at first, as its name comes first. Guarantee: it is not compared with the other file, and so not read again.
#[test]
fn a_copy_is_not_compared_with_who_took_the_path_of_its_original() {
    let mut setup = Setup::of(&["app*.log"]);
    setup.timing.close_idle = std::time::Duration::ZERO;
    let world = World::started(setup);
    world.append("app.log", "one\ntwo\n");
    world.expect(&["one", "two"]);
    world.tick();
    std::fs::copy(world.at("app.log"), world.at("app-20261124.log")).expect("writable");
    world.expect(&[]);
    world.read_until(|world| world.host.sources() == 0);
    world.append("new", "other\n");
    world.rename("new", "app.log");
    let copy = std::fs::File::options().append(true).open(world.at("app-20261124.log")).expect("it is there");
    copy.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(1)).expect("our own file");
    world.expect(&["other"]);
    world.expect(&[]);
}
