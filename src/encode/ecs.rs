//! The `ecs` codec: `@timestamp`, `message`, `log`, `event`, then the shared fields, then the event's own.

use super::{open, write_flags, write_message, write_stream};
use crate::event::{EventView, Layout, Overlay, json};

pub(super) fn encode(view: &EventView<'_>, out: &mut Vec<u8>) {
    open(view, out);
    write_message(view, out);
    match view.layout() {
        Layout::Plain => {
            write_log(view, out);
            write_event(view, out);
            write_stream(view, out);
            out.extend_from_slice(&view.common.ecs_rest);
        }
        Layout::Overlay(overlay) => write_overlaid(view, overlay, out),
        Layout::Detached(fields) => {
            for (key, value) in fields.iter() {
                json::write_member(out, key, value);
            }
        }
    }
    out.push(b'}');
}

/// `,"log":{…}`.
fn write_log(view: &EventView<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&view.common.ecs_log);
    json::write_u64(out, view.event.offset);
    out.extend_from_slice(b",\"length\":");
    json::write_u64(out, view.event.length);
    write_flags(view.event.flags(), out);
    out.push(b'}');
}

/// `,"event":{"id":"…"}`.
fn write_event(view: &EventView<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"event\":{\"id\":\"");
    out.extend_from_slice(&json::hex(view.id()));
    out.extend_from_slice(b"\"}");
}

/// Shared members as they were rendered, those that the event has something of merged, and the event's own.
fn write_overlaid(view: &EventView<'_>, over: Overlay<'_>, out: &mut Vec<u8>) {
    let (common, tags) = (view.common, over.tags);
    let write_merged = |root: &str, out: &mut Vec<u8>| {
        if let Some(value) = view.merged_root(root) {
            json::write_member(out, root, &value);
        }
    };
    match over.get("log") {
        None => write_log(view, out),
        Some(_) => write_merged("log", out),
    }
    match over.get("event") {
        None => write_event(view, out),
        Some(_) => write_merged("event", out),
    }
    if over.get("stream").is_none() {
        write_stream(view, out);
    }
    let shared = common.object.iter().filter(|(key, _)| *key != "log");
    for ((root, under), range) in shared.zip(&common.ecs_members) {
        match over.get(root) {
            _ if root == "tags" && !tags.is_empty() => write_merged(root, out),
            Some(value) => json::write_merged_member(out, root, under, value),
            None => out.extend_from_slice(&common.ecs_rest[range.clone()]),
        }
    }
    if !tags.is_empty() && common.object.get("tags").is_none() {
        write_merged("tags", out);
    }
    for (key, value) in over.fields.iter() {
        if !matches!(key, "log" | "event") && !common.has_root(key) {
            json::write_member(out, key, value);
        }
    }
}
