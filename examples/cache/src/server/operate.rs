//! A server's whole life: it serves until a signal says that it is enough, and then drains.

use alloc::sync::Arc;
use core::time::Duration;

use fiber::{
    FiberBuilder, Priority, Runtime,
    io::{
        Error,
        signal::{Signal, Signals},
    },
    sync::channel::{self, Sender},
};

use super::{Drain, Failure, Listeners, Service, serve};
use crate::Cache;

/// The signals that [`operate`] acts upon.
pub const SIGNALS: [Signal; 4] = [
    Signal::Terminate,
    Signal::Interrupt,
    Signal::Hangup,
    Signal::User1,
];

/// How a server's life has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "main makes an exit code of each")]
pub enum Ending {
    /// Everybody has left.
    Drained,
    /// Some have not left in time. When the runtime ends, what is left of the tree of processes is
    /// cancelled, and killed where that does not help within a process's grace.
    TimedOut,
    /// A second signal came, this one: the caller must not wait for anything.
    Quit(Signal),
}

enum Event {
    Signal(Result<Signal, Error>),
    Served(Result<(), Failure>),
    /// The drain's wait is over; says whether everybody has gone.
    Waited(bool),
}

/// Serves `listeners` until one of the `signals` (opened for [`SIGNALS`]) ends it, or accepting
/// fails: `Terminate` and `Interrupt` drain for `drain_timeout` at the most, a second one ends it
/// at once. `User1` logs what all fibers are doing. `Hangup` is ignored.
///
/// # Suspends
/// As long as it serves.
///
/// # Errors
/// When accepting, or waiting for signals, fails for good.
pub fn operate(
    listeners: Listeners,
    cache: Arc<Cache>,
    service: Service,
    drain_timeout: Duration,
    signals: Signals,
) -> Result<Ending, Failure> {
    // Room for everything that can be said after the last is read: no sender ever waits for it.
    let (events, happened) = channel::bounded(8);
    let (drain, presence) = Drain::of(&listeners.clients);
    // Before the connections, as the acceptor.
    report(&events, Priority::High, move || {
        Event::Served(serve(listeners, &cache, service, &presence))
    });
    let signals = Arc::new(signals);
    let next_signal = || {
        let signals = Arc::clone(&signals);
        report(&events, Priority::High, move || {
            Event::Signal(signals.wait())
        });
    };
    next_signal();
    let drain = Arc::new(drain);
    let mut is_draining = false;
    for event in happened.iter() {
        match event {
            Event::Signal(Ok(Signal::Terminate | Signal::Interrupt)) if !is_draining => {
                tracing::info!("draining; a second signal ends it at once");
                is_draining = true;
                drain.begin();
                let drain = Arc::clone(&drain);
                let wait = move || Event::Waited(drain.wait(drain_timeout));
                report(&events, Priority::Normal, wait);
                next_signal();
            }
            Event::Signal(Ok(signal @ (Signal::Terminate | Signal::Interrupt))) => {
                return Ok(Ending::Quit(signal));
            }
            Event::Signal(Ok(Signal::User1)) => {
                tell_all();
                next_signal();
            }
            Event::Signal(Ok(signal)) => {
                tracing::info!(%signal, "ignored");
                next_signal();
            }
            Event::Signal(Err(error)) => return Err(Failure::Signals(error)),
            Event::Served(Err(failure)) => return Err(failure),
            Event::Served(Ok(())) => {}
            Event::Waited(true) => return Ok(Ending::Drained),
            Event::Waited(false) => return Ok(Ending::TimedOut),
        }
    }
    unreachable!("this function holds a sender")
}

/// Logs the runtime's numbers and every fiber, for whoever asks why nothing moves.
fn tell_all() {
    let runtime = Runtime::current().expect("a server runs on a fiber");
    tracing::info!("numbers on demand\n{}", runtime.stats());
    tracing::info!("fibers on demand\n{}", runtime.dump());
}

/// Says what has happened once `wait` returns, on a fiber of its own, which ends with the runtime.
fn report(
    events: &Sender<Event>,
    priority: Priority,
    wait: impl FnOnce() -> Event + Send + 'static,
) {
    let events = events.clone();
    let spawned = FiberBuilder::new().priority(priority).spawn(move || {
        // Nobody listens any more when the server's life has ended.
        let _ = events.send(wait());
    });
    drop(spawned.expect("the caller runs on a fiber"));
}
