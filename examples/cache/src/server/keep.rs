//! Keeping a part of the server alive: it is started again whenever it ends as it should not.

use alloc::{collections::VecDeque, sync::Arc};
use core::time::Duration;

use fiber::{Exit, Instant, ProcessBuilder, SpawnError, io::Error};

/// So many ends within [`PERIOD`] are met with a new start; one more, and it is given up: what
/// fails at once each time needs an operator.
const RESTARTS_MAX: usize = 5;

const PERIOD: Duration = Duration::from_secs(10);

/// Why a part of the server does not go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Accepting fails for good.
    #[error("cannot accept: {0}")]
    Accept(#[source] Error),
    /// Signals do not come any more.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] Error),
    /// It has ended again and again; this was the last time.
    #[error("{RESTARTS_MAX} new starts within {PERIOD:?} were in vain: {0}")]
    GivenUp(Arc<Exit>),
    /// It cannot be started.
    #[error("cannot start a part of the server: {0}")]
    Spawn(#[source] SpawnError),
}

/// Runs `main` in a process of its own, child of the caller's, until it returns; gives what it
/// returned. If it is killed, is cancelled or panics, it is started again.
///
/// # Suspends
/// Until then.
///
/// # Errors
/// When it ends so too often, or cannot be started.
pub(super) fn keep<T: Send + 'static>(
    builder: &ProcessBuilder,
    main: impl Fn() -> T + Send + Sync + 'static,
) -> Result<T, Failure> {
    let main = Arc::new(main);
    let mut restarts = VecDeque::with_capacity(RESTARTS_MAX);
    loop {
        let main = Arc::clone(&main);
        let process = builder.clone().spawn(move || main());
        let exit = match process.map_err(Failure::Spawn)?.join() {
            Ok(value) => return Ok(value),
            Err(exit) => exit,
        };
        let now = fiber::time::now();
        if is_too_often(&mut restarts, now) {
            tracing::error!(%exit, "a part of the server is given up");
            return Err(Failure::GivenUp(exit));
        }
        tracing::warn!(%exit, "a part of the server is started again");
    }
}

/// Whether one more start, now, is one too many.
fn is_too_often(restarts: &mut VecDeque<Instant>, now: Instant) -> bool {
    while restarts
        .front()
        .is_some_and(|first| now.saturating_since(*first) > PERIOD)
    {
        restarts.pop_front();
    }
    restarts.push_back(now);
    restarts.len() > RESTARTS_MAX
}
