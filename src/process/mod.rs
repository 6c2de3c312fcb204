//! TODO

pub mod condition;

/// One processor of a chain, with its condition.
pub struct Step {
    pub condition: Option<condition::Condition>,
    pub processor: Processor,
}

/// What a step does.
pub enum Processor {
    /// `add_fields: {target: fields, fields: {…}}`: sets fields below `target` (empty: at the root).
    AddFields { target: Option<crate::event::FieldPath>, fields: crate::event::Object },
    /// `drop_fields: {fields: […], ignore_missing: false}`.
    DropFields { fields: Vec<crate::event::FieldPath> },
    /// `rename: {fields: [{from, to}]}`.
    Rename { fields: Vec<(crate::event::FieldPath, crate::event::FieldPath)> },
    /// `drop_event: {}`.
    DropEvent,
}
