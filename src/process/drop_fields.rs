//! `drop_fields`: removes fields. One that is missing is as good as removed; `@timestamp` stays, for a record has a time.

use crate::event::{Common, Event, FieldPath};

pub(super) fn run(fields: &[FieldPath], event: &mut Event, buf: &[u8], common: &Common) {
    for path in fields {
        event.remove(path, buf, common);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Processor;
    use super::super::tests::{check, path};
    use serde_json::json;

    #[test]
    fn removes_what_is_there() {
        let fields = ["message", "@timestamp", "fields.team", "log.file.id", "host", "none.such"].map(path).to_vec();
        check(
            Processor::DropFields { fields },
            json!({
                "log": {"file": {"path": "/var/log/x.log"}, "offset": 3, "length": 6}, "tags": ["a"],
                "fields": {"service": "shop"},
            }),
        );
    }
}
