//! Whether brokers answer: each is asked on a connection made for that, by a client that knows no other.
//!
//! A producer's own connections don't tell. A broker answers the requests of one connection one after the other, and one that waits
//! for a replica of a dead broker holds up all behind it; and that a broker does not answer at all, librdkafka says after
//! `socket.timeout.ms` only. Refused here: to conclude anything from it ([`crate::deliver`] does).

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Kind, close_apart};
use super::conf::{self, NativeConf};
use super::oauth;
use super::options::{Connection, Sasl};

/// The most brokers that are asked at a time: each costs a few threads for a moment.
const BROKERS_MAX: usize = 16;
/// An answer takes a login and a round trip.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Once one has answered, the others have this long, and three times as long as that one took.
const OTHERS_WITHIN: Duration = Duration::from_millis(250);

/// Which of these brokers (id, `HOST:PORT`) do not answer; `None`: not one does.
pub(super) fn knock(connection: &Connection, mut brokers: Vec<(i32, String)>) -> Option<Vec<i32>> {
    brokers.truncate(BROKERS_MAX);
    let mut silent: Vec<i32> = brokers.iter().map(|(id, _)| *id).collect();
    let asked = silent.len();
    let (answers, answered) = mpsc::channel();
    for (id, address) in brokers {
        let mut alone = connection.clone();
        alone.brokers = vec![address];
        let answers = answers.clone();
        let ask = move || {
            if does_answer(&alone) {
                // Nobody listens any more: it was too late.
                let _late = answers.send(id);
            }
        };
        if let Err(error) = thread::Builder::new().name("kafka-knock".to_owned()).spawn(ask) {
            tracing::warn!(target: "logferry::kafka", %error, "no thread to ask a broker on");
            return None;
        }
    }
    drop(answers);
    let begun = Instant::now();
    let mut deadline = begun + ANSWER_WITHIN;
    while let Ok(id) = answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if silent.len() == asked {
            deadline = deadline.min(Instant::now() + OTHERS_WITHIN + begun.elapsed() * 3);
        }
        silent.retain(|one| *one != id);
    }
    (silent.len() < asked).then_some(silent)
}

fn does_answer(alone: &Connection) -> bool {
    let opened = NativeConf::with(&conf::connection_properties(alone), &alone.rdkafka)
        .and_then(|native| Client::open("knock", Kind::Producer, native, alone));
    match opened {
        Ok(client) => {
            let is_ready = match &alone.sasl {
                // SAFETY: the instance is alive.
                Some(Sasl::OauthBearer(options)) => unsafe { oauth::log_in(client.as_ptr(), options) }.is_ok(),
                _ => true,
            };
            let does_answer = is_ready && client.metadata(None, ANSWER_WITHIN).is_ok();
            close_apart(move || drop(client));
            does_answer
        }
        Err(error) => {
            tracing::debug!(target: "logferry::kafka", %error, "no client to ask a broker with");
            false
        }
    }
}
