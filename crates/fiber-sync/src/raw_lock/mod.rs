//! A lock without a value: one word, a list, and who holds it.
//!
//! First come, first served, but for a window. A holder that unlocks while others wait leaves the
//! lock free and wakes the one that waits longest, which looks again; until it does, whoever comes
//! may take the lock and so pass it by. The window closes when the one that was woken has looked
//! and found the lock taken, or when `PASSES_MAX` have passed; the next unlock then hands the lock
//! over: the waiter owns it before it runs. So the lock does not stand idle until a worker gets
//! round to its next owner, and nobody starves.
//!
//! A waiter of the holder's own worker cannot run before the holder is switched out. So the holder
//! only owes it the wake ([`Debt`]): if it has taken the lock again by then, that one sleeps on as
//! if the window had not been open. A waiter is owed its wake `DEBTS_MAX` times, and then handed
//! the lock. Each time the count of those who pass it by begins anew: its own worker is busy with
//! the holder all that time.
//!
//! ```text
//!         lock                  another one waits
//! FREE ──────────▶ LOCKED ◀─────────────────────▶ LOCKED | WAITERS ◀──┐ unlock, if the window has
//!  ▲ ◀──────────────┘ unlock    the last one left      │   ▲    │     │ closed: the longest-
//!  │                                                   │   │    └─────┘ waiting one has it now
//!  │            unlock: wakes the longest-waiting one  ▼   │ lock, by that one or by others, who
//!  └─────────────────────────────────────────  WAITERS | n·PASS        pass it by: n counts them
//!                    it has given up, nobody else waits
//! ```
//!
//! | bits | set | cleared |
//! |---|---|---|
//! | `LOCKED` | by the one that gets the lock, while it is free | by its holder |
//! | `WAITERS` | under the list's lock, before a node is linked | under the list's lock |
//! | `PASS` | counted up by holders as they unlock, from 1 on without the list's lock | under it |
//!
//! But who owes the wake clears `PASS` without the list's lock, by the exchange that locks.
//!
//! What holds under the list's lock: if somebody waits, `WAITERS` is set, and the lock is held, or
//! the first one was woken, or is owed that, and has not looked since. Whoever leaves the first
//! place without the lock sees to the one behind it. While the lock is held and nobody has passed,
//! only the holder and those who have the list's lock change the word; a holder that sees no
//! `WAITERS` releases with one compare-and-swap, which fails if a waiter comes in between (I-2).
//!
//! Waiters that are perhaps arms of a choice, or have a limit of time, are not woken to look again:
//! the lock is handed over to them. It has its new holder's name on it then, before that one runs:
//! a fiber that never does, since its process was abandoned meanwhile, is known to have it.

mod operation;

use core::{pin::Pin, ptr};

use fiber_core::{
    operation::{
        Debt, Holder, HolderCell, Match, Published, Resource, WaitCell, WaitList, WaitNode,
        forgive_debt, is_owed,
    },
    spin::SpinLock,
};

use self::operation::Request;
pub(crate) use self::operation::{Acquire, Patience};
use crate::primitive::{AtomicU32, Ordering, const_unless_loom};

const FREE: u32 = 0;
const LOCKED: u32 = 1;
const WAITERS: u32 = 2;
const PASS: u32 = 4;

/// How many times the lock may be taken by others while the one that was woken has not looked yet.
const PASSES_MAX: u32 = 16;
const CLOSED: u32 = PASSES_MAX * PASS;

/// How many times the wake of a waiter is put off, at the most.
const DEBTS_MAX: u32 = 4;

#[derive(Debug)]
pub(crate) struct RawLock {
    state: AtomicU32,
    holder: HolderCell,
    waiting: SpinLock<WaitList>,
}

impl RawLock {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                state: AtomicU32::new(FREE),
                holder: HolderCell::new(),
                waiting: SpinLock::new(WaitList::new()),
            }
        }
    }

    /// To be set by whoever has got the lock.
    #[inline]
    pub(crate) const fn holder(&self) -> &HolderCell {
        &self.holder
    }

    #[inline]
    pub(crate) fn try_lock(&self) -> bool {
        let locked =
            self.state
                .compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed);
        match locked {
            Ok(_) => true,
            Err(state) => state & LOCKED == 0 && self.pass_by(state),
        }
    }

    /// Takes the lock, if it is free, while somebody has been woken for it, or is owed that.
    #[cold]
    fn pass_by(&self, mut state: u32) -> bool {
        let owed = is_owed(self);
        while state & LOCKED == 0 {
            // One who was not woken has not been passed by.
            let to = match owed {
                true => LOCKED | WAITERS,
                false => state | LOCKED,
            };
            let locked =
                self.state
                    .compare_exchange(state, to, Ordering::Acquire, Ordering::Relaxed);
            match locked {
                Ok(_) => {
                    if owed {
                        forgive_debt(self);
                    }
                    return true;
                }
                Err(now) => state = now,
            }
        }
        false
    }

    /// Releases the lock, or hands it over. Called by its holder. Never waits.
    #[inline]
    pub(crate) fn unlock(&self) {
        // Before it is let go: nobody is to see a holder that holds nothing.
        self.holder.clear();
        let released =
            self.state
                .compare_exchange(LOCKED, FREE, Ordering::Release, Ordering::Relaxed);
        if released.is_err() {
            self.unlock_awaited();
        }
    }

    #[cold]
    fn unlock_awaited(&self) {
        let mut state = self.state.load(Ordering::Relaxed);
        while (PASS..CLOSED).contains(&(state & !(LOCKED | WAITERS))) {
            // The first one is awake and will look; we have passed it by.
            let passed = (state & !LOCKED) + PASS;
            let released =
                self.state
                    .compare_exchange(state, passed, Ordering::Release, Ordering::Relaxed);
            match released {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.pass_on(&mut self.waiting.lock());
    }

    /// Lets go of the lock in favour of the one that waits longest. For one that has the lock.
    fn pass_on(&self, waiting: &mut WaitList) {
        let state = self.state.load(Ordering::Relaxed);
        match waiting.first_value() {
            None => self.state.store(FREE, Ordering::Release),
            Some(value) if state < PASS && looks_again(value) => self.let_pass(waiting, value),
            Some(_) => self.hand_over(waiting),
        }
    }

    /// Lets go of the lock, and has the one that waits longest, whose node has this value, look.
    fn let_pass(&self, waiting: &mut WaitList, value: *mut ()) {
        // SAFETY: it is linked, and the list's lock is held (I-12).
        let debts = unsafe { &Request::of(value).debts };
        if debts.get() == DEBTS_MAX {
            return self.hand_over(waiting);
        }
        self.state.store(WAITERS | PASS, Ordering::Release);
        // SAFETY: who waits here borrows the lock until it has run (I-12).
        if unsafe { waiting.owe_first(self) } {
            debts.set(debts.get() + 1);
        } else {
            waiting.nudge_first();
        }
    }

    fn hand_over(&self, waiting: &mut WaitList) {
        // First, so that the new holder comes for the list's lock when it unlocks.
        self.state.store(LOCKED | WAITERS, Ordering::Relaxed);
        let Match::Partner(next) = waiting.find(None) else {
            // All who are linked have given up, and will unlink themselves.
            self.state.store(FREE, Ordering::Release);
            return;
        };
        // SAFETY: it was found just now, and is committed below (I-12).
        let site = unsafe { Request::of(next.value()) }.site;
        self.holder.set_to(next.holder(site));
        // What the holder wrote is passed on through the cell, not through the word.
        next.commit(0);
        if waiting.is_empty() {
            self.state.store(LOCKED, Ordering::Relaxed);
        }
    }

    /// Takes the lock for the performer of `cell`, or links it.
    ///
    /// # Safety
    /// `node` is not linked, and it, `cell` and `request` stay in place until [`RawLock::retract`]
    /// (I-12).
    unsafe fn publish(
        &self,
        node: Pin<&WaitNode>,
        cell: &WaitCell,
        base: u16,
        request: &Request,
    ) -> Published {
        let mut waiting = self.waiting.lock();
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 {
                let Some(own) = cell.claim_own() else {
                    return Published::Waiting;
                };
                if self.try_lock() {
                    own.settle(base);
                    return Published::Committed(0);
                }
            } else if self.change(state, state | WAITERS, Ordering::Relaxed) {
                let value = ptr::from_ref(request).cast_mut().cast();
                // SAFETY: under the list's lock; the rest is the caller's promise (I-12).
                unsafe { waiting.push(node, cell, base, value) };
                return Published::Waiting;
            }
        }
    }

    /// Takes the lock for the performer of `cell`, which was woken, or closes the window.
    fn look_again(&self, node: &WaitNode, cell: &WaitCell, base: u16) -> Published {
        let mut waiting = self.waiting.lock();
        if !waiting.is_first(node) {
            return Published::Waiting;
        }
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 {
                let Some(own) = cell.claim_own() else {
                    return Published::Waiting;
                };
                if self.pass_by(state) {
                    waiting.remove(node);
                    let waiters = if waiting.is_empty() { 0 } else { WAITERS };
                    self.state.store(LOCKED | waiters, Ordering::Relaxed);
                    own.settle(base);
                    return Published::Committed(0);
                }
            } else if state < PASS
                || self.change(state, LOCKED | WAITERS | CLOSED, Ordering::Relaxed)
            {
                return Published::Waiting;
            }
        }
    }

    /// Unlinks a waiter that has given up. It may have been woken: then the next one is.
    fn retract(&self, node: &WaitNode) {
        self.unlink(node, &mut self.waiting.lock());
    }

    /// Settles the performer of `cell`, which will not get the lock, and unlinks it; false if it
    /// was settled by somebody else.
    #[cold]
    fn give_up(&self, node: &WaitNode, cell: &WaitCell, base: u16) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(own) = cell.claim_own() else {
            return false;
        };
        // Before others are looked at, whose claims may have to be waited for.
        own.settle(base);
        self.unlink(node, &mut waiting);
        true
    }

    fn unlink(&self, node: &WaitNode, waiting: &mut WaitList) {
        let was_first = waiting.is_first(node);
        waiting.remove(node);
        if waiting.is_empty() {
            self.state.fetch_and(LOCKED, Ordering::Relaxed);
            return;
        }
        if was_first {
            self.see_to_next(waiting);
        }
    }

    /// The one that was the first has gone, and perhaps it had been woken.
    fn see_to_next(&self, waiting: &mut WaitList) {
        let looks_again = waiting.first_value().is_some_and(looks_again);
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 && looks_again {
                return waiting.nudge_first();
            }
            // If it is held, the next unlock wakes the one that is the first now.
            if self.change(state, LOCKED | WAITERS, Ordering::Acquire) {
                if state & LOCKED == 0 {
                    self.hand_over(waiting);
                }
                return;
            }
        }
    }

    fn change(&self, state: u32, to: u32, success: Ordering) -> bool {
        self.state
            .compare_exchange(state, to, success, Ordering::Relaxed)
            .is_ok()
    }
}

impl Debt for RawLock {
    fn pay(&self) {
        let mut waiting = self.waiting.lock();
        // Else the lock was handed over meanwhile.
        if self.state.load(Ordering::Relaxed) >= PASS {
            waiting.nudge_first();
        }
    }
}

impl Resource for RawLock {
    fn kind(&self) -> &'static str {
        "a mutex"
    }

    fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        self.holder.get().into_iter().for_each(tell);
    }
}

/// Whether the one whose node has this value is woken to look again. Under the list's lock, for a
/// node that is linked.
fn looks_again(value: *mut ()) -> bool {
    // SAFETY: it is linked, and the list's lock is held (I-12).
    unsafe { Request::of(value) }.patience == Patience::LooksAgain
}
