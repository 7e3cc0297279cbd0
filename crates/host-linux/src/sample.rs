//! Looking at a worker's thread from outside: a signal interrupts it, and its handler writes down
//! what runs there.
//!
//! ```text
//! asker    FREE ─▶ ASKED + signal ········▶ read ─▶ FREE        no answer in time: ASKED ─▶ FREE
//! handler            └─▶ WRITING ─▶ DONE ──┘                    (a late signal finds no question)
//! ```
//!
//! Who is asked is part of the word: a handler that was stopped halfway, while its question was
//! taken back, cannot answer the next one, which goes to another thread.

extern crate alloc;

use alloc::vec::Vec;
use core::{
    cell::UnsafeCell,
    mem,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::Instant,
};

use fiber_core::{context::Glance, env::Sample};

use crate::{
    slabs,
    sys::{self, memory, signal, thread as sys_thread},
};

const FRAMES_MAX: usize = 64;
/// How long an answer is waited for: a thread that cannot run a handler has none.
const PATIENCE: Duration = Duration::from_millis(50);

const FREE: u64 = 0;
const WRITING: u64 = 1;
const DONE: u64 = 2;
const ASKED: u64 = 3;
const THREAD_SHIFT: u32 = 2;

/// The word of a question to this thread.
fn question_to(thread: libc::pid_t) -> u64 {
    u64::from(thread.cast_unsigned()) << THREAD_SHIFT | ASKED
}

/// One question at a time, of the whole process.
struct Mailbox {
    state: AtomicU64,
    answer: UnsafeCell<Answer>,
}

struct Answer {
    is_worker: bool,
    glance: Glance,
    addresses: [usize; FRAMES_MAX],
    len: usize,
}

// SAFETY: the answer is the handler's from `WRITING` to `DONE`, and the asker's, of whom there is
// one at a time, otherwise (I-11).
unsafe impl Sync for Mailbox {}

static MAILBOX: Mailbox = Mailbox {
    state: AtomicU64::new(FREE),
    answer: UnsafeCell::new(Answer {
        is_worker: false,
        glance: Glance::new(),
        addresses: [0; FRAMES_MAX],
        len: 0,
    }),
};

static ASKING: Mutex<()> = Mutex::new(());
static PREVIOUS: OnceLock<Option<libc::sigaction>> = OnceLock::new();
static PAGE_BYTES: OnceLock<usize> = OnceLock::new();

/// Looks at a worker's thread; `None` if it is no worker or does not answer in time.
pub(crate) fn sample(thread: libc::pid_t) -> Option<Sample> {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    PREVIOUS.get_or_init(install).as_ref()?;
    let question = question_to(thread);
    MAILBOX.state.store(question, Ordering::Release);
    if sys_thread::interrupt(thread).is_err() {
        MAILBOX.state.store(FREE, Ordering::Relaxed);
        return None;
    }
    if !answered(question) {
        return None;
    }
    // SAFETY: it is done, and nobody asks or writes until the state changes again (I-11).
    let answer = unsafe { &*MAILBOX.answer.get() };
    let addresses = Vec::from(&answer.addresses[..answer.len]);
    let sample = answer
        .is_worker
        .then(|| Sample::new(answer.glance, addresses));
    MAILBOX.state.store(FREE, Ordering::Relaxed);
    sample
}

/// Waits for the answer; false if the question was taken back.
fn answered(question: u64) -> bool {
    let began = Instant::now();
    loop {
        match MAILBOX.state.load(Ordering::Acquire) {
            DONE => return true,
            // Taken back, unless the handler was faster: then it is waited for.
            state if state == question && began.elapsed() > PATIENCE => {
                if replace(question, FREE) {
                    return false;
                }
            }
            _ => thread::sleep(Duration::from_micros(50)),
        }
    }
}

fn replace(before: u64, after: u64) -> bool {
    MAILBOX
        .state
        .compare_exchange(before, after, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
}

fn install() -> Option<libc::sigaction> {
    PAGE_BYTES.get_or_init(memory::page_bytes);
    // SAFETY: `on_interrupt` reads and writes memory and atomics only (I-7).
    match unsafe { sys_thread::handle_interrupts(on_interrupt) } {
        Ok(before) => Some(before),
        Err(errno) => {
            tracing::warn!(
                target: "host_linux", code = errno.0,
                "cannot handle SIGURG: reports of busy workers will not name the fiber",
            );
            None
        }
    }
}

extern "C" fn on_interrupt(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    if !replace(question_to(sys_thread::number()), WRITING) {
        return pass_on(signal, info, context);
    }
    // SAFETY: `WRITING` was set above, by this handler (I-11).
    let answer = unsafe { &mut *MAILBOX.answer.get() };
    // SAFETY: the kernel's own argument (I-7).
    let registers = unsafe { sys_thread::registers(context) };
    answer.is_worker = answer.glance.look();
    answer.len = walk(registers, &mut answer.addresses);
    MAILBOX.state.store(DONE, Ordering::Release);
}

/// Follows the frame pointers up the fiber's stack, as long as they look like such.
fn walk(registers: sys::thread::Registers, into: &mut [usize; FRAMES_MAX]) -> usize {
    into[0] = registers.pc;
    let mut len = 1;
    let page_bytes = PAGE_BYTES.get().copied().unwrap_or(4096);
    let Some(stack) = slabs::find(registers.sp, page_bytes) else {
        return len;
    };
    let end = stack.base().addr().get() - 2 * size_of::<usize>();
    let (mut above, mut frame) = (registers.sp, registers.fp);
    while len < FRAMES_MAX && frame >= above && frame < end && frame.is_multiple_of(8) {
        // SAFETY: aligned, between the top of the stack that this thread is on and its base (I-3).
        let next = unsafe { sys_thread::word_at(frame) };
        // SAFETY: as above; the base is two words further at least (I-3).
        let return_address = unsafe { sys_thread::word_at(frame + size_of::<usize>()) };
        if return_address == 0 {
            break;
        }
        into[len] = return_address;
        len += 1;
        above = frame + 1;
        frame = next;
    }
    len
}

/// A signal that nobody here has asked for goes to whoever handled it before.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(Some(previous)) = PREVIOUS.get() else {
        return;
    };
    let handler = previous.sa_sigaction;
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // Both ignore it.
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
