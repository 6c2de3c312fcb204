//! Child processes that never outlive the test process, not even when that is killed with -9.
//!
//! The kernel kills a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`), and libtest runs each test on its
//! own thread. So one thread that lives as long as the process starts them all.

use std::collections::BTreeSet;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};

use super::wait;

struct Job {
    command: Command,
    reply: Sender<std::io::Result<Child>>,
}

static SPAWNER: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = channel::<Job>();
    std::thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            for mut job in jobs {
                let _asker_is_gone = job.reply.send(job.command.spawn());
            }
        })
        .expect("a thread can be started");
    Mutex::new(sender)
});

/// Makes `command`'s process die with the thread that starts it.
pub fn tie(command: &mut Command) -> &mut Command {
    // SAFETY: prctl and getppid are async-signal-safe, and nothing is allocated between fork and exec.
    unsafe {
        let parent = libc::getpid();
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 || libc::getppid() != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        })
    }
}

/// A child process; killed when dropped.
pub struct Guarded {
    child: Child,
    name: String,
}

/// Starts `command`; it dies with this process, or when the guard is dropped.
///
/// # Panics
/// When the program can't be started.
pub fn spawn(name: &str, mut command: Command) -> Guarded {
    tie(&mut command);
    let (reply, answer) = channel();
    SPAWNER.lock().expect("no holder panics").send(Job { command, reply }).expect("the spawner lives for ever");
    let child =
        answer.recv().expect("the spawner answers").unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
    RUNNING.lock().expect("no holder panics").insert(child.id());
    Guarded { child, name: name.into() }
}

/// The children of guards that may never be dropped: those in statics.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Kills every child and waits for its end; for the exit of the process, before its folder is removed.
pub fn kill_all() {
    let Ok(running) = RUNNING.lock() else { return };
    for &child in running.iter() {
        let Ok(pid) = i32::try_from(child) else { continue };
        let mut status = 0;
        // SAFETY: an entry is removed when its child has been waited for, so the pid is still the child's.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, &raw mut status, 0);
        }
    }
}

impl Guarded {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("pids are small");
        // SAFETY: the child is not waited for by anybody else, so the pid is still its own.
        unsafe { libc::kill(pid, signal) };
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        let mut running = RUNNING.lock().expect("no holder panics");
        let status = self.child.try_wait().expect("a child can be waited for");
        if status.is_some() {
            running.remove(&self.pid());
        }
        status
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let name = format!("{} (pid {}) to end", self.name, self.pid());
        wait::until(&name, || self.exited())
    }

    /// `kill -9`, and waits for its end: its sockets and locks are free afterwards.
    pub fn kill9(&mut self) {
        let mut running = RUNNING.lock().expect("no holder panics");
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
        running.remove(&self.pid());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Runs a short-lived program to its end, with `input` on its standard input. It is killed after the last resort.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    use std::io::Write;
    let name = format!("{command:?}");
    let mut child = tie(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
    let pid = i32::try_from(child.id()).expect("pids are small");
    let mut stdin = child.stdin.take().expect("it is piped");
    let (done, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that does not read to the end closes the pipe; that is its right.
            let _closed = stdin.write_all(input);
        });
        scope.spawn(move || {
            if ended.recv_timeout(wait::LAST_RESORT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // SAFETY: the child is only waited for after `done` is dropped, so the pid is still its own.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        });
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for {name}: {error}"));
        drop(done);
        assert!(output.status.signal() != Some(libc::SIGKILL), "{name} did not end by itself");
        output
    })
}

type AtExit = fn();
static AT_EXIT: Mutex<Vec<AtExit>> = Mutex::new(Vec::new());

extern "C" fn run_at_exit() {
    let Ok(mut handlers) = AT_EXIT.lock().map(|mut handlers| std::mem::take(&mut *handlers)) else { return };
    while let Some(handler) = handlers.pop() {
        handler();
    }
}

/// Has `handler` run when the process exits (not when it is killed), last registered first.
pub fn at_exit(handler: AtExit) {
    let mut handlers = AT_EXIT.lock().expect("no holder panics");
    if handlers.is_empty() {
        // SAFETY: the function is `extern "C"` and lives for ever.
        unsafe { libc::atexit(run_at_exit) };
    }
    handlers.push(handler);
}
