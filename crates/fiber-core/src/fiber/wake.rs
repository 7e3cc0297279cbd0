//! Parking and waking one fiber.
//!
//! ```text
//!            park (home worker)           wake (anyone)
//! AWAKE ───────────────────────▶ PARKED ───────────────▶ NOTIFIED + queued at home
//!   │  wake                        ▲ only from AWAKE
//!   ▼                              │
//! NOTIFIED ── park returns at once, AWAKE again
//! ```
//!
//! A fiber that is woken between announcing `PARKED` and switching out cannot be resumed too
//! early: only its home worker resumes it (I-11), and that worker is busy switching it out.

use alloc::sync::Arc;
use core::{hint, ptr::NonNull};

use crate::primitive::{AtomicU32, Ordering};

use super::{header::Header, runnable::Runnable};

const AWAKE: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// Where a worker's fibers are made ready from other threads. Implemented by the scheduler.
///
/// # Safety
/// A fiber that was pushed is resumed by this worker, exactly once a push. Implementors stay alive
/// during `push` even if the fiber finishes, and the runtime with it, before `push` returns.
pub unsafe trait Inbox: Send + Sync {
    /// Makes a parked fiber of this worker ready. Wait-free but for waking the worker if it
    /// sleeps. *Thread*: any.
    fn push(&self, fiber: Runnable);

    /// A fiber of this world was abandoned: has the worker call [`Context::look_for_lost`] soon.
    /// *Thread*: any.
    ///
    /// [`Context::look_for_lost`]: crate::Context::look_for_lost
    fn fiber_lost(&self) {}
}

/// What the fibers of a worker know of it, wherever they are woken: one word each.
pub(crate) struct Home {
    pub(super) inbox: NonNull<dyn Inbox>,
}

impl Home {
    /// Of the worker behind this inbox, which lives as long as this.
    pub(crate) fn new(inbox: &Arc<dyn Inbox>) -> Self {
        Self {
            inbox: NonNull::from_ref(&**inbox),
        }
    }
}

/// The word that says whether a fiber is parked.
#[derive(Debug)]
pub(crate) struct WakeWord(AtomicU32);

impl WakeWord {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(AWAKE))
    }

    /// Announces that the fiber is about to switch out; false if it was notified meanwhile, which
    /// this call consumes.
    #[inline]
    pub(crate) fn announce_park(&self) -> bool {
        let parked = self
            .0
            .compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !parked {
            self.resumed();
        }
        parked
    }

    /// The fiber runs again and is about to look at its condition.
    #[inline]
    pub(crate) fn resumed(&self) {
        // A swap, not a store: it must read the notification that it consumes, so that what the
        // waker wrote before is visible.
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// Leaves a notification; true if the caller must queue the fiber at its home.
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, Ordering::AcqRel) == PARKED
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == PARKED
    }
}

impl Header {
    /// Has the processor fetch what a wake looks at first.
    #[inline]
    pub(crate) fn look_at(&self) {
        hint::black_box(self.wake_word().is_parked());
    }

    /// Makes the fiber look at its condition again: queues it if it is parked.
    ///
    /// The block is alive: the caller holds a handle, or the fiber is inside a wait that it cannot
    /// leave before this call is over.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.wake_word().notify() {
            // Exactly one caller gets here per park, and the fiber stays suspended until the push.
            self.queue_at_home();
        }
    }
}
