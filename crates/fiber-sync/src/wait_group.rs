//! Waiting until everybody who was sent out is done.

use alloc::sync::Arc;
use core::time::Duration;

use fiber_core::timeout::Elapsed;

use crate::counter::{Counter, CounterOperation};

/// Waits until every [`WaitToken`] that it has given out was dropped.
///
/// As Go's of that name, but who is done cannot forget to say so: a token says it when it is
/// dropped, also by a panic or a cancel. Std has nothing like it; where the work may borrow, a
/// scope does without.
///
/// ```
/// use fiber_sync::WaitGroup;
///
/// let group = WaitGroup::new();
/// let token = group.token();
/// let worker = std::thread::spawn(move || drop(token.clone()));
/// worker.join().unwrap();
/// group.wait();
/// ```
#[derive(Debug, Default)]
pub struct WaitGroup {
    tokens: Arc<Counter>,
}

impl WaitGroup {
    /// A group without tokens. Allocates.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new token, to be dropped by who has it when the work is done.
    pub fn token(&self) -> WaitToken {
        WaitToken::new(&self.tokens)
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.tokens.value()
    }

    /// Waits until there is no token.
    ///
    /// # Suspends
    /// Until the last one was dropped.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, unless the last one was dropped.
    pub fn wait(&self) {
        self.tokens.wait(0);
    }

    /// Whether there is no token. Never suspends.
    pub fn try_wait(&self) -> bool {
        self.tokens.try_wait(0)
    }

    /// [`WaitGroup::wait`] that gives up after `span`.
    ///
    /// # Suspends
    /// Until the last token was dropped, for `span` at the most.
    ///
    /// # Cancellation
    /// As [`WaitGroup::wait`].
    ///
    /// # Errors
    /// When the time is over.
    pub fn wait_timeout(&self, span: Duration) -> Result<(), Elapsed> {
        self.tokens.wait_timeout(0, span)
    }

    /// Waiting until there is no token, as an operation.
    pub fn wait_operation(&self) -> CounterOperation<'_> {
        self.tokens.wait_operation(0)
    }
}

/// Somebody for whom a [`WaitGroup`] waits; cloned for more of them.
#[derive(Debug)]
#[must_use = "the group stops waiting as soon as the token is dropped"]
pub struct WaitToken(Arc<Counter>);

impl WaitToken {
    fn new(tokens: &Arc<Counter>) -> Self {
        tokens.add(1);
        Self(Arc::clone(tokens))
    }
}

impl Clone for WaitToken {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for WaitToken {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}
