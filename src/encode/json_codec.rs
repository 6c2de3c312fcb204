//! The `json` codec: the event's fields without what the agent adds (`log.file`, `log.offset`, `log.length`, `log.flags`,
//! `event.id`, `host.name`, `agent`, `input`), unless a processor gave them another value.

use super::{open, write_message, write_stream};
use crate::event::common::{object_of, remove_same};
use crate::event::{EventView, Layout, Object, Overlay, json};

pub(super) fn encode(view: &EventView<'_>, out: &mut Vec<u8>) {
    open(view, out);
    write_message(view, out);
    match view.layout() {
        Layout::Plain => {
            write_stream(view, out);
            out.extend_from_slice(&view.common.json_rest);
        }
        Layout::Overlay(overlay) => write_overlaid(view, overlay, out),
        Layout::Detached(fields) => {
            let mut fields = fields.clone();
            remove_same(&mut fields, &added_by_agent(view));
            for (key, value) in fields.iter() {
                json::write_member(out, key, value);
            }
        }
    }
    out.push(b'}');
}

fn write_overlaid(view: &EventView<'_>, over: Overlay<'_>, out: &mut Vec<u8>) {
    let (common, tags) = (view.common, over.tags);
    let is_shared = |root: &str| matches!(root, "log" | "event") || common.has_root(root);
    if over.get("stream").is_none() {
        write_stream(view, out);
    }
    for (key, value) in common.json_object.iter() {
        let is_own = over.get(key).is_some() || key == "tags" && !tags.is_empty();
        if !is_own {
            json::write_member(out, key, value);
        }
    }
    if !tags.is_empty()
        && let Some(value) = view.merged_root("tags")
    {
        json::write_member(out, "tags", &value);
    }
    for (key, value) in over.fields.iter() {
        if !is_shared(key) {
            json::write_member(out, key, value);
            continue;
        }
        // Nothing of the agent's to leave out.
        if common.agent.get(key).is_none()
            && let Some(under) = common.object.get(key)
        {
            json::write_merged_member(out, key, under, value);
            continue;
        }
        let Some(merged) = view.merged_root(key) else { continue };
        let mut merged = object_of(key, merged);
        remove_same(&mut merged, &added_by_agent(view));
        for (key, value) in merged.iter() {
            json::write_member(out, key, value);
        }
    }
}

/// What the agent adds to this event.
fn added_by_agent(view: &EventView<'_>) -> Object {
    let mut added = view.common.agent.clone();
    added.merge(view.intrinsic());
    added
}
