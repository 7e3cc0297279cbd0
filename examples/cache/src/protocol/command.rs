//! What a client can ask for.

use super::meta::{Meta, MetaKey};

/// One command line, understood. Keys and the rest still borrow the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// `get`, `gets`, `gat` and `gats`. The keys have been checked; they start at byte `keys_at`
    /// of the line.
    Retrieve {
        keys_at: usize,
        line: ValueLine,
        /// The new expiry time that `gat` gives.
        exptime: Option<i64>,
    },
    /// A command that a data block follows.
    Store(Header<'a>),
    MetaGet(Meta<'a>),
    /// A command that a data block of so many bytes follows.
    MetaSet(Meta<'a>, usize),
    MetaDelete(Meta<'a>),
    MetaArithmetic(Meta<'a>),
    MetaDebug(MetaKey<'a>),
    MetaNoop,
    Delete {
        key: &'a [u8],
        reply: Reply,
    },
    Arithmetic {
        direction: Direction,
        key: &'a [u8],
        delta: u64,
        reply: Reply,
    },
    Touch {
        key: &'a [u8],
        exptime: i64,
        reply: Reply,
    },
    Stats {
        topic: Option<&'a [u8]>,
    },
    Version,
    FlushAll {
        delay: i64,
        reply: Reply,
    },
    Verbosity {
        reply: Reply,
    },
    Quit,
}

/// The line in front of a data block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) verb: StoreVerb,
    pub(crate) key: &'a [u8],
    pub(crate) flags: u32,
    pub(crate) exptime: i64,
    /// Length of the data block without the line end behind it.
    pub(crate) value_bytes: usize,
    pub(crate) reply: Reply,
}

/// How a data block is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreVerb {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    /// Only if the item's unique number is still this one.
    Cas(u64),
}

impl StoreVerb {
    /// Whether the value is added to the one that is there.
    pub(crate) const fn joins(self) -> bool {
        matches!(self, Self::Append | Self::Prepend)
    }
}

/// Which way `incr` and `decr` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// What the line in front of a found value tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueLine {
    Plain,
    WithUnique,
}

/// Whether the client waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Wanted,
    /// `noreply`: not even an error is answered.
    Suppressed,
}
