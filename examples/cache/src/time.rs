//! Time as the protocol counts it: whole seconds, always handed in, never read here.

/// The longest expiry time that still counts from now: 30 days. A larger one is a date.
const RELATIVE_SECONDS_MAX: i64 = 60 * 60 * 24 * 30;

/// A moment, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(u64);

impl Seconds {
    /// How many seconds have passed since `earlier`.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment that lies `seconds` after the Unix epoch.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn as_unix(self) -> u64 {
        self.0
    }
}

/// When an item stops to exist: it is gone from that second on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry(u64);

impl Expiry {
    /// The expiry of an item that lives until it is deleted.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Reads the protocol's `exptime`: 0 is never, a negative number is at once, up to 30 days
    /// count from `now`, and anything larger is a date.
    pub(crate) fn from_exptime(exptime: i64, now: Seconds) -> Self {
        match exptime {
            0 => Self::NEVER,
            1..=RELATIVE_SECONDS_MAX => Self(now.0.saturating_add_signed(exptime)),
            // A negative time does not convert, and the epoch has passed for every clock.
            _ => Self(u64::try_from(exptime).unwrap_or(0)),
        }
    }

    /// The first second at which it has passed.
    pub(crate) const fn moment(self) -> Seconds {
        Seconds(self.0)
    }

    /// How many seconds are left; `None` if it never passes.
    pub(crate) const fn seconds_left(self, now: Seconds) -> Option<u64> {
        if self.0 == Self::NEVER.0 {
            None
        } else {
            Some(self.0.saturating_sub(now.0))
        }
    }

    pub(crate) fn has_passed(self, now: Seconds) -> bool {
        self.0 <= now.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Seconds = Seconds::from_unix(1_700_000_000);

    #[track_caller]
    fn check(exptime: i64, last_alive: Option<u64>, first_gone: Option<u64>) {
        let expiry = Expiry::from_exptime(exptime, NOW);
        if let Some(alive) = last_alive {
            assert!(
                !expiry.has_passed(Seconds::from_unix(alive)),
                "{exptime} at {alive}"
            );
        }
        if let Some(gone) = first_gone {
            assert!(
                expiry.has_passed(Seconds::from_unix(gone)),
                "{exptime} at {gone}"
            );
        }
    }

    #[test]
    fn an_exptime_is_relative_up_to_thirty_days_and_a_date_beyond() {
        let now = NOW.as_unix();
        check(0, Some(u64::MAX - 1), None);
        check(-1, None, Some(0));
        check(i64::MIN, None, Some(0));
        check(1, Some(now), Some(now + 1));
        check(2_592_000, Some(now + 2_591_999), Some(now + 2_592_000));
        check(2_592_001, Some(2_592_000), Some(now));
        check(1_700_000_100, Some(now + 99), Some(now + 100));
    }

    #[test]
    fn what_is_left_is_counted_down_to_zero() {
        let left = |exptime| Expiry::from_exptime(exptime, NOW).seconds_left(NOW);
        assert_eq!([0, 5, -1].map(left), [None, Some(5), Some(0)]);
    }
}
