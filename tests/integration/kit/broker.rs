//! One real Kafka node (KRaft): its configuration, its start, its crash. What a cluster is made of.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::{self, Guarded};
use super::{jars, scratch};

/// A port of 127.0.0.1 that is free now.
///
/// Below the range that the kernel hands out to outgoing connections: a broker that is down for a while must find its port
/// free again, and a client that knocks at it must not connect to itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Two test processes start at different places; who binds is told here, not by luck.
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 11_000 + (std::process::id().wrapping_mul(97).wrapping_add(step)) % 20_000;
        let port = u16::try_from(port).expect("below 31,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A node: its folder survives a crash, its process may not.
pub struct Broker {
    pub port: u16,
    folder: PathBuf,
    jars: PathBuf,
    heap: &'static str,
    process: Option<Guarded>,
}

/// What a node is made from.
pub struct Plan<'a> {
    pub jars: &'a Path,
    pub node: u32,
    pub port: u16,
    /// `node@127.0.0.1:port` of every controller.
    pub voters: &'a str,
    pub controller_port: u16,
    /// `-Xmx`.
    pub heap: &'static str,
    /// Listeners beside the plain one, as `NAME://127.0.0.1:PORT`, and how they are advertised.
    pub listeners: &'a [(String, String)],
    /// Further lines of the properties file.
    pub properties: &'a str,
    /// Further arguments of `StorageTool format`.
    pub format: &'a [&'a str],
}

impl Broker {
    /// Formats the storage and starts the node; it may not answer yet.
    pub fn start(plan: &Plan<'_>) -> Self {
        let folder = scratch::folder(&format!("broker-{}", plan.node));
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{}", plan.port);
        let mut advertised = listeners.clone();
        for (listener, advertise) in plan.listeners {
            listeners.push_str(&format!(",{listener}"));
            advertised.push_str(&format!(",{advertise}"));
        }
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id={node}\n\
             controller.quorum.voters={voters}\n\
             listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners={advertised}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             log.dirs={folder}/data\n\
             num.partitions=3\n\
             auto.create.topics.enable=false\n\
             log.retention.ms=-1\n\
             log.cleaner.dedupe.buffer.size=4194304\n\
             group.initial.rebalance.delay.ms=0\n\
             {more}\n",
            node = plan.node,
            voters = plan.voters,
            controller = plan.controller_port,
            folder = folder.display(),
            more = plan.properties,
        );
        std::fs::write(folder.join("server.properties"), properties).expect("the scratch folder is writable");
        let output = process::run(
            jars::java(plan.jars)
                .args(["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"])
                .arg(folder.join("server.properties"))
                .args(plan.format),
            b"",
        );
        assert!(output.status.success(), "the storage can't be formatted: {}", String::from_utf8_lossy(&output.stderr));
        let mut broker = Self { port: plan.port, folder, jars: plan.jars.to_owned(), heap: plan.heap, process: None };
        broker.restart();
        broker
    }

    /// Starts the process again on the folder it had.
    pub fn restart(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("broker.log"))
            .expect("the scratch folder is writable");
        let mut command = jars::java(&self.jars);
        command
            .args(["-Xms64m", self.heap, "-Dlog4j2.level=WARN", "kafka.Kafka"])
            .arg(self.folder.join("server.properties"))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor can be doubled"))
            .stderr(log);
        self.process = Some(process::spawn("kafka", command));
    }

    /// A crash.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Stops and continues the process: a broker that hangs.
    pub fn freeze(&self, frozen: bool) {
        if let Some(process) = &self.process {
            process.signal(if frozen { libc::SIGSTOP } else { libc::SIGCONT });
        }
    }

    pub fn running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Where its partitions are.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The end of what it wrote, for a failure's message.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("broker.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
