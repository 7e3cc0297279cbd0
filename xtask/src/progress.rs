//! The line of a step while it runs.

use core::time::Duration;
use std::io::{IsTerminal, Write, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

const LABEL_COLUMNS: usize = 44;
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];
const FRAME_TIME: Duration = Duration::from_millis(120);

/// Runs `work` with its label on display; the caller completes the line.
///
/// On a terminal the line shows that time passes. Elsewhere the label appears once.
pub(crate) fn show<T>(label: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    write(&format!("{label:<LABEL_COLUMNS$}"));
    if !stdout().is_terminal() {
        return (work(), start.elapsed());
    }
    let (alive, ended) = channel();
    let result = thread::scope(|scope| {
        scope.spawn(move || spin(label, start, &ended));
        let result = work();
        // The spinner takes the closed channel as its end.
        drop(alive);
        result
    });
    (result, start.elapsed())
}

fn spin(label: &str, start: Instant, ended: &Receiver<()>) {
    for frame in FRAMES.iter().cycle() {
        if ended.recv_timeout(FRAME_TIME) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        let seconds = start.elapsed().as_secs();
        write(&format!("\r{label:<LABEL_COLUMNS$}{frame} {seconds} s "));
    }
    write(&format!("\r\x1b[K{label:<LABEL_COLUMNS$}"));
}

fn write(text: &str) {
    let mut out = stdout().lock();
    // A closed stdout must not end the checks.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
