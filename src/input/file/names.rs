//! What rotation makes of a file's name, and how a name that is no text is shown (P).
//!
//! `NAME.1`, `NAME-20261124`, `NAME.2026-11-24`, `NAME-20261124-1764000000`, `BASE-20261124.EXT` (logrotate's `extension`)
//! and `BASE.1.EXT`: a name with digits and date punctuation put in, as logrotate, Log4j, kubelet and Docker do. Compressed
//! ones are told apart by [`Rotated::Compressed`]. Nothing else counts: `app.log.bak` and `app.log.swp` are other files.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `20261124`, the shortest date.
const DATE_DIGITS: usize = 8;

/// What a name is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// A rotated form of it.
    Plain,
    /// A rotated form of it, compressed: `.gz` or `.zst`.
    Compressed,
}

/// Whether file name `name` is a rotated form of file name `base`.
pub fn rotated(base: &[u8], name: &[u8]) -> Option<Rotated> {
    let (stem, kind) = match (name.strip_suffix(b".gz"), name.strip_suffix(b".zst")) {
        (Some(stem), _) | (_, Some(stem)) => (stem, Rotated::Compressed),
        _ => (name, Rotated::Plain),
    };
    is_stamp(inserted(base, stem)?).then_some(kind)
}

/// Whether only rotation makes `name` of `base`: `NAME.1`, or a date put in. `worker-1.log` need not be what `worker.log` was.
pub fn is_made_of(base: &[u8], name: &[u8]) -> bool {
    inserted(base, name).is_some_and(|stamp| {
        let is_suffix = name.starts_with(base) && stamp.starts_with(b".");
        is_stamp(stamp) && (is_suffix || stamp.iter().filter(|byte| byte.is_ascii_digit()).count() >= DATE_DIGITS)
    })
}

/// A path as text. A byte that is no UTF-8 is `\xHH`, in lower case; a backslash before what looks like that is `\x5c`, so that
/// two paths never have the same text. What is UTF-8 otherwise stays as it is.
pub fn shown(path: &Path) -> Cow<'_, str> {
    let bytes = path.as_os_str().as_bytes();
    if let (Ok(text), None) = (std::str::from_utf8(bytes), memchr::memchr(b'\\', bytes)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    let escape = |out: &mut String, byte: u8| out.push_str(&format!("\\x{byte:02x}"));
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for (start, c) in chunk.valid().char_indices() {
            match c {
                '\\' if looks_escaped(&bytes[at + start + 1..]) => escape(&mut out, b'\\'),
                c => out.push(c),
            }
        }
        at += chunk.valid().len() + chunk.invalid().len();
        chunk.invalid().iter().for_each(|byte| escape(&mut out, *byte));
    }
    Cow::Owned(out)
}

/// Whether a backslash in front of these bytes would be read as the escape of a byte.
fn looks_escaped(rest: &[u8]) -> bool {
    matches!(rest, [b'x', b'8'..=b'9' | b'a'..=b'f', b'0'..=b'9' | b'a'..=b'f', ..] | [b'x', b'5', b'c', ..])
}

/// Whether two names may be rotated forms of the same one: `a.log.1` and `a.log.2`.
pub fn are_of_one(one: &[u8], other: &[u8]) -> bool {
    let others = bases(other);
    bases(one).iter().any(|base| others.contains(base))
}

/// Whether a path has the name of a compressed file.
pub fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz" || extension == "zst")
}

/// What `name` has more than `base`: at its end, or before its extension.
fn inserted<'a>(base: &[u8], name: &'a [u8]) -> Option<&'a [u8]> {
    name.strip_prefix(base).or_else(|| {
        let dot = base.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
        let (root, extension) = base.split_at(dot);
        name.strip_prefix(root)?.strip_suffix(extension)
    })
}

/// The names that `name` may be a rotated, uncompressed form of.
pub fn bases(name: &[u8]) -> Vec<Vec<u8>> {
    let dot = name.iter().rposition(|&byte| byte == b'.').unwrap_or(name.len());
    let mut found = Vec::new();
    for (at, _) in name.iter().enumerate().skip(1).filter(|(_, byte)| matches!(byte, b'.' | b'-' | b'_')) {
        let (head, tail) = name.split_at(at);
        if is_stamp(tail) {
            found.push(head.to_vec());
        } else if at < dot && is_stamp(&name[at..dot]) {
            found.push([head, &name[dot..]].concat());
        }
    }
    found
}

/// `.1`, `-20261124`, `.2026-11-24T10:00:00`, `_1764000000`: a separator, then digits and date punctuation.
fn is_stamp(text: &[u8]) -> bool {
    let [separator, rest @ ..] = text else { return false };
    matches!(separator, b'.' | b'-' | b'_')
        && rest.first().is_some_and(u8::is_ascii_digit)
        && rest.last().is_some_and(|last| last.is_ascii_digit() || *last == b'Z')
        && rest.iter().all(|byte| byte.is_ascii_digit() || b".-_:TZ+".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_rotated_names() {
        let check = |base: &str, name: &str, expect| {
            assert_eq!(rotated(base.as_bytes(), name.as_bytes()), expect, "{name} of {base}");
            let found = bases(name.as_bytes()).contains(&base.as_bytes().to_vec());
            assert_eq!(found, expect == Some(Rotated::Plain), "{base} from {name}");
        };
        let (plain, compressed) = (Some(Rotated::Plain), Some(Rotated::Compressed));
        check("a.log", "a.log.1", plain);
        check("a.log", "a.log.12", plain);
        check("a.log", "a.log-20261124", plain);
        check("a.log", "a.log-20261124-1764000000", plain);
        check("a.log", "a.log.2026-11-24", plain);
        check("a.log", "a.log.2026-11-24T10:00:00Z", plain);
        check("a.log", "a-20261124.log", plain);
        check("a.log", "a.1.log", plain);
        check("0.log", "0.log.20261124-101112", plain);
        check("a.log", "a.log.2.gz", compressed);
        check("a.log", "a.log-20261124.zst", compressed);
        check("messages", "messages.1", plain);
        check("a.log", "a.log", None);
        check("a.log", "a.log.", None);
        check("a.log", "a.log.gz", None);
        check("a.log", "a.log.bak", None);
        check("a.log", "a.log.1~", None);
        check("a.log", "b.log.1", None);
        check("a.log", "a2.log", None);
        check("a.log.1", "a.log", None);
        check(".log", ".log.1", plain);
        check("a.log.1", "a.log.2", None);
    }

    #[test]
    fn tells_what_only_rotation_makes() {
        let check = |base: &str, name: &str, expect| {
            assert_eq!(is_made_of(base.as_bytes(), name.as_bytes()), expect, "{name} of {base}");
        };
        for name in ["a.log.1", "a.log.12", "a.log-20261124", "a-20261124.log", "a.log.2026-11-24T10:00:00Z"] {
            check("a.log", name, true);
        }
        assert!(
            are_of_one(b"a.log.1", b"a.log.2")
                && !are_of_one(b"a.log.1", b"b.log.1")
                && !are_of_one(b"a.log", b"b.log")
        );
        for name in ["a.log", "a-1.log", "a.1.log", "a.log-1", "a.log.1.gz", "b.log.1"] {
            check("a.log", name, false);
        }
    }

    fn path(name: &[u8]) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(name))
    }

    #[test]
    fn names_that_are_no_text_are_shown_escaped() {
        let check = |name: &[u8], expect: &str| assert_eq!(shown(path(name)), expect);
        check("/var/log/caf\u{e9}.log".as_bytes(), "/var/log/caf\u{e9}.log");
        check(b"/var/log/caf\xe9.log", r"/var/log/caf\xe9.log");
        check(br"/var/log/caf\xe9.log", r"/var/log/caf\x5cxe9.log");
        check(br"/var/log/a\x5cb", r"/var/log/a\x5cx5cb");
        check(br"/run/dev-disk\x2dby.log", r"/run/dev-disk\x2dby.log");
        check(b"\\\xff\\", r"\\xff\");
        check(b"\xf0\x9f\x98", r"\xf0\x9f\x98");
        check(b"\xff\n\0", "\\xff\n\0");
    }

    /// What [`shown`] has made, undone by its rule alone.
    fn raw(text: &str) -> Vec<u8> {
        let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
        while at < bytes.len() {
            if bytes[at] == b'\\' && looks_escaped(&bytes[at + 1..]) {
                out.push(u8::from_str_radix(&text[at + 2..at + 4], 16).expect("two digits"));
                at += 4;
            } else {
                out.push(bytes[at]);
                at += 1;
            }
        }
        out
    }

    proptest::proptest! {
        /// Guarantee: the text of a path tells all of its bytes.
        #[test]
        fn no_two_paths_have_one_text(name in proptest::collection::vec(proptest::prop_oneof![
            proptest::strategy::Just(b'\\'), proptest::strategy::Just(b'x'), proptest::sample::select(b"05cf8\xe9\xc3\xa9".to_vec()), proptest::prelude::any::<u8>(),
        ], 0..20)) {
            proptest::prop_assert_eq!(raw(&shown(path(&name))), name);
        }
    }
}
