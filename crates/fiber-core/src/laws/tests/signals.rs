//! Signals of the network in memory, told or not as asked.

use alloc::collections::VecDeque;

use super::{
    fault::Fault,
    network::{Attempt, Network, Object},
    port::MemoryPort,
};
use crate::{
    IoErrorKind,
    request::{Outcome, RawDescriptor, Request},
    signal::{Signal, SignalSet},
};

/// What one descriptor is told.
pub(super) struct Signals {
    set: SignalSet,
    pub(super) unread: VecDeque<u8>,
}

impl Signals {
    pub(super) fn recv(&mut self, into: &mut [u8]) -> Attempt<usize> {
        let len = into.len().min(self.unread.len());
        let taken = self.unread.drain(..len);
        taken
            .zip(into.iter_mut())
            .for_each(|(byte, slot)| *slot = byte);
        if len == 0 { Err(None) } else { Ok(len) }
    }
}

impl MemoryPort {
    /// Answers the requests that open and raise signals.
    pub(super) fn signals(&self, request: &Request) -> Attempt<Outcome> {
        let mut shared = self.shared();
        let network = &mut shared.network;
        match *request {
            Request::OpenSignals { set } if set.is_empty() && !self.is(Fault::SignalsOfNoSet) => {
                Err(Some(IoErrorKind::InvalidInput))
            }
            Request::OpenSignals { set } => {
                let remembers = self.is(Fault::SignalsAreRemembered);
                Ok(Outcome::Opened(network.open_signals(set, remembers)))
            }
            Request::RaiseSignal { signal } => {
                let first = self.is(Fault::SignalsForTheFirst);
                if !self.is(Fault::SignalsAreLost) {
                    network.raise(signal, first, self.is(Fault::SignalsFillUp));
                }
                Ok(Outcome::Done(0))
            }
            _ => Err(Some(IoErrorKind::Unsupported)),
        }
    }
}

impl Network {
    /// Opens a descriptor for signals; with `remembers`, it is told what was raised before.
    fn open_signals(&mut self, set: SignalSet, remembers: bool) -> RawDescriptor {
        let unread = if remembers {
            self.raised.clone()
        } else {
            VecDeque::new()
        };
        let object = self.add(Object::Signals(Signals { set, unread }));
        self.open(object)
    }

    /// Tells all who want `signal`, or the `first` of them only; with `fills`, until so many are
    /// unread that nothing fits any more.
    fn raise(&mut self, signal: Signal, first: bool, fills: bool) {
        self.raised.push_back(signal.number());
        let wants = self.objects.iter_mut().filter_map(|object| match object {
            Object::Signals(signals) if signals.set.contains(signal) => Some(&mut signals.unread),
            _ => None,
        });
        for unread in wants.take(if first { 1 } else { usize::MAX }) {
            let room = if fills {
                unread.len() < 64
            } else {
                !unread.contains(&signal.number())
            };
            if room {
                unread.push_back(signal.number());
            }
        }
    }
}
