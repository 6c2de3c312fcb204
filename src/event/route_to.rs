//! Where a processor sends an event: what goes before the topic, key and headers of inputs and outputs (P).
//!
//! It is kept with the event and filled in when the event is encoded, after all processors. Not here: what becomes of a topic
//! that can't be rendered (pipeline).

use std::sync::Arc;

use super::template::Template;

/// What a processor says of where an event goes; what is `None` is not for it to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTo {
    pub topic: Option<Template>,
    pub key: Option<Template>,
    /// Beside those of input and output; one of the same name counts instead.
    pub headers: Vec<(Arc<str>, Template)>,
}
