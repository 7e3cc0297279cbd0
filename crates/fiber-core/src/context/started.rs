//! The fibers that have started on a worker and not ended, and those that wait there without a
//! stack: a list, newest first.

use alloc::vec::Vec;
use core::{iter, panic::Location, ptr};

use super::{Context, Id};
use crate::{
    fiber::{Fiber, Header, Links, Reason},
    operation::{StoredWaits, Waits},
    park::Raised,
};

/// One started fiber, for reports.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FiberReport<'a> {
    /// Its id.
    pub id: Option<Id>,
    /// Its name.
    pub name: Option<&'a str>,
    /// Its process; `None` if that is the runtime's first one.
    pub process: Option<Id>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for.
    pub waiting_for: &'static str,
    /// Who could end that and where it waits, if that is known.
    pub waits: Option<Waits<'a>>,
    /// Whether that wait is over in time by itself.
    pub is_limited: bool,
    /// Whether it is parked, rather than ready.
    pub is_parked: bool,
}

impl Context {
    pub(crate) fn link(&self, links: &Links, header: &Header) {
        let first = self.started.replace(links);
        links.fiber.set(header);
        links.next.set(first);
        links.prev.set(ptr::null());
        if let Some(first) = reach(first) {
            first.prev.set(links);
        }
        self.started_count.set(self.started_count.get() + 1);
    }

    pub(crate) fn unlink(&self, links: &Links) {
        let (prev, next) = (links.prev.get(), links.next.get());
        match reach(prev) {
            None => self.started.set(next),
            Some(prev) => prev.next.set(next),
        }
        if let Some(next) = reach(next) {
            next.prev.set(prev);
        }
        self.started_count.set(self.started_count.get() - 1);
    }

    /// How many fibers have started here and not ended.
    pub fn started(&self) -> usize {
        self.started_count.get()
    }

    /// Cancels every fiber that has started here and not ended, because the run is over.
    pub fn cancel_all(&self, reason: &Reason) {
        self.each_started(|header| {
            if !header.outlives() {
                header.cancel(reason.clone());
            }
        });
    }

    /// Wakes those who may have to unwind and could not, see [`Context::pending`].
    pub(super) fn wake_interrupted(&self) {
        if self.env().is_unwinding() {
            return;
        }
        self.deferred.set(false);
        self.later.set(false);
        self.each_started(|header| {
            if header.interrupt().is_some() {
                header.wake();
            }
        });
    }

    pub(crate) fn defer_interrupts(&self) {
        self.deferred.set(true);
        self.later.set(true);
    }

    /// Tells about every fiber that has started here and not ended, newest first. Nothing in
    /// `tell` may suspend.
    pub fn report(&self, mut tell: impl FnMut(FiberReport<'_>)) {
        // Another fiber's end would take the list apart under us.
        let _guard = Raised::new(self.no_suspend_depth());
        self.each_started(|header| {
            tell(header.report());
        });
    }

    /// Handles of fibers that are ready here for the first time: at most `max`.
    pub fn unstarted(&self, max: usize) -> Vec<Fiber> {
        let mut unstarted = Vec::new();
        for queues in [&self.branches, &self.ready] {
            queues.borrow().each(|fiber| {
                if !fiber.has_home() && unstarted.len() < max {
                    unstarted.push(fiber.clone());
                }
            });
        }
        unstarted
    }

    pub(super) fn each_started(&self, visit: impl FnMut(&Header)) {
        self.started_fibers().for_each(visit);
    }

    /// Newest first. Whoever is given out may be taken out of the list meanwhile.
    pub(super) fn started_fibers(&self) -> impl Iterator<Item = &Header> {
        let links = iter::successors(reach(self.started.get()), |links| reach(links.next.get()));
        // SAFETY: the list holds fibers that have not ended, whose blocks the runtime's reference
        // keeps alive (I-3).
        links.map(|links| unsafe { &*links.fiber.get() })
    }
}

impl Header {
    fn noted_waits(&self) -> Option<StoredWaits> {
        // SAFETY: noted for as long as it is there, and this is the home worker (I-12).
        let noted = unsafe { self.waits().get().as_ref() };
        noted.copied().or_else(|| self.unstarted_waits())
    }

    pub(super) fn stored_waits(&self) -> Option<Waits<'_>> {
        let stored = self.noted_waits()?;
        // SAFETY: on the home worker, while the fiber is switched out inside of the wait that has
        // noted this (I-12).
        Some(unsafe { stored.get() })
    }

    pub(super) fn report(&self) -> FiberReport<'_> {
        FiberReport {
            id: self.id(),
            name: self.name_or_process(),
            process: self.process().and_then(|process| process.id()),
            spawned_at: self.spawned_at(),
            waiting_for: self.waiting_for(),
            waits: self.stored_waits(),
            is_limited: self.noted_waits().is_some_and(StoredWaits::is_limited),
            is_parked: self.wake_word().is_parked(),
        }
    }
}

fn reach<'a>(links: *const Links) -> Option<&'a Links> {
    // SAFETY: the list holds the links of fibers that have not ended, on their stacks or in their
    // blocks, and they are taken out before they are gone (I-3).
    unsafe { links.as_ref() }
}
