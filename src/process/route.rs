//! `route`: sends an event elsewhere, with another key or with more headers. It only notes that with the event: the templates are
//! filled in when the event is encoded, so it does not matter where in the chain it stands.
//!
//! It can't fail: a topic that can't be rendered sends the record to `fallback_topic`, as everywhere.

use std::sync::Arc;

use super::{Failed, Outcome, Process, Work};
use crate::event::RouteTo;

/// `route: {topic, key, headers}`.
#[derive(Clone, Debug)]
pub struct Route {
    pub to: Arc<RouteTo>,
}

impl Process for Route {
    fn name(&self) -> &'static str {
        "route"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        work.event.send_to(&self.to);
        Ok(Outcome::Keep)
    }

    fn routes(&self) -> Vec<Arc<RouteTo>> {
        vec![Arc::clone(&self.to)]
    }
}
