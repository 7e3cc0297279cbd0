//! Linux's clocks.

use core::time::Duration;

use fiber_core::env::{Clock, Instant, WallTime};

use crate::{linux::Linux, sys::process};

/// A processor that sleeps until a moment and wakes costs tens of microseconds: with many timers
/// that is what they cost.
const SLACK: Duration = Duration::from_millis(1);

impl Clock for Linux {
    fn now(&self) -> Instant {
        now()
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix(process::clock(libc::CLOCK_REALTIME))
    }

    fn cpu(&self) -> Duration {
        process::clock(libc::CLOCK_THREAD_CPUTIME_ID)
    }

    fn slack(&self) -> Duration {
        SLACK
    }
}

/// Time since the machine was started, suspensions left out.
pub(crate) fn now() -> Instant {
    Instant::ORIGIN + process::clock(libc::CLOCK_MONOTONIC)
}
