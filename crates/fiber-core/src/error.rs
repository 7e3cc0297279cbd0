//! What can go wrong with a request, in terms that every host shares.

use core::fmt;

use crate::{id::Id, registry::Full};

/// Why a request failed: a portable kind to match on, and the host's own number for the curious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError {
    kind: IoErrorKind,
    stale: Option<StaleReason>,
    code: i32,
}

const _: () = assert!(size_of::<IoError>() == 8, "completions carry it");

impl IoError {
    /// An error that a host reports, with its own error number.
    pub const fn new(kind: IoErrorKind, code: i32) -> Self {
        Self {
            kind,
            stale: None,
            code,
        }
    }

    /// What to match on.
    pub const fn kind(&self) -> IoErrorKind {
        self.kind
    }

    /// The host's error number; 0 when the runtime itself refused.
    pub const fn code(&self) -> i32 {
        self.code
    }

    /// Why an id was refused, if the kind is `Stale`.
    pub const fn stale_reason(&self) -> Option<StaleReason> {
        self.stale
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stale {
            Some(reason) => write!(f, "the id is stale: {reason}"),
            None => fmt::Display::fmt(&self.kind, f),
        }
    }
}

impl core::error::Error for IoError {}

impl From<IoErrorKind> for IoError {
    fn from(kind: IoErrorKind) -> Self {
        Self::new(kind, 0)
    }
}

/// The kinds of [`IoError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says it")]
pub enum IoErrorKind {
    #[error("not found")]
    NotFound,
    #[error("permission denied")]
    PermissionDenied,
    #[error("connection refused: nobody listens there")]
    ConnectionRefused,
    #[error("connection reset by the peer")]
    ConnectionReset,
    #[error("connection aborted")]
    ConnectionAborted,
    #[error("not connected")]
    NotConnected,
    #[error("already connected")]
    AlreadyConnected,
    #[error("the address is in use")]
    AddrInUse,
    #[error("the address is not one of this host's")]
    AddrNotAvailable,
    #[error("the host is unreachable")]
    HostUnreachable,
    #[error("the network is unreachable")]
    NetworkUnreachable,
    #[error("the peer has closed its end: nothing more can be written")]
    BrokenPipe,
    #[error("timed out")]
    TimedOut,
    #[error("the operation would block")]
    WouldBlock,
    #[error("invalid input")]
    InvalidInput,
    #[error("interrupted: try again")]
    Interrupted,
    #[error("the stream ended too early")]
    UnexpectedEof,
    #[error("the host does not offer this request")]
    Unsupported,
    #[error("out of memory or buffer space")]
    OutOfMemory,
    #[error("the limit of open descriptors is reached: raise it, or close some")]
    TooManyDescriptors,
    #[error("too many requests are in flight on this worker: raise its limit")]
    TooManyRequests,
    #[error("cancelled")]
    Cancelled,
    #[error("the descriptor was closed while the request was waiting")]
    Closed,
    #[error("the descriptor is stale: it was closed, or its owner died")]
    Stale,
    #[error("not on a fiber: input and output need a runtime, see `Runtime::run`")]
    NoRuntime,
    #[error("the host failed in a way of its own")]
    Other,
    #[error("the descriptor belongs to another runtime: use it there, or a clone of it here")]
    ForeignRuntime,
    #[error("the process is at its limit of ids: close some, or raise its `Limits::ids`")]
    ProcessIds,
    #[error("others are using it: hand it over when they are through")]
    Busy,
    #[error("the process that was to have it has ended")]
    ProcessEnded,
}

/// An id that is refused, mostly because it names nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id} is refused: {reason}")]
#[non_exhaustive]
pub struct Stale {
    /// The id that was offered.
    pub id: Id,
    /// Why it is refused.
    pub reason: StaleReason,
    /// The process that owned it, if that is known and is why.
    pub owner: Option<Id>,
}

impl Stale {
    /// It names something else.
    pub const fn wrong_kind(id: Id) -> Self {
        Self::new(id, StaleReason::WrongNamespace)
    }

    pub(crate) const fn new(id: Id, reason: StaleReason) -> Self {
        Self {
            id,
            reason,
            owner: None,
        }
    }
}

/// Why an id is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says it")]
pub enum StaleReason {
    #[error("it was never issued here")]
    Unknown,
    #[error("what it named has been closed")]
    Closed,
    #[error("it is of another kind")]
    WrongNamespace,
    #[error("the process that owned it has died")]
    OwnerDied,
    #[error("what it named was handed over to another process, under another id")]
    Transferred,
    #[error("it names what runs, a fiber or a process: cancel that instead")]
    Runs,
}

impl From<Stale> for IoError {
    fn from(stale: Stale) -> Self {
        Self {
            stale: Some(stale.reason),
            ..IoErrorKind::Stale.into()
        }
    }
}

impl From<Full> for IoError {
    fn from(full: Full) -> Self {
        match full {
            Full::Shard { .. } => IoErrorKind::TooManyDescriptors,
            Full::Process(_) => IoErrorKind::ProcessIds,
        }
        .into()
    }
}
