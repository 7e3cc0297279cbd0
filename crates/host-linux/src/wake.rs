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

use core::sync::atomic::{AtomicU32, Ordering};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use fiber_core::env::Unpark;

use crate::sys::{self, event};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const NOTIFIED: u32 = 2;

/// A worker's alarm clock. It owns its eventfd, so an unpark after the port's end is harmless.
#[derive(Debug)]
pub(crate) struct Wake {
    state: AtomicU32,
    event: OwnedFd,
}

impl Wake {
    pub(crate) fn new(flags: libc::c_int) -> sys::Result<Self> {
        Ok(Self {
            state: AtomicU32::new(AWAKE),
            event: event::eventfd(flags)?,
        })
    }

    /// Becomes readable when somebody unparks a sleeper.
    pub(crate) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Announces a wait; `false`, and no wait, if an unpark came first.
    pub(crate) fn fall_asleep(&self) -> bool {
        let asleep =
            self.state
                .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        if asleep.is_err() {
            self.state.store(AWAKE, Ordering::Relaxed);
        }
        asleep.is_ok()
    }

    /// Ends the wait; whether an unpark came meanwhile.
    pub(crate) fn rise(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }
}

impl Unpark for Wake {
    fn unpark(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP {
            event::eventfd_add(&self.event);
        }
    }
}

#[cfg(test)]
mod tests {
    use fiber_core::request::Interest;

    use super::*;

    fn rang(wake: &Wake) -> bool {
        event::is_ready(wake.fd(), Interest::Readable).unwrap()
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
