//! A queue of fibers, linked through their blocks: pushing neither allocates nor fails.

use core::{
    fmt,
    mem::{self, ManuallyDrop},
    ptr::{self, NonNull},
};

use super::{handle::Fiber, header::Header, runnable::Runnable};
use crate::primitive::{AtomicPtr, Ordering};

/// A first-in, first-out queue, but for those who are let past. A fiber is in one queue at the
/// most, as its one [`Runnable`] is.
pub struct FiberQueue {
    head: *mut Header,
    tail: *mut Header,
    /// Who was let past the others last, while it is here; or null.
    let_past: *mut Header,
    len: usize,
}

/// Where a fiber stands in a queue when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing in between")]
pub enum Position {
    /// Behind all the others.
    Last,
    /// Before all the others.
    First,
    /// Behind the one that came before it, which was let past the others; first if that is gone.
    Next,
    /// Behind all who were let past the others; behind all the others where they are in one queue.
    Behind,
}

// SAFETY: it owns rights to run, which may be sent, and reaches the links only through `&mut`
// (I-12).
unsafe impl Send for FiberQueue {}

impl FiberQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            let_past: ptr::null_mut(),
            len: 0,
        }
    }

    /// How many wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a fiber.
    #[inline]
    pub fn push(&mut self, fiber: Runnable) {
        let header = fiber.into_raw();
        set_next(header, ptr::null_mut());
        match NonNull::new(self.tail) {
            None => self.head = header.as_ptr(),
            Some(tail) => set_next(tail, header.as_ptr()),
        }
        self.tail = header.as_ptr();
        self.len += 1;
    }

    /// Lets a fiber past the others that wait: to the front, or behind the one that was let past
    /// them before it.
    pub fn push_past(&mut self, fiber: Runnable, position: Position) {
        let before = match position {
            Position::Last | Position::Behind => return self.push(fiber),
            Position::First => None,
            Position::Next => NonNull::new(self.let_past),
        };
        let header = fiber.into_raw();
        let behind = before.map_or(self.head, next);
        set_next(header, behind);
        match before {
            None => self.head = header.as_ptr(),
            Some(before) => set_next(before, header.as_ptr()),
        }
        if behind.is_null() {
            self.tail = header.as_ptr();
        }
        self.let_past = header.as_ptr();
        self.len += 1;
    }

    /// Takes the first one: the one that waits longest, unless others were let past it.
    #[inline]
    pub fn pop(&mut self) -> Option<Runnable> {
        let head = NonNull::new(self.head)?;
        self.head = next(head);
        if self.let_past == head.as_ptr() {
            self.let_past = ptr::null_mut();
        }
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        self.len -= 1;
        Some(Runnable::from_raw(head))
    }

    /// Takes the one at `index`, counted from the oldest: a simulator's choice.
    pub fn remove(&mut self, index: usize) -> Option<Runnable> {
        if index == 0 {
            return self.pop();
        }
        let mut before = NonNull::new(self.head)?;
        for _ in 1..index {
            before = NonNull::new(next(before))?;
        }
        let taken = NonNull::new(next(before))?;
        set_next(before, next(taken));
        if self.tail == taken.as_ptr() {
            self.tail = before.as_ptr();
        }
        if self.let_past == taken.as_ptr() {
            self.let_past = before.as_ptr();
        }
        self.len -= 1;
        Some(Runnable::from_raw(taken))
    }

    /// Visits all who wait, in order.
    pub fn each(&self, mut visit: impl FnMut(&Fiber)) {
        let mut at = self.head;
        while let Some(header) = NonNull::new(at) {
            at = next(header);
            // The queue's reference keeps the block alive during the visit.
            visit(&ManuallyDrop::new(Fiber::from_raw(header)));
        }
    }

    /// Appends all of `other`, in order.
    pub fn append(&mut self, other: &mut Self) {
        let other = mem::take(other);
        match NonNull::new(self.tail) {
            None => self.head = other.head,
            Some(tail) => set_next(tail, other.head),
        }
        if !other.tail.is_null() {
            self.tail = other.tail;
        }
        self.len += other.len;
        mem::forget(other);
    }
}

impl Default for FiberQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FiberQueue {
    fn drop(&mut self) {
        while let Some(fiber) = self.pop() {
            drop(fiber);
        }
    }
}

impl fmt::Debug for FiberQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiberQueue")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

fn next(header: NonNull<Header>) -> *mut Header {
    // SAFETY: the queue holds a reference to each of its entries (I-12).
    unsafe { header.as_ref() }.next.load(Ordering::Relaxed)
}

fn set_next(header: NonNull<Header>, next: *mut Header) {
    // SAFETY: the queue holds a reference to each of its entries (I-12).
    unsafe { header.as_ref() }
        .next
        .store(next, Ordering::Relaxed);
}

/// A queue that any thread may push to and one thread empties: a worker's inbox. Lock-free; linked
/// through the blocks, so pushing neither allocates nor fails. Its bound is the number of fibers.
pub struct RemoteQueue {
    /// Newest first.
    newest: AtomicPtr<Header>,
}

impl RemoteQueue {
    /// An empty queue.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// An empty queue.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Appends a fiber; true if the queue was empty before.
    pub fn push(&self, fiber: Runnable) -> bool {
        let header = fiber.into_raw();
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            set_next(header, newest);
            match self.newest.compare_exchange_weak(
                newest,
                header.as_ptr(),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return newest.is_null(),
                Err(seen) => newest = seen,
            }
        }
    }

    /// Whether nothing is queued. Sequentially consistent with [`RemoteQueue::push`]: of a worker
    /// that says it sleeps and then looks, and a waker that pushes and then looks whether the
    /// worker sleeps, at least one sees the other.
    pub fn is_empty(&self) -> bool {
        self.newest.load(Ordering::SeqCst).is_null()
    }

    /// Takes everything, oldest first.
    pub fn take(&self) -> FiberQueue {
        let mut queue = FiberQueue::new();
        if self.newest.load(Ordering::Relaxed).is_null() {
            return queue;
        }
        let mut newer = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut();
        while let Some(header) = NonNull::new(newer) {
            newer = next(header);
            set_next(header, oldest);
            oldest = header.as_ptr();
        }
        while let Some(header) = NonNull::new(oldest) {
            oldest = next(header);
            queue.push(Runnable::from_raw(header));
        }
        queue
    }
}

impl Default for RemoteQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for RemoteQueue {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl fmt::Debug for RemoteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteQueue")
            .field("empty", &self.is_empty())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::{vec, vec::Vec};
    use core::panic::Location;

    use super::*;
    use crate::fiber::{Attributes, JoinHandle, Spawn};

    fn fibers<const N: usize>() -> ([Option<Runnable>; N], Vec<JoinHandle<()>>) {
        let mut handles = Vec::new();
        let fibers = core::array::from_fn(|_| {
            // SAFETY: the closure borrows nothing and may be sent (I-11).
            let (fiber, handle) =
                unsafe { Spawn::fiber(|| (), Attributes::new(Location::caller())) };
            handles.push(handle);
            Some(fiber)
        });
        (fibers, handles)
    }

    fn drain(queue: &mut FiberQueue, handles: &[JoinHandle<()>]) -> Vec<usize> {
        let left = core::iter::from_fn(|| queue.pop());
        let place = |fiber: Runnable| handles.iter().position(|it| it.fiber() == fiber.fiber());
        left.filter_map(place).collect()
    }

    #[test]
    fn those_who_are_let_past_the_others_keep_their_own_order() {
        let (mut fibers, handles) = fibers::<6>();
        let mut queue = FiberQueue::new();
        let positions = [
            Position::Last,
            Position::First,
            Position::Next,
            Position::First,
            Position::Next,
            Position::Last,
        ];
        for (fiber, position) in fibers.iter_mut().zip(positions) {
            queue.push_past(fiber.take().expect("each once"), position);
        }
        assert_eq!(queue.len(), 6);
        assert_eq!(drain(&mut queue, &handles), vec![3, 4, 1, 2, 0, 5]);
    }

    #[test]
    fn who_is_let_past_behind_one_that_is_gone_is_the_first() {
        let (mut fibers, handles) = fibers::<5>();
        let mut next = fibers
            .iter_mut()
            .map(|fiber| fiber.take().expect("each once"));
        let mut queue = FiberQueue::new();
        let mut push = |queue: &mut FiberQueue, position| {
            queue.push_past(next.next().expect("there are enough"), position);
        };
        push(&mut queue, Position::Last);
        push(&mut queue, Position::First);
        drop(queue.pop());
        push(&mut queue, Position::Next);
        push(&mut queue, Position::Next);
        // The last one that was let past goes: who follows stands where it stood.
        drop(queue.remove(1));
        push(&mut queue, Position::Next);
        assert_eq!(drain(&mut queue, &handles), vec![2, 4, 0]);
        push_into_empty(&mut queue);
    }

    fn push_into_empty(queue: &mut FiberQueue) {
        let (mut fibers, handles) = fibers::<2>();
        for (fiber, position) in fibers.iter_mut().zip([Position::Next, Position::Last]) {
            queue.push_past(fiber.take().expect("each once"), position);
        }
        assert_eq!(drain(queue, &handles), vec![0, 1]);
    }
}
