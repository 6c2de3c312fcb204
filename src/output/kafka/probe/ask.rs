//! What the brokers say of topics, their partitions, settings and this user's rights. Asking changes nothing, and makes none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Wanted;
use crate::output::kafka::admin::{Admin, Settings, TopicDescription};

/// What was found out about the topics of an output.
#[derive(Debug, Default)]
pub(super) struct Facts {
    topics: BTreeMap<String, TopicFacts>,
    /// `auto.create.topics.enable` of a broker; `None`: not asked, or not told.
    pub broker_creates_topics: Option<bool>,
}

/// One topic.
#[derive(Clone, Debug)]
pub(super) struct TopicFacts {
    pub description: TopicDescription,
    /// The settings; `Err`: why the broker does not tell.
    pub config: Settings,
}

impl Facts {
    pub fn of(&self, topic: &str) -> Option<&TopicFacts> {
        self.topics.get(topic)
    }

    /// Whether a broker may be asked for a producer id: brokers refuse who may write nowhere.
    pub fn may_write_somewhere(&self) -> bool {
        self.topics.values().any(|topic| topic.description.rights.is_none_or(|rights| rights.write))
    }

    #[cfg(test)]
    pub fn with(broker_creates_topics: Option<bool>) -> Self {
        Self { broker_creates_topics, ..Self::default() }
    }
}

/// Asks broker `broker` for all of `topics`.
///
/// # Errors
/// Nobody answered in time: librdkafka's words.
pub(super) fn ask(
    admin: &Admin,
    topics: &[Wanted],
    broker: Option<i32>,
    creates_topics: bool,
    deadline: Instant,
) -> Result<Facts, String> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
    let names: Vec<&str> = topics.iter().map(|wanted| wanted.topic.as_str()).collect();
    let described = admin.describe_topics(&names, broker, left()).map_err(|error| error.to_string())?;
    let there: Vec<&str> = described.iter().filter(|topic| topic.code == 0).map(|topic| topic.name.as_str()).collect();
    let mut configs = BTreeMap::new();
    for topic in &there {
        let settings = admin.topic_settings(topic, broker, left()).map_err(|error| error.to_string())?;
        configs.insert((*topic).to_owned(), settings);
    }
    let is_missing = there.len() < described.len();
    let topics = described
        .into_iter()
        .map(|description| {
            let config = configs.remove(&description.name).unwrap_or_else(|| Err("nothing was said".to_owned()));
            (description.name.clone(), TopicFacts { description, config })
        })
        .collect();
    let broker_creates_topics = broker
        .filter(|_| creates_topics && is_missing)
        .and_then(|id| admin.broker_settings(id, left()).ok()?.ok()?.remove("auto.create.topics.enable"))
        .map(|value| value == "true");
    Ok(Facts { topics, broker_creates_topics })
}
