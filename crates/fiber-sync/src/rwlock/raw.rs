//! The lock without its value: who holds it, who waits, under a lock of a few instructions.
//!
//! One queue for readers and writers, in the order in which they came. Whoever comes while others
//! wait stands behind them, so that a writer is held up only by those who came before it, and so is
//! a reader. Locks are handed over: whoever is served has the lock before it runs.

use core::{cell::Cell, panic::Location, pin::Pin, ptr};

use fiber_core::{
    operation::{Holder, Match, Published, Resource, WaitCell, WaitList, WaitNode},
    spin::SpinLock,
};

use crate::{
    holders::{Holders, Place, Places},
    primitive::const_unless_loom,
};

/// As what one holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// With other readers.
    Read,
    /// Alone.
    Write,
}

/// What one who waits wants; in its frame, and pointed to by the value of its node.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) access: Access,
    /// Whether it leaves the queue only with the lock, or when it is cancelled.
    pub(super) stays: bool,
    /// Where it is wanted.
    pub(super) site: &'static Location<'static>,
    /// Written by whoever serves it.
    pub(super) place: Cell<Place>,
}

/// One who wants the lock, and its place in the queue; in its frame.
///
/// Whom it waits for is asked as things stand: those before it may leave, and one of them may have
/// the lock by then.
#[derive(Debug)]
pub(super) struct Candidate<'lock> {
    pub(super) lock: &'lock RawRwLock,
    pub(super) request: Request,
    pub(super) node: WaitNode,
}

impl<'lock> Candidate<'lock> {
    pub(super) const fn new(
        lock: &'lock RawRwLock,
        access: Access,
        site: &'static Location<'static>,
        stays: bool,
    ) -> Self {
        Self {
            lock,
            request: Request {
                access,
                stays,
                site,
                place: Cell::new(Place::NONE),
            },
            node: WaitNode::new(),
        }
    }
}

// SAFETY: others reach it as a `Resource` only, which looks for the node under the lock of the list
// and changes nothing (I-12).
unsafe impl Sync for Candidate<'_> {}

impl Resource for Candidate<'_> {
    fn kind(&self) -> &'static str {
        "a read-write lock"
    }

    fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        let access = self.request.access;
        self.lock.holders_before(&self.node, access, tell);
    }

    /// Readers leave room for readers: a writer that waits before this one may give up yet.
    fn obstacles(&self, tell: &mut dyn FnMut(Holder)) {
        self.lock.obstacles(self.request.access, tell);
    }
}

#[derive(Debug)]
pub(super) struct RawRwLock {
    state: SpinLock<State>,
    holders: Holders,
}

#[derive(Debug)]
struct State {
    held: Held,
    waiting: WaitList,
    /// How many writers wait that stay: nobody behind them is served before they are.
    staying_writers: usize,
}

#[derive(Debug)]
struct Held {
    writer: bool,
    readers: usize,
    places: Places,
}

impl RawRwLock {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self {
                state: SpinLock::new(State {
                    held: Held {
                        writer: false,
                        readers: 0,
                        places: Places::new(),
                    },
                    waiting: WaitList::new(),
                    staying_writers: 0,
                }),
                holders: Holders::new(),
            }
        }
    }

    pub(super) fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        self.holders.each(tell);
    }

    /// Tells of those who keep one from the lock that wants it for `access`.
    pub(super) fn obstacles(&self, access: Access, tell: &mut dyn FnMut(Holder)) {
        let has_room = self.state.lock().held.has_room(access);
        if !has_room {
            self.holders.each(tell);
        }
    }

    /// The one in this place.
    pub(super) fn holder(&self, place: Place) -> Option<Holder> {
        self.holders.get(place)
    }

    /// Notes the caller, which has got the lock.
    #[inline]
    pub(super) fn note(&self, place: Place, site: &'static Location<'static>) {
        self.holders.set(place, site);
    }

    #[inline]
    pub(super) fn try_lock(&self, access: Access) -> Option<Place> {
        self.state.lock().take(access)
    }

    /// Releases what one holder has, and serves those who wait.
    #[inline]
    pub(super) fn unlock(&self, place: Place) {
        self.holders.clear(place);
        let mut state = self.state.lock();
        state.held.release(place);
        state.serve(&self.holders);
    }

    /// The writer becomes a reader, and those who wait to read do, too.
    pub(super) fn downgrade(&self) {
        let mut state = self.state.lock();
        state.held.writer = false;
        state.held.readers = 1;
        state.serve(&self.holders);
    }

    /// Tells of those who keep one that waits with `node` from the lock. A reader that stands
    /// behind nobody but writers that may leave waits for no reader: it is served when they have.
    fn holders_before(&self, node: &WaitNode, access: Access, tell: &mut dyn FnMut(Holder)) {
        let state = self.state.lock();
        let depends = access == Access::Write
            || state.held.writer
            || (state.staying_writers > 0
                && state.waiting.any_stays_before(node, |value| {
                    // SAFETY: the list calls with linked nodes, and its lock is held (I-12).
                    unsafe { Request::of(value) }.is_staying_writer()
                }));
        drop(state);
        if depends {
            self.holders.each(tell);
        }
    }

    /// Takes the lock for the performer of `cell`, or links it.
    ///
    /// # Safety
    /// `node` is not linked, and it, `request` and `cell` stay in place until
    /// [`RawRwLock::retract`] (I-12).
    pub(super) unsafe fn publish(
        &self,
        node: Pin<&WaitNode>,
        request: &Request,
        cell: &WaitCell,
        base: u16,
    ) -> Published {
        let mut state = self.state.lock();
        let Some(own) = cell.claim_own() else {
            return Published::Waiting;
        };
        if let Some(place) = state.take(request.access) {
            request.place.set(place);
            self.note(place, request.site);
            own.settle(base);
            return Published::Committed(0);
        }
        drop(own);
        state.staying_writers += usize::from(request.is_staying_writer());
        let value = ptr::from_ref(request).cast_mut().cast();
        // SAFETY: under the lock; the rest is the caller's promise (I-12).
        unsafe { state.waiting.push(node, cell, base, value) };
        Published::Waiting
    }

    /// Unlinks a waiter that has given up, and serves those whom it has held back.
    pub(super) fn retract(&self, node: &WaitNode, request: &Request) {
        let mut state = self.state.lock();
        state.unlink(node, request, &self.holders);
    }

    /// Settles the performer of `cell`, which will not get the lock, and unlinks it; false if it
    /// was settled by somebody else.
    #[cold]
    pub(super) fn give_up(
        &self,
        node: &WaitNode,
        request: &Request,
        cell: &WaitCell,
        base: u16,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(own) = cell.claim_own() else {
            return false;
        };
        // Before others are looked at, whose claims may have to be waited for.
        own.settle(base);
        state.unlink(node, request, &self.holders);
        true
    }
}

impl Request {
    fn is_staying_writer(&self) -> bool {
        self.stays && self.access == Access::Write
    }

    /// The request that a node's value points to.
    ///
    /// # Safety
    /// The node is linked, in a list whose lock the caller holds, or was found there and is not
    /// committed yet (I-12).
    unsafe fn of<'request>(value: *mut ()) -> &'request Self {
        // SAFETY: it stays in place as long as the node does, by the caller's promise (I-12).
        unsafe { &*value.cast_const().cast() }
    }
}

impl State {
    /// Takes the lock for one that has just come, and so comes after those who wait.
    fn take(&mut self, access: Access) -> Option<Place> {
        (self.waiting.is_empty() && self.held.has_room(access)).then(|| self.held.add(access))
    }

    /// Unlinks one that has given up, and serves those whom it has held back.
    fn unlink(&mut self, node: &WaitNode, request: &Request, holders: &Holders) {
        if node.is_linked() {
            self.waiting.remove(node);
            self.staying_writers -= usize::from(request.is_staying_writer());
            self.serve(holders);
        }
    }

    /// Serves those who wait, in order, up to the first for whom there is no room. They are noted
    /// before they know: one may never run again, since its process was abandoned meanwhile.
    fn serve(&mut self, holders: &Holders) {
        let held = &mut self.held;
        while let Match::Partner(waiter) = self.waiting.find_while(None, |value| {
            // SAFETY: the list calls with linked nodes, and its lock is held (I-12).
            held.has_room(unsafe { Request::of(value) }.access)
        }) {
            // SAFETY: it was found just now, and is committed below (I-12).
            let request = unsafe { Request::of(waiter.value()) };
            let place = held.add(request.access);
            request.place.set(place);
            holders.set_to(place, waiter.holder(request.site));
            self.staying_writers -= usize::from(request.is_staying_writer());
            waiter.commit(0);
        }
    }
}

impl Held {
    const fn has_room(&self, access: Access) -> bool {
        match access {
            Access::Read => !self.writer,
            Access::Write => !self.writer && self.readers == 0,
        }
    }

    const fn add(&mut self, access: Access) -> Place {
        match access {
            Access::Read => self.readers += 1,
            Access::Write => self.writer = true,
        }
        self.places.take()
    }

    fn release(&mut self, place: Place) {
        if self.writer {
            self.writer = false;
        } else {
            self.readers -= 1;
        }
        self.places.give_back(place);
    }
}
