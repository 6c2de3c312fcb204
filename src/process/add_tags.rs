//! `add_tags`: adds tags, each once, with templates filled in. One whose template names a missing field is not added, which is
//! a failure.

use super::{Failed, Outcome, Process, Work};
use crate::event::Template;

/// `add_tags: {tags: […]}`.
#[derive(Clone, Debug)]
pub struct AddTags {
    pub tags: Vec<Template>,
}

impl Process for AddTags {
    fn name(&self) -> &'static str {
        "add_tags"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        let mut text = Vec::new();
        for template in &self.tags {
            if let Some(tag) = template.literal() {
                work.tag(tag);
                continue;
            }
            text.clear();
            match template.render(&work.view(), &mut text) {
                Ok(()) => work.tag(&String::from_utf8_lossy(&text)),
                Err(_) => all = Err(Failed),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_fields;
    use super::AddTags;
    use crate::event::Template;
    use serde_json::json;

    #[test]
    fn adds_tags_once() {
        let tags = ["b", "a", "%{[x]}-1", "b", "%{[none]}"].map(|text| Template::parse(text).expect("a template"));
        check_fields(
            AddTags { tags: tags.to_vec() },
            json!({"x": "y"}),
            json!({"x": "y", "tags": ["a", "b", "y-1", "_add_tags_failed"]}),
        );
    }
}
