//! What the brokers say of topics, their partitions, settings and this user's rights. Asking changes nothing, and makes none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Wanted;
use crate::output::TopicFault;
use crate::output::kafka::admin::{Admin, Settings, TopicDescription};
use crate::output::kafka::fault;

/// What was found out about the topics of an output.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub topics: BTreeMap<String, TopicFacts>,
    /// `auto.create.topics.enable` of a broker; `None`: not asked, or not told.
    pub broker_creates_topics: Option<bool>,
}

/// One topic.
#[derive(Clone, Debug)]
pub(super) struct TopicFacts {
    pub description: TopicDescription,
    /// The settings; `Err`: why the broker does not tell.
    pub config: Settings,
    /// Of one that is missing and that the broker is to create: whether this user may; `None`: not asked, or nobody says.
    pub may_create: Option<bool>,
}

impl Facts {
    pub fn of(&self, topic: &str) -> Option<&TopicFacts> {
        self.topics.get(topic)
    }

    /// Whether a broker may be asked for a producer id: brokers refuse who may write nowhere.
    pub fn may_write_somewhere(&self) -> bool {
        let may =
            |topic: &TopicFacts| topic.description.code == 0 && topic.description.rights.is_none_or(|may| may.write);
        self.topics.values().any(may)
    }
}

/// Asks broker `broker` for all of `topics`.
///
/// # Errors
/// Nobody answered in time: librdkafka's words.
pub(super) fn ask(
    admin: &Admin,
    topics: &[Wanted],
    broker: i32,
    creates_topics: bool,
    deadline: Instant,
) -> Result<Facts, String> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
    let names: Vec<&str> = topics.iter().map(|wanted| wanted.topic.as_str()).collect();
    let described = admin.describe_topics(&names, Some(broker), left()).map_err(|error| error.to_string())?;
    let there: Vec<&str> = described.iter().filter(|topic| topic.code == 0).map(|topic| topic.name.as_str()).collect();
    let mut configs = BTreeMap::new();
    for topic in &there {
        let settings = admin.topic_settings(topic, Some(broker), left()).map_err(|error| error.to_string())?;
        configs.insert((*topic).to_owned(), settings);
    }
    let is_missing = there.len() < described.len();
    let topics = described
        .into_iter()
        .map(|description| {
            let config = configs.remove(&description.name).unwrap_or_else(|| Err("nothing was said".to_owned()));
            let is_missing = fault::topic_fault(description.code) == Some(TopicFault::Missing);
            let may_create =
                (creates_topics && is_missing).then(|| admin.may_create(&description.name, left())).flatten();
            (description.name.clone(), TopicFacts { description, config, may_create })
        })
        .collect();
    let setting = |name| admin.broker_settings(broker, left()).ok()?.ok()?.remove(name);
    let broker_creates_topics = (creates_topics && is_missing)
        .then(|| setting("auto.create.topics.enable"))
        .flatten()
        .map(|value| value == "true");
    Ok(Facts { topics, broker_creates_topics })
}
