//! The config, from the texts of its files to checked options; all mistakes in one run (I9).
//!
//! ```text
//!  texts ─► marked ─► merge ─► substitute ─► shape ─► written ─► check ─► Checked
//!           YAML +    one of    ${…}         against   typed      bounds,
//!           places    several                the schema           combinations
//!             └─────────┴─────────┴────────────┴──── mistakes ──────┘ file:line:column
//! ```
//!
//! The types of [`written`] are the one source: the schema comes from them ([`schema`]), and from the schema the check of
//! keys and types, and docs/configuration.md ([`docs`]). What the process must be asked (variables, files, the Kafka
//! client's properties) comes in as a [`World`]. Not here: opening or binding anything.

pub mod checked;
pub mod database;
pub mod docs;
mod enrichers;
mod grok;
pub mod mistake;
mod multiline;
pub mod parsers;
mod processors;
pub mod schema;
pub mod test_file;
pub mod world;
pub mod written;

mod agents;
mod check;
mod host;
mod leaf;
mod marked;
mod merge;
mod properties;
mod shape;
mod steps;
mod substitute;
mod units;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use checked::Checked;
pub use mistake::{Mistake, Pos};
pub use world::{System, World};

use mistake::Mistakes;

/// A file of a config, as it was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// For messages: its path as it was named, or below the directory that was.
    pub name: String,
    text: Result<String, Unreadable>,
}

/// Why a file has no text, and where it ends being one (line and column; 0: as a whole).
#[derive(Clone, Debug)]
struct Unreadable {
    line: usize,
    column: usize,
    message: String,
}

/// Reads and checks the config in `paths`: files, and directories for the `*.yaml` and `*.yml` in them, in the order of
/// their names.
///
/// # Errors
/// All mistakes that can be found, in the order of the files. At least one.
pub fn load(paths: &[PathBuf], world: &dyn World) -> Result<Checked, Vec<Mistake>> {
    check(&read(paths, world), world)
}

/// The files that `paths` stand for, in the order in which they are read.
///
/// # Errors
/// What the system says of a directory that can't be listed.
pub fn files(path: &Path, world: &dyn World) -> Result<Vec<PathBuf>, std::io::Error> {
    let Some(mut found) = world.list(path)? else { return Ok(vec![path.to_owned()]) };
    found.retain(|path| {
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        !is_hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    });
    found.sort();
    Ok(found)
}

/// Reads the config in `paths`. What can't be read is a mistake of [`check`].
pub fn read(paths: &[PathBuf], world: &dyn World) -> Vec<ConfigFile> {
    let whole = |path: &Path, message: String| ConfigFile {
        name: path.display().to_string(),
        text: Err(Unreadable { line: 0, column: 0, message }),
    };
    let mut read = Vec::new();
    for path in paths {
        match files(path, world) {
            Ok(found) => read.extend(found.iter().map(|file| match world.read(file) {
                Ok(bytes) => ConfigFile { name: file.display().to_string(), text: text_of(&bytes) },
                Err(error) => whole(file, format!("cannot read the config file: {error}")),
            })),
            Err(error) => read.push(whole(path, format!("cannot list the config directory: {error}"))),
        }
    }
    if let (true, Some(path)) = (read.is_empty(), paths.last()) {
        read.push(whole(path, "no config file: no `*.yaml` or `*.yml` is in it".to_owned()));
    }
    read
}

fn text_of(bytes: &[u8]) -> Result<String, Unreadable> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
        Unreadable {
            line: good.matches('\n').count() + 1,
            column: good.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            message: "not UTF-8 from here on: a config is UTF-8 text".to_owned(),
        }
    })
}

/// Checks the text of a config; `file` is its name for messages.
///
/// # Errors
/// As [`load`].
pub fn check_text(file: &str, text: &str, world: &dyn World) -> Result<Checked, Vec<Mistake>> {
    check(&[ConfigFile { name: file.to_owned(), text: Ok(text.to_owned()) }], world)
}

/// Checks a config that was read: with what the variables and the files that it names hold now.
///
/// # Errors
/// As [`load`].
pub fn check(files: &[ConfigFile], world: &dyn World) -> Result<Checked, Vec<Mistake>> {
    let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
    let (mut mistakes, mut warnings) = (Mistakes::default(), Mistakes::default());
    if files.is_empty() {
        let message = "no config file is named: use `-c FILE`".to_owned();
        return Err(vec![Mistake { file: "config".to_owned(), at: Pos::whole(0), message }]);
    }
    let world = world::Noting::new(world);
    let parsed = files.iter().enumerate().map(|(at, file)| parsed(at, file, &mut mistakes)).collect();
    let mut parsed = merge::merge(parsed, &names, &mut mistakes);
    substitute::apply(&mut parsed.root, &world, &mut mistakes);
    let json = shape::check(&parsed, &schema::internal(), &mut mistakes);
    let checked = match serde_json::from_value::<written::Config>(json) {
        Ok(config) => check::check(&config, &parsed.root, &world, &mut mistakes, &mut warnings),
        Err(_) => {
            // What `shape` lets through can be read. Should it not, serde's message stays unsaid: it quotes values.
            mistakes
                .push(Pos::START, "this config can't be read, although no single mistake was found: please report it");
            None
        }
    };
    match checked {
        Some(checked) if mistakes.is_empty() => Ok(Checked {
            warnings: warnings.into_sorted(&names),
            files: files.to_vec(),
            files_named: world.into_read(),
            ..checked
        }),
        _ => {
            if mistakes.is_empty() {
                mistakes.push(
                    Pos::START,
                    "this config can't be used, although no single mistake was found: please report it",
                );
            }
            Err(mistakes.into_sorted(&names))
        }
    }
}

fn parsed(at: usize, file: &ConfigFile, mistakes: &mut Mistakes) -> marked::Parsed {
    match &file.text {
        Ok(text) => marked::parse(at, text, mistakes),
        Err(Unreadable { line, column, message }) => {
            mistakes.push(Pos { file: at, line: *line, column: *column }, message.clone());
            marked::Parsed::unreadable()
        }
    }
}
