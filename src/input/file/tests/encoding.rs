//! Files that are not UTF-8: lines are found in their encoding, positions are of their raw bytes.

use super::world::{Line, Setup, World};
use crate::decode::Charset;
use crate::input::file::options::StartAt;

fn setup(label: &str) -> Setup {
    Setup { charset: Charset::of_label(label).expect("a label"), ..Setup::default() }
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

/// What came, with what was cut, and that it has no gap from `from` on.
#[track_caller]
fn gapless(lines: &[Line], from: u64) -> u64 {
    lines.iter().fold(from, |at, line| {
        assert_eq!(line.offset, at, "{line:?}");
        at + line.length
    })
}

/// Scenario: a file in UTF-16, with a mark and without, in both orders, grows byte by byte, is rotated, and the agent is
/// restarted and killed in between. Guarantee: every line once, without a gap in the raw bytes, the mark in none.
#[test]
fn utf_16_as_the_file_grows_byte_by_byte() {
    for (label, big, mark) in [
        ("utf-16", true, "\u{feff}"),
        ("utf-16", false, "\u{feff}"),
        ("utf-16", false, ""),
        ("utf-16-bom", true, "\u{feff}"),
        ("utf-16be-bom", true, ""),
        ("utf-16le", false, "\u{feff}"),
        ("utf-16be", true, ""),
    ] {
        let mut world = World::started(setup(label));
        let bytes = utf16(&format!("{mark}eins\r\n\u{a0a}\u{d00}\u{1f600}\n\nvier\n"), big);
        for (at, byte) in bytes.iter().enumerate() {
            world.append_bytes("a.log", &[*byte]);
            world.run();
            if at % 7 == 6 {
                world.restart();
            } else if at % 7 == 3 {
                world.commit();
                world.crash();
            }
        }
        world.run();
        let lines = world.host.take_lines();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["eins", "\u{a0a}\u{d00}\u{1f600}", "", "vier"], "{label}");
        assert_eq!(gapless(&lines, 0), bytes.len() as u64, "{label}");
        world.rename("a.log", "a.log.1");
        world.append_bytes("a.log", &utf16(&format!("{mark}neu\n"), big));
        world.expect(&["neu"]);
    }
}

/// Scenario: a file in UTF-16 ends within a unit and is unlinked, or goes on after it was finished.
/// Guarantee: what is broken is U+FFFD; what follows is read at even offsets again.
#[test]
fn utf_16_that_ends_within_a_unit() {
    let world = World::started(setup("utf-16"));
    let mut bytes = utf16("\u{feff}eins\nzw", false);
    bytes.push(b'e');
    world.append_bytes("a.log", &bytes);
    world.expect(&["eins"]);
    world.rename("a.log", "a.log.1");
    world.expect(&["zw\u{fffd}"]);
    world.append_bytes("a.log.1", b"\0");
    world.append_bytes("a.log.1", &utf16("i\ndrei\n", false));
    world.run();
    let lines = world.host.take_lines();
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["\u{fffd}i", "drei"]);
    assert_eq!(gapless(&lines, bytes.len() as u64), bytes.len() as u64 + 15);
}

/// Scenario: lines in several encodings that are longer than `max_line_bytes`, in quanta of any size.
/// Guarantee: cut at a character; the limit is of raw bytes; the next line is whole.
#[test]
fn over_long_lines_are_cut_at_a_character_of_the_encoding() {
    let check = |label: &str, line: &[u8], newline: &[u8], after: &[u8], expect: &str| {
        for bytes_max in [1, 7, 64, 101, 5000] {
            for repeat in [13, 100, 40_000] {
                let world =
                    World::started(Setup { max_line_bytes: 51, bytes_max: bytes_max.max(repeat / 8), ..setup(label) });
                let bytes = [&line.repeat(repeat), newline, after, newline].concat();
                world.append_bytes("a.log", &bytes);
                world.run();
                let lines = world.host.take_lines();
                assert_eq!(lines.len(), 2, "{label} {bytes_max} {repeat}");
                assert_eq!((lines[0].text.as_str(), lines[0].cut), (expect, true), "{label} {bytes_max} {repeat}");
                assert_eq!(lines[1].text, "ok");
                assert_eq!(gapless(&lines, 0), bytes.len() as u64);
            }
        }
    };
    check("utf-16le", &utf16("\u{1f600}", false), b"\n\0", b"o\0k\0", &"\u{1f600}".repeat(12));
    check("utf-16be", &utf16("\u{1f600}", true), b"\0\r\0\n", b"\0o\0k", &"\u{1f600}".repeat(12));
    check("shift_jis", b"\x93\xfa\x96{", b"\n", b"ok", &"\u{65e5}\u{672c}".repeat(13)[..25 * 3]);
    check("gb18030", b"\x94\x39\xda\x33", b"\r\n", b"ok", &"\u{1f4a9}".repeat(12));
    check("windows-1252", b"\xe4\x80\x80\x80", b"\n", b"ok", &"ä€€€".repeat(13).chars().take(51).collect::<String>());
}

/// Scenario: a line of UTF-16 that is scanned because it is long, ends within a unit and fits after all.
/// Guarantee: it is whole.
#[test]
fn a_long_line_that_fits_is_whole() {
    let world = World::started(Setup { max_line_bytes: 400_000, bytes_max: 4096, ..setup("utf-16be") });
    let text: String = (0..100_000u32).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let bytes = utf16(&text, true);
    world.append_bytes("a.log", &bytes[..180_001]);
    world.expect(&[]);
    world.append_bytes("a.log", &bytes[180_001..]);
    world.expect(&[]);
    world.append_bytes("a.log", &utf16("!\nnext\n", true));
    world.expect(&[&format!("{text}!"), "next"]);
}

/// Scenario: the first start is at the end of a file in UTF-16 that has an unfinished line, whose bytes hold 0x0A.
/// Guarantee: that line, and what follows.
#[test]
fn start_at_end_of_utf_16() {
    let mut world = World::new(Setup { start_at: StartAt::End, ..setup("utf-16") });
    world.append_bytes("a.log", &utf16("\u{feff}before\n\u{a0a}\u{a00}half", true));
    world.start();
    world.expect(&[]);
    world.append_bytes("a.log", &utf16(" line\nafter\n", true));
    world.expect(&["\u{a0a}\u{a00}half line", "after"]);
}

/// Scenario: the file of a big-endian log is truncated, and rewritten little-endian.
/// Guarantee: each generation is read in its own order; filters see decoded text.
#[test]
fn each_generation_has_its_own_byte_order() {
    let world = World::started(Setup { exclude_lines: vec!["^\u{fc}"], ..setup("utf-16") });
    world.append_bytes("a.log", &utf16("\u{feff}eins\n\u{fc}ber\n", true));
    world.expect(&["eins"]);
    world.truncate("a.log");
    world.look();
    world.append_bytes("a.log", &utf16("\u{feff}zwei\n\u{fc}ber\n", false));
    world.expect(&["zwei"]);
    assert_eq!(world.host.lines_filtered(), 2);
}

/// Scenario: a mark at the beginning of a file in UTF-8, over restarts.
/// Guarantee: it is counted, and in no message.
#[test]
fn a_mark_in_utf_8() {
    let mut world = World::started(setup("plain"));
    world.append_bytes("a.log", b"\xef\xbb\xbf");
    world.expect(&[]);
    world.append_bytes("a.log", b"one\n\xef\xbb\xbftwo\n");
    world.run();
    let lines = world.host.take_lines();
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["one", "\u{feff}two"], "behind the beginning it is a character");
    assert_eq!(gapless(&lines, 0), 14);
    world.restart();
    world.append_bytes("b.log", b"\xef\xbb\xbflast");
    world.expect(&[]);
    world.remove("b.log");
    world.expect(&["last"]);
}
