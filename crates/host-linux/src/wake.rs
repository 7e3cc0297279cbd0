//! How another thread ends a port's wait: an eventfd behind a state that makes it rare.
//!
//! ```text
//!            fall_asleep                unpark
//!   Awake ──────────────▶ Asleep ──────────────────▶ Notified   and one write to the eventfd
//!     │ ▲                   │                           │
//!     │ └──── rise ─────────┴────────── rise ───────────┘
//!     └───────── unpark ──────────▶ Notified   no system call; the next fall_asleep is refused
//! ```
//!
//! | who | may do |
//! |---|---|
//! | any thread, `unpark` | anything → Notified |
//! | the worker, `fall_asleep` | Awake → Asleep, Notified → Awake |
//! | the worker, `rise` | anything → Awake |

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU32, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};

use fiber_core::env::Unpark;

use crate::sys::{self, event};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const NOTIFIED: u32 = 2;

/// A worker's alarm clock. It owns its eventfd, so an unpark after the port's end is harmless.
#[derive(Debug)]
pub(crate) struct Wake {
    state: State,
    event: OwnedFd,
}

/// The state alone.
#[derive(Debug)]
struct State(AtomicU32);

impl Wake {
    pub(crate) fn new(flags: libc::c_int) -> sys::Result<Self> {
        Ok(Self {
            state: State(AtomicU32::new(AWAKE)),
            event: event::eventfd(flags)?,
        })
    }

    /// Becomes readable when somebody unparks a sleeper.
    pub(crate) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Announces a wait; `false`, and no wait, if an unpark came first.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.state.fall_asleep()
    }

    /// Ends the wait; whether an unpark came meanwhile.
    pub(crate) fn rise(&self) -> bool {
        self.state.rise()
    }
}

impl Unpark for Wake {
    fn unpark(&self) {
        if self.state.notify() {
            event::eventfd_add(&self.event);
        }
    }
}

impl State {
    fn fall_asleep(&self) -> bool {
        let asleep = self
            .0
            .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        if asleep.is_err() {
            // A swap, not a store: it sees what came before *every* unpark that it uses up.
            self.0.swap(AWAKE, Ordering::AcqRel);
        }
        asleep.is_ok()
    }

    fn rise(&self) -> bool {
        self.0.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Whether the worker sleeps, and has to be rung up.
    fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use fiber_core::request::Interest;

    use super::*;

    fn rang(wake: &Wake) -> bool {
        event::is_ready(wake.fd(), Interest::Readable).expect("an eventfd can be polled")
    }

    #[test]
    fn an_unpark_of_an_awake_worker_makes_no_system_call_and_is_not_lost() {
        let wake = Wake::new(0).unwrap();
        wake.unpark();
        assert!(!rang(&wake));
        assert!(!wake.fall_asleep(), "the unpark ends the next wait");
        assert!(wake.fall_asleep(), "and only that one");
    }

    #[test]
    fn an_unpark_of_a_sleeping_worker_rings() {
        let wake = Wake::new(0).unwrap();
        assert!(wake.fall_asleep());
        wake.unpark();
        assert!(rang(&wake));
        assert!(wake.rise());
    }

    #[test]
    fn a_worker_that_rises_by_itself_was_not_unparked() {
        let wake = Wake::new(0).unwrap();
        assert!(wake.fall_asleep());
        assert!(!wake.rise());
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::{sync::Arc, thread};

    use super::*;

    /// Two threads each leave a message and unpark; the worker goes to sleep once.
    #[test]
    fn loom_no_unpark_is_lost_and_whoever_is_woken_sees_the_messages() {
        loom::model(|| {
            let state = Arc::new(State(AtomicU32::new(AWAKE)));
            let messages = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let senders = [0, 1].map(|index| {
                let (state, messages) = (Arc::clone(&state), Arc::clone(&messages));
                thread::spawn(move || {
                    messages[index].store(1, Ordering::Relaxed);
                    state.notify()
                })
            });
            let slept = state.fall_asleep();
            let seen = || -> u32 {
                let seen = messages
                    .iter()
                    .map(|message| message.load(Ordering::Relaxed));
                seen.sum()
            };
            let seen_awake = seen();
            let rang = senders.map(|sender| sender.join().unwrap());
            let rang = rang.into_iter().filter(|&rang| rang).count();
            if slept {
                assert_eq!(rang, 1, "a sleeper is rung up, once");
                assert!(state.rise());
                assert_eq!(seen(), 2);
            } else {
                assert_eq!(rang, 0, "nobody rings for who is awake");
                let again = !state.fall_asleep();
                assert!(
                    seen_awake == 2 || again,
                    "what was not seen ends the next wait"
                );
            }
        });
    }
}
