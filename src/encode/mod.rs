//! TODO

/// How a record's value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    #[default]
    Ecs,
    Json,
    Raw,
}
