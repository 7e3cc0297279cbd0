//! A queue from anybody to whoever waits: ended members, trapped exits, commands.
//!
//! What comes goes to the one that waits longest, or into the queue. Who pushes never waits, so the
//! bound is the pusher's to keep, and stated where there is one.

use alloc::collections::VecDeque;
use core::{cell::Cell, fmt, pin::Pin};

use fiber_core::{
    operation::{Match, Operation, Published, WaitCell, WaitList, WaitNode},
    spin::SpinLock,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Inbox<T>(SpinLock<State<T>>);

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    waiting: WaitList,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self(SpinLock::new(State {
            queue: VecDeque::new(),
            waiting: WaitList::new(),
        }))
    }

    /// Makes room for so many.
    pub(crate) fn reserve(&self, len: usize) {
        let mut state = self.0.lock();
        let missing = len.saturating_sub(state.queue.len());
        state.queue.reserve(missing);
    }

    pub(crate) fn push(&self, value: T) {
        // It is never refused.
        let _ = self.push_below(usize::MAX, value);
    }

    /// Gives the value back if `max` are in the queue.
    pub(crate) fn push_below(&self, max: usize, value: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if let Match::Partner(partner) = state.waiting.find(None) {
            let place = partner.value().cast::<Cell<Option<T>>>();
            // SAFETY: `publish` has left the place, which stays until `retract`, and the performer
            // does not look before it is settled (I-12).
            let place = unsafe { &*place };
            place.set(Some(value));
            partner.commit(0);
            return Ok(());
        }
        if state.queue.len() >= max {
            return Err(value);
        }
        state.queue.push_back(value);
        Ok(())
    }

    /// Takes those out of the queue that are not to be kept; they are dropped under the lock.
    pub(crate) fn retain(&self, keep: impl FnMut(&T) -> bool) {
        self.0.lock().queue.retain(keep);
    }

    pub(crate) fn try_take(&self) -> Option<T> {
        self.0.lock().queue.pop_front()
    }

    /// The operation that takes the next one.
    pub(crate) fn take_operation(&self, name: &'static str) -> TakeOperation<'_, T> {
        TakeOperation {
            inbox: self,
            name,
            place: Cell::new(None),
            node: WaitNode::new(),
        }
    }

    /// Waits for the next one to come to `place`.
    ///
    /// # Safety
    /// `place`, `node` and `cell` stay until `retract`.
    pub(crate) unsafe fn publish(
        &self,
        place: &Cell<Option<T>>,
        node: Pin<&WaitNode>,
        cell: &WaitCell,
        base: u16,
    ) -> Published {
        let mut state = self.0.lock();
        if state.queue.is_empty() {
            let place = core::ptr::from_ref(place).cast_mut().cast();
            // SAFETY: under the lock, and by the caller's promise (I-12).
            unsafe { state.waiting.push(node, cell, base, place) };
            return Published::Waiting;
        }
        let published = Published::own(cell, base);
        if let Published::Committed(_) = published {
            place.set(state.queue.pop_front());
        }
        published
    }

    /// Takes the lock also for a winner: whoever has committed it may still be inside.
    pub(crate) fn retract(&self, node: &WaitNode) {
        self.0.lock().waiting.remove(node);
    }
}

/// Takes the next one.
pub(crate) struct TakeOperation<'inbox, T> {
    inbox: &'inbox Inbox<T>,
    name: &'static str,
    place: Cell<Option<T>>,
    node: WaitNode,
}

// SAFETY: the queue is looked at under the lock under which nodes are linked (I-2), whoever pushes
// unlinks whom it serves, and `retract` unlinks under the lock, too (I-12).
unsafe impl<T> Operation for TakeOperation<'_, T> {
    type Output = T;

    fn name(&self) -> &'static str {
        self.name
    }

    fn try_now(&mut self) -> Option<u16> {
        let taken = self.inbox.try_take()?;
        self.place.set(Some(taken));
        Some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        // SAFETY: place, node and cell stay until `retract`, by the caller's promise (I-12).
        unsafe { this.inbox.publish(&this.place, node, cell, base) }
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {
        let this = self.into_ref().get_ref();
        this.inbox.retract(&this.node);
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> T {
        let taken = self.into_ref().get_ref().place.take();
        taken.expect("it was placed before the arm was committed")
    }
}

impl<T> fmt::Debug for TakeOperation<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeOperation").finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod models {
    extern crate std;

    use alloc::sync::Arc;
    use core::{
        ptr,
        sync::atomic::{AtomicU64, Ordering},
        time::Duration,
    };

    use fiber_core::{
        env::{Instant, ThreadHooks, Unpark},
        operation::perform,
    };
    use loom::thread;

    use super::*;

    static HOOKS: ThreadHooks = ThreadHooks {
        slot: ptr::null,
        set_slot: |_| {},
        park: |_| thread::park(),
        unparker: || Arc::new(Thread(thread::current())),
        relax: thread::yield_now,
        now,
        is_unwinding: std::thread::panicking,
        watch_panics: |_| {},
    };

    /// A clock on which the shortest time is over when it is looked at again.
    fn now() -> Instant {
        static NANOS: AtomicU64 = AtomicU64::new(0);
        Instant::from_nanos(NANOS.fetch_add(1, Ordering::Relaxed))
    }

    struct Thread(thread::Thread);

    impl Unpark for Thread {
        fn unpark(&self) {
            self.0.unpark();
        }
    }

    type Numbers = Arc<Inbox<u32>>;

    /// Runs `other` on another thread beside `body`.
    fn model(other: fn(&Inbox<u32>) -> u32, body: fn(&Inbox<u32>) -> u32, left: &'static [u32]) {
        HOOKS.install();
        loom::model(move || {
            let inbox: Numbers = Arc::new(Inbox::new());
            let there = Arc::clone(&inbox);
            let other = thread::spawn(move || other(&there));
            let mut seen = std::vec![body(&inbox), other.join().unwrap()];
            seen.extend(core::iter::from_fn(|| inbox.try_take()));
            seen.retain(|number| *number != 0);
            seen.sort_unstable();
            assert_eq!(seen, left, "each comes once, and nobody waits beside it");
        });
    }

    fn push_two(inbox: &Inbox<u32>) -> u32 {
        inbox.push(1);
        inbox.push(2);
        0
    }

    fn take(inbox: &Inbox<u32>) -> u32 {
        perform(inbox.take_operation("a number"))
    }

    #[test]
    fn loom_who_waits_gets_what_comes_in_order() {
        let take_two = |inbox: &Inbox<u32>| {
            assert_eq!((take(inbox), take(inbox)), (1, 2));
            0
        };
        model(push_two, take_two, &[]);
    }

    #[test]
    fn loom_a_wait_that_is_given_up_loses_nothing() {
        let give_up = |inbox: &Inbox<u32>| {
            let operation = inbox.take_operation("a number");
            let taken = operation.perform_timeout(Duration::from_nanos(1));
            taken.unwrap_or(0)
        };
        model(push_two, give_up, &[1, 2]);
    }

    #[test]
    fn loom_two_who_wait_get_one_each() {
        let push_and_take = |inbox: &Inbox<u32>| {
            push_two(inbox);
            take(inbox)
        };
        model(take, push_and_take, &[1, 2]);
    }

    #[test]
    fn loom_what_is_over_the_bound_comes_back_unless_somebody_waits() {
        let push_below = |inbox: &Inbox<u32>| {
            inbox.push_below(1, 1).unwrap();
            inbox.push_below(1, 2).err().unwrap_or(0)
        };
        model(push_below, take, &[1, 2]);
    }
}
