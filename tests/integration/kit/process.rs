//! Child processes that never outlive the test process, not even when that is killed with -9.
//!
//! The kernel kills a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`), and libtest runs each test on its
//! own thread. So one thread that lives as long as the process starts them all.

use std::collections::BTreeSet;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
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

/// What a process used until its end.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub status: ExitStatus,
    /// User and system.
    pub cpu_seconds: f64,
    /// At least what the parent had at the fork: only small parents, as the benchmark is, learn the truth.
    #[allow(dead_code, reason = "the benchmark reads it")]
    pub resident_bytes_max: u64,
}

/// A child process; killed when dropped.
pub struct Guarded {
    pid: i32,
    stdin: Option<ChildStdin>,
    name: String,
    ended: Option<Usage>,
}

/// Starts `command`; it dies with this process, or when the guard is dropped.
///
/// # Panics
/// When the program can't be started.
#[expect(clippy::zombie_processes, reason = "it is waited for by wait4, which also tells what it used")]
pub fn spawn(name: &str, mut command: Command) -> Guarded {
    tie(&mut command);
    let (reply, answer) = channel();
    SPAWNER.lock().expect("no holder panics").send(Job { command, reply }).expect("the spawner lives for ever");
    let mut child =
        answer.recv().expect("the spawner answers").unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
    let pid = i32::try_from(child.id()).expect("pids are small");
    RUNNING.lock().expect("no holder panics").insert(pid);
    Guarded { pid, stdin: child.stdin.take(), name: name.into(), ended: None }
}

/// The children that are not waited for yet, those of guards in statics among them, which are never dropped.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills every child and waits for its end; for the exit of the process, before its folder is removed.
pub fn kill_all() {
    let Ok(mut running) = RUNNING.lock() else { return };
    for pid in std::mem::take(&mut *running) {
        // SAFETY: an entry is removed when its child has been waited for, so the pid is still the child's.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        let _its_end = reap(pid, 0);
    }
}

/// Waits for a child's end (with `WNOHANG`: looks for it), and what it used. `None`: it has not ended.
fn reap(pid: i32, flags: i32) -> Option<Usage> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which zeros are a value.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals of the right type.
    if unsafe { libc::wait4(pid, &raw mut status, flags, &raw mut used) } != pid {
        return None;
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Some(Usage {
        status: ExitStatus::from_raw(status),
        cpu_seconds: seconds(used.ru_utime) + seconds(used.ru_stime),
        resident_bytes_max: u64::try_from(used.ru_maxrss).unwrap_or(0) * 1024,
    })
}

impl Guarded {
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    pub fn signal(&self, signal: i32) {
        if self.ended.is_none() {
            // SAFETY: the child is not waited for yet, so the pid is still its own.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// What it used, if it has ended.
    pub fn ended(&mut self) -> Option<Usage> {
        self.reap(libc::WNOHANG)
    }

    fn reap(&mut self, flags: i32) -> Option<Usage> {
        let mut running = RUNNING.lock().expect("no holder panics");
        if self.ended.is_none() {
            self.ended = reap(self.pid, flags);
            if self.ended.is_some() {
                running.remove(&self.pid);
            }
        }
        self.ended
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self) -> Usage {
        let name = format!("{} (pid {}) to end", self.name, self.pid);
        wait::until(&name, || self.ended())
    }

    /// `kill -9`, and waits for its end: its sockets and locks are free afterwards.
    pub fn kill9(&mut self) {
        self.signal(libc::SIGKILL);
        let _its_end = self.reap(0);
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
