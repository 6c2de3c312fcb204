//! Whether this output's cluster would take its records, and if not, what exactly is in the way: for `check --connect`.
//!
//! ```text
//!  reach        names and TCP, by plain sockets            certificate  what one says of itself       (P)
//!  login        TLS, login, version, by one client each    trouble      what librdkafka's words mean  (P)
//!  ask          what brokers say of topics and rights      judge        what of that is in the way    (P)
//! ```
//!
//! Every step has its share of one deadline, and brokers are looked at side by side, so that a dead one costs no more time
//! than one. Refused here: to change anything. No record is sent, no topic is made, not even by asking for it.

mod ask;
mod certificate;
mod judge;
mod login;
mod reach;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeSet;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::admin::Admin;
use super::options::{Connection, KafkaOptions};
use judge::Limits;
use login::Login;

/// The most brokers that are looked at: each costs a few threads for a moment.
const BROKERS_MAX: usize = 64;

/// A topic that records will go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub topic: String,
    /// Who sends there: "input web".
    pub by: String,
    pub keys: Keys,
}

/// Whether the records of a topic have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keys {
    All,
    /// The key is a template: a record without its fields has none.
    Most,
    None,
}

/// What records will be like.
#[derive(Clone, Copy, Debug)]
pub struct Records {
    /// How far before and after the time of reading a record's CreateTime may be.
    pub time_before: Duration,
    pub time_after: Duration,
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It works.
    Fine,
    /// Something that could not be looked at, or that may surprise.
    Note,
    /// Records will not arrive, or not all.
    Wrong,
}

/// One thing that was found out. Its text is one line: object, what, and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    /// "broker kafka-0:9092", "topic logs.web".
    pub object: String,
    pub what: String,
    /// What to do; empty if there is nothing to do.
    pub fix: String,
}

impl Finding {
    fn new(weight: Weight, object: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { weight, object: object.into(), what: what.into(), fix: fix.into() }
    }

    fn wrong(object: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Weight::Wrong, object, what, fix)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// Looks at the brokers of an output and at `topics`; brokers come first. Takes no longer than `within`, but for the moment
/// that it takes librdkafka to let go of its connections.
pub fn probe(options: &KafkaOptions, topics: &[Wanted], records: Records, within: Duration) -> Vec<Finding> {
    let connection = &options.connection;
    if let Err(error) = super::conf::check_files(connection) {
        let fix = "name a file that is there and that this user may read";
        return vec![Finding::wrong("tls", error.to_string(), fix)];
    }
    let begun = Instant::now();
    let deadline = begun + within;
    // Half of the time for the brokers of the config, half of what is left for those that they name, the rest for topics.
    let mut seen = look_at_all(connection, &connection.brokers, halfway(deadline));
    let named = named_by_brokers(&seen);
    let looked_at = named.len().min(BROKERS_MAX);
    seen.extend(look_at_all(connection, &named[..looked_at], halfway(deadline)));
    let mut findings: Vec<Finding> = seen.iter().map(Seen::finding).collect();
    if looked_at < named.len() {
        let what = format!("{} more brokers of the cluster are not looked at", named.len() - looked_at);
        findings.push(Finding::new(Weight::Note, "brokers", what, ""));
    }
    if topics.is_empty() {
        return findings;
    }
    let Some(server) = seen.iter().find_map(Seen::server) else {
        let topics: Vec<&str> = topics.iter().map(|wanted| wanted.topic.as_str()).collect();
        let what = format!("not looked at, as no broker can be used under its own name: {}", topics.join(", "));
        findings.push(Finding::new(Weight::Note, "topics", what, ""));
        return findings;
    };
    let limits = Limits {
        record_bytes_max: options.max_record_bytes,
        batch_bytes: options.batch_bytes,
        time_before: records.time_before,
        time_after: records.time_after,
        creates_topics: options.create_topics,
        principal: connection.principal(),
    };
    findings.extend(look_at_topics(options, server, topics, &limits, deadline));
    findings
}

/// The middle of the time from now to `deadline`.
fn halfway(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

/// One broker, and what became of the attempt to use it.
struct Seen {
    broker: String,
    /// The config does not name it, but another broker does.
    is_named_by_others: bool,
    result: Result<Login, trouble::Trouble>,
}

impl Seen {
    /// Its address and id, if it can be used and calls itself so: clients go to brokers by the names that these give.
    fn server(&self) -> Option<(&str, i32)> {
        let login = self.result.as_ref().ok()?;
        let (id, address) = login.brokers.iter().find(|(_, address)| **address == self.broker)?;
        Some((address, *id))
    }

    fn finding(&self) -> Finding {
        let object = format!("broker {}", self.broker);
        match &self.result {
            Ok(login) => login.finding(object),
            Err(trouble) => {
                let by = if self.is_named_by_others { " (the cluster names it so: advertised.listeners)" } else { "" };
                Finding::wrong(object + by, &*trouble.what, &*trouble.fix)
            }
        }
    }
}

/// Names, TCP, TLS and login of each broker, side by side.
fn look_at_all(connection: &Connection, brokers: &[String], deadline: Instant) -> Vec<Seen> {
    let look = |broker: &String| {
        // Names and TCP get 2/5 of the time that is left.
        let now = Instant::now();
        let reach_deadline = now + deadline.saturating_duration_since(now) * 2 / 5;
        let reached = reach::reach(broker, reach_deadline);
        let result = reached.and_then(|()| login::log_in(connection, broker, deadline));
        Seen { broker: broker.clone(), is_named_by_others: !connection.brokers.contains(broker), result }
    };
    thread::scope(|scope| {
        let looking: Vec<_> = brokers.iter().map(|broker| scope.spawn(move || look(broker))).collect();
        looking.into_iter().filter_map(|looking| looking.join().ok()).collect()
    })
}

/// The brokers that those of the config name beside themselves.
fn named_by_brokers(seen: &[Seen]) -> Vec<String> {
    let known: BTreeSet<&str> = seen.iter().map(|seen| seen.broker.as_str()).collect();
    let named: BTreeSet<String> = seen
        .iter()
        .filter_map(|seen| seen.result.as_ref().ok())
        .flat_map(|login| login.brokers.values())
        .filter(|broker| !known.contains(broker.as_str()))
        .cloned()
        .collect();
    named.into_iter().collect()
}

fn look_at_topics(
    options: &KafkaOptions,
    (broker, id): (&str, i32),
    topics: &[Wanted],
    limits: &Limits,
    deadline: Instant,
) -> Vec<Finding> {
    // The broker that is known to work is asked; librdkafka would try them in any order.
    let mut connection = options.connection.clone();
    connection.brokers = vec![broker.to_owned()];
    let asked = Admin::open(&connection)
        .map_err(|error| error.to_string())
        .and_then(|admin| ask::ask(&admin, topics, id, options.create_topics, deadline));
    let facts = match asked {
        Ok(facts) => facts,
        Err(reason) => {
            let what = format!("broker {broker} can be used, but does not say what it knows of them: {reason}");
            return vec![Finding::wrong("topics", what, "try again; see the broker's log")];
        }
    };
    let mut findings: Vec<Finding> =
        topics.iter().flat_map(|wanted| judge::judge(wanted, facts.of(&wanted.topic), &facts, limits)).collect();
    if facts.may_write_somewhere() {
        findings.extend(login::idempotence(options, &connection, &limits.principal, deadline));
    }
    findings
}
