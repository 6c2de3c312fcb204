//! The checked options of a `file` output.

/// Stands for the topic in [`FileOptions::path`].
pub const TOPIC_IN_PATH: &str = "%{topic}";

/// What a `file` output is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// The output's name.
    pub name: String,
    /// From the root; may have [`TOPIC_IN_PATH`] in it.
    pub path: String,
    /// Each record as an object with its topic, time, headers and key.
    pub envelope: bool,
    /// A file is full when the next record would make it larger than this.
    pub rotate_bytes_max: u64,
    /// Full files that are kept, at least one.
    pub keep: u32,
    /// Records count as delivered once they are on the disk, not before.
    pub fsync: bool,
    /// The permissions of new files.
    pub mode: u32,
}
