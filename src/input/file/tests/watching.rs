//! How changes are noticed: by inotify within 100 ms, and by polling alone.

use std::time::{Duration, Instant};

use super::world::{Setup, World};
use crate::input::file::options::Watch;

fn inotify() -> Setup {
    Setup { watch: Watch::Auto, paths: vec!["**/*.log"], ..Setup::default() }
}

/// Waits for the text to come out; how long that took.
fn wait_for(world: &World, text: &str) -> Duration {
    let start = Instant::now();
    world.read_until(|world| world.host.has(text));
    let took = start.elapsed();
    world.texts();
    took
}

/// The best of some tries: what else runs on the machine is not what is tested.
fn fastest(world: &World, mut act: impl FnMut(&World, usize) -> String) -> Duration {
    let tries = (0..5).map(|n| {
        let text = act(world, n);
        wait_for(world, &text)
    });
    tries.min().expect("five tries")
}

#[test]
fn inotify_tells_of_new_data_files_and_directories() {
    let world = World::started(inotify());
    world.look();
    let limit = Duration::from_millis(100);
    let took = fastest(&world, |world, n| {
        world.append(&format!("{n}.log"), &format!("new file {n}\n"));
        format!("new file {n}")
    });
    assert!(took < limit, "a new file: {took:?}");
    let took = fastest(&world, |world, n| {
        world.append("0.log", &format!("new data {n}\n"));
        format!("new data {n}")
    });
    assert!(took < limit, "new data: {took:?}");
    let took = fastest(&world, |world, n| {
        world.append(&format!("sub{n}/deep/er/x.log"), &format!("new directory {n}\n"));
        format!("new directory {n}")
    });
    assert!(took < limit, "a new directory: {took:?}");
    let took = fastest(&world, |world, n| {
        world.rename("0.log", &format!("0.log.{n}"));
        world.append("0.log", &format!("rotated {n}\n"));
        format!("rotated {n}")
    });
    assert!(took < limit, "rotation: {took:?}");
}

#[test]
fn a_directory_that_appears_later_or_is_replaced_is_watched() {
    // That the whole tree was replaced is for the scan to find; that a directory came, for inotify.
    let paths = vec!["later/logs/*.log"];
    let scan_every = Duration::from_millis(200);
    let world = World::started(Setup { watch: Watch::Auto, paths, scan_every, ..Setup::default() });
    world.look();
    world.append("later/logs/a.log", "one\n");
    wait_for(&world, "one");
    world.rename("later", "away");
    world.append("later/logs/a.log", "two\n");
    wait_for(&world, "two");
    world.append("later/logs/a.log", "three\n");
    wait_for(&world, "three");
}

#[test]
fn a_file_behind_a_link_is_watched() {
    let world = World::started(Setup { watch: Watch::Auto, paths: vec!["links/*.log"], ..Setup::default() });
    world.append("pods/0.log", "one\n");
    std::fs::create_dir(world.at("links")).expect("writable");
    std::os::unix::fs::symlink(world.at("pods/0.log"), world.at("links/a.log")).expect("writable");
    wait_for(&world, "one");
    world.append("pods/0.log", "two\n");
    wait_for(&world, "two");
    world.rename("pods/0.log", "pods/0.log.1");
    world.append("pods/0.log", "three\n");
    wait_for(&world, "three");
}

#[test]
fn polling_alone_finds_everything() {
    let world = World::started(Setup {
        watch: Watch::Poll,
        scan_every: Duration::from_millis(50),
        paths: vec!["**/*.log"],
        ..Setup::default()
    });
    world.append("a.log", "one\n");
    wait_for(&world, "one");
    world.append("a.log", "two\n");
    wait_for(&world, "two");
    world.append("sub/b.log", "three\n");
    wait_for(&world, "three");
    world.rename("a.log", "a.log.1");
    world.append("a.log", "four\n");
    wait_for(&world, "four");
}

#[test]
fn a_burst_of_rotations_under_inotify_loses_nothing() {
    // Scenario: a writer rotates by rename in a tight loop, as fast as it can; nothing is deleted.
    // Guarantee: every line, once.
    for paths in [vec!["a.log"], vec!["a.log*"]] {
        let world = World::started(Setup { watch: Watch::Auto, paths: paths.clone(), ..Setup::default() });
        world.look();
        let mut expect = Vec::new();
        for n in 0..60 {
            for old in (1..60).rev() {
                if world.at(&format!("a.log.{old}")).exists() {
                    world.rename(&format!("a.log.{old}"), &format!("a.log.{}", old + 1));
                }
            }
            if world.at("a.log").exists() {
                world.rename("a.log", "a.log.1");
            }
            world.append("a.log", &format!("line {n}\nand {n}\n"));
            expect.extend([format!("line {n}"), format!("and {n}")]);
            world.host.step(64, true);
        }
        // What inotify tells may come later than the first scan ends.
        world.read_until(|world| expect.iter().all(|line| world.host.has(line)));
        world.run();
        let mut found = world.texts();
        found.sort();
        expect.sort();
        assert_eq!(found, expect, "{paths:?}");
    }
}

#[test]
fn idle_files_are_closed_and_opened_again() {
    let mut setup = Setup::default();
    setup.timing.close_idle = Duration::ZERO;
    let world = World::started(setup);
    world.append("a.log", "one\n");
    world.run();
    world.run();
    assert_eq!(world.texts(), ["one"]);
    assert_eq!(world.host.sources(), 0, "closed");
    world.append("a.log", "two\n");
    world.expect(&["two"]);
    world.append("a.log", "three\n");
    world.rename("a.log", "a.log.1");
    world.expect(&["three"]);
    world.append("a.log", "four\n");
    world.expect(&["four"]);
    world.truncate("a.log");
    world.append("a.log", "5\n");
    world.expect(&["5"]);
}

#[test]
fn more_files_than_descriptors_are_read_one_after_the_other() {
    // Scenario: three files may be open, and there are twenty; some are renamed and go on while they wait.
    // Guarantee: every line, once; files of one name in their order.
    let mut world = World::started(Setup { open_files_max: 3, ..Setup::default() });
    let mut expect = Vec::new();
    for n in 0..20 {
        world.append(&format!("{n}.log"), &format!("{n} first\n{n} second\n"));
        expect.extend([format!("{n} first"), format!("{n} second")]);
    }
    world.look();
    for n in (0..20).step_by(3) {
        world.rename(&format!("{n}.log"), &format!("{n}.log.1"));
        world.append(&format!("{n}.log"), &format!("{n} third\n"));
        expect.push(format!("{n} third"));
    }
    world.run();
    let found = world.texts();
    for n in (0..20).step_by(3) {
        let at = |what: &str| found.iter().position(|line| *line == format!("{n} {what}"));
        assert!(at("first") < at("second") && at("second") < at("third"), "{found:?}");
    }
    let mut sorted = found;
    sorted.sort();
    expect.sort();
    assert_eq!(sorted, expect);
    assert!(world.host.sources() <= 3, "{} are open", world.host.sources());
    world.append("7.log", "7 third\n");
    world.expect(&["7 third"]);
    world.restart();
    world.expect(&[]);
}
