//! `drop_fields` and `remove`, which are the same: removes fields. One that is missing is as good as removed; `@timestamp` stays, for a record has a time.

use super::{Failed, Outcome, Process, Work};
use crate::event::FieldPath;

/// `drop_fields: {fields: […]}`, or `remove`.
#[derive(Clone, Debug)]
pub struct DropFields {
    /// How the config names it.
    pub name: &'static str,
    pub fields: Vec<FieldPath>,
}

impl Process for DropFields {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        for path in &self.fields {
            work.remove(path);
        }
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, path};
    use super::DropFields;
    use serde_json::json;

    #[test]
    fn removes_what_is_there() {
        let fields = ["message", "@timestamp", "fields.team", "log.file.id", "host", "none.such"].map(path).to_vec();
        check(
            DropFields { name: "remove", fields },
            json!({
                "log": {"file": {"path": "/var/log/x.log"}, "offset": 3, "length": 6}, "tags": ["a"],
                "fields": {"service": "shop"},
            }),
        );
    }
}
