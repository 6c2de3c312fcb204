//! Odd files, each over a stop and over a kill -9: names that are no text, names that lead to no file or to the same one,
//! contents that are alike, what may not be read yet, and inputs that are renamed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::world::{Setup, World, append_bytes};
use crate::input::file::options::{StartAt, Watch};

/// What happens, what comes, what happens while the agent is away, what comes then; and after that nothing comes again.
#[track_caller]
fn across(setup: &Setup, before: impl Fn(&World), first: &[&str], away: impl Fn(&World), then: &[&str]) {
    for is_killed in [false, true] {
        let mut world = World::started(setup.clone());
        before(&world);
        world.expect_any_order(first);
        world.commit();
        if is_killed {
            world.kill();
        } else {
            world.stop();
        }
        world.tick();
        away(&world);
        world.reopen();
        world.expect_any_order(then);
        world.restart();
        world.expect(&[]);
        world.commit();
        world.crash();
        world.expect(&[]);
    }
}

fn errors(world: &World) -> u64 {
    world.input().stats().errors.load(Ordering::Relaxed)
}

fn raw(world: &World, name: &[u8]) -> PathBuf {
    world.at("x").with_file_name(OsStr::from_bytes(name))
}

/// Scenario: two names that are the same text if what is no UTF-8 is replaced, one of them also a directory's, and a third
/// whose text is what the first is shown as. Guarantee: each is followed for itself, through rotation too, and shown as
/// itself.
#[test]
fn names_that_are_no_text() {
    let setup = Setup::of(&["*.log", "*/*.log"]);
    let names: [&[u8]; 4] = [b"caf\xe9.log", b"caf\xe8.log", br"caf\xe9.log", b"\xff\xfe/\xc3.log"];
    let write = |world: &World, word: &str| {
        for (number, name) in names.iter().enumerate() {
            append_bytes(&raw(world, name), format!("{word} {number}\n").as_bytes());
        }
    };
    across(
        &setup,
        |world| write(world, "one"),
        &["one 0", "one 1", "one 2", "one 3"],
        |world| {
            write(world, "two");
            std::fs::rename(raw(world, b"caf\xe9.log"), raw(world, b"caf\xe9.log.1")).expect("writable");
            append_bytes(&raw(world, b"caf\xe9.log"), b"three\n");
        },
        &["two 0", "two 1", "two 2", "two 3", "three"],
    );
    let world = World::started(setup);
    write(&world, "one");
    world.run();
    let base = world.at("");
    let base = base.to_str().expect("the tests' own");
    let mut shown: Vec<String> =
        world.host.take_lines().iter().map(|line| line.path.strip_prefix(base).expect("below").to_owned()).collect();
    shown.sort();
    assert_eq!(shown, [r"\xff\xfe/\xc3.log", r"caf\x5cxe9.log", r"caf\xe8.log", r"caf\xe9.log"]);
}

/// Scenario: a hard link to a file that was read is made, then the first name goes.
/// Guarantee: one file, read once.
#[test]
fn a_hard_link() {
    across(
        &Setup::default(),
        |world| world.append("a.log", "one\n"),
        &["one"],
        |world| {
            std::fs::hard_link(world.at("a.log"), world.at("b.log")).expect("writable");
            world.append("b.log", "two\n");
        },
        &["two"],
    );
    across(
        &Setup::default(),
        |world| {
            world.append("a.log", "one\n");
            std::fs::hard_link(world.at("a.log"), world.at("b.log")).expect("writable");
        },
        &["one"],
        |world| {
            world.remove("a.log");
            world.append("b.log", "two\n");
        },
        &["two"],
    );
}

/// Scenario: a symbolic link is pointed at another file, and back.
/// Guarantee: each file is read once, whichever the link leads to.
#[test]
fn a_link_that_is_swapped() {
    let point = |world: &World, to: &str| {
        symlink(world.at(to), world.at("next")).expect("writable");
        world.rename("next", "a.log");
    };
    across(
        &Setup::default(),
        |world| {
            world.append("real/0", "one\n");
            world.append("real/1", "two\n");
            point(world, "real/0");
        },
        &["one"],
        |world| point(world, "real/1"),
        &["two"],
    );
    across(
        &Setup::default(),
        |world| {
            world.append("real/0", "one\n");
            world.append("real/1", "two\n");
            point(world, "real/0");
            world.run();
            point(world, "real/1");
        },
        &["one", "two"],
        |world| {
            world.append("real/0", "three\n");
            point(world, "real/0");
        },
        &["three"],
    );
}

/// Scenario: an editor writes a new file with the old lines and one more, and renames it over the old one.
/// Guarantee: it is another file, and read whole.
#[test]
fn replaced_by_rename() {
    across(
        &Setup::default(),
        |world| world.append("a.log", "one\n"),
        &["one"],
        |world| {
            world.append(".a.log.swp", "one\ntwo\n");
            world.rename(".a.log.swp", "a.log");
        },
        &["one", "two"],
    );
}

/// Scenario: a file is cut to nothing and written again, longer than before, its first 1 KiB as before.
/// Guarantee: all of it is read: the bytes before the offset tell that it is not what it was.
#[test]
fn rewritten_longer_with_the_same_beginning() {
    let head: Vec<String> = (0..40).map(|n| format!("{n:040}")).collect();
    let lines =
        |more: &[&str]| head.iter().cloned().chain(more.iter().map(|one| (*one).to_owned())).collect::<Vec<_>>();
    let (old, new) = (lines(&["the end"]), lines(&["another end", "and one more"]));
    let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let strs = |lines: &[String]| lines.iter().map(|line| (*line).clone()).collect::<Vec<_>>();
    let (first, then) = (strs(&old), strs(&new));
    let (first, then): (Vec<&str>, Vec<&str>) =
        (first.iter().map(String::as_str).collect(), then.iter().map(String::as_str).collect());
    across(
        &Setup::default(),
        |world| world.append("a.log", &text(&old)),
        &first,
        |world| std::fs::write(world.at("a.log"), text(&new)).expect("writable"),
        &then,
    );
}

/// Scenario: a file is empty, then has a beginning of a line, then lines; the agent goes at each step.
/// Guarantee: each line once.
#[test]
fn growing_from_nothing() {
    across(&Setup::default(), |world| world.append("a.log", ""), &[], |world| world.append("a.log", "one\n"), &["one"]);
    across(
        &Setup::default(),
        |world| world.append("a.log", "on"),
        &[],
        |world| world.append("a.log", "e\ntwo\nth"),
        &["one", "two"],
    );
    let long = "x".repeat(1500);
    across(
        &Setup { max_line_bytes: 2000, ..Setup::default() },
        |world| world.append("a.log", &long),
        &[],
        |world| world.append("a.log", &format!("{long}\n")),
        &[&"x".repeat(2000)],
    );
}

/// Scenario: files of different names have the same bytes, from before and from while the agent was away.
/// Guarantee: each is read, once.
#[test]
fn the_same_contents_under_two_names() {
    across(
        &Setup::default(),
        |world| {
            world.append("a.log", "one\n");
            world.append("b.log", "one\n");
        },
        &["one", "one"],
        |world| {
            std::fs::copy(world.at("a.log"), world.at("c.log")).expect("writable");
            world.append("a.log", "two\n");
            world.append("b.log", "two\n");
        },
        &["two", "two", "one"],
    );
}

/// Scenario: the machine was restarted and its disk has another device number.
/// Guarantee: the files are the same.
#[test]
fn a_device_number_that_changed() {
    let renumber = |world: &World| {
        let mut entries = Vec::new();
        world.store.entries(|key, entry| entries.push((key, entry))).expect("readable");
        assert!(!entries.is_empty());
        for (key, mut entry) in entries {
            entry.identity.device += 7;
            world.store.update(key, &entry);
        }
        world.store.commit(&[]).expect("writable");
        world.append("a.log", "two\n");
        world.rename("b.log", "b.log.1");
    };
    across(
        &Setup::default(),
        |world| {
            world.append("a.log", "one\n");
            world.append("b.log", "and one\nunread");
        },
        &["one", "and one"],
        renumber,
        &["two", "unread"],
    );
}

/// Scenario: an input is given another name in the config, which starts at the end of new files.
/// Guarantee: it goes on where it was; files that came meanwhile are read whole; files of its name that it would not read
/// stay behind.
#[test]
fn an_input_that_is_renamed_goes_on() {
    for is_killed in [false, true] {
        let mut world = World::started(Setup { start_at: StartAt::End, ..Setup::of(&["*.log", "*.txt"]) });
        world.run();
        world.append("a.log", "one\n");
        world.append("b.txt", "other\n");
        world.append("r.log", "rotated\n");
        world.expect_any_order(&["one", "other", "rotated"]);
        world.append("r.log", "unread\n");
        world.commit();
        if is_killed {
            world.kill();
        } else {
            world.stop();
        }
        world.tick();
        world.append("a.log", "two\n");
        world.rename("r.log", "r.log.1");
        world.append("new.log", "new\n");
        (world.setup.name, world.setup.paths) = ("renamed", vec!["*.log"]);
        world.reopen();
        world.expect_any_order(&["two", "unread", "new"]);
        world.restart();
        world.expect(&[]);
        let mut left = Vec::new();
        world.store.entries(|_, entry| left.push((entry.input, entry.path))).expect("readable");
        left.retain(|(input, _)| **input == *"in");
        assert_eq!(left, [("in".into(), world.at("b.txt").into())]);
    }
}

/// Scenario: names in the globs lead to no file: a FIFO, a socket, a device, a directory, a link to nothing and one to
/// itself. Later the link leads to a file, and the FIFO is replaced by one.
/// Guarantee: each is counted once, however often it is looked at; what is a file is read, then too.
#[test]
fn what_is_no_file_is_counted_once_and_read_when_it_becomes_one() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    for paths in [&["*.log"][..], &["fifo.log", "socket.log", "dir.log", "nowhere.log", "loop.log", "a.log"][..]] {
        let mut world = World::started(Setup::of(paths));
        mknodat(CWD, world.at("fifo.log"), FileType::Fifo, Mode::RWXU, 0).expect("writable");
        mknodat(CWD, world.at("socket.log"), FileType::Socket, Mode::RWXU, 0).expect("writable");
        std::fs::create_dir(world.at("dir.log")).expect("writable");
        symlink(world.at("away"), world.at("nowhere.log")).expect("writable");
        symlink(world.at("loop.log"), world.at("loop.log")).expect("writable");
        world.append("a.log", "one\n");
        world.expect(&["one"]);
        let counted = errors(&world);
        assert!(counted >= 5, "{counted}");
        world.look();
        // A loop is what the system refuses; it is tried, and counted, again each time.
        assert!(errors(&world) <= counted + 2, "{counted} {}", errors(&world));
        world.append("away", "two\n");
        world.remove("fifo.log");
        world.append("fifo.log", "three\n");
        world.expect_any_order(&["two", "three"]);
        world.restart();
        world.expect(&[]);
    }
}

/// Runs without root's right to read everything, in threads of its own; threads that it starts are without it too.
fn as_a_user(test: impl FnOnce() + Send + 'static) {
    let unprivileged = move || {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let mut sets = capabilities(None).expect("our own");
        sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, sets).expect("fewer are always allowed");
        test();
    };
    let done = std::thread::spawn(unprivileged).join();
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn allow(world: &World, name: &str, mode: u32) {
    std::fs::set_permissions(world.at(name), std::fs::Permissions::from_mode(mode)).expect("ours");
}

/// Scenario: a file and a directory may not be read at first, and a file that was read may not be opened after a restart;
/// then they may. Guarantee: counted, the others go on; read where they stopped once it is allowed.
#[test]
fn what_may_not_be_read_is_read_once_it_may() {
    as_a_user(|| {
        let mut world = World::new(Setup::of(&["*.log", "*/*.log"]));
        world.append("secret.log", "secret\n");
        world.append("shut/b.log", "shut\n");
        world.append("a.log", "one\n");
        allow(&world, "secret.log", 0o000);
        allow(&world, "shut", 0o000);
        world.start();
        world.expect(&["one"]);
        assert!(errors(&world) >= 2);
        allow(&world, "secret.log", 0o600);
        world.expect(&["secret"]);
        allow(&world, "shut", 0o700);
        world.expect(&["shut"]);
        for is_killed in [false, true] {
            world.commit();
            if is_killed {
                world.kill();
            } else {
                world.stop();
            }
            world.append("secret.log", "more\n");
            world.append("a.log", "more\n");
            allow(&world, "secret.log", 0o000);
            world.reopen();
            world.expect(&["more"]);
            assert!(errors(&world) >= 1);
            allow(&world, "secret.log", 0o600);
            world.expect(&["more"]);
        }
    });
}

/// Scenario: as before, by notifications alone. Guarantee: a change of permissions is noticed without a scan.
#[test]
fn a_permission_that_is_granted_is_noticed() {
    as_a_user(|| {
        let world = World::new(Setup { watch: Watch::Auto, ..Setup::default() });
        let mut world = world;
        world.append("secret.log", "secret\n");
        allow(&world, "secret.log", 0o000);
        world.start();
        world.look();
        allow(&world, "secret.log", 0o600);
        world.read_until(|world| world.host.has("secret"));
    });
}

/// Scenario: files come and go while they are looked at. Guarantee: nothing stops, what stays is read.
#[test]
fn files_that_vanish() {
    let world = World::started(Setup { watch: Watch::Auto, ..Setup::default() });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..300 {
                world.append(&format!("{n}.log"), "short-lived\n");
                world.remove(&format!("{n}.log"));
            }
            world.append("stays.log", "one\n");
        });
        while !world.host.has("one") {
            world.look();
            world.host.step(64, true);
        }
    });
    world.run();
    assert_eq!(world.texts().iter().filter(|text| *text == "one").count(), 1);
}
