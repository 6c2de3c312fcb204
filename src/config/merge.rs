//! Several files as one config: which sections unite, which may stand in one file only, which are joined.
//!
//! Nothing is overridden: what two files say of the same thing is a mistake that names both places, so no order of files can
//! hide what one of them says. Every value keeps its own place.

use super::marked::{Data, Key, Node, Parsed};
use super::mistake::{Mistakes, Pos};

/// Maps of names: files may add to them.
const UNITED: [&str; 3] = ["inputs", "outputs", "parsers"];
/// Lists: those of the files one after the other.
const JOINED: [&str; 1] = ["processors"];

/// One config of `files`, in their order; `names` are theirs.
pub(crate) fn merge(files: Vec<Parsed>, names: &[String], mistakes: &mut Mistakes) -> Parsed {
    let mut entries: Vec<(Key, Node)> = Vec::new();
    let mut broken = Vec::new();
    for file in files {
        broken.extend(file.broken);
        let Data::Map(sections) = file.root.data else { continue };
        for (key, value) in sections {
            section(&mut entries, key, value, names, mistakes);
        }
    }
    Parsed { root: Node { at: Pos::START, data: Data::Map(entries) }, broken }
}

fn section(entries: &mut Vec<(Key, Node)>, key: Key, value: Node, names: &[String], mistakes: &mut Mistakes) {
    let is_united = UNITED.contains(&key.name.as_str());
    let is_joined = JOINED.contains(&key.name.as_str());
    let Some((first, there)) = entries.iter_mut().find(|(other, _)| other.name == key.name) else {
        return entries.push((key, value));
    };
    match (&mut there.data, value.data) {
        (Data::Map(there), Data::Map(more)) if is_united => {
            for (name, value) in more {
                if let Some((before, _)) = there.iter().find(|(other, _)| other.name == name.name) {
                    let message = format!(
                        "`{}` of `{}` is already written at {}: keep one",
                        name.name,
                        key.name,
                        place(before.at, names)
                    );
                    mistakes.push(name.at, message);
                } else {
                    there.push((name, value));
                }
            }
        }
        (Data::List(there), Data::List(more)) if is_joined => there.extend(more),
        // One of the two is no map or no list: it stays as it is, and the check of its shape says so.
        (_, data) if is_united || is_joined => entries.push((key, Node { data, ..value })),
        _ => {
            let place = place(first.at, names);
            let message = format!("`{}` is already written at {place}: it may stand in one file only", key.name);
            mistakes.push(key.at, message);
        }
    }
}

/// A place as messages show it.
fn place(at: Pos, names: &[String]) -> String {
    format!("{}:{}:{}", names.get(at.file).map_or("", String::as_str), at.line, at.column)
}
