//! Limits of time that a handle keeps: lock-free, so that handles are shared like std's.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fiber_core::{Context, IoErrorKind, env::Instant};

use crate::error::Error;

/// How long one call may take: nanoseconds, 0 for any time.
#[derive(Debug, Default)]
pub(crate) struct Limit(AtomicU64);

impl Limit {
    pub(crate) fn set(&self, span: Option<Duration>) -> Result<(), Error> {
        let nanos = span.map(checked).transpose()?.map_or(0, nanos);
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn span(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// The moment at which a call that begins now must end.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.span().and_then(after)
    }
}

impl Clone for Limit {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// `span` itself, unless it is no time at all.
pub(crate) fn checked(span: Duration) -> Result<Duration, Error> {
    if span.is_zero() {
        return Err(Error::refused(
            IoErrorKind::InvalidInput,
            "a limit of no time at all: give None for no limit",
        ));
    }
    Ok(span)
}

/// The moment `span` from now; `None` outside of a runtime, where the call fails anyway.
pub(crate) fn after(span: Duration) -> Option<Instant> {
    Context::with(|context| context.map(|context| context.now() + span))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_it_was_set() {
        let limit = Limit::default();
        assert_eq!(limit.span(), None);
        for span in [Duration::from_nanos(1), Duration::from_secs(5)] {
            limit.set(Some(span)).unwrap();
            assert_eq!(limit.span(), Some(span));
        }
        limit.set(None).unwrap();
        assert_eq!(limit.span(), None);
    }

    #[test]
    fn a_limit_of_zero_is_refused_and_changes_nothing() {
        let limit = Limit::default();
        limit.set(Some(Duration::from_secs(1))).unwrap();
        let error = limit.set(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::InvalidInput);
        assert_eq!(limit.span(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_limit_beyond_the_clock_is_the_clocks_whole_range() {
        let limit = Limit::default();
        limit.set(Some(Duration::MAX)).unwrap();
        assert_eq!(limit.span(), Some(Duration::from_nanos(u64::MAX)));
    }
}
