//! TODO

/// A checked template.
#[derive(Clone)]
pub struct Template {}

impl Template {
    /// Parses `text` with `%{[a.b]}`, `%{[a][b]}`, `%{[a.b]:default}`, `%{+yyyy.MM.dd}`.
    pub fn parse(_text: &str) -> Result<Self, crate::event::SyntaxError> {
        Ok(Self {})
    }
}
