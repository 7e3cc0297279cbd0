//! Time comes from the host, as plain numbers.

use core::{fmt, ops, time::Duration};

/// Three clocks. Implementations neither block nor allocate.
pub trait Clock {
    /// Time that never goes back, from an arbitrary origin that all workers of this host share.
    ///
    /// *Cost*: tens of nanoseconds at the most; the scheduler asks once a turn and when a timer
    /// is armed.
    fn now(&self) -> Instant;

    /// Time of day. It may jump in either direction.
    fn wall(&self) -> WallTime;

    /// CPU time that the calling worker's thread has used. A simulator answers its virtual cost.
    fn cpu(&self) -> Duration;

    /// How much later than its moment a wait may end, besides for want of a processor: those that
    /// end near each other then end at once, and the worker is woken once for all of them. A short
    /// wait is not held up by more than a 64th of it, whatever this says. If two limits of one
    /// fiber end closer to each other than that, either may be told. Zero, as in a simulator: each
    /// ends at its own moment. Asked once by each worker.
    fn slack(&self) -> Duration {
        Duration::ZERO
    }
}

/// A point of the monotonic clock of one host, in nanoseconds from that host's origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(0);
    /// Later than every point that a clock shows: some 584 years after the origin.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `span` later, at the latest [`Instant::NEVER`].
    pub const fn saturating_add(self, span: Duration) -> Self {
        let nanos = span.as_nanos();
        if nanos > u64::MAX as u128 {
            return Self::NEVER;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "compared with u64::MAX just above"
        )]
        let nanos = nanos as u64;
        Self(self.0.saturating_add(nanos))
    }
}

impl ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        self.saturating_add(span)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// Time of day, as time since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(Duration);

impl WallTime {
    /// The moment `span` after 1970-01-01 00:00:00 UTC.
    pub const fn from_unix(span: Duration) -> Self {
        Self(span)
    }

    /// Time since 1970-01-01 00:00:00 UTC.
    pub const fn since_unix(self) -> Duration {
        self.0
    }
}
