//! The dead letter: where a record goes that the broker refuses for good, so that its neighbours go on (I5).
//!
//! A local file of JSON lines, one a record, fsynced (and at its creation its directory entry too) before the record counts
//! as settled. It is bounded: full means that the lane of the next refused record holds until somebody makes room.
//!
//! ```text
//! {"time":"…","reason":"too_large","message":"…","topic":"logs.web","source":12,"offset":4096,"key":"…","value":"…"}
//! ```
//! `key` and `value` are text where they are UTF-8, else `key_base16` and `value_base16`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::RecordFault;

/// A record that is refused for good, and why.
pub struct Buried<'a> {
    pub reason: RecordFault,
    /// What the broker said.
    pub message: &'a str,
    pub topic: &'a str,
    /// The number of its source in the checkpoint store, and the byte offset of the line in it.
    pub source: u64,
    pub offset: u64,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

/// Where refused records are kept.
pub trait DeadLetter: Send {
    /// Makes the record durable.
    ///
    /// # Errors
    /// If it is full or can't be written; nothing of the record is kept then, and the caller tries again later.
    fn bury(&mut self, buried: &Buried<'_>) -> io::Result<()>;
}

/// The bounded local file.
pub struct FileDeadLetter {
    path: PathBuf,
    bytes_max: u64,
    file: Option<File>,
}

impl FileDeadLetter {
    /// A dead letter at `path` of at most `bytes_max` bytes; nothing is created before the first record.
    pub fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, file: None }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let folder = self.path.parent().ok_or_else(|| io::Error::other("the dead letter has no directory"))?;
            fs::create_dir_all(folder)?;
            let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
            File::open(folder)?.sync_all()?;
            self.file = Some(file);
        }
        Ok(self.file.as_mut().expect("just opened"))
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let (path, bytes_max) = (self.path.clone(), self.bytes_max);
        let file = self.open()?;
        let before = file.metadata()?.len();
        if before + line.len() as u64 > bytes_max {
            let message = format!(
                "dead letter {} is full: {before} of {bytes_max} bytes; look at its records and move the file away",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        let written = file.write_all(line).and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a line would spoil the next one; what can't be cut back is cut at the next try.
            file.set_len(before)?;
        }
        written
    }
}

impl DeadLetter for FileDeadLetter {
    fn bury(&mut self, buried: &Buried<'_>) -> io::Result<()> {
        if self.file.is_some() && !self.path.exists() {
            self.file = None;
        }
        let mut line = serde_json::to_vec(&json(buried))?;
        line.push(b'\n');
        let result = self.append(&line);
        if result.is_err() {
            self.file = None;
        }
        result
    }
}

fn json(buried: &Buried<'_>) -> Value {
    let mut map = Map::new();
    map.insert("time".into(), jiff::Timestamp::now().to_string().into());
    map.insert("reason".into(), buried.reason.name().into());
    map.insert("message".into(), buried.message.into());
    map.insert("topic".into(), buried.topic.into());
    map.insert("source".into(), buried.source.into());
    map.insert("offset".into(), buried.offset.into());
    if let Some(key) = buried.key {
        insert_bytes(&mut map, "key", key);
    }
    insert_bytes(&mut map, "value", buried.value);
    Value::Object(map)
}

fn insert_bytes(map: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => map.insert(name.into(), text.into()),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            map.insert(format!("{name}_base16"), hex.into())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buried<'a>(value: &'a [u8]) -> Buried<'a> {
        let reason = RecordFault::TooLarge;
        Buried { reason, message: "too large", topic: "t", source: 3, offset: 7, key: Some(b"k"), value }
    }

    #[test]
    fn keeps_each_record_as_a_line_with_its_reason() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("dead/main.jsonl");
        let mut letter = FileDeadLetter::new(path.clone(), 10_000);
        letter.bury(&buried(b"text")).expect("there is room");
        letter.bury(&buried(b"\xff")).expect("there is room");
        let text = fs::read_to_string(&path).expect("the file is there");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0]["value"], "text");
        assert_eq!(lines[0]["reason"], "too_large");
        assert_eq!(lines[1]["value_base16"], "ff");
        assert_eq!((&lines[1]["source"], &lines[1]["offset"]), (&3.into(), &7.into()));
    }

    #[test]
    fn full_refuses_and_says_what_to_do_and_takes_again_once_moved_away() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("main.jsonl");
        let mut letter = FileDeadLetter::new(path.clone(), 300);
        letter.bury(&buried(b"first")).expect("there is room");
        let size = fs::metadata(&path).expect("the file is there").len();
        let error = letter.bury(&buried(&[b'x'; 300])).expect_err("it is full");
        assert!(error.to_string().contains("move the file away"), "{error}");
        assert_eq!(fs::metadata(&path).expect("still there").len(), size, "nothing of the refused record is kept");
        fs::rename(&path, dir.path().join("seen.jsonl")).expect("renamed");
        letter.bury(&buried(b"second")).expect("there is room again");
        assert!(path.exists());
    }
}
