//! `user_agent`: which browser, system and device a user agent names, with the expressions of uap-core: those that Logstash and
//! Elasticsearch use, so the names are theirs, with the field names of ECS or Logstash's old ones. They are built in
//! (`user_agent/regexes.yaml`), made only where a config has this processor, and matched in linear time.
//!
//! User agents repeat, so what was found is remembered: at most so many, at most [`REMEMBERED_BYTES_MAX`] of texts each, forgotten
//! in the order in which they were last seen, roughly. Not here: bots by address, and client hints.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use compact_str::CompactString;
use ua_parser::{Extractor, Regexes};
use xxhash_rust::xxh3::xxh3_128;

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Value, ValueRef, floor_char_boundary};

/// Bytes of a user agent that are looked at.
pub const BYTES_MAX: usize = 1024;
/// What was found in a user agent is remembered if it is no longer than this; otherwise it is looked for again.
const REMEMBERED_BYTES_MAX: usize = 512;
/// What stands for a browser, system or device that no expression knows.
const OTHER: &str = "Other";

/// The expressions, made.
pub struct Agents(Extractor<'static>);

/// Who looks into a user agent; `None`: nobody can. (See [`Agents`]; one thread is to do it for all, since an expression keeps the
/// states of its automaton for each thread that uses it, and they are most of what this takes.)
pub type AskAgents = fn(&str) -> Option<AgentFacts>;

/// `user_agent: {field, target, …}`.
#[derive(Clone)]
pub struct UserAgent {
    field: FieldPath,
    /// Where the text itself goes, if it does.
    original: Option<FieldPath>,
    places: Vec<(Part, FieldPath)>,
    ask: AskAgents,
    seen: Arc<Mutex<Seen>>,
}

/// What a user agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name,
    Version,
    /// A number of the version, the first is 0.
    Number(usize),
    OsName,
    OsVersion,
    OsFull,
    OsNumber(usize),
    Device,
}

/// Names of ECS below `user_agent`.
const ECS: [(Part, &str); 6] = [
    (Part::Name, "name"),
    (Part::Version, "version"),
    (Part::OsName, "os.name"),
    (Part::OsVersion, "os.version"),
    (Part::OsFull, "os.full"),
    (Part::Device, "device.name"),
];

/// Logstash's old names.
const LEGACY: [(Part, &str); 14] = [
    (Part::Name, "name"),
    (Part::Version, "version"),
    (Part::Number(0), "major"),
    (Part::Number(1), "minor"),
    (Part::Number(2), "patch"),
    (Part::Number(3), "build"),
    (Part::OsName, "os"),
    (Part::OsName, "os_name"),
    (Part::OsVersion, "os_version"),
    (Part::OsFull, "os_full"),
    (Part::OsNumber(0), "os_major"),
    (Part::OsNumber(1), "os_minor"),
    (Part::OsNumber(2), "os_patch"),
    (Part::Device, "device"),
];

/// The values of a user agent, in the order of [`UserAgent::places`].
type Found = Arc<[Option<CompactString>]>;

/// Two generations: what is asked for again moves to the young one; when that is full, the old one is forgotten.
struct Seen {
    young: BTreeMap<u128, Found>,
    old: BTreeMap<u128, Found>,
    young_max: usize,
}

impl Seen {
    fn get(&mut self, key: u128) -> Option<Found> {
        if let Some(found) = self.young.get(&key) {
            return Some(Arc::clone(found));
        }
        let found = self.old.remove(&key)?;
        self.put(key, Arc::clone(&found));
        Some(found)
    }

    fn put(&mut self, key: u128, found: Found) {
        if self.young.len() >= self.young_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, found);
    }
}

impl fmt::Debug for UserAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserAgent").field("field", &self.field).field("places", &self.places).finish_non_exhaustive()
    }
}

impl UserAgent {
    /// Sets what the user agent in `field` says below `target` (`None`: at the top), with the names of ECS or the old ones, and
    /// remembers `seen_max` of them, at least two; the others are asked for with `ask`. With ECS's names the text goes to `original`, too.
    pub fn new(field: FieldPath, target: Option<&FieldPath>, is_ecs: bool, seen_max: usize, ask: AskAgents) -> Self {
        let below = |name: &str| {
            let path = FieldPath::parse(name).expect("the names are constants");
            target.map_or_else(|| path.clone(), |target| path.below(target))
        };
        let names: &[(Part, &str)] = if is_ecs { &ECS } else { &LEGACY };
        let seen = Seen { young: BTreeMap::new(), old: BTreeMap::new(), young_max: (seen_max / 2).max(1) };
        let original = is_ecs.then(|| below("original")).filter(|original| *original != field);
        Self {
            field,
            original,
            places: names.iter().map(|(part, name)| (*part, below(name))).collect(),
            ask,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    /// # Errors
    /// If nobody can be asked.
    fn look_up(&self, text: &str) -> Result<Found, Failed> {
        let key = xxh3_128(text.as_bytes());
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen().get(key);
        if let Some(found) = known {
            return Ok(found);
        }
        // Not while others wait for what is remembered.
        let facts = (self.ask)(text).ok_or(Failed)?;
        let found: Found = self.places.iter().map(|(part, _)| facts.value(*part)).collect();
        if found.iter().flatten().map(|value| value.len()).sum::<usize>() <= REMEMBERED_BYTES_MAX {
            seen().put(key, Arc::clone(&found));
        }
        Ok(found)
    }

    /// The text; of a list the first one counts. `None`: there is none, which is no failure.
    fn text(&self, work: &Work<'_>) -> Result<Option<CompactString>, Failed> {
        match work.get(&self.field) {
            None | Some(ValueRef::Null) => Ok(None),
            Some(ValueRef::Str(text)) => Ok(Some(CompactString::from(text))),
            Some(ValueRef::Array(values)) => match values.first() {
                Some(Value::String(text)) => Ok(Some(text.clone())),
                None => Ok(None),
                Some(_) => Err(Failed),
            },
            Some(_) => Err(Failed),
        }
    }
}

impl Process for UserAgent {
    fn name(&self) -> &'static str {
        "user_agent"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(text) = self.text(work)?.filter(|text| !text.is_empty()) else { return Ok(Outcome::Keep) };
        let end = floor_char_boundary(&text, BYTES_MAX);
        let found = self.look_up(text.get(..end).unwrap_or_default())?;
        let mut all = Ok(Outcome::Keep);
        for ((_, place), value) in self.places.iter().zip(found.iter()) {
            if let Some(value) = value
                && work.set(place, Value::String(value.clone())).is_err()
            {
                all = Err(Failed);
            }
        }
        if let Some(original) = &self.original
            && work.set(original, Value::String(text)).is_err()
        {
            all = Err(Failed);
        }
        all
    }
}

/// What was found in a user agent.
#[derive(Debug)]
pub struct AgentFacts {
    name: CompactString,
    version: [Option<CompactString>; 4],
    os_name: CompactString,
    os_version: [Option<CompactString>; 4],
    device: CompactString,
}

impl Default for Agents {
    /// From `user_agent/regexes.yaml`; it takes a tenth of a second or so.
    fn default() -> Self {
        let regexes: Regexes<'static> =
            serde_yaml::from_str(include_str!("user_agent/regexes.yaml")).expect("the file is a constant");
        Self(Extractor::try_from(regexes).expect("its expressions are constants"))
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents").finish_non_exhaustive()
    }
}

impl Agents {
    /// What this text says, in a time that is linear in it.
    pub fn find(&self, text: &str) -> AgentFacts {
        let (agent, os, device) = self.0.extract(text);
        let kept = |part: Option<&str>| part.filter(|part| !part.is_empty()).map(CompactString::from);
        let version = agent.as_ref().map(|agent| [agent.major, agent.minor, agent.patch, agent.patch_minor].map(kept));
        let os_version =
            os.as_ref().map(|os| [&os.major, &os.minor, &os.patch, &os.patch_minor].map(|part| kept(part.as_deref())));
        let named = |name: Option<&str>| CompactString::from(name.unwrap_or(OTHER));
        AgentFacts {
            name: named(agent.as_ref().map(|agent| &*agent.family)),
            version: version.unwrap_or_default(),
            os_name: named(os.as_ref().map(|os| &*os.os)),
            os_version: os_version.unwrap_or_default(),
            device: named(device.as_ref().map(|device| &*device.device)),
        }
    }
}

impl AgentFacts {
    fn value(&self, part: Part) -> Option<CompactString> {
        match part {
            Part::Name => Some(self.name.clone()),
            Part::Version => joined(&self.version),
            Part::Number(index) => self.version[index].clone(),
            Part::OsName => Some(self.os_name.clone()),
            Part::OsVersion => joined(&self.os_version),
            Part::OsFull => Some(match joined(&self.os_version) {
                Some(version) => CompactString::from([&*self.os_name, " ", &version].concat()),
                None => self.os_name.clone(),
            }),
            Part::OsNumber(index) => self.os_version[index].clone(),
            Part::Device => Some(self.device.clone()),
        }
    }
}

/// The parts with dots between, up to the first that is missing.
fn joined(parts: &[Option<CompactString>; 4]) -> Option<CompactString> {
    let known: Vec<&str> = parts.iter().map_while(|part| part.as_deref()).collect();
    (!known.is_empty()).then(|| known.join(".").into())
}

/// For tests: looks here and now.
#[cfg(test)]
pub(super) fn ask_here(text: &str) -> Option<AgentFacts> {
    static AGENTS: std::sync::LazyLock<Mutex<Agents>> = std::sync::LazyLock::new(Mutex::default);
    Some(AGENTS.lock().unwrap_or_else(PoisonError::into_inner).find(text))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, fields_of_event, path};
    use super::*;
    use serde_json::json;

    fn user_agent(seen_max: usize) -> UserAgent {
        UserAgent::new(path("agent_text"), Some(&path("user_agent")), true, seen_max, ask_here)
    }

    /// The expectations are those of uap-core's own tests.
    #[test]
    fn browsers_systems_and_devices() {
        let processor = user_agent(100);
        for (text, expect) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
                json!({"name": "Chrome", "version": "126.0.0.0", "os": {"name": "Windows", "version": "10", "full": "Windows 10"}, "device": {"name": "Other"}}),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
                json!({"name": "Mobile Safari", "version": "17.5", "os": {"name": "iOS", "version": "17.5", "full": "iOS 17.5"}, "device": {"name": "iPhone"}}),
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0",
                json!({"name": "Firefox", "version": "127.0", "os": {"name": "Mac OS X", "version": "10.15", "full": "Mac OS X 10.15"}, "device": {"name": "Mac"}}),
            ),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                json!({"name": "Googlebot", "version": "2.1", "os": {"name": "Other", "full": "Other"}, "device": {"name": "Spider"}}),
            ),
            (
                "curl/8.5.0",
                json!({"name": "curl", "version": "8.5.0", "os": {"name": "Other", "full": "Other"}, "device": {"name": "Other"}}),
            ),
            ("-", json!({"name": "Other", "os": {"name": "Other", "full": "Other"}, "device": {"name": "Other"}})),
        ] {
            let mut expect = expect;
            expect["original"] = json!(text);
            // Twice: looked up, and remembered.
            for _ in 0..2 {
                let fields = json!({ "agent_text": text });
                check_fields(processor.clone(), fields, json!({"agent_text": text, "user_agent": expect}));
            }
        }
    }

    #[test]
    fn the_field_may_be_its_own_original() {
        let processor = UserAgent::new(path("user_agent.original"), Some(&path("user_agent")), true, 10, ask_here);
        let seen = fields_of_event(processor, json!({"user_agent": {"original": "curl/8.5.0"}}));
        assert_eq!(seen["user_agent"]["name"], json!("curl"));
        assert_eq!(seen["user_agent"]["original"], json!("curl/8.5.0"));
    }

    /// Guarantee: with the old names, what Logstash's filter sets without ECS: parts of versions too, and no text.
    #[test]
    fn logstash_s_old_names() {
        let text = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.11; rv:45.0) Gecko/20100101 Firefox/45.0";
        let expect = json!({
            "name": "Firefox", "version": "45.0", "major": "45", "minor": "0", "os": "Mac OS X", "os_name": "Mac OS X",
            "os_version": "10.11", "os_full": "Mac OS X 10.11", "os_major": "10", "os_minor": "11", "device": "Mac",
        });
        let legacy =
            |target: Option<&str>| UserAgent::new(path("agent_text"), target.map(path).as_ref(), false, 10, ask_here);
        // Of a list the first one counts.
        for field in [json!(text), json!([text, "curl/8.5.0"])] {
            let mut top = expect.clone();
            top["agent_text"] = field.clone();
            check_fields(legacy(None), json!({ "agent_text": field }), top);
            let below = json!({"agent_text": field, "ua": expect});
            check_fields(legacy(Some("ua")), json!({ "agent_text": field }), below);
        }
    }

    #[test]
    fn what_is_missing_is_passed_over_and_what_is_no_text_is_tagged() {
        check_fields(user_agent(10), json!({}), json!({}));
        check_fields(user_agent(10), json!({"agent_text": ""}), json!({"agent_text": ""}));
        check_fields(user_agent(10), json!({"agent_text": []}), json!({"agent_text": []}));
        for value in [json!(7), json!([7, "curl/8.5.0"]), json!({"a": 1})] {
            check_fields(
                user_agent(10),
                json!({"agent_text": value}),
                json!({"agent_text": value, "tags": ["a", "_user_agent_failed"]}),
            );
        }
        // A text in the place of the target.
        check_fields(
            user_agent(10),
            json!({"agent_text": "curl/8.5.0", "user_agent": "x"}),
            json!({"agent_text": "curl/8.5.0", "user_agent": "x", "tags": ["a", "_user_agent_failed"]}),
        );
    }

    /// Scenario: many more user agents than are remembered, one of them again and again, and one of a megabyte.
    /// Guarantee: never more are remembered, the one that repeats stays, and only the start of the long one is looked at.
    #[test]
    fn what_is_remembered_is_bounded() {
        let processor = user_agent(8);
        let often = xxh3_128(b"curl/8.5.0");
        processor.look_up("curl/8.5.0").expect("looks");
        for number in 0..50 {
            processor.look_up(&format!("agent-{number}")).expect("looks");
            processor.look_up("curl/8.5.0").expect("looks");
            let mut seen = processor.seen.lock().expect("no panic");
            assert!(seen.young.len() + seen.old.len() <= 8);
            assert!(seen.get(often).is_some());
        }
        let long = format!("curl/8.5.0 {} Firefox/1.0", "x é".repeat(1 << 18));
        let seen = fields_of_event(processor, json!({ "agent_text": long }));
        assert_eq!(seen["user_agent"]["name"], json!("curl"));
        assert_eq!(seen["user_agent"]["original"], json!(long));
    }

    /// Scenario: two user agents of which an expression takes much, one more than is remembered.
    /// Guarantee: what is remembered is bounded in bytes, too; the long one is looked for again, and found again.
    #[test]
    fn what_is_long_is_not_remembered() {
        let processor = user_agent(10);
        for (digits, is_remembered) in [(100, true), (600, false)] {
            let agent = format!("curl/{}.5.0", "1".repeat(digits));
            let [first, second] = [(); 2].map(|()| processor.look_up(&agent).expect("looks"));
            assert_eq!((&first, first[0].as_deref()), (&second, Some("curl")));
            assert_eq!(Arc::ptr_eq(&first, &second), is_remembered, "{first:?}");
        }
    }
}
