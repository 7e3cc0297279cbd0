//! What runs on a worker, as a signal handler on its thread may see it.

use core::ptr;

use super::Context;
use crate::{env::hooks, fiber::Header, stack::Owner};

/// How many fibers a glance names besides the running one.
pub const NEIGHBOURS_MAX: usize = 16;

/// A worker's fibers at one moment.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Glance {
    /// The fiber that was running; `None` if the worker was outside of its fibers.
    pub fiber: Option<Owner>,
    /// Some of the fibers that wait for the worker meanwhile.
    pub neighbours: [Option<Neighbour>; NEIGHBOURS_MAX],
    /// How many there are.
    pub neighbours_total: usize,
}

/// A fiber that waits while another one has its worker.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Neighbour {
    /// Which one.
    pub fiber: Owner,
    /// What it waits for, apart from the worker.
    pub waiting_for: &'static str,
}

impl Glance {
    /// Nothing was seen.
    pub const fn new() -> Self {
        Self {
            fiber: None,
            neighbours: [None; NEIGHBOURS_MAX],
            neighbours_total: 0,
        }
    }

    /// Looks at the calling thread's worker; false if it is none. Async-signal-safe: it reads, and
    /// neither locks nor allocates, and on a thread that is no worker, whose signal stack may be
    /// small, it needs next to nothing of that. What it sees is whole whenever a signal may come:
    /// fibers are linked, unlinked and freed only while none is current.
    pub fn look(&mut self) -> bool {
        let slot = hooks().map_or(ptr::null(), |hooks| (hooks.slot)());
        // SAFETY: as in `Context::with`: `enter` keeps it alive until the slot is put back (I-11).
        let context: Option<&Context> = unsafe { slot.cast::<Context>().as_ref() };
        if let Some(context) = context {
            self.look_at(context);
        }
        context.is_some()
    }

    #[inline(never)]
    fn look_at(&mut self, context: &Context) {
        self.fiber = None;
        self.neighbours.fill(None);
        self.neighbours_total = 0;
        // SAFETY: while the pointer is set the block is alive, and the worker's own thread, which
        // alone could end the fiber, is in this handler (I-11).
        let Some(current) = (unsafe { context.running().as_ref() }) else {
            return;
        };
        self.fiber = Some(current.owner());
        // No further than there is room: a worker may have a million of them.
        let others = context
            .started_fibers()
            .filter(|header| !ptr::eq(*header, current));
        for (place, header) in self.neighbours.iter_mut().zip(others) {
            *place = Some(Neighbour {
                fiber: header.owner(),
                waiting_for: header.waiting_for(),
            });
        }
        self.neighbours_total = context.started().saturating_sub(1);
    }
}

impl Default for Glance {
    fn default() -> Self {
        Self::new()
    }
}

impl Header {
    pub(crate) fn owner(&self) -> Owner {
        let process = self.process().and_then(|process| process.id());
        Owner::new(
            self.id(),
            process,
            self.name_or_process(),
            self.spawned_at(),
        )
    }
}
