//! When a producer that works is replaced all the same, because some lanes of it are stuck (P).
//!
//! librdkafka is one instance for all lanes: after a permanent error it sends nothing before everything in flight is answered
//! or timed out, for all partitions. So a broker that hangs and a topic that refuses together hold up who has nothing to do
//! with either. And a connection that is dead to one broker and not to the others may be better made anew.
//!
//! The new producer takes over make before break ([`Machine::replaced`]): lanes that flow move by themselves, what is stuck is
//! sent again after a while. That may repeat what was in flight, so it is not done again soon ([`Relief`]), and never while
//! nobody answers: a new producer would not be answered either.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::machine::{Action, Machine};
use crate::batch::LaneKey;

/// Silent for so long, with more than half of the window in flight: longer than librdkafka takes to give a request up
/// (`socket.timeout.ms`, 10 s) and to ask another broker.
const STUCK_AFTER: Duration = Duration::from_secs(15);
/// Silent for so long, however little is in flight.
const STUCK_LONG_AFTER: Duration = Duration::from_secs(300);
/// The first and the longest time between two replacements that don't help.
const AGAIN_FIRST: Duration = Duration::from_secs(60);
const AGAIN_LONGEST: Duration = Duration::from_secs(1_800);

/// When a producer was replaced for the sake of lanes that are stuck, and what flows.
#[derive(Debug)]
pub(super) struct Relief {
    acknowledged_at: Option<Duration>,
    again: Backoff,
    not_before: Duration,
}

impl Default for Relief {
    fn default() -> Self {
        Self { acknowledged_at: None, again: Backoff::new(AGAIN_FIRST, AGAIN_LONGEST), not_before: Duration::ZERO }
    }
}

impl Relief {
    /// Something was acknowledged.
    pub(super) fn acknowledged(&mut self, now: Duration) {
        self.acknowledged_at = Some(now);
    }
}

impl<W: Copy + Eq + Hash + std::fmt::Debug> Machine<W> {
    /// Lanes are stuck while others flow.
    pub(super) fn relieve_of_the_stuck(&mut self, now: Duration) {
        let (mut bytes, mut longest, mut any) = (0, Duration::ZERO, false);
        // One that is set aside is out of the others' way already.
        let at_home = self.lanes.iter().filter(|(key, lane)| lane.is_stalled() && self.home(key) == self.epoch);
        for (_, lane) in at_home {
            any = true;
            let silent = lane.silent_for(now);
            longest = longest.max(silent);
            if silent > STUCK_AFTER {
                bytes += lane.bytes;
            }
        }
        if !any {
            if now >= self.relief.not_before {
                self.relief.again.reset();
            }
            return;
        }
        if bytes * 2 > self.limits.window_bytes_max {
            self.replace_once("more than half of what may be in flight is stuck, while other partitions flow", now);
        } else if longest > STUCK_LONG_AFTER {
            self.replace_once("a partition has taken nothing for five minutes, while others flow", now);
        }
    }

    /// A lane is refused while another is stalled: nothing is sent before the other is answered.
    pub(super) fn relieve_of_refusal(&mut self, refused: &LaneKey, now: Duration) {
        let producer = self.home(refused);
        if self.lanes.iter().any(|(key, lane)| key != refused && lane.is_stalled() && self.home(key) == producer) {
            self.replace_once("a partition refuses records while another is silent, which holds up all", now);
        }
    }

    fn replace_once(&mut self, message: &str, now: Duration) {
        let flows = self.relief.acknowledged_at.is_some_and(|at| now.saturating_sub(at) <= STUCK_AFTER);
        if !flows || self.rebuilding || self.is_moving() || now < self.relief.not_before {
            return;
        }
        self.relief.not_before = now + self.relief.again.fail();
        self.actions.push_back(Action::Replace { message: Arc::from(message) });
    }
}
