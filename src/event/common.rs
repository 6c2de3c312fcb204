//! What the events of a source share, rendered once (P): the file, the host, the agent, the user's `fields` and `tags`.
//!
//! # The bytes under `event.id`
//!
//! ```text
//! source = xxh3_128( u32 little-endian: bytes of host_id ‖ host_id ‖ file_id )        → 16 bytes, big-endian
//! event  = xxh3_128( source ‖ u64 little-endian: offset ‖ u64 little-endian: line )   → 32 hex digits
//! line   = xxh3_64( the raw line without its LF or CRLF )
//! ```
//!
//! So the same line of the same file has the same id for ever, whoever reads it and how often (DESIGN I8). Changing this is
//! a breaking change: consumers deduplicate by it.

use std::ops::Range;

use compact_str::CompactString;
use xxhash_rust::xxh3::xxh3_128;

use super::json;
use super::value::{Object, Value, name_bit};

/// The roots that the agent itself writes for each line: a user's `fields` can't have them with `fields_under_root`.
pub const RESERVED_ROOTS: [&str; 5] = ["@timestamp", "@metadata", "message", "log", "event"];

/// What [`Shared`] is made from.
#[derive(Clone, Debug, Default)]
pub struct SharedOptions {
    pub host_name: String,
    /// Logferry's version.
    pub agent_version: String,
    /// The input's name in the config.
    pub input_name: String,
    /// The user's `fields`; dots in keys are levels.
    pub fields: Object,
    /// `fields` stand at the root of the record. Those named as [`RESERVED_ROOTS`] are left out (the config refuses them).
    pub fields_under_root: bool,
    pub tags: Vec<String>,
    /// What `event.id` is hashed over beside the file: the machine-id, or the node's name.
    pub host_id: String,
}

/// What the shared fields of an input's sources are made from.
#[derive(Clone, Debug)]
pub struct Shared {
    options: SharedOptions,
}

/// What all events of a source share: `log.file.path`, `log.file.id`, `host`, `agent`, `input`, `fields`, `tags`.
#[derive(Clone, Debug)]
pub struct Common {
    pub object: Object,
    /// The part of `object` that the agent adds: the json codec leaves it out.
    pub(crate) agent: Object,
    /// `,"log":{"file":{…},"offset":`, to be followed by the offset.
    pub(crate) ecs_log: Vec<u8>,
    /// `,"host":{…},"agent":{…},…`: `object` without `log`, each member after a comma.
    pub(crate) ecs_rest: Vec<u8>,
    /// Where in `ecs_rest` each member of `object` but `log` stands, in their order.
    pub(crate) ecs_members: Vec<Range<usize>>,
    /// What the json codec writes of `object`.
    pub(crate) json_object: Object,
    /// `json_object`, each member after a comma.
    pub(crate) json_rest: Vec<u8>,
    /// The bits of the names in `object`, and of those that lines bring.
    roots: u64,
    /// Names at the root that are as the agent made them: the user has added nothing there, nor do lines.
    agents_own: Vec<CompactString>,
    /// What `event.id` starts from.
    id_seed: [u8; 16],
}

impl Shared {
    /// The shared fields of an input.
    pub fn new(options: SharedOptions) -> Self {
        Self { options }
    }

    /// The shared fields of the events of a file. `file_id` is `log.file.id`: the hash of its identity (DESIGN I8).
    pub fn file(&self, path: &str, file_id: &str) -> Common {
        let mut file = Object::new();
        file.insert("path", path);
        file.insert("id", file_id);
        self.common(file, file_id)
    }

    /// The shared fields of the events of a stream without a file. `name` is its `log.file.id`, and must differ from one
    /// life of the stream to the next, or lines that stand at the same offset in both are taken for the same.
    pub fn stream(&self, name: &str) -> Common {
        let mut file = Object::new();
        file.insert("id", name);
        self.common(file, name)
    }

    fn common(&self, file: Object, file_id: &str) -> Common {
        let options = &self.options;
        let mut agent = object_of("log", object_of("file", file));
        agent.insert("host", object_of("name", options.host_name.as_str()));
        let mut name_and_version = object_of("type", "logferry");
        name_and_version.insert("version", options.agent_version.as_str());
        agent.insert("agent", name_and_version);
        agent.insert("input", object_of("name", options.input_name.as_str()));

        let mut user = options.fields.clone().expanded();
        if options.fields_under_root {
            for root in RESERVED_ROOTS {
                user.remove(root);
            }
        } else if !user.is_empty() {
            user = object_of("fields", user);
        }
        let mut object = agent.clone();
        object.merge(user);
        if !options.tags.is_empty() && object.get("tags").is_none() {
            let tags = options.tags.iter().map(|tag| tag.as_str().into()).collect();
            object.insert("tags", Value::Array(tags));
        }
        Common::new(object, agent, &options.host_id, file_id)
    }
}

impl Common {
    fn new(object: Object, agent: Object, host_id: &str, file_id: &str) -> Self {
        let mut ecs_log = b",\"log\":{".to_vec();
        if let Some(Value::Object(log)) = object.get("log") {
            for (key, value) in log.iter() {
                json::write_member(&mut ecs_log, key, value);
            }
            // The first member follows the brace.
            ecs_log.remove(b",\"log\":{".len());
            ecs_log.push(b',');
        }
        ecs_log.extend_from_slice(b"\"offset\":");
        ecs_log.shrink_to_fit();

        let mut ecs_rest = Vec::new();
        let mut ecs_members = Vec::new();
        for (key, value) in object.iter().filter(|(key, _)| *key != "log") {
            let start = ecs_rest.len();
            json::write_member(&mut ecs_rest, key, value);
            ecs_members.push(start..ecs_rest.len());
        }
        ecs_rest.shrink_to_fit();

        let mut json_object = object.clone();
        remove_same(&mut json_object, &agent);
        let mut json_rest = Vec::new();
        for (key, value) in json_object.iter() {
            json::write_member(&mut json_rest, key, value);
        }
        json_rest.shrink_to_fit();
        let id_seed = id_seed(host_id, file_id);
        let of_lines = ["log", "event", "tags", "stream"];
        let roots = of_lines.iter().fold(object.name_bits(), |bits, name| bits | name_bit(name));
        let is_agents = |(key, value): &(&str, &Value)| !of_lines.contains(key) && agent.get(key) == Some(*value);
        let agents_own = object.iter().filter(is_agents).map(|(key, _)| key.into()).collect();
        Self { roots, agents_own, object, agent, ecs_log, ecs_rest, ecs_members, json_object, json_rest, id_seed }
    }

    /// `event.id` of the line at `offset` whose raw bytes hash to `line_hash`.
    pub fn event_id(&self, offset: u64, line_hash: u64) -> u128 {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.id_seed);
        bytes[16..24].copy_from_slice(&offset.to_le_bytes());
        bytes[24..].copy_from_slice(&line_hash.to_le_bytes());
        xxh3_128(&bytes)
    }

    /// The shared fields have something at this root.
    pub(crate) fn has_root(&self, root: &str) -> bool {
        self.may_have_root(root) && self.object.get(root).is_some()
    }

    /// What is at this root of the shared fields is as the agent made it.
    pub(crate) fn is_agents_own(&self, root: &str) -> bool {
        self.agents_own.iter().any(|name| name == root)
    }

    /// If not, nothing that is shared or a line's own is at this root.
    pub(crate) fn may_have_root(&self, root: &str) -> bool {
        self.may_have_bit(name_bit(root))
    }

    /// The same for a name's bit.
    pub(crate) fn may_have_bit(&self, bit: u64) -> bool {
        self.roots & bit != 0
    }

    /// A string that all events share, as `log.file.id`.
    pub(crate) fn text(&self, path: [&str; 3]) -> Option<&str> {
        let mut value = self.object.get(path[0])?;
        for key in path[1..].iter().filter(|key| !key.is_empty()) {
            let Value::Object(object) = value else { return None };
            value = object.get(key)?;
        }
        value.as_str()
    }
}

/// Removes from `object` what stands with the same value in `same`, and the objects that this empties.
pub(crate) fn remove_same(object: &mut Object, same: &Object) {
    for (key, value) in same.iter() {
        let is_gone = match (object.get_mut(key), value) {
            (Some(Value::Object(mine)), Value::Object(theirs)) => {
                remove_same(mine, theirs);
                mine.is_empty()
            }
            (Some(mine), theirs) => *mine == *theirs,
            (None, _) => false,
        };
        if is_gone {
            object.remove(key);
        }
    }
}

pub(crate) fn object_of(key: &str, value: impl Into<Value>) -> Object {
    let mut object = Object::new();
    object.insert(key, value);
    object
}

fn id_seed(host_id: &str, file_id: &str) -> [u8; 16] {
    let length = u32::try_from(host_id.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(host_id.as_bytes());
    bytes.extend_from_slice(file_id.as_bytes());
    xxh3_128(&bytes).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shared(fields: serde_json::Value, fields_under_root: bool) -> Shared {
        let serde_json::Value::Object(fields) = fields else { panic!("fields are an object") };
        Shared::new(SharedOptions {
            host_name: "web-1".to_owned(),
            agent_version: "0.1.0".to_owned(),
            input_name: "nginx".to_owned(),
            fields: Object::from_json(fields),
            fields_under_root,
            tags: vec!["edge".to_owned()],
            host_id: "machine".to_owned(),
        })
    }

    #[test]
    fn a_file_shares_its_fields() {
        let common = shared(json!({"service": "web", "team.name": "ops"}), false).file("/var/log/a.log", "f00d");
        assert_eq!(
            serde_json::Value::Object(common.object.to_json()),
            json!({
                "log": {"file": {"path": "/var/log/a.log", "id": "f00d"}}, "host": {"name": "web-1"},
                "agent": {"type": "logferry", "version": "0.1.0"}, "input": {"name": "nginx"},
                "fields": {"service": "web", "team": {"name": "ops"}}, "tags": ["edge"],
            })
        );
        assert_eq!(
            String::from_utf8(common.json_rest).expect("JSON"),
            r#","fields":{"service":"web","team":{"name":"ops"}},"tags":["edge"]"#
        );
    }

    #[test]
    fn fields_under_root_can_not_be_what_the_agent_writes() {
        let fields = json!({"message": "x", "@timestamp": 1, "log": {"file": 1}, "event.id": 7, "host.ip": "::1"});
        let common = shared(fields, true).stream("stdin-1");
        assert_eq!(common.object.get("message"), None);
        assert_eq!(common.object.get("event"), None);
        assert_eq!(
            common.object.get("host"),
            Some(&Value::from(Object::from_iter([
                ("name".to_owned(), "web-1".into()),
                ("ip".to_owned(), "::1".into()),
            ])))
        );
        assert_eq!(
            String::from_utf8(common.json_rest.clone()).expect("JSON"),
            r#","host":{"ip":"::1"},"tags":["edge"]"#
        );
        assert_eq!(common.text(["log", "file", "id"]), Some("stdin-1"));
    }

    /// Guarantee: `event.id` never changes between versions, and depends on each of its parts.
    #[test]
    fn the_id_of_a_line_is_fixed() {
        let common = shared(json!({}), false).file("/var/log/a.log", "f00d");
        let renamed = shared(json!({"x": 1}), true).file("/var/log/a.log.1", "f00d");
        assert_eq!(common.event_id(10, 20), renamed.event_id(10, 20), "neither the path nor other fields count");

        let mut seed = 7u32.to_le_bytes().to_vec();
        seed.extend_from_slice(b"machinef00d");
        let mut bytes = xxh3_128(&seed).to_be_bytes().to_vec();
        bytes.extend_from_slice(&10u64.to_le_bytes());
        bytes.extend_from_slice(&20u64.to_le_bytes());
        assert_eq!(common.event_id(10, 20), xxh3_128(&bytes));

        let other_file = shared(json!({}), false).file("/var/log/a.log", "f00e");
        for other in [common.event_id(11, 20), common.event_id(10, 21), other_file.event_id(10, 20)] {
            assert_ne!(common.event_id(10, 20), other);
        }
    }
}
