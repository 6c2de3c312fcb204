//! The static binary alone in an empty root directory: no libc, no resolver modules, no certificates, no /proc.
//!
//! `LOGFERRY_STATIC` names the binary; `packaging/build static` makes it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kafka_or_skip;
use crate::kit::skip::{self, Need};
use crate::kit::{check::Check, process, scratch, writer::Writer};

fn binary() -> Option<PathBuf> {
    let Some(named) = std::env::var_os("LOGFERRY_STATIC").filter(|path| !path.is_empty()) else {
        // Not a matter of Kafka: REQUIRE_KAFKA asks for brokers, CI asks for this one by naming the binary.
        skip::note(Need::StaticBinary);
        return None;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(named);
    assert!(path.is_file(), "LOGFERRY_STATIC names {}, which is not there", path.display());
    Some(path)
}

/// `chroot` into `root`, in a user namespace where that is needed.
fn inside(root: &Path) -> Command {
    // SAFETY: geteuid has no preconditions.
    let mut command = if unsafe { libc::geteuid() } == 0 {
        Command::new("chroot")
    } else {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "chroot"]);
        command
    };
    command.arg(root).arg("/logferry").env_clear().env("NO_COLOR", "1");
    // Without the caller's PATH chroot itself would not be found.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Scenario: a root directory that holds the binary, a config, `/etc/hosts` and an `/etc/nsswitch.conf` that names modules
/// which are not there (`mdns4_minimal`, `resolve`, `sss`); the broker is known by a name only.
/// Guarantee: `--version`, `check` and `run` work; the name is found in `/etc/hosts`; all lines arrive.
#[test]
fn the_static_binary_runs_in_an_empty_root() {
    let Some(binary) = binary() else { return };
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("root", 2);
    let root = scratch::folder("root");
    for folder in ["etc", "data", "logs", "tmp"] {
        std::fs::create_dir(root.join(folder)).expect("the scratch folder is writable");
    }
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).expect("the scratch folder is writable");
    std::fs::copy(&binary, root.join("logferry")).expect("the binary can be copied");
    write("etc/hosts", "127.0.0.1 kafka.ferry.test\n");
    write("etc/nsswitch.conf", "hosts: mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] sss files dns\n");
    write(
        "logferry.yaml",
        &format!(
            "data_dir: /data\nadmin: {{ listen: \"off\" }}\ninputs:\n  a: {{ type: file, paths: [/logs/*.log] }}\n\
             outputs:\n  main: {{ type: kafka, brokers: [\"kafka.ferry.test:{}\"], topic: {topic} }}\n",
            kafka.named_port()
        ),
    );
    let mut writer = Writer::new(&root.join("logs/a.log"), "root");
    writer.write(1_000);
    for (args, code) in [
        (&["--version"][..], 0),
        (&["check", "-c", "/logferry.yaml"], 0),
        (&["run", "-c", "/logferry.yaml", "--until-idle=1s"], 0),
    ] {
        let output = process::run(inside(&root).args(args).stdin(Stdio::null()), b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    }
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}
