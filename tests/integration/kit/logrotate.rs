//! A real logrotate with a configuration and a state file of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process;
use super::skip::{self, Need};

/// One log that logrotate rotates when it is told to.
pub struct Logrotate {
    program: PathBuf,
    config: PathBuf,
    state: PathBuf,
}

impl Logrotate {
    /// logrotate for `log`, configured in `folder` with `directives` (one a line); or a note that this test was skipped.
    pub fn or_skip(folder: &Path, log: &Path, directives: &str) -> Option<Self> {
        // Debian's is not in the path of everybody.
        let program = ["/usr/sbin/logrotate", "/usr/bin/logrotate"].map(PathBuf::from);
        let program = skip::or_skip(program.into_iter().find(|path| path.is_file()).ok_or(Need::Logrotate))?;
        let (config, state) = (folder.join("logrotate.conf"), folder.join("logrotate.state"));
        let text = format!("\"{}\" {{\n{}}}\n", log.display(), super::agent::indent(directives));
        std::fs::write(&config, text).expect("the scratch folder is writable");
        Some(Self { program, config, state })
    }

    /// Rotates now. `log` may have been rotated by its size alone; `-f` asks for it whatever the state says.
    #[track_caller]
    pub fn force(&self) {
        let mut command = Command::new(&self.program);
        command.arg("-f").arg("-s").arg(&self.state).arg(&self.config);
        let output = process::run(&mut command, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "logrotate: {}: {said}", output.status);
    }
}
