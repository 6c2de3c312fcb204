//! The config, from the text of a file to checked options; all mistakes in one run (I9).
//!
//! ```text
//!  text ─► marked ─► substitute ─► shape ─► written ─► check ─► Checked
//!          YAML +     ${…}         against   typed      bounds,
//!          places                  the schema           combinations
//!             └──────────┴───────────┴──── mistakes ──────┘ file:line:column
//! ```
//!
//! The types of [`written`] are the one source: the schema comes from them ([`schema`]), and from the schema the check of
//! keys and types, and docs/configuration.md ([`docs`]). What the process must be asked (variables, files, the Kafka
//! client's properties) comes in as a [`World`]. Not here: opening or binding anything.

pub mod checked;
pub mod docs;
pub mod mistake;
pub mod schema;
pub mod world;
pub mod written;

mod check;
mod leaf;
mod marked;
mod properties;
mod shape;
mod substitute;
mod units;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use checked::Checked;
pub use mistake::{Mistake, Pos};
pub use world::{System, World};

use mistake::Mistakes;

/// Reads and checks the config in `paths`: one file, in this release.
///
/// # Errors
/// All mistakes that can be found, in the order of the file. At least one.
pub fn load(paths: &[PathBuf], world: &dyn World) -> Result<Checked, Vec<Mistake>> {
    let whole = |file: String, message: String| Err(vec![Mistake { file, at: Pos::FILE, message }]);
    let path = match paths {
        [path] => path,
        [] => return whole("config".to_owned(), "no config file is named: use `-c FILE`".to_owned()),
        [_, second, ..] => {
            return whole(
                second.display().to_string(),
                "a second config file: this release reads exactly one `-c`".to_owned(),
            );
        }
    };
    let file = path.display().to_string();
    match world.read(path) {
        Err(error) => whole(file, format!("cannot read the config file: {error}")),
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => check_text(&file, text, world),
            Err(error) => {
                let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
                let line = good.matches('\n').count() + 1;
                let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let message = "not UTF-8 from here on: a config is UTF-8 text".to_owned();
                Err(vec![Mistake { file, at: Pos { line, column }, message }])
            }
        },
    }
}

/// Checks the text of a config; `file` is its name for messages.
///
/// # Errors
/// As [`load`].
pub fn check_text(file: &str, text: &str, world: &dyn World) -> Result<Checked, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let mut warnings = Mistakes::default();
    let mut parsed = marked::parse(text, &mut mistakes);
    substitute::apply(&mut parsed.root, world, &mut mistakes);
    let json = shape::check(&parsed, &schema::internal(), &mut mistakes);
    let checked = match serde_json::from_value::<written::Config>(json) {
        Ok(config) => check::check(&config, &parsed.root, world, &mut mistakes, &mut warnings),
        Err(_) => {
            // What `shape` lets through can be read. Should it not, serde's message stays unsaid: it quotes values.
            mistakes
                .push(Pos::START, "this config can't be read, although no single mistake was found: please report it");
            None
        }
    };
    match checked {
        Some(checked) if mistakes.is_empty() => Ok(Checked { warnings: warnings.into_sorted(file), ..checked }),
        _ => {
            if mistakes.is_empty() {
                mistakes.push(
                    Pos::START,
                    "this config can't be used, although no single mistake was found: please report it",
                );
            }
            Err(mistakes.into_sorted(file))
        }
    }
}
