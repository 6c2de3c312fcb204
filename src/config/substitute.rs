//! `${NAME}`, `${NAME:default}`, `${file:/path}`, `${credential:name}` in the scalars of a parsed config.
//!
//! After parsing, so that a value can neither change the structure nor move what follows it. Not nested: what a
//! substitution brings is taken as it is. `$${` stands for a plain `${`. No message shows what was put in.

use std::path::{Path, PathBuf};

use super::marked::{Data, Node, Piece};
use super::mistake::Mistakes;
use super::world::World;

/// Puts values in for all substitutions below `node`. Where one fails, the scalar is marked as unknown: there is nothing
/// more to say of it than the mistake that is said here.
pub(crate) fn apply(node: &mut Node, world: &dyn World, mistakes: &mut Mistakes) {
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(|item| apply(item, world, mistakes)),
        Data::Map(entries) => entries.iter_mut().for_each(|(_, value)| apply(value, world, mistakes)),
        Data::Scalar(scalar) if scalar.written.contains("${") => {
            let filled = fill(&scalar.written, world);
            scalar.unknown = !filled.faults.is_empty();
            scalar.text = filled.text;
            scalar.pieces = filled.pieces;
            for (at, message) in filled.faults {
                mistakes.push(node.pos_in_written(at), message);
            }
        }
        Data::Scalar(_) => {}
    }
}

#[derive(Debug, Default)]
struct Filled {
    text: String,
    pieces: Vec<Piece>,
    /// Byte offset in the value as written, and what is wrong there.
    faults: Vec<(usize, String)>,
}

fn fill(written: &str, world: &dyn World) -> Filled {
    let mut filled = Filled::default();
    let mut rest = 0;
    while let Some(found) = written[rest..].find("${") {
        let start = rest + found;
        let text_start;
        let (end, value) = if start > rest && written.as_bytes()[start - 1] == b'$' {
            filled.text.push_str(&written[rest..start - 1]);
            text_start = filled.text.len();
            (start + 2, Ok("${".to_owned()))
        } else {
            filled.text.push_str(&written[rest..start]);
            text_start = filled.text.len();
            let Some(close) = written[start..].find('}') else {
                let message = "`${` without its `}` (write `$${` where a plain `${` is meant)";
                filled.faults.push((start, message.to_owned()));
                return filled;
            };
            (start + close + 1, one(&written[start + 2..start + close], world))
        };
        match value {
            Ok(value) => filled.text.push_str(&value),
            Err(message) => filled.faults.push((start, message)),
        }
        let from = if end == start + 2 { start - 1 } else { start };
        filled.pieces.push(Piece { written: from..end, text: text_start..filled.text.len() });
        rest = end;
    }
    filled.text.push_str(&written[rest..]);
    filled
}

/// The value of what stands between `${` and `}`.
fn one(inner: &str, world: &dyn World) -> Result<String, String> {
    if inner.contains("${") {
        return Err("substitutions are not nested: close this one with `}` first".to_owned());
    }
    let (name, argument) = match inner.split_once(':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (inner, None),
    };
    match (name, argument) {
        ("file", Some(path)) => file(path, world),
        ("credential", Some(name)) => credential(name, world),
        _ if !is_name(name) => Err(format!(
            "`${{{name}}}`: expected `${{NAME}}`, `${{NAME:default}}`, `${{file:/path}}` or `${{credential:name}}` (write `$${{` where a plain `${{` is meant)"
        )),
        (name, default) => world.variable(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
            format!("the environment variable `{name}` is not set: set it, or give a default as `${{{name}:…}}`")
        }),
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn file(path: &str, world: &dyn World) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("`${{file:{path}}}`: expected an absolute path"));
    }
    contents(Path::new(path), world).map_err(|error| format!("cannot read the file `{path}`: {error}"))
}

fn credential(name: &str, world: &dyn World) -> Result<String, String> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(format!("`${{credential:{name}}}`: expected the name of a systemd credential"));
    }
    let Some(directory) = world.variable("CREDENTIALS_DIRECTORY") else {
        return Err(format!(
            "the credential `{name}` can't be read: `CREDENTIALS_DIRECTORY` is not set (systemd sets it for units with `LoadCredential={name}:…`)"
        ));
    };
    let path: PathBuf = Path::new(&directory).join(name);
    contents(&path, world)
        .map_err(|error| format!("cannot read the credential `{name}` at `{}`: {error}", path.display()))
}

/// The text of a file without its last line's end.
fn contents(path: &Path, world: &dyn World) -> Result<String, String> {
    let bytes = world.read(path).map_err(|error| error.to_string())?;
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
