//! Generation-checked identifiers.
//!
//! An [`Id`] names one *incarnation* of a slot: when what it named is gone the id goes stale
//! instead of silently naming a stranger (I-4).
//!
//! ```text
//! 63       32 31       16 15        0
//! |   key    | namespace | generation |     generation 0 is never issued, so the word 0 is no id
//! ```
//!
//! Every resource has one owner, a process, with whose end its id goes stale. Whoever knows an id
//! may use it; [`dup_to`] shares what it names with another process, [`transfer_to`] gives it away:
//!
//! ```text
//!              owner ─ id ─┐                                    owner ─ id: stale, Transferred
//!   dup_to                 ├─ socket               transfer_to
//!              other ─ new ┘ closed with the last               other ─ new ─── socket
//! ```

mod share;

use core::{fmt, num::NonZeroU64};

pub use self::share::{check, close, close_handle, describe, dup_to, transfer_to};

const _: () = assert!(
    size_of::<Option<Id>>() == 8,
    "an id must fit in a host token"
);

/// The only name of a resource: opaque, `Copy`, comparable. Any 64-bit number may be offered as
/// one; it is answered, never trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(NonZeroU64);

impl Id {
    pub(crate) const fn new(key: u32, namespace: Namespace, generation: u16) -> Option<Self> {
        if generation == 0 {
            return None;
        }
        let bits = (key as u64) << 32 | (namespace.0 as u64) << 16 | generation as u64;
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// The id with these bits; `None` for a word that no id has.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(word) if bits & 0xffff != 0 => Some(Self(word)),
            _ => None,
        }
    }

    /// The id as a number, for logs and for other programs.
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// What kind of thing it names.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a field of the word is meant"
    )]
    pub const fn namespace(self) -> Namespace {
        Namespace((self.0.get() >> 16) as u16)
    }

    pub(crate) const fn key(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a field of the word is meant"
    )]
    pub(crate) const fn generation(self) -> u16 {
        self.0.get() as u16
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}.{}",
            self.namespace(),
            self.key(),
            self.generation()
        )
    }
}

/// What an id names, as [`describe`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The id.
    pub id: Id,
    /// What kind of thing it names.
    pub kind: Namespace,
    /// The process that owns it.
    pub owner: Option<Id>,
    /// How many use it at this moment, or have something going on with it.
    pub users: u64,
    /// Whether somebody has begun to close it: it is gone when its last user has left.
    pub is_closing: bool,
}

/// The kind of thing that an id names. Ids of two namespaces never mix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(u16);

impl Namespace {
    /// Lightweight processes.
    pub const PROCESS: Self = Self(1);
    /// Fibers.
    pub const FIBER: Self = Self(2);
    /// Connections.
    pub const STREAM: Self = Self(3);
    /// Listening sockets.
    pub const LISTENER: Self = Self(4);
    /// Signals that a program wants to be told of.
    pub const SIGNALS: Self = Self(5);
    /// Mailboxes.
    pub const MAILBOX: Self = Self(6);
    /// Timers.
    pub const TIMER: Self = Self(7);

    /// Whether ids of it name a descriptor of the host.
    pub const fn is_descriptor(self) -> bool {
        matches!(self, Self::STREAM | Self::LISTENER | Self::SIGNALS)
    }

    /// Whether ids of it count towards a process's limit of ids: fibers have one of their own.
    pub(crate) const fn is_counted(self) -> bool {
        !matches!(self, Self::FIBER | Self::PROCESS)
    }

    pub(crate) const fn from_number(number: u16) -> Self {
        Self(number)
    }

    /// The number in the id.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PROCESS => f.write_str("process"),
            Self::FIBER => f.write_str("fiber"),
            Self::STREAM => f.write_str("stream"),
            Self::LISTENER => f.write_str("listener"),
            Self::SIGNALS => f.write_str("signals"),
            Self::MAILBOX => f.write_str("mailbox"),
            Self::TIMER => f.write_str("timer"),
            Self(number) => write!(f, "namespace{number}"),
        }
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn an_id_survives_the_trip_through_a_number() {
        let id = Id::new(7, Namespace::STREAM, 3).unwrap();
        assert_eq!(Id::from_bits(id.to_bits()), Some(id));
        assert_eq!(
            (id.key(), id.namespace(), id.generation()),
            (7, Namespace::STREAM, 3)
        );
        assert_eq!(std::format!("{id}"), "stream:7.3");
    }

    #[test]
    fn generation_zero_is_no_id() {
        assert_eq!(Id::new(7, Namespace::STREAM, 0), None);
        assert_eq!(Id::from_bits(7 << 32), None);
        assert_eq!(Id::from_bits(0), None);
    }
}
