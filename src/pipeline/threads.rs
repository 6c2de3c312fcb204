//! Threads that a pipeline can't do without: joined when it ends, missed when one ends before.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// Some of them.
#[derive(Default)]
pub struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    /// Adds one that has been started.
    pub fn push(&self, thread: JoinHandle<()>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    /// The name of one that has ended.
    pub fn ended(&self) -> Option<String> {
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().find(|thread| thread.is_finished()).map(name)
    }

    /// Waits until all have ended.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let name = name(&thread);
            if thread.join().is_err() {
                tracing::error!(thread = name, "a thread has panicked");
            }
        }
    }
}

fn name(thread: &JoinHandle<()>) -> String {
    thread.thread().name().unwrap_or("a thread").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_ends_too_early_is_named() {
        let threads = Threads::default();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread"));
        };
        let (stop, stopped) = channel::<()>();
        spawn("stays", Box::new(move || stopped.recv().expect("told to stop")));
        assert_eq!(threads.ended(), None);
        spawn("goes", Box::new(|| {}));
        while threads.ended().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(threads.ended().as_deref(), Some("goes"));
        stop.send(()).expect("it waits");
        threads.join();
        assert_eq!(threads.ended(), None);
    }
}
