//! Signals of the script's own: raised by requests, read like a stream.

use alloc::{collections::VecDeque, vec::Vec};

use super::world::World;
use crate::{
    IoErrorKind,
    request::{LentMut, Outcome, RawDescriptor},
    signal::{Signal, SignalSet},
};

/// Numbers that no script is likely to use for its own descriptors.
const FIRST: u32 = 1 << 20;

/// Everything that a world's ports are told, by descriptor.
pub(super) struct Signals {
    open: Vec<Told>,
    opened: u32,
}

struct Told {
    raw: RawDescriptor,
    set: SignalSet,
    /// Each kind once.
    unread: VecDeque<u8>,
}

impl Signals {
    pub(super) const fn new() -> Self {
        Self {
            open: Vec::new(),
            opened: 0,
        }
    }

    pub(super) fn open(&mut self, set: SignalSet) -> Outcome {
        if set.is_empty() {
            return Outcome::Failed(IoErrorKind::InvalidInput.into());
        }
        let raw = RawDescriptor(FIRST + self.opened);
        self.opened += 1;
        self.open.push(Told {
            raw,
            set,
            unread: VecDeque::new(),
        });
        Outcome::Opened(raw)
    }

    pub(super) fn close(&mut self, raw: RawDescriptor) {
        self.open.retain(|told| told.raw != raw);
    }

    /// Whether signals are read from `raw`.
    pub(super) fn has(&self, raw: RawDescriptor) -> bool {
        self.open.iter().any(|told| told.raw == raw)
    }

    /// Whether something is unread of `raw`.
    pub(super) fn has_unread(&self, raw: RawDescriptor) -> bool {
        let unread = |told: &Told| told.raw == raw && !told.unread.is_empty();
        self.open.iter().any(unread)
    }

    /// Reads what is unread of `raw`, as much as there is whatever the extent; how many, and `None`
    /// when it has to wait.
    ///
    /// # Safety
    /// `into` is lent, and the request that lends it is not over.
    pub(super) unsafe fn read(&mut self, raw: RawDescriptor, into: LentMut) -> Option<Outcome> {
        let told = self.open.iter_mut().find(|told| told.raw == raw)?;
        let len = into.len().min(told.unread.len());
        for (index, number) in told.unread.drain(..len).enumerate() {
            // SAFETY: inside of the lent bytes (the caller's promise, I-3).
            let place = unsafe { into.start().add(index) };
            // SAFETY: as above (I-3).
            unsafe { place.write(number) };
        }
        (len > 0 || into.is_empty()).then_some(Outcome::Done(len as u64))
    }
}

impl World {
    /// Tells all who want `signal`. In this world it ends nobody.
    pub(super) fn raise(&mut self, signal: Signal) {
        let wants = |told: &&mut Told| told.set.contains(signal);
        let mut concerned = Vec::new();
        for told in self.signals.open.iter_mut().filter(wants) {
            concerned.push(told.raw);
            if !told.unread.contains(&signal.number()) {
                told.unread.push_back(signal.number());
            }
        }
        self.look_again(&concerned);
    }
}
