//! The real binary as a child process: configured, started, asked, killed. Its folder outlives each of its runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::process::{self, Guarded, Usage};
use super::{cluster::Cluster, scratch, wait};

/// The binary under test; `LOGFERRY_BIN` names another build of it.
pub fn binary() -> PathBuf {
    std::env::var_os("LOGFERRY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_logferry").into(), PathBuf::from)
}

/// Runs a command that ends by itself, with `input` on its standard input.
pub fn logferry(args: &[&str], input: &[u8]) -> Output {
    process::run(Command::new(binary()).args(args).env("NO_COLOR", "1"), input)
}

/// An agent and its folder: `logferry.yaml`, `data/`, `logs/`, `stderr.log`.
pub struct Agent {
    folder: PathBuf,
    environment: Vec<(String, String)>,
    open_files_max: Option<u64>,
    process: Option<Guarded>,
}

impl Agent {
    pub fn new(hint: &str) -> Self {
        let folder = scratch::folder(hint);
        for sub in ["logs", "data"] {
            std::fs::create_dir_all(folder.join(sub)).expect("the scratch folder is writable");
        }
        Self { folder, environment: Vec::new(), open_files_max: None, process: None }
    }

    /// An agent that ships `logs/*.log` to `cluster`. `output` is a line or more of the output's keys, `topic: …` first.
    pub fn shipping(hint: &str, cluster: &Cluster, output: &str) -> Self {
        let agent = Self::new(hint);
        agent.ship("", &cluster.bootstrap(), output);
        agent
    }

    /// Writes a configuration with one file input `files` and one Kafka output `main`, with further keys of each.
    pub fn ship(&self, input: &str, brokers: &str, output: &str) {
        let inputs = format!("files:\n  type: file\n  paths: [\"{}/*.log\"]\n{}", self.logs().display(), indent(input));
        let outputs = format!("main:\n  type: kafka\n  brokers: [{brokers}]\n{}", indent(output));
        self.configure(&format!("inputs:\n{}outputs:\n{}", indent(&inputs), indent(&outputs)));
    }

    /// Writes a configuration: `data_dir` and `admin` are set, the rest is `yaml`.
    pub fn configure(&self, yaml: &str) {
        let head = format!("data_dir: \"{}\"\nadmin: {{ listen: 127.0.0.1:0 }}\n", self.data().display());
        std::fs::write(self.config(), head + yaml).expect("the scratch folder is writable");
    }

    pub fn env(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// What `ulimit -n` says to it, soft and hard.
    pub fn limit_open_files(&mut self, max: u64) {
        self.open_files_max = Some(max);
    }

    /// The most bytes that were ever resident, as the kernel counts it for what runs now. (The account of an ended process is no
    /// good here: it begins with the memory of the process that it was forked from, this one.)
    pub fn resident_bytes_max(&self) -> u64 {
        let pid = self.status()["pid"].as_u64().expect("a number");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says so");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// The CPU-seconds it has used, and the bytes that are resident.
    pub fn usage_now(&self) -> (f64, u64) {
        let status = self.status();
        let cpu = status["cpu_seconds_total"].as_f64().expect("a number");
        (cpu, status["memory"]["rss_bytes"].as_u64().expect("a number"))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("logferry.yaml")
    }

    /// Where its files are.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// A file in [`Agent::logs`].
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(["run", "-c"]).arg(self.config()).args(args);
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).env("NO_COLOR", "1");
        command
    }

    /// Starts `logferry run` and does not wait.
    pub fn spawn(&mut self, args: &[&str], stdin: Stdio) {
        assert!(self.process.is_none(), "it runs already");
        // What an earlier run left is not an answer of this one.
        let _none = std::fs::remove_file(self.data().join("admin.addr"));
        let open = |name: &str| {
            let path = self.folder.join(name);
            std::fs::File::options().create(true).append(true).open(path).expect("the scratch folder is writable")
        };
        let mut command = self.command(args);
        if let Some(max) = self.open_files_max {
            let limit = libc::rlimit { rlim_cur: max, rlim_max: max };
            let lower = move || match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            };
            // SAFETY: a system call and nothing else, between fork and exec.
            unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, lower) };
        }
        command.stdin(stdin).stdout(open("stdout.log")).stderr(open("stderr.log"));
        self.process = Some(process::spawn("logferry", command));
    }

    /// Starts it and waits until it says that its inputs are open.
    #[track_caller]
    pub fn start(&mut self) -> &mut Self {
        self.spawn(&[], Stdio::null());
        self.wait_ready();
        self
    }

    /// Its standard input, if it was started with a pipe there.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.process.as_mut().and_then(Guarded::stdin).expect("it was started with a pipe")
    }

    #[track_caller]
    pub fn wait_ready(&mut self) {
        let folder = self.folder.clone();
        wait::until_or(
            "the agent to be ready",
            wait::LAST_RESORT,
            || {
                let ended = self.process.as_mut().expect("it was started").ended();
                assert!(ended.is_none(), "it ended with {ended:?}:\n{}", tail(&folder));
                (self.get("/readyz")?.0 == 200).then_some(())
            },
            || tail(&folder),
        );
    }

    /// Runs it with `--until-idle` to its end: exit code 0.
    #[track_caller]
    pub fn until_idle(&mut self, seconds: u32) -> Usage {
        self.spawn(&[&format!("--until-idle={seconds}s")], Stdio::null());
        self.wait_success()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self) -> Usage {
        let mut process = self.process.take().expect("it was started");
        wait::until_or("the agent to end", wait::LAST_RESORT, || process.ended(), || tail(&self.folder))
    }

    /// As [`Agent::wait`], and its exit code is 0.
    #[track_caller]
    pub fn wait_success(&mut self) -> Usage {
        let usage = self.wait();
        assert_eq!(usage.status.code(), Some(0), "{}:\n{}", usage.status, self.stderr());
        usage
    }

    pub fn kill9(&mut self) {
        self.process = None;
    }

    pub fn signal(&self, signal: i32) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// SIGTERM, and its end: exit code 0.
    #[track_caller]
    pub fn stop(&mut self) -> Usage {
        self.signal(libc::SIGTERM);
        self.wait_success()
    }

    /// Everything its runs wrote to standard error so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr.log")).unwrap_or_default()
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.folder.join("stdout.log")).unwrap_or_default()
    }

    /// Asks its admin endpoint; `None` while nobody answers there.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let address = std::fs::read_to_string(self.data().join("admin.addr")).ok()?;
        let client = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .new_agent();
        let mut response = client.get(format!("http://{}{path}", address.trim())).call().ok()?;
        let code = response.status().as_u16();
        Some((code, response.body_mut().read_to_string().ok()?))
    }

    /// `/status`.
    #[track_caller]
    pub fn status(&self) -> Value {
        let (code, body) = wait::until("/status to answer", || self.get("/status"));
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("/status is not JSON: {error}: {body}"))
    }

    /// The status of an input.
    #[track_caller]
    pub fn input(&self, name: &str) -> Value {
        let status = self.status();
        let mut inputs = status["inputs"].as_array().into_iter().flatten();
        inputs.find(|input| input["name"] == name).unwrap_or_else(|| panic!("no input {name} in {status}")).clone()
    }

    /// Waits until the status says what `ready` wants to hear.
    #[track_caller]
    pub fn wait_status<T>(&self, what: &str, mut ready: impl FnMut(&Value) -> Option<T>) -> T {
        let show = || format!("{:#}\n{}", self.status(), tail(&self.folder));
        let ask = || {
            let (_, body) = self.get("/status")?;
            ready(&serde_json::from_str(&body).ok()?)
        };
        wait::until_or(what, wait::LAST_RESORT, ask, show)
    }

    /// The value of a metric whose labels contain all of `labels` (`name="value"`).
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let (_, body) = wait::until("/metrics to answer", || self.get("/metrics"));
        let line = body.lines().find(|line| {
            let rest = line.strip_prefix(name).unwrap_or("#");
            (rest.starts_with(' ') || rest.starts_with('{')) && labels.iter().all(|label| rest.contains(label))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's folder: {}\n{}", self.folder.display(), tail(&self.folder));
        }
    }
}

/// Two spaces before each line.
pub fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn tail(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("stderr.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    format!("its log ends:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
}
