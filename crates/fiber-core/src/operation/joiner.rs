//! Who joins a fiber, noted with it until it waits for others itself.
//!
//! A fiber that has never waited for a holder is in no circle, and nor is who joins it. So its
//! joiner's edge is not entered into the graph of waits: it is left here, and the fiber enters it
//! if it comes to wait itself.
//!
//! ```text
//! CLOSED ── launched: open ──▶ NOBODY
//! NOBODY ── joined: hold_back ──▶ edge ── waits for a lock, or is found by one who does: take ─┐
//!    │                              └── its joiner gives up: take_back ──────────────────────┐ │
//!    └── waits itself, for whatever: close ─────────────────────────────────────────────▶ CLOSED
//! ```
//!
//! | step | by whom |
//! |---|---|
//! | `open` | who names it, before it can wait |
//! | `hold_back`, `take_back` | the one who joins, or the worker that parks it without a stack |
//! | `close` | the fiber itself, before its own edge is held back |
//! | `take` | who enters its edge, with the graph's lock: its own, and of those that it takes |
//!
//! `NOBODY` says whose graph it is: a joiner of another world uses another one, under another lock,
//! and nothing of it is ever left here.
//!
//! `NOBODY` never comes back. So what was held back was so before its fiber's own edge was, and a
//! circle is never held back as a whole: each of its edges would have been before the next one.
//! Its last edge is entered, then, and brings with it all that led to it.
//!
//! Who is told that its edge was taken leaves the graph by the lock, and waits there for the one
//! who has taken it. Once the fiber has ended nobody takes what is left here: it took none itself
//! then, and whoever has taken its own edge has done so before that left the graph.

use core::{fmt, ptr};

use super::graph::{Edge, WaitGraph};
use crate::primitive::{AtomicPtr, Ordering};

/// No edge, nor will there be one: no edge is at an odd address.
const CLOSED: *mut Edge = ptr::without_provenance_mut(1);

/// No edge yet; there may be one of this graph. An odd address, too.
#[inline]
fn nobody(graph: &WaitGraph) -> *mut Edge {
    ptr::without_provenance_mut(ptr::from_ref(graph).addr() | 1)
}

#[inline]
fn is_edge(left: *mut Edge) -> bool {
    left.addr() & 1 == 0
}

/// The edge of who joins a fiber that has not waited.
pub(crate) struct Joiner(AtomicPtr<Edge>);

impl Joiner {
    /// That of a fiber whose world is not known yet.
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(CLOSED))
    }

    /// Its fiber is one of the world of `graph`, and has not waited.
    #[inline]
    pub(crate) fn open(&self, graph: &WaitGraph) {
        self.0.store(nobody(graph), Ordering::Relaxed);
    }

    /// Leaves `edge` here, which is of `graph`; false if its fiber waits, or has waited, or is of
    /// another world: then it is to be entered.
    #[inline]
    pub(super) fn hold_back(&self, edge: &Edge, graph: &WaitGraph) -> bool {
        let edge = ptr::from_ref(edge).cast_mut();
        let held =
            self.0
                .compare_exchange(nobody(graph), edge, Ordering::AcqRel, Ordering::Relaxed);
        held.is_ok()
    }

    /// Takes `edge` back; false if it is not here, or not any more. `is_over`: its fiber is known
    /// to have ended.
    #[inline]
    pub(super) fn take_back(&self, edge: &Edge, is_over: bool) -> bool {
        let edge = ptr::from_ref(edge).cast_mut();
        if is_over {
            let is_here = self.0.load(Ordering::Acquire) == edge;
            if is_here {
                // Nobody takes it. But another edge may come to its address, which is entered: that
                // one is not to be found here.
                self.0.store(CLOSED, Ordering::Relaxed);
            }
            return is_here;
        }
        let taken = self
            .0
            .compare_exchange(edge, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        taken.is_ok()
    }

    /// From here on nobody leaves an edge here: its fiber is about to.
    #[inline]
    pub(super) fn close(&self) {
        let left = self.0.load(Ordering::Acquire);
        if !is_edge(left) && left != CLOSED {
            // If somebody was faster, that one's edge is the last.
            let _ = self
                .0
                .compare_exchange(left, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// [`Joiner::close`] by one who has the graph's lock, and is about to enter an edge: gives the
    /// one that was left here, or null.
    #[inline]
    pub(super) fn take(&self) -> *const Edge {
        if self.0.load(Ordering::Relaxed) == CLOSED {
            return ptr::null();
        }
        let left = self.0.swap(CLOSED, Ordering::AcqRel);
        if is_edge(left) { left } else { ptr::null() }
    }
}

impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joiner").finish_non_exhaustive()
    }
}
