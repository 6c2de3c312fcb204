//! `cloud`: adds where this host runs, below `cloud` in ECS's fields, as its provider says it.
//!
//! What is added is a table that this module is given: a [`CloudFacts`] is made empty with the config, and filled once.
//! Until then, and if no provider answered, events pass as they are. Not here: asking (pipeline).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Object, Value};

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// All; the first of AWS, GCP and Azure that answers as itself.
    Auto,
    Aws,
    Gcp,
    Azure,
}

/// How to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudQuery {
    pub provider: Provider,
    /// For everything that is asked, together.
    pub timeout: Duration,
    /// `http://HOST:PORT`, without a slash at its end.
    pub endpoint: String,
}

/// What the provider says of this host, once it was asked.
#[derive(Debug)]
pub struct CloudFacts {
    pub query: CloudQuery,
    /// `None`: nobody answered.
    answer: OnceLock<Option<Object>>,
}

impl CloudFacts {
    /// Not asked yet.
    pub fn new(query: CloudQuery) -> Self {
        Self { query, answer: OnceLock::new() }
    }

    /// What was answered: the fields below `cloud`. Only the first answer counts.
    pub fn fill(&self, answer: Option<Object>) {
        // One that is there already is as good.
        self.answer.set(answer).ok();
    }

    /// What was answered; `None`: it was not asked yet.
    pub fn answer(&self) -> Option<&Option<Object>> {
        self.answer.get()
    }
}

/// `cloud: {provider, …}`.
#[derive(Clone, Debug)]
pub struct Cloud {
    pub facts: Arc<CloudFacts>,
    /// What the event has below `cloud` is replaced; else such an event stays as it is.
    pub overwrite: bool,
}

impl Process for Cloud {
    fn name(&self) -> &'static str {
        "cloud"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(Some(facts)) = self.facts.answer() else { return Ok(Outcome::Keep) };
        let field = FieldPath::from_segments(["cloud"]).ok_or(Failed)?;
        if self.overwrite || work.get(&field).is_none() {
            work.set(&field, Value::Object(facts.clone()))?;
        }
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, object};
    use super::*;
    use serde_json::json;

    fn cloud(overwrite: bool, answer: Option<Option<serde_json::Value>>) -> Cloud {
        let query =
            CloudQuery { provider: Provider::Auto, timeout: Duration::from_secs(3), endpoint: "http://x".to_owned() };
        let facts = CloudFacts::new(query);
        if let Some(answer) = answer {
            facts.fill(answer.map(object));
        }
        Cloud { facts: Arc::new(facts), overwrite }
    }

    #[test]
    fn adds_what_was_answered() {
        let facts = json!({"provider": "aws", "instance": {"id": "i-1"}});
        let known = || Some(Some(facts.clone()));
        check_fields(cloud(false, known()), json!({}), json!({ "cloud": facts }));
        check_fields(cloud(false, known()), json!({"cloud.region": "x"}), json!({"cloud": {"region": "x"}}));
        check_fields(cloud(true, known()), json!({"cloud.region": "x"}), json!({ "cloud": facts }));
        check_fields(cloud(true, known()), json!({"cloud": "x"}), json!({ "cloud": facts }));
        check_fields(cloud(true, Some(None)), json!({}), json!({}));
        check_fields(cloud(true, None), json!({}), json!({}));
    }

    #[test]
    fn only_the_first_answer_counts() {
        let cloud = cloud(false, Some(Some(json!({"provider": "aws"}))));
        cloud.facts.fill(None);
        check_fields(cloud, json!({}), json!({"cloud": {"provider": "aws"}}));
    }
}
