//! `paths` and `exclude`: which files an input reads.
//!
//! A pattern is split at `/`; the parts before its first wildcard are walked to directly, and no directory is listed that
//! no pattern can match in. `*`, `?`, `[…]`, `{a,b}` stay within a name, `**` spans directories. Symbolic links to files are
//! followed; `**` does not follow links to directories (they could form a loop), a pattern that names one does. A pattern
//! of `exclude` without a `/` is for the file's name alone. Names that are no UTF-8 match by their bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use super::identity::birth_clock_ns;

/// A pattern that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("pattern {pattern}: {message}")]
pub struct PatternError {
    pub pattern: String,
    pub message: String,
}

/// The compiled patterns of an input.
pub struct Patterns {
    /// Each pattern, part by part.
    parts: Vec<Vec<Part>>,
    paths: GlobSet,
    exclude_paths: GlobSet,
    exclude_names: GlobSet,
}

/// One part of a pattern.
enum Part {
    Literal(String),
    Wild(Box<GlobMatcher>),
    /// `**`
    Any,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Walk {
    /// When it began, by the clock that stamps births.
    pub began_ns: i64,
    /// Everything that matches and is no directory, in order.
    pub files: BTreeSet<PathBuf>,
    /// Every directory in which a file or directory that appears would matter; those that are not there yet are
    /// represented by their nearest ancestor that is.
    pub directories: BTreeSet<PathBuf>,
    /// Directories that a pattern names which looks as if it were for files: not `*`, nor `**`.
    pub matching_directories: BTreeSet<PathBuf>,
    /// Directories that could not be listed, and why.
    pub failed: Vec<(PathBuf, std::io::Error)>,
}

impl Patterns {
    /// Compiles them.
    ///
    /// # Errors
    /// The first pattern that is no glob, or is not absolute.
    pub fn new(paths: &[String], exclude: &[String]) -> Result<Patterns, PatternError> {
        let mut parts = Vec::new();
        for pattern in paths {
            if !pattern.starts_with('/') {
                let message = "must be absolute: it starts with /".to_owned();
                return Err(PatternError { pattern: pattern.clone(), message });
            }
            // Braces may span a `/`, so they are taken apart before the pattern is split.
            for plain in expand_braces(pattern) {
                let compiled = split(&plain).map_err(|error| PatternError { pattern: pattern.clone(), ..error })?;
                parts.push(compiled);
            }
        }
        let (whole, names): (Vec<&String>, Vec<&String>) = exclude.iter().partition(|pattern| pattern.contains('/'));
        Ok(Patterns { parts, paths: set(paths)?, exclude_paths: set(whole)?, exclude_names: set(names)? })
    }

    /// Whether a file of this path would be read.
    pub fn matches(&self, path: &Path) -> bool {
        self.paths.is_match(path) && !self.is_excluded(path)
    }

    fn is_excluded(&self, path: &Path) -> bool {
        self.exclude_paths.is_match(path) || path.file_name().is_some_and(|name| self.exclude_names.is_match(name))
    }

    /// Finds everything that matches now.
    pub fn walk(&self) -> Walk {
        let mut walk = Walk { began_ns: birth_clock_ns(), ..Walk::default() };
        for parts in &self.parts {
            descend(Path::new("/"), parts, &mut walk);
        }
        walk.files.retain(|path| !self.is_excluded(path));
        walk.matching_directories.retain(|path| !self.is_excluded(path));
        walk
    }
}

fn compile(pattern: &str) -> Result<globset::Glob, PatternError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
        .map_err(|error| PatternError { pattern: pattern.to_owned(), message: error.kind().to_string() })
}

fn set<'a>(patterns: impl IntoIterator<Item = &'a String>) -> Result<GlobSet, PatternError> {
    let mut set = GlobSetBuilder::new();
    let mut last = String::new();
    for pattern in patterns {
        set.add(compile(pattern)?);
        last.clone_from(pattern);
    }
    set.build().map_err(|error| PatternError { pattern: last, message: error.kind().to_string() })
}

fn split(pattern: &str) -> Result<Vec<Part>, PatternError> {
    pattern
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| {
            Ok(if part == "**" {
                Part::Any
            } else if part.contains(['*', '?', '[', '{', '\\']) {
                Part::Wild(Box::new(compile(part)?.compile_matcher()))
            } else {
                Part::Literal(part.to_owned())
            })
        })
        .collect()
}

/// Alternatives that contain a `/` become patterns of their own; others stay as they are.
fn expand_braces(pattern: &str) -> Vec<String> {
    let Some((open, close, commas)) = first_braces_with_slash(pattern) else { return vec![pattern.to_owned()] };
    let mut starts = vec![open + 1];
    starts.extend(commas.iter().map(|comma| comma + 1));
    let mut ends = commas;
    ends.push(close);
    let (head, tail) = (pattern.get(..open), pattern.get(close + 1..));
    starts
        .iter()
        .zip(&ends)
        .filter_map(|(&start, &end)| Some(format!("{}{}{}", head?, pattern.get(start..end)?, tail?)))
        .flat_map(|one| expand_braces(&one))
        .collect()
}

/// Byte offsets of the first outermost `{…}` that contains a `/`: its braces, and its own commas.
fn first_braces_with_slash(pattern: &str) -> Option<(usize, usize, Vec<usize>)> {
    let (mut depth, mut open, mut slash, mut commas) = (0usize, 0, false, Vec::new());
    let mut escaped = false;
    for (at, byte) in pattern.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => {
                if depth == 0 {
                    (open, slash) = (at, false);
                    commas.clear();
                }
                depth += 1;
            }
            b'}' if depth == 1 && slash => return Some((open, at, commas)),
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => commas.push(at),
            b'/' if depth > 0 => slash = true,
            _ => {}
        }
    }
    None
}

/// Follows the parts of a pattern below `directory`, which exists.
fn descend(directory: &Path, parts: &[Part], walk: &mut Walk) {
    match parts {
        [] => {}
        [Part::Literal(name), rest @ ..] => {
            let path = directory.join(name);
            match std::fs::metadata(&path) {
                Ok(stat) if rest.is_empty() => {
                    walk.directories.insert(directory.to_owned());
                    if stat.is_dir() {
                        walk.matching_directories.insert(path);
                    } else {
                        walk.files.insert(path);
                    }
                }
                Ok(stat) if stat.is_dir() => {
                    // `/var` and its like are not watched: only where the path could still change its course.
                    descend(&path, rest, walk);
                }
                Ok(_) => {}
                Err(error) => {
                    walk.directories.insert(directory.to_owned());
                    if rest.is_empty() && std::fs::symlink_metadata(&path).is_ok_and(|stat| stat.is_symlink()) {
                        // Whoever looks at it sees what is wrong with it.
                        walk.files.insert(path);
                    } else if error.kind() == std::io::ErrorKind::PermissionDenied {
                        walk.failed.push((path, error));
                    }
                }
            }
        }
        [Part::Wild(matcher), rest @ ..] => {
            walk.directories.insert(directory.to_owned());
            list(directory, walk, |name, is_directory, walk| {
                if matcher.is_match(name) {
                    let path = directory.join(name);
                    if rest.is_empty() {
                        if !is_directory.follow(&path) {
                            walk.files.insert(path);
                        } else if matcher.glob().glob() != "*" {
                            walk.matching_directories.insert(path);
                        }
                    } else if is_directory.follow(&path) {
                        descend(&path, rest, walk);
                    }
                }
            });
        }
        [Part::Any, rest @ ..] => {
            walk.directories.insert(directory.to_owned());
            if rest.is_empty() {
                list(directory, walk, |name, is_directory, walk| {
                    if !is_directory.follow(&directory.join(name)) {
                        walk.files.insert(directory.join(name));
                    }
                });
            } else {
                descend(directory, rest, walk);
            }
            list(directory, walk, |name, is_directory, walk| {
                if is_directory == Kind::Directory {
                    descend(&directory.join(name), parts, walk);
                }
            });
        }
    }
}

/// What a directory entry says it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Link,
    Other,
}

impl Kind {
    /// Whether it is a directory, links followed. A link to nowhere is none.
    fn follow(self, path: &Path) -> bool {
        match self {
            Kind::Directory => true,
            Kind::Link => path.is_dir(),
            Kind::Other => false,
        }
    }
}

fn list(directory: &Path, walk: &mut Walk, mut each: impl FnMut(&std::ffi::OsStr, Kind, &mut Walk)) {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            if !walk.failed.iter().any(|(path, _)| path == directory) && error.kind() != std::io::ErrorKind::NotFound {
                walk.failed.push((directory.to_owned(), error));
            }
            return;
        }
    };
    for entry in entries.flatten() {
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_dir() => Kind::Directory,
            Ok(kind) if kind.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        each(&entry.file_name(), kind, walk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files are made below a temporary directory; patterns and expectations are relative to it.
    fn check(files: &[&str], paths: &[&str], exclude: &[&str], expect: &[&str]) {
        let home = tempfile::tempdir().expect("a temporary directory");
        for file in files {
            let path = home.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below home")).expect("writable");
            std::fs::write(path, "").expect("writable");
        }
        let below = |patterns: &[&str]| -> Vec<String> {
            patterns
                .iter()
                .map(
                    |one| {
                        if one.contains('/') { format!("{}/{one}", home.path().display()) } else { (*one).to_owned() }
                    },
                )
                .collect()
        };
        let absolute: Vec<String> = paths.iter().map(|one| format!("{}/{one}", home.path().display())).collect();
        let patterns = Patterns::new(&absolute, &below(exclude)).expect("good patterns");
        let walk = patterns.walk();
        let found: Vec<String> = walk
            .files
            .iter()
            .map(|path| path.strip_prefix(home.path()).expect("below home").display().to_string())
            .collect();
        assert_eq!(found, expect, "{paths:?} without {exclude:?}");
        for path in &walk.files {
            assert!(patterns.matches(path), "what the walk finds must match: {}", path.display());
        }
    }

    #[test]
    fn finds_what_matches_and_nothing_else() {
        let files = ["a.log", "b.log", "b.txt", "x/a.log", "x/y/c.log", "x/y/z/d.log", "[.log"];
        check(&files, &["*.log"], &[], &["[.log", "a.log", "b.log"]);
        check(&files, &["?.log"], &["b.*"], &["[.log", "a.log"]);
        check(&files, &["[a-b].log"], &[], &["a.log", "b.log"]);
        check(&files, &["{a,b}.{log,txt}"], &[], &["a.log", "b.log", "b.txt"]);
        check(&files, &["**/*.log"], &[], &["[.log", "a.log", "b.log", "x/a.log", "x/y/c.log", "x/y/z/d.log"]);
        check(&files, &["x/**"], &[], &["x/a.log", "x/y/c.log", "x/y/z/d.log"]);
        check(&files, &["x/**/*.log"], &["x/y/z/*"], &["x/a.log", "x/y/c.log"]);
        check(&files, &["*/*.log"], &[], &["x/a.log"]);
        check(&files, &["{x/y,x}/*.log"], &[], &["x/a.log", "x/y/c.log"]);
        check(&files, &["a.log", "nowhere.log", "x"], &[], &["a.log"]);
        check(&files, &["\\[.log"], &[], &["[.log"]);
    }

    #[test]
    fn says_what_is_wrong() {
        let check = |pattern: &str, expect: &str| {
            let error = Patterns::new(&[pattern.to_owned()], &[]).err().expect("refused").to_string();
            assert!(error.contains(pattern) && error.contains(expect), "{error}");
        };
        check("relative/*.log", "absolute");
        check("/a/[", "unclosed character class");
        check("/a/{b,c", "unclosed alternate");
    }

    #[test]
    fn directories_to_watch_are_where_something_may_appear() {
        let home = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(home.path().join("logs/deep")).expect("writable");
        let check = |pattern: &str, expect: &[&str]| {
            let patterns = Patterns::new(&[format!("{}/{pattern}", home.path().display())], &[]).expect("good");
            let expect: BTreeSet<PathBuf> = expect.iter().map(|one| home.path().join(one)).collect();
            let found: BTreeSet<PathBuf> = patterns.walk().directories;
            assert_eq!(found, expect, "{pattern}");
        };
        check("logs/*.log", &["logs"]);
        check("logs/a.log", &["logs"]);
        check("logs/**/*.log", &["logs", "logs/deep"]);
        check("later/*.log", &[""]);
        check("logs/*/x.log", &["logs", "logs/deep"]);
    }

    #[test]
    fn links_to_files_are_followed_and_loops_are_not() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| home.path().join(name);
        std::fs::create_dir(at("real")).expect("writable");
        std::fs::write(at("real/a.log"), "").expect("writable");
        std::os::unix::fs::symlink(at("real/a.log"), at("link.log")).expect("writable");
        std::os::unix::fs::symlink(home.path(), at("real/loop")).expect("writable");
        std::os::unix::fs::symlink(at("real"), at("dir")).expect("writable");
        let find = |pattern: &str| {
            let patterns = Patterns::new(&[at(pattern).display().to_string()], &[]).expect("good");
            patterns.walk().files.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(find("**/*.log"), [at("link.log"), at("real/a.log")]);
        assert_eq!(find("dir/*.log"), [at("dir/a.log")]);
    }
}
