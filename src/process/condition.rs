//! TODO

/// A checked condition.
pub struct Condition {}

impl Condition {
    /// Parses the text of an `if`.
    pub fn parse(_text: &str) -> Result<Self, crate::event::SyntaxError> {
        Ok(Self {})
    }
}
