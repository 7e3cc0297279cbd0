//! Linux's clocks.

use core::time::Duration;

use fiber_core::env::{Clock, Instant, WallTime};

use crate::{linux::Linux, sys::process};

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
}

/// Time since the machine was started, suspensions left out.
pub(crate) fn now() -> Instant {
    Instant::ORIGIN + process::clock(libc::CLOCK_MONOTONIC)
}
