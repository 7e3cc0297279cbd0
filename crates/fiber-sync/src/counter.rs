//! A number that one can wait for: how many jobs are left, how far somebody has come.

use core::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    ptr,
    time::Duration,
};

use fiber_core::{
    operation::{
        Match, Operation, Published, WaitCell, WaitList, WaitNode, perform, perform_until,
    },
    spin::SpinLock,
    timeout::Elapsed,
};

use crate::primitive::const_unless_loom;

/// A number that fibers and threads change, and for a value of which they wait.
///
/// Those who wait for a value are let go at the moment at which the number becomes that value, also
/// if it changes again before they run; a change that leaps over the value does not count. Each
/// change looks at everybody who waits. Std has nothing like it.
///
/// ```
/// use fiber_sync::Counter;
///
/// let jobs = Counter::new(0);
/// jobs.add(2);
/// jobs.sub(1);
/// assert!(!jobs.try_wait(0));
/// assert_eq!(jobs.sub(1), 0);
/// jobs.wait(0);
/// ```
pub struct Counter {
    state: SpinLock<State>,
}

#[derive(Debug)]
struct State {
    value: usize,
    /// The value of a node is the number that it waits for.
    waiting: WaitList,
}

impl UnwindSafe for Counter {}
impl RefUnwindSafe for Counter {}

impl Counter {
    const_unless_loom! {
        /// A counter that stands at `value`.
        pub fn new(value: usize) -> Self {
            Self {
                state: SpinLock::new(State {
                    value,
                    waiting: WaitList::new(),
                }),
            }
        }
    }

    /// Where it stands.
    pub fn value(&self) -> usize {
        self.state.lock().value
    }

    /// Adds `n`, lets go who waits for the new value, and gives it. Never suspends.
    ///
    /// # Panics
    /// When it would be more than `usize::MAX`.
    pub fn add(&self, n: usize) -> usize {
        let value = self.change(|value| value.checked_add(n));
        value.expect("a counter stands at usize::MAX at the most")
    }

    /// Takes `n` away, lets go who waits for the new value, and gives it. Never suspends.
    ///
    /// # Panics
    /// When it would be less than 0.
    pub fn sub(&self, n: usize) -> usize {
        let value = self.change(|value| value.checked_sub(n));
        value.expect("a counter stands at 0 at the least: more was taken away than was added")
    }

    fn change(&self, to: impl FnOnce(usize) -> Option<usize>) -> Option<usize> {
        let mut state = self.state.lock();
        let value = to(state.value)?;
        state.value = value;
        while let Match::Partner(waiter) = state.waiting.find_where(None, |n| n.addr() == value) {
            waiter.commit(0);
        }
        Some(value)
    }

    /// Waits until it stands at `n`.
    ///
    /// # Suspends
    /// Until it does.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, unless it has been let go.
    #[inline]
    pub fn wait(&self, n: usize) {
        perform(self.wait_operation(n));
    }

    /// Whether it stands at `n`. Never suspends.
    pub fn try_wait(&self, n: usize) -> bool {
        self.value() == n
    }

    /// [`Counter::wait`] that gives up after `span`.
    ///
    /// # Suspends
    /// Until it stands at `n`, for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Counter::wait`].
    ///
    /// # Errors
    /// When the time is over.
    pub fn wait_timeout(&self, n: usize, span: Duration) -> Result<(), Elapsed> {
        perform_until(self.wait_operation(n), Some(span)).map_err(|_| Elapsed::new())
    }

    /// Waiting until it stands at `n`, as an operation.
    pub const fn wait_operation(&self, n: usize) -> CounterOperation<'_> {
        CounterOperation {
            counter: self,
            n,
            node: WaitNode::new(),
        }
    }
}

impl Default for Counter {
    /// It stands at 0.
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.value()).finish()
    }
}

/// Waits until a counter stands at a value.
#[derive(Debug)]
pub struct CounterOperation<'counter> {
    counter: &'counter Counter,
    n: usize,
    node: WaitNode,
}

// SAFETY: it looks at the number again under the lock under which it links (I-2), those who let it
// go unlink it, and `retract` unlinks it otherwise (I-12).
unsafe impl Operation for CounterOperation<'_> {
    type Output = ();

    fn name(&self) -> &'static str {
        "a counter"
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        self.counter.try_wait(self.n).then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let mut state = this.counter.state.lock();
        if state.value == this.n {
            return Published::own(cell, base);
        }
        let value = ptr::without_provenance_mut(this.n);
        // SAFETY: under the lock; node and cell stay until `retract`, by the caller's promise
        // (I-12).
        unsafe { state.waiting.push(node, cell, base, value) };
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            self.counter.state.lock().waiting.remove(&self.node);
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) {}
}
