//! Threads of this process: their numbers, their processor time, and interrupting one.

use core::{mem::MaybeUninit, ptr, time::Duration};

use super::{Result, check, signal};

/// The signal that interrupts a worker to be looked at. The system ignores it by default, and
/// programs that handle it expect it without a reason.
pub(crate) const SAMPLE_SIGNAL: libc::c_int = libc::SIGURG;

/// The calling thread. Async-signal-safe.
pub(crate) fn number() -> libc::pid_t {
    // SAFETY: takes nothing (I-1).
    unsafe { libc::gettid() }
}

/// Whether the calling thread is the process's first one, which `main` runs on.
pub(crate) fn is_first() -> bool {
    // SAFETY: takes nothing (I-1).
    number() == unsafe { libc::getpid() }
}

/// Processor time that a thread of this process has used.
pub(crate) fn cpu(thread: libc::pid_t) -> Result<Duration> {
    /// How the kernel numbers a thread's clock of processor time.
    const PER_THREAD_SCHEDULED: libc::clockid_t = 0b110;
    let clock = !thread << 3 | PER_THREAD_SCHEDULED;
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the structure is on this frame for the length of the call (I-3).
    check(unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so the kernel has written all of it (I-3).
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
    Ok(Duration::new(seconds, nanos))
}

/// Interrupts a thread of this process with [`SAMPLE_SIGNAL`].
pub(crate) fn interrupt(thread: libc::pid_t) -> Result<()> {
    // SAFETY: takes nothing (I-1).
    let process = unsafe { libc::getpid() };
    // SAFETY: takes numbers only, and reaches threads of this process only (I-1).
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, SAMPLE_SIGNAL) };
    check(libc::c_int::try_from(result).unwrap_or(-1))?;
    Ok(())
}

/// Installs the handler of [`SAMPLE_SIGNAL`], on the alternate stack; calls that it interrupts are
/// restarted where the system can. Returns the action before.
///
/// # Safety
/// The handler does only what is async-signal-safe.
pub(crate) unsafe fn handle_interrupts(handler: signal::Handler) -> Result<libc::sigaction> {
    let mut action = signal::no_action();
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the set is on this frame (I-3).
    let _ = unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
    let mut before = signal::no_action();
    let result =
        // SAFETY: both structures are on this frame; the handler is the caller's promise (I-3).
        unsafe { libc::sigaction(SAMPLE_SIGNAL, &raw const action, &raw mut before) };
    check(result)?;
    Ok(before)
}

/// Where an interrupted thread was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Registers {
    /// The instruction that is next.
    pub(crate) pc: usize,
    /// The top of the stack.
    pub(crate) sp: usize,
    /// The frame pointer, where the code keeps one.
    pub(crate) fp: usize,
}

/// The registers in a handler's third argument. Async-signal-safe.
///
/// # Safety
/// `context` is what the kernel gave a handler that still runs.
pub(crate) unsafe fn registers(context: *const libc::c_void) -> Registers {
    // SAFETY: the kernel's structure, valid while the handler runs (I-3).
    let Some(context) = (unsafe { context.cast::<libc::ucontext_t>().as_ref() }) else {
        return Registers::default();
    };
    registers_of(context)
}

#[cfg(target_arch = "x86_64")]
fn registers_of(context: &libc::ucontext_t) -> Registers {
    let register = |index: libc::c_int| {
        let index = usize::try_from(index).unwrap_or(0);
        usize::try_from(context.uc_mcontext.gregs[index].cast_unsigned()).unwrap_or(0)
    };
    Registers {
        pc: register(libc::REG_RIP),
        sp: register(libc::REG_RSP),
        fp: register(libc::REG_RBP),
    }
}

#[cfg(target_arch = "aarch64")]
fn registers_of(context: &libc::ucontext_t) -> Registers {
    let address = |word: libc::c_ulonglong| usize::try_from(word).unwrap_or(0);
    Registers {
        pc: address(context.uc_mcontext.pc),
        sp: address(context.uc_mcontext.sp),
        fp: address(context.uc_mcontext.regs[29]),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn registers_of(_: &libc::ucontext_t) -> Registers {
    Registers::default()
}

/// A word of the calling thread's stack. Async-signal-safe.
///
/// # Safety
/// The address is aligned and lies on a mapped stack that this thread is using.
pub(crate) unsafe fn word_at(address: usize) -> usize {
    let address: *const usize = ptr::with_exposed_provenance(address);
    // SAFETY: the caller's promise (I-3).
    unsafe { address.read_volatile() }
}
