//! The pattern sets that are built in: `legacy` and `v8` (P).
//!
//! The crate `grok` carries most of Logstash's legacy definitions; `legacy.patterns` has those it lacks or has otherwise,
//! `v8.patterns` those that have other fields with `ecs_compatibility: v8`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Which set is built in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Set {
    /// `ecs_compatibility: disabled`: fields have Logstash's old names (`clientip`).
    #[default]
    Legacy,
    /// `ecs_compatibility: v8`: fields have the names of the Elastic Common Schema (`[source][address]`).
    V8,
}

/// In the crate `grok`, but not among Logstash's legacy definitions.
const NOT_LEGACY: &[&str] = &[
    "IPTABLES",
    "IPTABLES4_FRAG",
    "IPTABLES4_PART",
    "IPTABLES6_PART",
    "IPTABLES_TCP_FLAGS",
    "IPTABLES_TCP_PART",
    "SFW2_LOG_PREFIX",
];

static LEGACY: LazyLock<BTreeMap<String, Arc<str>>> = LazyLock::new(|| {
    let known = grok::patterns().iter().filter(|(name, _)| !NOT_LEGACY.contains(name));
    let mut set: BTreeMap<String, Arc<str>> =
        known.map(|(name, definition)| ((*name).to_owned(), Arc::from(*definition))).collect();
    set.extend(parse(include_str!("legacy.patterns")));
    set
});

static V8: LazyLock<BTreeMap<String, Arc<str>>> = LazyLock::new(|| {
    let mut set = LEGACY.clone();
    set.extend(parse(include_str!("v8.patterns")));
    set
});

impl Set {
    fn table(self) -> &'static BTreeMap<String, Arc<str>> {
        match self {
            Self::Legacy => &LEGACY,
            Self::V8 => &V8,
        }
    }

    /// The names of the set, sorted.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.table().keys().map(String::as_str)
    }
}

/// A built-in set and the user's own definitions over it.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    set: Set,
    own: BTreeMap<String, Arc<str>>,
}

impl Definitions {
    /// The built-in set alone.
    pub fn new(set: Set) -> Self {
        Self { set, own: BTreeMap::new() }
    }

    /// Defines `name`, or redefines it, everywhere it is used.
    pub fn define(&mut self, name: &str, definition: &str) {
        self.own.insert(name.to_owned(), definition.into());
    }

    /// Defines what a file of `patterns_dir` has: a line is NAME REGEX; `#` begins a comment, empty lines are skipped.
    pub fn define_all(&mut self, text: &str) {
        self.own.extend(parse(text));
    }

    /// The definition of `name`.
    pub fn get(&self, name: &str) -> Option<Arc<str>> {
        self.own.get(name).or_else(|| self.set.table().get(name)).cloned()
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.set.names().collect();
        names.extend(self.own.keys().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The known name that is most like `name`.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let names = self.names();
        let scored = names.iter().map(|known| (strsim::jaro_winkler(known, &name.to_uppercase()), known));
        let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
        (best.0 > 0.85).then(|| (*best.1).to_owned())
    }
}

fn parse(text: &str) -> impl Iterator<Item = (String, Arc<str>)> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let (name, definition) = line.split_once(char::is_whitespace)?;
        (!name.starts_with('#')).then(|| (name.to_owned(), Arc::from(definition.trim_start())))
    })
}
