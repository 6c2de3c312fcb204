//! A directory with one file that fails when it is told to: a filesystem in user space (FUSE), spoken to the kernel directly.
//!
//! Only what a reader of a file needs is answered: look up, stat, list, open, read. It needs root and `/dev/fuse`. It is
//! unmounted when dropped; that of a run that was killed stays, dead, until somebody unmounts it.
//!
//! ```text
//! request  length u32, opcode u32, unique u64, node u64, uid u32, gid u32, pid u32, – u32 │ body
//! answer   length u32, error i32, unique u64                                              │ body
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::process;
use super::skip::{self, Need};

const ROOT: u64 = 1;
const FILE: u64 = 2;

struct State {
    name: String,
    content: Vec<u8>,
    fails: bool,
}

/// A mounted directory with one file.
pub struct Failing {
    at: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Failing {
    /// Mounts a directory with the empty file `name` at `at`, which it makes; or a note that this test was skipped.
    pub fn or_skip(at: &Path, name: &str) -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let Some(device) = File::options().read(true).write(true).open("/dev/fuse").ok().filter(|_| is_root) else {
            skip::note(Need::Fuse);
            return None;
        };
        std::fs::create_dir_all(at).expect("the scratch folder is writable");
        let state = State { name: name.into(), content: Vec::new(), fails: false };
        let state = Arc::new(Mutex::new(state));
        if !mount(&device, at) {
            skip::note(Need::Fuse);
            return None;
        }
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("fuse".into())
            .spawn(move || serve(device, &shared))
            .expect("a thread can be started");
        Some(Self { at: at.into(), state })
    }

    pub fn append(&self, bytes: &[u8]) {
        self.state.lock().expect("no holder panics").content.extend_from_slice(bytes);
    }

    /// From now on (or no more), reads fail with EIO.
    pub fn fail(&self, fails: bool) {
        self.state.lock().expect("no holder panics").fails = fails;
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        process::run(Command::new("umount").arg("-l").arg(&self.at), b"");
    }
}

fn mount(device: &File, at: &Path) -> bool {
    use std::os::fd::AsRawFd;
    let inherit = |flags| rustix::io::fcntl_setfd(device, flags).expect("it is open");
    inherit(rustix::io::FdFlags::empty());
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    // The kit's: the thread that started it lives until it has ended.
    let output =
        process::run(Command::new("mount").args(["-i", "-t", "fuse", "-o", &options, "logferry-test"]).arg(at), b"");
    inherit(rustix::io::FdFlags::CLOEXEC);
    output.status.success()
}

/// Answers until it is unmounted.
fn serve(mut device: File, state: &Mutex<State>) {
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        let number = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().expect("eight bytes"));
        let opcode = u32::from_le_bytes(request[4..8].try_into().expect("four bytes"));
        let (unique, node, body) = (number(8), number(16), &request[40..length.max(40)]);
        let Some(answer) = answer(opcode, node, body, &state.lock().expect("no holder panics")) else { continue };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut out = Vec::with_capacity(16 + body.len());
        out.extend(u32::try_from(16 + body.len()).expect("small").to_le_bytes());
        out.extend(error.to_le_bytes());
        out.extend(unique.to_le_bytes());
        out.extend(body);
        // Who asked may be gone.
        let _interrupted = device.write(&out);
    }
}

/// The body of an answer, or an errno. `None`: nobody waits for one.
fn answer(opcode: u32, node: u64, body: &[u8], state: &State) -> Option<Result<Vec<u8>, i32>> {
    let number =
        |at: usize| body.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
    Some(match opcode {
        // FORGET, INTERRUPT, BATCH_FORGET
        2 | 36 | 42 => return None,
        // LOOKUP
        1 if node == ROOT && body.strip_suffix(b"\0") == Some(state.name.as_bytes()) => {
            // Neither the name nor what is told of it may be kept by the kernel.
            Ok([FILE, 0, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()).chain(attributes(FILE, state)).collect())
        }
        1 => Err(libc::ENOENT),
        // GETATTR
        3 => Ok([0u64, 0].iter().flat_map(|n| n.to_le_bytes()).chain(attributes(node, state)).collect()),
        // OPEN, OPENDIR; FOPEN_DIRECT_IO: each read is ours to answer.
        14 | 27 => Ok([0u64, 1].iter().flat_map(|n| n.to_le_bytes()).collect()),
        // READ
        15 if state.fails => Err(libc::EIO),
        15 => {
            let from = usize::try_from(number(8)).unwrap_or(usize::MAX).min(state.content.len());
            let want = usize::try_from(number(16) & 0xffff_ffff).expect("32 bits");
            Ok(state.content[from..state.content.len().min(from.saturating_add(want))].to_vec())
        }
        // READDIR
        28 if number(8) == 0 => {
            let mut entry: Vec<u8> = [FILE, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
            entry.extend(u32::try_from(state.name.len()).expect("short").to_le_bytes());
            entry.extend((libc::S_IFREG >> 12).to_le_bytes());
            entry.extend(state.name.as_bytes());
            entry.resize(entry.len().next_multiple_of(8), 0);
            Ok(entry)
        }
        // RELEASE, FLUSH, READDIR's end, RELEASEDIR
        18 | 25 | 28 | 29 => Ok(Vec::new()),
        // INIT: version 7.31, no options.
        26 => {
            let mut init = vec![0; 64];
            init[..8].copy_from_slice(&[7, 0, 0, 0, 31, 0, 0, 0]);
            init[20..24].copy_from_slice(&(1u32 << 16).to_le_bytes());
            Ok(init)
        }
        _ => Err(libc::ENOSYS),
    })
}

fn attributes(node: u64, state: &State) -> Vec<u8> {
    let size = if node == FILE { state.content.len() as u64 } else { 0 };
    // Inode, size, blocks, and three times; that of change moves with the size.
    let mut out: Vec<u8> =
        [node, size, size.div_ceil(512), 1, 1 + size, 1 + size].iter().flat_map(|n| n.to_le_bytes()).collect();
    let mode = if node == FILE { libc::S_IFREG | 0o444 } else { libc::S_IFDIR | 0o555 };
    // Nanoseconds of the times, mode, links, owner, group, device, block size, flags.
    out.extend([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].iter().flat_map(|n: &u32| n.to_le_bytes()));
    out
}
