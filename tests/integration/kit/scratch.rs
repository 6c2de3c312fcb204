//! The folder of this test run, below the target folder: a sub-folder for each test, gone when the run ends well.
//!
//! A run that was killed can't clean up. The next one does: it removes every run folder whose lock nobody holds.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

struct Run {
    path: PathBuf,
    /// Held (and with it its lock) until the process ends.
    _lock: File,
}

/// A test failed: something in the folder may explain it.
static FAILED: AtomicBool = AtomicBool::new(false);

static RUN: LazyLock<Run> = LazyLock::new(|| {
    super::skip::forget_earlier_notice();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runs");
    std::fs::create_dir_all(&home).expect("the target folder is writable");
    sweep(&home);
    let path = home.join(std::process::id().to_string());
    let _stale = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("the target folder is writable");
    let lock = File::create(path.join("lock")).expect("the target folder is writable");
    lock.try_lock().expect("a lock file just made is free");
    super::process::at_exit(clean);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        FAILED.store(true, Ordering::Relaxed);
        hook(panic);
    }));
    Run { path, _lock: lock }
});

fn sweep(home: &Path) {
    let Ok(entries) = std::fs::read_dir(home) else { return };
    for run in entries.flatten() {
        let free = match File::open(run.path().join("lock")) {
            Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            // Without a lock file: a folder in the making, or half removed; it is somebody's if its process lives.
            Err(_) => !Path::new("/proc").join(run.file_name()).exists(),
        };
        if free {
            let _somebody_else_does = std::fs::remove_dir_all(run.path());
        }
    }
}

fn clean() {
    super::process::kill_all();
    if FAILED.load(Ordering::Relaxed) || std::env::var_os("KEEP").is_some() {
        eprintln!("kept for a look: {} (until the next run)", RUN.path.display());
    } else {
        let _left_to_the_sweep = std::fs::remove_dir_all(&RUN.path);
    }
}

/// A fresh folder for `name`.
pub fn folder(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let path = RUN.path.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&path).expect("the target folder is writable");
    path
}
