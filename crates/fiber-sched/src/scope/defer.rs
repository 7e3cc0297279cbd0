//! Handlers that run at the end of a scope.

use alloc::{boxed::Box, vec::Vec};
use core::{fmt, mem, panic::Location, time::Duration};

use fiber_core::{
    fiber::PanicPayload,
    park::{assert_may_suspend, mask},
    stop::{Caught, catch},
    timeout::timeout,
};

use super::{Parts, panics::Origin};
use crate::runtime::Runtime;

/// The handlers of a scope, the first one first.
pub(super) struct Defers<'scope> {
    handlers: Vec<Defer<'scope>>,
    next: u64,
}

struct Defer<'scope> {
    number: u64,
    at: &'static Location<'static>,
    handler: Box<dyn FnOnce() + Send + 'scope>,
}

impl Defers<'_> {
    pub(super) const fn new() -> Self {
        Self {
            handlers: Vec::new(),
            next: 0,
        }
    }
}

impl<'scope> Parts<'scope> {
    #[track_caller]
    pub(super) fn defer(
        &'scope self,
        handler: impl FnOnce() + Send + 'scope,
    ) -> DeferHandle<'scope> {
        let (at, handler) = (Location::caller(), Box::new(handler));
        let mut defers = self.defers.lock();
        let number = defers.next;
        defers.next += 1;
        defers.handlers.push(Defer {
            number,
            at,
            handler,
        });
        DeferHandle {
            scope: self,
            number,
        }
    }

    fn take(&self, number: u64) -> Option<Defer<'scope>> {
        let mut defers = self.defers.lock();
        let is_it = |defer: &Defer<'_>| defer.number == number;
        let index = defers.handlers.iter().rposition(is_it)?;
        Some(defers.handlers.remove(index))
    }

    /// Runs the handler that was registered last; false if there is none, and then they hold no
    /// memory.
    pub(super) fn run_last_defer(&self) -> bool {
        let mut defers = self.defers.lock();
        let Some(defer) = defers.handlers.pop() else {
            let none = mem::take(&mut defers.handlers);
            drop(defers);
            drop(none);
            return false;
        };
        drop(defers);
        let at = defer.at;
        if let Err(payload) = self.run_defer(defer) {
            let mut children = self.children.lock();
            children.add_panic(Origin::Handler(at), payload);
        }
        true
    }

    fn run_defer(&self, defer: Defer<'scope>) -> Result<(), PanicPayload> {
        run_for(self.settings.cleanup_grace, defer.at, defer.handler)
    }
}

/// Runs a handler, masked, for a while: what is inside of a `timeout` is not protected by a mask
/// around it.
pub(super) fn run_for(
    grace: Duration,
    at: &'static Location<'static>,
    handler: impl FnOnce(),
) -> Result<(), PanicPayload> {
    match catch(None, || mask(|| timeout(grace, handler))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => {
            Runtime::count_overdue_handler();
            tracing::warn!(
                target: "fiber::sched",
                handler = %at, ?grace, "a handler took too long and was unwound"
            );
            Ok(())
        }
        Err(Caught::Panicked(payload)) => Err(payload),
        // Masked, so nothing else unwinds it.
        Err(_) => Ok(()),
    }
}

/// A handler that was registered, see [`Scope::defer`](super::Scope::defer). Dropping this does
/// nothing: the handler runs when the scope ends.
pub struct DeferHandle<'scope> {
    scope: &'scope Parts<'scope>,
    number: u64,
}

impl DeferHandle<'_> {
    /// Drops the handler, which then does not run.
    pub fn cancel(self) {
        // If it is running it cannot be held back.
        let defer = self.scope.take(self.number);
        drop(defer);
    }

    /// Runs the handler here and now instead of later, as it would run later: masked, and for the
    /// grace of the scope at most.
    ///
    /// # Panics
    /// When the handler does; outside of a fiber, where the handler stays for later.
    pub fn run_now(self) {
        assert_may_suspend("a handler");
        if let Some(defer) = self.scope.take(self.number)
            && let Err(payload) = self.scope.run_defer(defer)
        {
            Caught::Panicked(payload).throw_on();
        }
    }
}

impl fmt::Debug for DeferHandle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferHandle")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
