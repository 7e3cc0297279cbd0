//! Unwinding, as std does it.

use std::{panic, thread};

use fiber_core::env::{Payload, Unwind};

use crate::linux::Linux;

impl Unwind for Linux {
    fn catch(&self, body: &mut dyn FnMut()) -> Result<(), Payload> {
        // The core decides what a caught panic means; nothing here is left half done.
        panic::catch_unwind(panic::AssertUnwindSafe(body))
    }

    fn throw(&self, payload: Payload) -> ! {
        panic::resume_unwind(payload)
    }

    fn is_unwinding(&self) -> bool {
        thread::panicking()
    }

    fn set_aside(&self, body: &mut dyn FnMut()) {
        host_std::set_aside(body);
    }

    fn can_unwind(&self) -> bool {
        CAN_UNWIND
    }
}

/// Whether this program was built to unwind.
pub(crate) const CAN_UNWIND: bool = cfg!(panic = "unwind");
