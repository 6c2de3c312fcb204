//! `rename`: moves fields. A field that is missing is not moved, which is no failure. What would overwrite a field fails, as
//! in Filebeat: drop that one first, so that nothing is lost unseen. What fails is tagged and stays where it was.

use crate::event::{Common, Event, EventView, FieldPath};

const FAILED: &str = "_rename_failed";

pub(super) fn run(fields: &[(FieldPath, FieldPath)], event: &mut Event, buf: &[u8], common: &Common) {
    for (from, to) in fields {
        if from != to && !moved(from, to, event, buf, common) {
            event.add_tag(FAILED, common);
        }
    }
}

fn moved(from: &FieldPath, to: &FieldPath, event: &mut Event, buf: &[u8], common: &Common) -> bool {
    let view = EventView { event, buf, common };
    let Some(value) = view.get(from) else { return true };
    let is_time = to.root() == "@timestamp";
    if from.root() == "@timestamp" || is_below(to, from) || !is_time && view.get(to).is_some() {
        return false;
    }
    // First set, then removed: where it can't be set, it stays.
    let value = value.into_value();
    if event.set(to, value, buf, common).is_err() {
        return false;
    }
    event.remove(from, buf, common);
    true
}

/// `path` is in the object at `parent`.
fn is_below(path: &FieldPath, parent: &FieldPath) -> bool {
    path.segments().starts_with(parent.segments())
}

#[cfg(test)]
mod tests {
    use super::super::Processor;
    use super::super::tests::{check, path};
    use serde_json::json;

    fn rename(pairs: &[(&str, &str)]) -> Processor {
        Processor::Rename { fields: pairs.iter().map(|(from, to)| (path(from), path(to))).collect() }
    }

    #[test]
    fn moves_fields() {
        check(
            rename(&[("message", "log.original"), ("fields.service", "service.name"), ("none", "x")]),
            json!({
                "log": {
                    "file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6, "original": "hello",
                },
                "host": {"name": "web-1"}, "tags": ["a"], "service": {"name": "shop"},
                "fields": {"team": {"name": "ops"}},
            }),
        );
        check(
            rename(&[("fields.team.name", "message2"), ("message", "@metadata.line")]),
            json!({
                "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
                "host": {"name": "web-1"}, "tags": ["a"], "fields": {"service": "shop", "team": {}}, "message2": "ops",
            }),
        );
    }

    #[test]
    fn what_can_not_be_moved_is_tagged_and_stays() {
        for pair in [
            ("message", "fields.service"),
            ("message", "fields.service.x"),
            ("message", "message.x"),
            ("fields", "fields.team.x"),
            ("message", "@timestamp"),
            ("@timestamp", "time"),
            ("message", "@metadata"),
        ] {
            check(
                rename(&[pair]),
                json!({
                    "message": "hello", "host": {"name": "web-1"}, "tags": ["a", "_rename_failed"],
                    "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
                    "fields": {"service": "shop", "team": {"name": "ops"}},
                }),
            );
        }
    }
}
