//! Fibers whose results are taken in the order in which they end.
//!
//! Each fiber has a watcher that enters its number in a queue when it has ended, so nobody asks
//! fiber after fiber. `ended` has room for every member, so entering never allocates.
//!
//! ```text
//! spawn: members[key] = handle      end: key → ended, or to who waits      join_next: key → handle
//! ```

mod ended;
mod operation;

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use fiber_core::{
    fiber::{ExitReason, Fiber, JoinHandle},
    operation::{Interrupted, perform, perform_until, try_perform},
    timeout::Elapsed,
};

use self::ended::Watch;
pub use self::operation::JoinNext;
use crate::{error::SpawnError, inbox::Inbox, spawn::Builder};

/// Any number of fibers, whose results come in the order in which they end.
///
/// Unlike a `Vec` of std's join handles it gives the first result first, and dropping it cancels
/// the fibers that have not ended. Unlike a [`scope`](crate::scope()) it can be kept and handed
/// on, and its fibers borrow nothing. It holds what the members that were not taken yet need.
///
/// ```
/// # use core::time::Duration;
/// # let env = fiber_core::script::ScriptEnv::new();
/// # fiber_sched::Runtime::builder(env).run(|| {
/// let mut naps = fiber_sched::JoinSet::new();
/// for seconds in [3, 1, 2] {
///     naps.spawn(move || {
///         fiber_sched::sleep(Duration::from_secs(seconds));
///         seconds
///     });
/// }
/// let mut order = vec![];
/// while let Some(nap) = naps.join_next() {
///     order.push(nap.expect("a nap does not panic"));
/// }
/// assert_eq!(order, [1, 2, 3]);
/// # }).unwrap();
/// ```
pub struct JoinSet<T> {
    members: Members<T>,
    ended: Arc<Inbox<usize>>,
}

/// The handles of fibers whose results were not taken, by key.
struct Members<T> {
    handles: Vec<Option<JoinHandle<T>>>,
    free: Vec<usize>,
}

impl<T> JoinSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        Self {
            members: Members {
                handles: Vec::new(),
                free: Vec::new(),
            },
            ended: Arc::new(Inbox::new()),
        }
    }

    /// How many fibers there are whose results were not taken.
    pub fn len(&self) -> usize {
        self.members.handles.len() - self.members.free.len()
    }

    /// Whether every result was taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts a fiber of the set, as [`spawn`](crate::spawn()) does.
    ///
    /// # Panics
    /// Outside of a runtime, and at a limit of the process.
    #[track_caller]
    pub fn spawn<F>(&mut self, body: F) -> Fiber
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match Builder::new().spawn_in(self, body) {
            Ok(fiber) => fiber,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for the next fiber to end, and gives its result; `None` if no result is left.
    ///
    /// # Suspends
    /// Until one has ended.
    ///
    /// # Cancellation
    /// A cancelled caller unwinds, with no result taken.
    ///
    /// # Errors
    /// The fiber's, as [`JoinHandle::join`].
    pub fn join_next(&mut self) -> Option<Result<T, ExitReason>> {
        perform(self.join_next_operation())
    }

    /// [`JoinSet::join_next`] if one has ended already, or if no result is left. Never suspends.
    ///
    /// # Errors
    /// [`NotYet`] when all that are left still run.
    pub fn try_join_next(&mut self) -> Result<Option<Result<T, ExitReason>>, NotYet> {
        try_perform(self.join_next_operation()).map_err(|_| NotYet)
    }

    /// [`JoinSet::join_next`] for `span` at the most.
    ///
    /// # Errors
    /// [`Elapsed`], with no result taken.
    pub fn join_next_timeout(
        &mut self,
        span: Duration,
    ) -> Result<Option<Result<T, ExitReason>>, Elapsed> {
        match perform_until(self.join_next_operation(), Some(span)) {
            Ok(next) => Ok(next),
            Err(Interrupted::Elapsed) => Err(Elapsed::new()),
            Err(_) => unreachable!("a cancelled caller unwinds"),
        }
    }

    /// The operation that waits for the next fiber to end.
    pub fn join_next_operation(&mut self) -> JoinNext<'_, T> {
        JoinNext::new(self)
    }

    /// Asks every fiber that has not ended to unwind. Their results are still to be taken.
    pub fn cancel_all(&self) {
        for handle in self.members.handles.iter().flatten() {
            handle.cancel();
        }
    }

    /// The result of the member that has entered `key`.
    fn take(&mut self, key: usize) -> Result<T, ExitReason> {
        let result = self.members.take(key).try_join();
        result.expect("it has ended, and this is its only handle")
    }
}

impl<T> Members<T> {
    /// A free place.
    fn reserve(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.handles.push(None);
            // So that giving places back never allocates.
            self.free.reserve(self.handles.len());
            self.handles.len() - 1
        })
    }

    fn take(&mut self, key: usize) -> JoinHandle<T> {
        self.free.push(key);
        self.handles[key]
            .take()
            .expect("a member ends once, and is a member until then")
    }
}

impl Builder {
    /// Starts a fiber of `set`, see [`JoinSet::spawn`].
    ///
    /// # Errors
    /// Outside of a runtime, and at a limit of the process.
    #[track_caller]
    pub fn spawn_in<F, T>(self, set: &mut JoinSet<T>, body: F) -> Result<Fiber, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let key = set.members.reserve();
        set.ended.reserve(set.members.handles.len());
        let watch = Watch::new(&set.ended, key);
        match self.watched_by(watch).spawn(body) {
            Ok(handle) => {
                let fiber = handle.fiber().clone();
                set.members.handles[key] = Some(handle);
                Ok(fiber)
            }
            Err(error) => {
                // Whatever was made of it has ended, and may have said so.
                set.ended.retain(|other| *other != key);
                set.members.free.push(key);
                Err(error)
            }
        }
    }
}

/// All fibers of the set that are left still run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fiber of the set has ended since the last one")]
#[non_exhaustive]
pub struct NotYet;

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use fiber_core::script::ScriptEnv;

    use super::*;
    use crate::{Runtime, yield_now};

    #[test]
    fn a_set_keeps_room_for_the_members_it_has_and_not_for_those_it_had() {
        let main = || {
            let mut set = JoinSet::new();
            set.spawn(yield_now);
            for _ in 0..100 {
                set.spawn(yield_now);
                set.join_next()
                    .expect("one is left")
                    .expect("it does not panic");
            }
            assert_eq!((set.len(), set.members.handles.len()), (1, 2));
            assert!(set.members.free.capacity() < 100);
        };
        Runtime::builder(ScriptEnv::new())
            .run(main)
            .expect("the run succeeds");
    }
}
