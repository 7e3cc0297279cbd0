//! One subscriber's place in the table that signal handlers read.
//!
//! A handler runs at any moment, on any thread, and can wait for nobody; the two descriptors that
//! it uses are closed at some moment too, by another thread, and their numbers are given out again
//! at once. One word decides, so that entering and closing have one order:
//!
//! ```text
//! word   31    30          0
//!       |OPEN |   inside    |     inside: how many handlers have entered and not left
//!
//! who      │ does                                              │ and may
//! ─────────┼───────────────────────────────────────────────────┼─────────────────────────────────
//! open     │ fills the slot, then sets OPEN                    │ (the slot was closed)
//! handler  │ inside += 1; saw OPEN? then it uses the numbers;  │ use them until inside -= 1
//!          │ inside -= 1                                       │
//! close    │ clears OPEN, waits until it sees inside = 0       │ close the numbers, fill the slot
//! ```
//!
//! Whoever saw OPEN entered before it was cleared, and is counted in what the closer sees; whoever
//! enters later does not see it. So no handler writes to a number that was given out again.

use std::os::fd::RawFd;

use fiber_core::signal::SignalSet;

#[cfg(not(loom))]
use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};
#[cfg(loom)]
use loom::{
    sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering},
    thread::yield_now,
};
#[cfg(not(loom))]
use std::thread::yield_now;

const OPEN: u32 = 1 << 31;

/// What a handler needs to know of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) set: SignalSet,
    /// Where the subscriber reads.
    pub(super) reader: RawFd,
    /// Where a handler writes.
    pub(super) writer: RawFd,
}

/// Room for one subscriber.
pub(super) struct Slot {
    word: AtomicU32,
    set: AtomicU8,
    reader: AtomicI32,
    writer: AtomicI32,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            set: AtomicU8::new(0),
            reader: AtomicI32::new(-1),
            writer: AtomicI32::new(-1),
        }
    }

    /// Lets handlers see `subscriber`. The slot is closed, and nobody else opens it meanwhile.
    pub(super) fn open(&self, subscriber: Subscriber) {
        self.set.store(subscriber.set.to_bits(), Ordering::Relaxed);
        self.reader.store(subscriber.reader, Ordering::Relaxed);
        self.writer.store(subscriber.writer, Ordering::Relaxed);
        let before = self.word.fetch_or(OPEN, Ordering::Release);
        debug_assert_eq!(before & OPEN, 0, "a slot has one subscriber");
    }

    /// Shows the subscriber, if there is one, whose descriptors stay open during `visit`.
    /// Async-signal-safe, if `visit` is.
    pub(super) fn visit(&self, visit: impl FnOnce(Subscriber)) {
        let before = self.word.fetch_add(1, Ordering::Acquire);
        if before & OPEN != 0 {
            visit(Subscriber {
                set: SignalSet::from_bits(self.set.load(Ordering::Relaxed)),
                reader: self.reader.load(Ordering::Relaxed),
                writer: self.writer.load(Ordering::Relaxed),
            });
        }
        self.word.fetch_sub(1, Ordering::Release);
    }

    /// Empties the slot in a child of `fork`, where a handler of the parent's that was inside never
    /// leaves. No handler of this process has visited it.
    pub(super) fn reset(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Hides the subscriber from handlers; afterwards none uses its descriptors. Waits for those
    /// that run on other threads, which wait for nobody; never called by a handler.
    pub(super) fn close(&self) {
        let mut word = self.word.fetch_and(!OPEN, Ordering::Acquire);
        while word & !OPEN != 0 {
            yield_now();
            word = self.word.load(Ordering::Acquire);
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
    };

    use super::*;

    fn subscriber(number: RawFd) -> Subscriber {
        Subscriber {
            set: SignalSet::default(),
            reader: number,
            writer: number + 100,
        }
    }

    #[test]
    fn loom_no_handler_uses_a_number_that_is_closed_and_none_sees_half_a_subscriber() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let closed = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
            slot.open(subscriber(0));
            let handler = {
                let (slot, closed) = (Arc::clone(&slot), Arc::clone(&closed));
                thread::spawn(move || {
                    for _ in 0..2 {
                        slot.visit(|seen| {
                            assert_eq!(seen.writer, seen.reader + 100, "two subscribers mixed up");
                            let number = usize::try_from(seen.reader).expect("0 or 1");
                            let gone = closed[number].load(Ordering::Relaxed);
                            assert!(!gone, "a handler uses a closed number");
                        });
                    }
                })
            };
            slot.close();
            closed[0].store(true, Ordering::Relaxed);
            slot.open(subscriber(1));
            slot.close();
            closed[1].store(true, Ordering::Relaxed);
            handler.join().expect("the handler returns");
        });
    }

    #[test]
    fn loom_two_handlers_are_both_waited_for() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let closed = Arc::new(AtomicBool::new(false));
            slot.open(subscriber(0));
            let handlers = [(); 2].map(|()| {
                let (slot, closed) = (Arc::clone(&slot), Arc::clone(&closed));
                thread::spawn(move || {
                    slot.visit(|_| assert!(!closed.load(Ordering::Relaxed), "closed too early"));
                })
            });
            slot.close();
            closed.store(true, Ordering::Relaxed);
            for handler in handlers {
                handler.join().expect("the handler returns");
            }
        });
    }
}
