//! The lock without its value: one word and a list.
//!
//! ```text
//!         lock                  another one waits
//! FREE ──────────▶ LOCKED ◀─────────────────────▶ LOCKED | WAITERS
//!  ▲ ◀──────────────┘ unlock    the last one left      │  ▲
//!  │                                                   │  │ unlock: the longest-waiting one
//!  └───────────────────────────────────────────────────┘──┘         has it now
//!        unlock: those who waited have given up
//! ```
//!
//! | bit | set | cleared |
//! |---|---|---|
//! | `LOCKED` | by the one that gets the lock, from `FREE` | by its holder, unless it hands over |
//! | `WAITERS` | under the list's lock, before a node is linked | under the list's lock |
//!
//! A holder that sees no `WAITERS` releases with one compare-and-swap, which fails if a waiter
//! comes in between; then it takes the list's lock and meets that waiter there (I-2).

use core::pin::Pin;

use fiber_core::{
    operation::{Match, Published, WaitCell, WaitList, WaitNode},
    spin::SpinLock,
};

use crate::primitive::{AtomicU32, Ordering, const_unless_loom};

const FREE: u32 = 0;
const LOCKED: u32 = 1;
const WAITERS: u32 = 2;

#[derive(Debug)]
pub(super) struct RawLock {
    state: AtomicU32,
    waiting: SpinLock<WaitList>,
}

impl RawLock {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self {
                state: AtomicU32::new(FREE),
                waiting: SpinLock::new(WaitList::new()),
            }
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        self.state
            .compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Releases the lock, or hands it over. Called by its holder. Never waits.
    #[inline]
    pub(super) fn unlock(&self) {
        let released =
            self.state
                .compare_exchange(LOCKED, FREE, Ordering::Release, Ordering::Relaxed);
        if released.is_err() {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&self) {
        let mut waiting = self.waiting.lock();
        let Match::Partner(next) = waiting.find(None) else {
            self.state.store(FREE, Ordering::Release);
            return;
        };
        // What the holder wrote is passed on through the cell, not through the word.
        next.commit(0);
        if waiting.is_empty() {
            // Nobody changes the word meanwhile: the new holder sees `WAITERS` and comes for the
            // list's lock.
            self.state.store(LOCKED, Ordering::Relaxed);
        }
    }

    /// Takes the lock for the performer of `cell`, or links it.
    ///
    /// # Safety
    /// `node` is not linked, and it and `cell` stay in place until [`RawLock::retract`] (I-12).
    pub(super) unsafe fn publish(
        &self,
        node: Pin<&WaitNode>,
        cell: &WaitCell,
        base: u16,
    ) -> Published {
        let mut waiting = self.waiting.lock();
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state == FREE {
                let Some(own) = cell.claim_own() else {
                    return Published::Waiting;
                };
                if self.try_lock() {
                    own.settle(base);
                    return Published::Committed(0);
                }
            } else if self.announce(state) {
                // SAFETY: under the list's lock; the rest is the caller's promise (I-12).
                unsafe { waiting.push(node, cell, base, core::ptr::null_mut()) };
                return Published::Waiting;
            }
            state = self.state.load(Ordering::Relaxed);
        }
    }

    fn announce(&self, state: u32) -> bool {
        self.state
            .compare_exchange(state, state | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Unlinks a waiter that has given up.
    pub(super) fn retract(&self, node: &WaitNode) {
        let mut waiting = self.waiting.lock();
        waiting.remove(node);
        if waiting.is_empty() {
            self.state.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }
}
