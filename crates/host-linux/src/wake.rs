//! How another thread ends a port's wait: an eventfd behind a state that makes it rare; or the
//! state itself, where the kernel has nothing of the port's that could end the wait: a thread waits
//! for a word of memory, and is woken, at half the price of an eventfd's.
//!
//! ```text
//!            fall_asleep                unpark
//!   Awake ──────────────▶ Asleep ──────────────────▶ Notified   and one write to the eventfd
//!     │ ▲       doze                    unpark
//!     ├─│───────────────▶ Dozing ──────────────────▶ Notified   and one call for the word
//!     │ └──── rise ─────────┴────────── rise ───────────┘
//!     └───────── unpark ──────────▶ Notified   no system call; the next of both is refused
//! ```
//!
//! | who | may do |
//! |---|---|
//! | any thread, `unpark` | anything → Notified |
//! | the worker, `fall_asleep` and `doze` | Awake → Asleep or Dozing, Notified → Awake |
//! | the worker, `rise` | anything → Awake |

use core::{ptr, time::Duration};

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU32, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};

use fiber_core::env::Unpark;

use crate::sys::{self, event, futex};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const NOTIFIED: u32 = 2;
const DOZING: u32 = 3;

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
        self.state.leave(ASLEEP)
    }

    /// Waits for an unpark, for so long at the most, and without the eventfd; whether one came.
    pub(crate) fn doze(&self, limit: Option<Duration>) -> bool {
        if !self.state.leave(DOZING) {
            return true;
        }
        futex::wait(self.state.word(), DOZING, limit);
        self.state.rise()
    }

    /// Ends the wait; whether an unpark came meanwhile.
    pub(crate) fn rise(&self) -> bool {
        self.state.rise()
    }
}

impl Unpark for Wake {
    fn unpark(&self) {
        match self.state.notify() {
            ASLEEP => event::eventfd_add(&self.event),
            DOZING => futex::wake(self.state.word()),
            _ => {}
        }
    }
}

impl State {
    /// From awake to `state`; `false`, and awake, if an unpark came first.
    fn leave(&self, state: u32) -> bool {
        let left = self
            .0
            .compare_exchange(AWAKE, state, Ordering::AcqRel, Ordering::Acquire);
        if left.is_err() {
            // A swap, not a store: it sees what came before *every* unpark that it uses up.
            self.0.swap(AWAKE, Ordering::AcqRel);
        }
        left.is_ok()
    }

    fn rise(&self) -> bool {
        self.0.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// In what state the worker was: if it sleeps or dozes it has to be rung up.
    fn notify(&self) -> u32 {
        self.0.swap(NOTIFIED, Ordering::AcqRel)
    }

    fn word(&self) -> *const u32 {
        ptr::from_ref(&self.0).cast()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;

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
    fn one_who_dozes_is_woken_without_the_eventfd() {
        let wake = Wake::new(0).unwrap();
        wake.unpark();
        assert!(wake.doze(None), "the unpark was before");
        assert!(!wake.doze(Some(Duration::from_micros(1))), "nobody did it");
        thread::scope(|scope| {
            scope.spawn(|| wake.unpark());
            assert!(wake.doze(None));
        });
        assert!(!rang(&wake));
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
                    state.notify() == ASLEEP
                })
            });
            let slept = state.leave(ASLEEP);
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
                let again = !state.leave(ASLEEP);
                assert!(
                    seen_awake == 2 || again,
                    "what was not seen ends the next wait"
                );
            }
        });
    }
}
