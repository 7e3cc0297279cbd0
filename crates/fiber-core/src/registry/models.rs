//! Loom models of one slot: entering, leaving, closing and freeing on several threads.
//!
//! The list of handed-over slots and the shard's free list are played by a counter: what is
//! modelled is the word, and that whoever uses a slot finds it as it was when it was opened.

extern crate std;

use core::ptr;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    entry::{Closing, Entry},
    named::Named,
};
use crate::{
    id::{Id, Namespace},
    request::RawDescriptor,
};

const STREAM: Namespace = Namespace::STREAM;

fn stream(raw: u32) -> Named {
    Named::descriptor(STREAM, RawDescriptor(raw))
}

struct Slot {
    entry: Entry,
    /// Hand-overs that the shard has not received.
    handed: AtomicUsize,
}

impl Slot {
    fn open() -> (Arc<Self>, Id) {
        let entry = Entry::new();
        let generation = entry.open(&stream(1), None, ptr::null_mut());
        let handed = AtomicUsize::new(0);
        let id = Id::new(0, STREAM, generation).unwrap();
        (Arc::new(Self { entry, handed }), id)
    }

    /// Enters and leaves, if the id is still good; answers whether it was.
    fn visit(&self, id: Id, worker: u16) -> bool {
        if self.entry.enter(id, Some(worker)).is_err() {
            return false;
        }
        let raw = self.entry.raw().0;
        assert_eq!(
            raw,
            u32::from(id.generation()),
            "freed while somebody was inside"
        );
        assert!(
            self.entry.workers() & 1 << worker != 0,
            "an unknown worker is inside"
        );
        if self.entry.exit() {
            self.hand_over();
        }
        true
    }

    fn close(&self, id: Id) -> bool {
        let closed = self.entry.begin_close(id, Closing::Asked, None).is_ok();
        if closed {
            self.hand_over();
        }
        closed
    }

    /// Takes out what the slot names; gives it.
    fn take_out(&self, id: Id) -> Option<u32> {
        self.entry.begin_move(id).ok()?;
        let raw = self.entry.raw().0;
        self.hand_over();
        Some(raw)
    }

    fn hand_over(&self) {
        let before = self.handed.fetch_add(1, Ordering::AcqRel);
        assert_eq!(before, 0, "handed over twice at once");
    }

    /// The shard's part: receives a hand-over if there is one; true when it freed the slot.
    fn receive(&self) -> bool {
        if self.handed.swap(0, Ordering::AcqRel) == 0 || self.entry.receive() > 0 {
            return false;
        }
        self.entry.free();
        true
    }
}

#[test]
fn loom_a_closed_slot_is_freed_exactly_once_after_the_last_has_left() {
    loom::model(|| {
        let (slot, id) = Slot::open();
        let visitor = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.visit(id, 3))
        };
        let closer = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.close(id))
        };
        let early = slot.receive();
        visitor.join().unwrap();
        assert!(closer.join().unwrap(), "there is one closer");
        let late = slot.receive();
        assert!(
            early ^ late,
            "freed {} times",
            u8::from(early) + u8::from(late)
        );
        assert!(!slot.entry.word().is_live());
    });
}

#[test]
fn loom_one_of_two_closers_wins() {
    loom::model(|| {
        let (slot, id) = Slot::open();
        slot.entry.enter(id, Some(0)).unwrap();
        let other = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.close(id))
        };
        let mine = slot.close(id);
        if slot.entry.exit() {
            slot.hand_over();
        }
        assert!(mine ^ other.join().unwrap(), "an id is closed once");
        assert!(slot.receive(), "and freed by the next look");
    });
}

#[test]
fn loom_what_is_given_away_is_nobody_else_s() {
    loom::model(|| {
        let (slot, id) = Slot::open();
        let visitor = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.visit(id, 3))
        };
        let closer = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.close(id))
        };
        let taken = slot.take_out(id);
        visitor.join().unwrap();
        let closed = closer.join().unwrap();
        assert!(!(closed && taken.is_some()), "two have it");
        if taken.is_some() {
            assert!(slot.entry.word().is_moved(), "its shard would end it");
        }
        // If somebody was inside and the closer was not there yet, nothing has happened at all.
        assert_eq!(slot.receive(), closed || taken.is_some());
    });
}

#[test]
fn loom_whoever_looks_at_a_slot_sees_one_incarnation() {
    loom::model(|| {
        let entry = Arc::new(Entry::new());
        let owner = |number| Id::new(number, Namespace::PROCESS, 1);
        let open = |number| entry.open(&stream(1), owner(number), ptr::null_mut());
        let old = Id::new(0, STREAM, open(1)).unwrap();
        let looker = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                let new = Id::new(0, STREAM, 2).unwrap();
                for (id, owner) in [(old, owner(1)), (new, owner(2))] {
                    if let Some((_, seen)) = entry.peek(id) {
                        assert_eq!(seen, owner, "the owner of another incarnation");
                    }
                }
            })
        };
        entry.begin_close(old, Closing::OwnerDied, None).unwrap();
        assert_eq!(entry.receive(), 0);
        entry.free();
        open(2);
        looker.join().unwrap();
    });
}

#[test]
fn loom_a_guessed_id_finds_what_belongs_to_it() {
    loom::model(|| {
        let (slot, old) = Slot::open();
        // The old incarnation leaves its traces, among them worker 3's bit.
        assert!(slot.visit(old, 3));
        assert!(slot.close(old));
        // Told by nobody: all that orders this thread after `open` is the word itself.
        let guesser = {
            let slot = Arc::clone(&slot);
            let next = Id::new(0, STREAM, old.generation() + 1).unwrap();
            thread::spawn(move || slot.visit(next, 3))
        };
        assert!(slot.receive());
        slot.entry.open(&stream(2), None, ptr::null_mut());
        guesser.join().unwrap();
        assert!(
            !slot.visit(old, 3),
            "an old id entered the next incarnation"
        );
    });
}

/// A fiber ends, closes its id and is freed, while another thread looks at it through that id.
#[test]
fn loom_a_fiber_stays_while_somebody_looks_at_it_through_its_id() {
    loom::model(|| {
        let (slot, id) = Slot::open();
        let (references, freed) = (Arc::new(AtomicUsize::new(1)), Arc::new(AtomicUsize::new(0)));
        let looker = {
            let (slot, freed) = (Arc::clone(&slot), Arc::clone(&freed));
            thread::spawn(move || {
                if slot.entry.enter(id, None).is_ok() {
                    assert_eq!(freed.load(Ordering::Acquire), 0, "freed under our eyes");
                    if slot.entry.exit() {
                        slot.hand_over();
                    }
                }
            })
        };
        let release = |freed: &AtomicUsize| {
            if references.fetch_sub(1, Ordering::AcqRel) == 1 {
                freed.store(1, Ordering::Release);
            }
        };
        let mut kept = false;
        let mut keep = || {
            references.fetch_add(1, Ordering::Relaxed);
            kept = true;
        };
        let keeps = slot.entry.begin_close(id, Closing::Asked, Some(&mut keep));
        let keeps = keeps.unwrap();
        if kept && !keeps {
            release(&freed);
        }
        slot.hand_over();
        release(&freed);
        // The shard: what the slot has kept is dropped when nobody is inside any more.
        for _ in 0..2 {
            let keeps = slot.entry.word().keeps();
            if slot.receive() {
                if keeps {
                    release(&freed);
                }
                break;
            }
            if slot.handed.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
        }
        looker.join().unwrap();
        if slot.handed.load(Ordering::Acquire) != 0 {
            let keeps = slot.entry.word().keeps();
            if slot.receive() && keeps {
                release(&freed);
            }
        }
        assert_eq!(freed.load(Ordering::Acquire), 1, "never freed");
    });
}
