//! Signals of the process, handed to the descriptors that were opened for them.
//!
//! ```text
//! kernel ─▶ handler, on any thread ─▶ every slot whose subscriber wants the signal
//!                                      ├ its byte is unread there: merged
//!                                      └ else: one byte into the subscriber's socket ─▶ its read
//! ```
//!
//! The handler takes no lock and allocates nothing: it reads a table of fixed size (`slot`), whose
//! protocol keeps it from writing to a number that was closed and given out again. It looks into
//! the subscriber's socket before it writes, so a subscriber has at most one byte of each kind
//! unread (a few more when handlers run at once), which always fits: no signal is ever lost to a
//! full queue. A byte that the handler saw unread is read after the signal came, so merging loses
//! nothing either.
//!
//! A child of `fork` that has not called `exec` yet still has our handlers, and our sockets. It is
//! not us: its signals take their default action there and do not reach us.

mod slot;

extern crate alloc;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use fiber_core::{
    IoError, IoErrorKind,
    request::RawDescriptor,
    signal::{Signal, SignalSet},
};

use self::slot::{Slot, Subscriber};
use crate::sys::{self, process, signal, socket};

/// How many descriptors for signals one process can have open (I-10).
const SUBSCRIBERS_MAX: usize = 64;

/// Each signal and the system's own number of it.
const NUMBERS: [(Signal, libc::c_int); Signal::ALL.len()] = [
    (Signal::Interrupt, libc::SIGINT),
    (Signal::Terminate, libc::SIGTERM),
    (Signal::Hangup, libc::SIGHUP),
    (Signal::Quit, libc::SIGQUIT),
    (Signal::User1, libc::SIGUSR1),
    (Signal::User2, libc::SIGUSR2),
];

/// What the handler reads. Filled before the first handler is installed.
static SLOTS: OnceLock<[Slot; SUBSCRIBERS_MAX]> = OnceLock::new();
/// The process whose subscribers these are.
static OWNER: AtomicU32 = AtomicU32::new(0);
/// Which remainders by 64 the descriptors' numbers have: most closes need no look at the table.
static REMAINDERS: AtomicU64 = AtomicU64::new(0);
static TABLE: Mutex<Table> = Mutex::new(Table {
    open: Vec::new(),
    before: [const { None }; Signal::ALL.len()],
});

/// Who has subscribed, for those who open and close.
struct Table {
    open: Vec<Open>,
    /// What was done with each signal that is caught now; indexed as [`NUMBERS`].
    before: [Option<libc::sigaction>; Signal::ALL.len()],
}

struct Open {
    slot: usize,
    set: SignalSet,
    /// The descriptor that was given out.
    reader: RawDescriptor,
    writer: OwnedFd,
}

/// Opens a descriptor from which these signals are read.
pub(crate) fn open(set: SignalSet) -> Result<RawDescriptor, IoError> {
    if set.is_empty() {
        return Err(IoErrorKind::InvalidInput.into());
    }
    let mut table = lock();
    let process = process::id();
    if OWNER.load(Ordering::Relaxed) != process {
        // What is there is a parent's. Before this process owns the slots: until then its handlers
        // do not look at them.
        table.begin_anew();
        OWNER.store(process, Ordering::Relaxed);
    }
    let is_free = |slot: &usize| table.open.iter().all(|open| open.slot != *slot);
    let Some(slot) = (0..SUBSCRIBERS_MAX).find(is_free) else {
        return Err(IoErrorKind::TooManyDescriptors.into());
    };
    let (reader, writer) = socket::pair()?;
    // The slot first: a handler that runs finds its subscriber.
    slots()[slot].open(Subscriber {
        set,
        reader: reader.as_raw_fd(),
        writer: writer.as_raw_fd(),
    });
    table.open.push(Open {
        slot,
        set,
        reader: RawDescriptor(reader.as_raw_fd().cast_unsigned()),
        writer,
    });
    if let Err(errno) = table.catch(set) {
        let open = table.open.pop().expect("pushed above");
        table.end(open);
        return Err(errno.into());
    }
    table.note_remainders();
    Ok(socket::into_raw(reader))
}

/// `descriptor` is about to be closed: if signals are read from it, no handler uses it afterwards,
/// and what nobody else wants is done with as before.
pub(crate) fn closing(descriptor: RawDescriptor) {
    if may_be_ours(descriptor) {
        let mut table = lock();
        let index = table.open.iter().position(|open| open.reader == descriptor);
        if let Some(index) = index {
            let open = table.open.swap_remove(index);
            table.end(open);
            table.note_remainders();
        }
    }
}

/// Whether signals are read from `descriptor`.
pub(crate) fn is_open(descriptor: RawDescriptor) -> bool {
    may_be_ours(descriptor) && lock().open.iter().any(|open| open.reader == descriptor)
}

/// Sends this process a signal.
pub(crate) fn raise(signal: Signal) -> sys::Result<()> {
    let (_, number) = NUMBERS[index_of(signal)];
    signal::raise(number)
}

impl Table {
    /// Catches those of `set` that are not caught yet.
    fn catch(&mut self, set: SignalSet) -> sys::Result<()> {
        for signal in set.iter() {
            let index = index_of(signal);
            if self.before[index].is_none() {
                // SAFETY: `on_signal` reads atomics and calls what is async-signal-safe (I-7).
                let before = unsafe { signal::catch(NUMBERS[index].1, on_signal) }?;
                self.before[index] = Some(before);
            }
        }
        Ok(())
    }

    /// Ends a subscription that has been taken out of the table.
    fn end(&mut self, open: Open) {
        for signal in open.set.iter() {
            let wanted = self.open.iter().any(|other| other.set.contains(signal));
            let index = index_of(signal);
            if !wanted && let Some(before) = self.before[index].take() {
                // Before the slot is closed: a signal comes either to us or to them.
                signal::restore_if(NUMBERS[index].1, on_signal, &before);
            }
        }
        slots()[open.slot].close();
        drop(open.writer);
    }

    /// Forgets what a child of `fork` has of its parent: a signal of the child's is not the
    /// parent's, and what only the parent wanted is done as before. The descriptors to read from
    /// stay, as they have other owners.
    fn begin_anew(&mut self) {
        for (before, &(_, number)) in self.before.iter_mut().zip(&NUMBERS) {
            if let Some(before) = before.take() {
                signal::restore_if(number, on_signal, &before);
            }
        }
        slots().iter().for_each(Slot::reset);
        self.open.clear();
        self.note_remainders();
    }

    fn note_remainders(&self) {
        let bits = self.open.iter().map(|open| remainder(open.reader));
        REMAINDERS.store(bits.fold(0, |all, bit| all | bit), Ordering::Relaxed);
    }
}

/// Whoever closes a descriptor learned of it from whoever opened it, and sees what that one wrote.
fn may_be_ours(descriptor: RawDescriptor) -> bool {
    REMAINDERS.load(Ordering::Relaxed) & remainder(descriptor) != 0
}

const fn remainder(descriptor: RawDescriptor) -> u64 {
    1 << (descriptor.0 % 64)
}

fn slots() -> &'static [Slot; SUBSCRIBERS_MAX] {
    SLOTS.get_or_init(|| core::array::from_fn(|_| Slot::new()))
}

fn lock() -> MutexGuard<'static, Table> {
    // Nothing panics under the lock, and the table is consistent at every step.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn index_of(signal: Signal) -> usize {
    let index = NUMBERS.iter().position(|&(known, _)| known == signal);
    index.expect("the list has every signal")
}

extern "C" fn on_signal(number: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let known = NUMBERS.iter().find(|&&(_, known)| known == number);
    let (Some(&(signal, _)), Some(slots)) = (known, SLOTS.get()) else {
        return;
    };
    signal::keeping_errno(|| {
        if OWNER.load(Ordering::Relaxed) != process::id() {
            signal::take_default_action(number);
            return;
        }
        for slot in slots {
            slot.visit(|subscriber| {
                if subscriber.set.contains(signal) {
                    tell(subscriber, signal);
                }
            });
        }
    });
}

/// Puts the signal's byte into the subscriber's socket, unless it is there. Async-signal-safe.
fn tell(subscriber: Subscriber, signal: Signal) {
    let mut unread = [0; 64];
    // What cannot be looked at has nothing unread.
    let seen = socket::peek(subscriber.reader, &mut unread).unwrap_or(0);
    if !unread[..seen].contains(&signal.number()) {
        let byte = [signal.number()];
        let lent = fiber_core::request::Lent::new(&byte);
        // SAFETY: the byte is on this frame for the length of the call (I-3).
        let _ = unsafe { socket::send_now(subscriber.writer, lent) };
    }
}
