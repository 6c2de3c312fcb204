//! TODO

/// `include_lines` and `exclude_lines`.
#[derive(Clone, Debug, Default)]
pub struct LineFilter {}

impl LineFilter {
    /// Which of the two lists an expression that does not compile is in, its index there, and why.
    pub fn new(_include: &[String], _exclude: &[String]) -> Result<Self, (&'static str, usize, String)> {
        Ok(Self {})
    }
}
