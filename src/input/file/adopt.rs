//! A renamed input goes on in its files: it adopts their checkpoints (I8).
//!
//! The name of an input labels it in the config and nothing else says which it is. So an input that has never started with
//! this store takes over the files of inputs that are not in the config any more, if it would read them: they were first
//! found under, or are now at, a path that its globs match. Each file is taken once, by the first input in the order given.
//! Files of an input that is still there are left to it: two inputs may read the same files.
//!
//! It is done before the inputs start; nothing is opened here.

use std::collections::{BTreeMap, BTreeSet};

use super::StartError;
use super::glob::Patterns;
use super::identity::now_ns;
use super::options::FileOptions;
use crate::batch::SourceKey;
use crate::checkpoint::{Entry, Store, StoreError};

/// Lets the file inputs of a config that are new adopt the files of those that are gone. `names`: of all inputs of the
/// config, whatever their type.
///
/// # Errors
/// A pattern that is none, or a store that can't be read or written.
pub fn adopt_renamed(store: &Store, inputs: &[&FileOptions], names: &BTreeSet<&str>) -> Result<(), StartError> {
    let of = |input: &FileOptions, source: StoreError| StartError::Store { input: input.name.clone(), source };
    let mut orphans: Option<BTreeMap<SourceKey, Entry>> = None;
    for input in inputs {
        if store.input_started(&input.name).map_err(|source| of(input, source))? {
            continue;
        }
        let patterns = Patterns::new(&input.paths, &input.exclude)
            .map_err(|source| StartError::Pattern { input: input.name.clone(), source })?;
        if orphans.is_none() {
            orphans = Some(orphans_of(store, names).map_err(|source| of(input, source))?);
        }
        let Some(left) = &mut orphans else { continue };
        let adopted = take_matching(left, &patterns);
        if adopted.is_empty() {
            continue;
        }
        for (from, files) in count_by_input(&adopted) {
            tracing::info!(input = %input.name, %from, files, "goes on where an input that is not in the config any more has stopped");
        }
        for (key, entry) in adopted {
            store.update(key, &Entry { input: input.name.as_str().into(), ..entry });
        }
        // It goes on, so `start_at` is not for it.
        store.mark_started(&input.name, now_ns());
        store.commit(&[]).map_err(|source| of(input, source))?;
    }
    Ok(())
}

/// The files of inputs that are not in the config.
fn orphans_of(store: &Store, names: &BTreeSet<&str>) -> Result<BTreeMap<SourceKey, Entry>, StoreError> {
    let mut orphans = BTreeMap::new();
    store.entries(|key, entry| {
        if !names.contains(&*entry.input) {
            orphans.insert(key, entry);
        }
    })?;
    Ok(orphans)
}

/// Those an input would read, and what is known to be a copy of one of them.
fn take_matching(orphans: &mut BTreeMap<SourceKey, Entry>, patterns: &Patterns) -> BTreeMap<SourceKey, Entry> {
    let matches = |entry: &Entry| patterns.matches(&entry.path) || patterns.matches(&entry.at);
    let (mut taken, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
        std::mem::take(orphans).into_iter().partition(|(_, entry)| matches(entry));
    let is_copy = |entry: &Entry| entry.copy_of.is_some_and(|of| taken.contains_key(&of));
    let (copies, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = rest.into_iter().partition(|(_, entry)| is_copy(entry));
    taken.extend(copies);
    *orphans = rest;
    taken
}

fn count_by_input(adopted: &BTreeMap<SourceKey, Entry>) -> BTreeMap<&str, usize> {
    adopted.values().fold(BTreeMap::new(), |mut count, entry| {
        *count.entry(&*entry.input).or_default() += 1;
        count
    })
}
