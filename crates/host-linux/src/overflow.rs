//! The report of a stack overflow: which fiber, how large its stack was, what to do.
//!
//! A fiber that runs over touches its guard. The handler runs on a stack of its own, looks the
//! address up in the slab table, writes one line to standard error and aborts. Every other fault
//! goes to whoever handled it before.

use core::{cell::Cell, marker::PhantomData, mem, ptr::NonNull};
use std::sync::{Once, OnceLock};

use fiber_core::stack::{self, OverflowReport};

use crate::{
    slabs::{self, Found},
    sys::{memory, process, signal},
};

const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
const SIGNAL_STACK_BYTES: usize = 128 << 10;

static PREVIOUS: [OnceLock<libc::sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; 2];
static PAGE_BYTES: OnceLock<usize> = OnceLock::new();

/// Installs the handlers, once for the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        PAGE_BYTES.get_or_init(memory::page_bytes);
        for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
            // SAFETY: `on_fault` reads atomics, formats on its own stack and writes; it neither
            // allocates nor locks (I-7).
            match unsafe { signal::install(signal, on_fault) } {
                Ok(before) => {
                    previous.get_or_init(|| before);
                }
                Err(errno) => tracing::warn!(
                    target: "host_linux",
                    code = errno.0,
                    "cannot handle signal {signal}: a stack overflow will not be reported",
                ),
            }
        }
    });
}

/// The stack that a worker's signal handlers run on; the one before comes back when it is dropped.
#[derive(Debug)]
pub(crate) struct SignalStack {
    memory: NonNull<u8>,
    before: libc::stack_t,
    /// It belongs to the thread that installed it.
    not_send: PhantomData<Cell<*const ()>>,
}

impl SignalStack {
    /// Gives the calling thread a signal stack; `None` when there is no memory for it, and then an
    /// overflow kills the process without a report.
    pub(crate) fn install() -> Option<Self> {
        let memory = memory::map(SIGNAL_STACK_BYTES).ok()?;
        // SAFETY: mapped above; unmapped by `drop`, after the stack before was put back (I-3).
        match unsafe { signal::set_stack(memory.as_ptr(), SIGNAL_STACK_BYTES) } {
            Ok(before) => Some(Self {
                memory,
                before,
                not_send: PhantomData,
            }),
            Err(_) => {
                // SAFETY: mapped above, and not in use (I-3).
                unsafe { memory::unmap(memory, SIGNAL_STACK_BYTES) };
                None
            }
        }
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        // SAFETY: it was this thread's stack before, and the thread still lives (I-3).
        let swapped = unsafe { signal::swap_stack(&self.before) };
        if swapped.is_ok() {
            // SAFETY: no longer anybody's signal stack, and no handler runs: we do (I-3).
            unsafe { memory::unmap(self.memory, SIGNAL_STACK_BYTES) };
        }
    }
}

extern "C" fn on_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel calls this with the information of a fault (I-7).
    let address = unsafe { signal::fault_address(info) };
    let page_bytes = PAGE_BYTES.get().copied().unwrap_or(4096);
    match slabs::find(address, page_bytes) {
        Some(found) if found.in_guard => {
            report(found);
            process::abort();
        }
        _ => pass_on(signal, info, context),
    }
}

fn report(found: Found) {
    // SAFETY: a stack of the slab table is mapped, and it is the one that this very thread has
    // just run over, so its fiber is neither finished nor being torn down (I-3, I-11).
    let owner = unsafe { stack::owner_of(found.base()) };
    let report = OverflowReport::new(owner.as_ref(), found.class, "fiber", "a fiber");
    process::complain(report.text());
}

/// Leaves the fault to whoever handled it before us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = SIGNALS.iter().position(|&known| known == signal);
    let previous = index.and_then(|index| PREVIOUS[index].get());
    let default = signal::no_action();
    let previous = previous.unwrap_or(&default);
    let handler = previous.sa_sigaction;
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // The instruction is repeated, faults again, and meets the action put back here.
        signal::restore(signal, previous);
    } else if previous.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: with SA_SIGINFO the word is a handler of three arguments (I-7).
        let handler = unsafe { mem::transmute::<usize, signal::Handler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: without it, a handler of one argument (I-7).
        let handler = unsafe { mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
        handler(signal);
    }
}
