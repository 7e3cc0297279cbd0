//! Signals of the operating system, under portable names: short messages to a whole program.
//!
//! A program that wants some opens a descriptor for them with
//! [`Request::OpenSignals`](crate::request::Request::OpenSignals) and reads it like a stream, one
//! byte for each signal: its [number](Signal::number).
//!
//! ```text
//! raised ─▶ is it wanted? ─ no ──▶ the default action: the program ends
//!                 │ yes: every descriptor that wants it
//!                 ▼
//!           unread there already? ─ yes ─▶ merged: that byte is read later than this
//!                 │ no
//!                 ▼
//!           one more byte to read        at most one of each kind, so none is ever lost
//! ```

use core::fmt;

/// A signal that a program can ask to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Signal {
    /// Somebody at a terminal wants it to stop (`SIGINT`, Ctrl-C).
    Interrupt = 1,
    /// It is asked to end (`SIGTERM`).
    Terminate = 2,
    /// Its terminal has gone; to servers: read the configuration again (`SIGHUP`).
    Hangup = 3,
    /// Somebody at a terminal wants it to stop and to tell why (`SIGQUIT`).
    Quit = 4,
    /// The program's own (`SIGUSR1`).
    User1 = 5,
    /// The program's own (`SIGUSR2`).
    User2 = 6,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 6] = [
        Self::Interrupt,
        Self::Terminate,
        Self::Hangup,
        Self::Quit,
        Self::User1,
        Self::User2,
    ];

    /// The byte that is read when it has arrived: the same on every host, and none of the
    /// operating system's own numbers.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The signal with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|signal| signal.number() == number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminate",
            Self::Hangup => "hangup",
            Self::Quit => "quit",
            Self::User1 => "user1",
            Self::User2 => "user2",
        })
    }
}

/// Some of the signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SignalSet(u8);

impl SignalSet {
    /// These signals.
    pub const fn new(signals: &[Signal]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < signals.len() {
            bits |= 1 << signals[index].number();
            index += 1;
        }
        Self(bits)
    }

    /// Whether it has this one.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & 1 << signal.number() != 0
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, in the order of [`Signal::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        Signal::ALL
            .into_iter()
            .filter(move |&signal| self.contains(signal))
    }

    /// The set as a number, for words that handlers read.
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// The set with this number.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn every_signal_has_a_number_of_its_own_and_comes_back_from_it() {
        for signal in Signal::ALL {
            assert_eq!(Signal::from_number(signal.number()), Some(signal));
        }
        assert_eq!(Signal::from_number(0), None);
        assert_eq!(Signal::from_number(7), None);
    }

    #[test]
    fn a_set_has_what_it_was_made_of_and_nothing_else() {
        let wanted = [Signal::User2, Signal::Terminate, Signal::User2];
        let set = SignalSet::new(&wanted);
        let listed: Vec<Signal> = set.iter().collect();
        assert_eq!(listed, [Signal::Terminate, Signal::User2]);
        assert_eq!(SignalSet::from_bits(set.to_bits()), set);
        assert!(SignalSet::new(&[]).is_empty() && !set.is_empty());
        assert!(!set.contains(Signal::Interrupt));
    }
}
