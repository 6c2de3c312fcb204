//! `drop_event`: the event becomes no record. It is consumed, so its bytes count as settled; who runs the chain counts it.

use super::{Failed, Outcome, Process, Work};

/// `drop_event: {}`.
#[derive(Clone, Copy, Debug)]
pub struct DropEvent;

impl Process for DropEvent {
    fn name(&self) -> &'static str {
        "drop_event"
    }

    fn run(&self, _: &mut Work<'_>) -> Result<Outcome, Failed> {
        Ok(Outcome::Drop("drop_event"))
    }
}
