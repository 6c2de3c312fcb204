//! The thread that looks into user agents for all processors `user_agent` of this process.
//!
//! It is started, and the expressions are made, with the first config that has one, and it stays: what it knows is always the
//! same. One thread, because an expression keeps the states of its automaton for each thread that uses it. Not here: what is
//! remembered of agents that were seen.

use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::process::{AgentFacts, Agents};

/// A user agent, and where what it says is waited for.
type Question = (String, SyncSender<AgentFacts>);

static QUESTIONS: LazyLock<SyncSender<Question>> = LazyLock::new(|| {
    let agents = Agents::default();
    let (questions, asked) = sync_channel::<Question>(1);
    let look = move || {
        for (text, answer) in asked {
            // Whoever has asked waits for it.
            answer.send(agents.find(&text)).unwrap_or_default();
        }
    };
    // Where no thread can be had, nobody listens: each agent is a failure, as it is counted.
    drop(thread::Builder::new().name("user-agents".to_owned()).spawn(look));
    questions
});

/// Makes the expressions, before the first event so that none waits for them.
pub(super) fn prepare() {
    LazyLock::force(&QUESTIONS);
}

/// What this user agent says.
pub(super) fn ask(text: &str) -> Option<AgentFacts> {
    let (answer, waiting) = sync_channel(1);
    QUESTIONS.send((text.to_owned(), answer)).ok()?;
    waiting.recv().ok()
}
