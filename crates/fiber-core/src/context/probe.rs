//! Backtraces of fibers that are switched out.
//!
//! Nobody else can walk a suspended stack as well as the fiber on it. So it is resumed with a
//! probe, which it finds where it was switched out: it takes its own backtrace and switches out
//! again, without having been woken.

use core::{
    cell::Cell,
    hint::black_box,
    ptr::{self, NonNull},
};

use corosensei::CoroutineResult;

use super::{Context, FiberReport};
use crate::{env::Trace, fiber::Header, park::Raised};

/// Taking a backtrace needs some kilobytes: a fiber that has less than this left is not asked.
const STACK_LEFT_MIN: usize = 16 << 10;

/// What a fiber is resumed with, if it is not to go on.
pub(crate) struct Probe {
    trace: NonNull<dyn Trace>,
    into: NonNull<[usize]>,
    /// The lowest address of the fiber's stack.
    limit: usize,
    bytes: usize,
    len: Cell<usize>,
}

impl Probe {
    /// Takes the calling fiber's backtrace, unless it has too little stack left.
    ///
    /// # Safety
    /// The probe is one that [`Context::probe`] has resumed the calling fiber with, and waits for.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn take(this: NonNull<Self>) {
        // SAFETY: it lies in the frame of `Context::probe`, which waits (I-3).
        let probe = unsafe { this.as_ref() };
        let mark = 0_u8;
        let here = ptr::from_ref(black_box(&mark)).addr();
        // One that is on another stack for a while is not on that between these.
        let left = here.wrapping_sub(probe.limit);
        if !(STACK_LEFT_MIN..probe.bytes).contains(&left) {
            return;
        }
        // SAFETY: borrowed by that frame (I-3).
        let trace = unsafe { probe.trace.as_ref() };
        let mut into = probe.into;
        // SAFETY: as above, exclusively (I-3).
        let into = unsafe { into.as_mut() };
        let stack = probe.limit..probe.limit + probe.bytes;
        probe.len.set(trace.capture(stack, into));
    }
}

impl Context {
    /// [`Context::report`] of the first `max` fibers, each with the return addresses of its frames,
    /// innermost first: at most as many as fit into `addresses`, and none of a fiber that has less
    /// than 16 KiB of stack left, or is on a larger one for a while. Without `trace` there are none
    /// at all.
    ///
    /// *Cost*: two switches and a walk of the stack for each fiber, some ten microseconds.
    pub fn report_with_backtraces(
        &self,
        max: usize,
        trace: Option<&dyn Trace>,
        addresses: &mut [usize],
        mut tell: impl FnMut(FiberReport<'_>, &[usize]),
    ) {
        // Another fiber's end would take the list apart under us.
        let _guard = Raised::new(self.no_suspend_depth());
        let mut told = 0;
        self.each_started(|header| {
            if told < max {
                told += 1;
                let len = trace.map_or(0, |trace| self.probe(header, trace, addresses));
                tell(header.report(), &addresses[..len]);
            }
        });
    }

    fn probe(&self, header: &Header, trace: &dyn Trace, into: &mut [usize]) -> usize {
        assert!(!self.is_on_fiber(), "fibers are resumed by their worker");
        let Some(started) = header.try_started_part() else {
            return 0;
        };
        let trace: *const (dyn Trace + '_) = trace;
        // SAFETY: only the lifetime changes; the probe is gone when this returns (I-3).
        let trace = unsafe {
            core::mem::transmute::<*const (dyn Trace + '_), *const (dyn Trace + 'static)>(trace)
        };
        let probe = Probe {
            trace: NonNull::new(trace.cast_mut()).expect("made from a reference"),
            into: NonNull::from_mut(into),
            limit: header.stack_limit(),
            bytes: header.stack_class().bytes(),
            len: Cell::new(0),
        };
        // SAFETY: on the home worker, outside of the fiber, and nothing else reaches the place
        // while it runs (I-11).
        let coroutine = unsafe { started.coroutine() };
        let result = coroutine.resume(Some(NonNull::from_ref(&probe)));
        debug_assert!(matches!(result, CoroutineResult::Yield(())));
        probe.len.get()
    }
}
