//! `remove_tags`: removes tags, those that an input gives to all its events too. One that is missing is as good as removed;
//! `tags` without any is no field.

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Value, ValueRef};

/// `remove_tags: {tags: […]}`.
#[derive(Clone, Debug)]
pub struct RemoveTags {
    tags: Vec<String>,
    field: FieldPath,
}

impl RemoveTags {
    /// Removes these.
    pub fn new(tags: Vec<String>) -> Self {
        Self { tags, field: FieldPath::parse("tags").expect("it is a name") }
    }
}

impl Process for RemoveTags {
    fn name(&self) -> &'static str {
        "remove_tags"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let is_gone = |tag: &str| self.tags.iter().any(|gone| gone == tag);
        let left = match work.get(&self.field) {
            Some(ValueRef::Array(tags)) if tags.iter().filter_map(Value::as_str).any(is_gone) => {
                let mut tags = tags.into_owned();
                tags.retain(|tag| !tag.as_str().is_some_and(is_gone));
                tags
            }
            Some(ValueRef::Str(tag)) if is_gone(&tag) => Vec::new(),
            _ => return Ok(Outcome::Keep),
        };
        if left.is_empty() {
            work.remove(&self.field);
        } else {
            work.set(&self.field, Value::Array(left))?;
        }
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BUF, check_fields, common, event, path, run, step};
    use super::RemoveTags;
    use crate::event::EventView;
    use serde_json::json;

    fn remove(tags: &[&str]) -> RemoveTags {
        RemoveTags::new(tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    #[test]
    fn removes_tags_of_the_event_and_of_its_input() {
        check_fields(remove(&["a", "x"]), json!({"tags": ["a", "b", 1]}), json!({"tags": ["b", 1]}));
        check_fields(remove(&["b"]), json!({"tags": "b"}), json!({}));
        check_fields(remove(&["b"]), json!({"tags": {"b": 1}}), json!({"tags": {"b": 1}}));
        let common = common();
        let mut event = event();
        event.add_tag("own", &common);
        let seen = |event: &crate::event::Event| {
            let tags = EventView { event, buf: BUF, common: &common }.get(&path("tags"));
            tags.map(|tags| tags.into_value().to_json())
        };
        run(vec![step(remove(&["a"]))], &mut event, &common);
        assert_eq!(seen(&event), Some(json!(["own"])));
        run(vec![step(remove(&["own"]))], &mut event, &common);
        assert_eq!(seen(&event), None);
    }
}
