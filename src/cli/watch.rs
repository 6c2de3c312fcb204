//! The loop of `status --watch`: shows something again and again until it is told to stop. What is shown is the caller's.
//!
//! On a terminal each picture is drawn over the one before; elsewhere (a file, a pipe) pictures follow each other, an empty
//! line between them. The terminal is never put into a mode of its own, so there is nothing to put back.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The time between two pictures.
pub const EVERY: Duration = Duration::from_secs(2);

/// To the upper left corner; to the end of the line; to the end of the screen.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Says something once, when SIGINT (Ctrl-C) or SIGTERM comes; a second one ends the process at once.
///
/// # Errors
/// Signals can't be caught.
pub fn signals() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (told, stop) = channel();
    std::thread::spawn(move || {
        let mut caught = signals.forever();
        if caught.next().is_some() {
            told.send(()).ok();
        }
        if let Some(signal) = caught.next() {
            std::process::exit(128 + signal);
        }
        // `told` lives as long as the process: a closed channel would read as a signal.
        drop(told);
    });
    Ok(stop)
}

/// Shows what `picture` makes, every `every`, until `stop` says so.
///
/// # Errors
/// What can't be written.
pub fn watch(
    out: &mut impl Write,
    is_terminal: bool,
    every: Duration,
    stop: &Receiver<()>,
    mut picture: impl FnMut() -> String,
) -> io::Result<()> {
    let mut is_first = true;
    loop {
        let shown = picture();
        if is_terminal {
            // In one write, over the old one, so that it does not flicker.
            let lines: String = shown.lines().map(|line| format!("{line}{CLEAR_LINE}\r\n")).collect();
            out.write_all(format!("{HOME}{lines}{CLEAR_BELOW}").as_bytes())?;
        } else {
            let between = if is_first { "" } else { "\n" };
            out.write_all(format!("{between}{shown}").as_bytes())?;
        }
        out.flush()?;
        is_first = false;
        match stop.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three pictures, the stop during the third.
    fn watched(is_terminal: bool) -> String {
        let (told, stop) = channel();
        let mut out = Vec::new();
        let mut count = 0;
        let picture = || {
            count += 1;
            if count == 3 {
                told.send(()).expect("the loop listens");
            }
            format!("picture {count}\nits end\n")
        };
        watch(&mut out, is_terminal, Duration::from_millis(1), &stop, picture).expect("it can be written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn pictures_follow_each_other_where_there_is_no_terminal() {
        assert_eq!(watched(false), "picture 1\nits end\n\npicture 2\nits end\n\npicture 3\nits end\n");
    }

    #[test]
    fn on_a_terminal_each_picture_is_drawn_over_the_last() {
        let out = watched(true);
        assert_eq!(out.matches(HOME).count(), 3, "{out:?}");
        assert!(out.ends_with("\x1b[Hpicture 3\x1b[K\r\nits end\x1b[K\r\n\x1b[J"), "{out:?}");
    }
}
