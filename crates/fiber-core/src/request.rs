//! Requests and completions: what the world is asked, and what it answered, as plain data.
//!
//! A simulator can log, delay, reorder and fail a value uniformly; a ring can batch it. Memory in
//! a request is *lent*: the fiber that made it stays parked, with its frame in place, until the
//! terminal completion is delivered.
//!
//! ```text
//! token  63   62 61        32 31        0
//!        | class |   slot    | generation |     opaque to hosts; class 3 is theirs
//! ```

use core::{fmt, net::SocketAddr, ptr::NonNull};

use crate::{
    error::IoError,
    signal::{Signal, SignalSet},
};

const _: () = assert!(
    size_of::<Request>() <= 40,
    "a staged request fits one cache line"
);
const _: () = assert!(
    size_of::<Completion>() <= 32,
    "two completions fit one cache line"
);

/// The host's own number of a descriptor: a file descriptor, a simulated socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts build it; it is its number"
)]
pub struct RawDescriptor(pub u32);

/// What a completion is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// For requests whose completion nobody wants: a host delivers none.
    pub const QUIET: Self = Self(0);

    const SLOT_BITS: u32 = 30;
    const REQUEST: u64 = 1 << 62;
    const HOST: u64 = 3 << 62;

    /// Names the request in `slot`, in its `generation`.
    ///
    /// # Panics
    /// When `slot` needs more than 30 bits.
    pub const fn new(slot: u32, generation: u32) -> Self {
        assert!(
            slot < 1 << Self::SLOT_BITS,
            "a worker has fewer than 2^30 requests in flight"
        );
        Self(Self::REQUEST | (slot as u64) << 32 | generation as u64)
    }

    /// A token for a host's own use on its queues; never seen by the core.
    pub const fn host(number: u64) -> Self {
        Self(Self::HOST | number & !Self::HOST)
    }

    /// Whether this is a host's own token.
    pub const fn is_host(self) -> bool {
        self.0 & Self::HOST == Self::HOST
    }

    /// The slot.
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & ((1 << Self::SLOT_BITS) - 1)
    }

    /// The slot's generation.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub const fn generation(self) -> u32 {
        self.0 as u32
    }

    /// The whole word, as a host's queue carries it.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The token whose word this is.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.{})", self.slot(), self.generation())
    }
}

/// Ways in which a descriptor can be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are two directions")]
pub enum Interest {
    /// Reading, accepting: a read would not block.
    Readable,
    /// Writing, connecting: a write would not block.
    Writable,
}

/// Bytes lent to the host to read from. Laid out as C's `struct iovec`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Lent {
    start: NonNull<u8>,
    bytes: usize,
}

impl Lent {
    /// Lends `slice`; the borrow must outlive the request, see
    /// [`Staged::push`](crate::env::Staged::push).
    pub const fn new(slice: &[u8]) -> Self {
        Self {
            start: NonNull::from_ref(slice).cast(),
            bytes: slice.len(),
        }
    }

    /// The first byte.
    pub const fn start(self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes.
    pub const fn len(self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to transfer.
    pub const fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

/// Bytes lent to the host to write to. Laid out as C's `struct iovec`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct LentMut {
    start: NonNull<u8>,
    bytes: usize,
}

impl LentMut {
    /// Lends `slice`; the borrow must outlive the request, see
    /// [`Staged::push`](crate::env::Staged::push).
    pub const fn new(slice: &mut [u8]) -> Self {
        let bytes = slice.len();
        Self {
            start: NonNull::from_mut(slice).cast(),
            bytes,
        }
    }

    /// The first byte.
    pub const fn start(self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes.
    pub const fn len(self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to transfer.
    pub const fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

/// When a transfer counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "hosts match on it; a third way is a new contract"
)]
pub enum Extent {
    /// After any progress: at least one byte, or the end of the stream.
    Some,
    /// When every byte was moved; less only at the end of the stream, on an error or a cancel.
    All,
}

/// Which directions a shutdown closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are three")]
pub enum Shutdown {
    /// No more reading.
    Read,
    /// No more writing: the peer sees the end of the stream.
    Write,
    /// Both.
    Both,
}

/// Which end's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum End {
    /// Ours.
    Local,
    /// Theirs.
    Peer,
}

/// A number that can be set on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// 1: small writes are sent at once (`TCP_NODELAY`).
    NoDelay,
    /// Hop limit of packets sent (`IP_TTL`).
    Ttl,
    /// The error that the socket has pending, taken by reading it (`SO_ERROR`); 0 is none.
    /// Read only.
    Error,
}

/// What the world is asked. Raw descriptors only: hosts know no ids.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Request {
    /// Completes at once, with `Done(0)`.
    Nop,
    /// *Before-io*: completes when i/o of this kind can occur. Lends no memory. `Done(0)`.
    Ready {
        /// Which descriptor.
        descriptor: RawDescriptor,
        /// Which kind.
        interest: Interest,
    },
    /// Receives bytes. `Done(n)`; 0 with a non-empty `into` is the end of the stream.
    Recv {
        /// From which descriptor.
        descriptor: RawDescriptor,
        /// Where the bytes go.
        into: LentMut,
        /// Whether to fill all of it.
        extent: Extent,
    },
    /// Sends bytes. `Done(n)`.
    Send {
        /// To which descriptor.
        descriptor: RawDescriptor,
        /// What to send.
        from: Lent,
        /// Whether to send all of it.
        extent: Extent,
    },
    /// Receives into several buffers, in order. `Done(n)`.
    RecvVectored {
        /// From which descriptor.
        descriptor: RawDescriptor,
        /// `count` buffers, themselves lent.
        into: NonNull<LentMut>,
        /// How many; at most 1024.
        count: u32,
    },
    /// Sends from several buffers, in order. `Done(n)`.
    SendVectored {
        /// To which descriptor.
        descriptor: RawDescriptor,
        /// `count` buffers, themselves lent.
        from: NonNull<Lent>,
        /// How many; at most 1024.
        count: u32,
    },
    /// Accepts one connection. `Opened(raw)`, its address written to `peer`.
    Accept {
        /// The listener.
        descriptor: RawDescriptor,
        /// Where the peer's address goes; lent.
        peer: NonNull<SocketAddr>,
    },
    /// Makes a TCP socket and connects it. `Opened(raw)`; on failure nothing stays open.
    Connect {
        /// Where to; lent.
        to: NonNull<SocketAddr>,
    },
    /// Makes a TCP socket, binds it (reusing addresses as std does) and listens. Immediate.
    /// `Opened(raw)`.
    Listen {
        /// Where; lent. Port 0 asks for a free one.
        at: NonNull<SocketAddr>,
        /// How many connections may wait for an accept.
        backlog: u32,
    },
    /// Shuts a connection down, whole or by halves. Immediate. `Done(0)`.
    Shutdown {
        /// Which connection.
        descriptor: RawDescriptor,
        /// Which directions.
        how: Shutdown,
    },
    /// Makes a second descriptor for the same thing. Immediate. `Opened(raw)`.
    Duplicate {
        /// Of which descriptor.
        descriptor: RawDescriptor,
    },
    /// Reads an address of a socket. Immediate. `Done(0)`.
    Address {
        /// Of which socket.
        descriptor: RawDescriptor,
        /// Of which end.
        end: End,
        /// Where it goes; lent.
        into: NonNull<SocketAddr>,
    },
    /// Sets an option. Immediate. `Done(0)`.
    SetOption {
        /// Of which socket.
        descriptor: RawDescriptor,
        /// Which option.
        option: SocketOption,
        /// Its new value.
        value: u32,
    },
    /// Reads an option. Immediate. `Done(value)`.
    ReadOption {
        /// Of which socket.
        descriptor: RawDescriptor,
        /// Which option.
        option: SocketOption,
    },
    /// Opens a descriptor from which these signals are read, a byte each: see
    /// [`signal`](crate::signal). Immediate. `Opened(raw)`.
    ///
    /// From then on they do not take their default action, until the last descriptor that wants
    /// them is closed: then whatever was done with them before is done again. It knows no
    /// `Duplicate`: open a second one, which is told as well.
    OpenSignals {
        /// Which ones; an empty set is `InvalidInput`.
        set: SignalSet,
    },
    /// Sends this program a signal, as if from outside: it arrives soon, perhaps after this call.
    /// Immediate. `Done(0)`.
    RaiseSignal {
        /// Which one.
        signal: Signal,
    },
    /// Gives the descriptor back to the host; its number may be reused at once. `Done(0)`.
    /// The core sends it only when nothing else is in flight on it.
    Close {
        /// Which descriptor.
        descriptor: RawDescriptor,
    },
    /// Control: the request with this token should end soon. It still gets its own terminal
    /// completion: its result if it was faster, else `Cancelled`. Unknown tokens are ignored.
    Cancel {
        /// Whose.
        token: Token,
    },
    /// Control: every request of this port that waits on this descriptor should end soon, as by
    /// `Cancel`.
    CancelAllOn {
        /// Which descriptor.
        descriptor: RawDescriptor,
    },
}

/// The kinds of [`Request`], for [`Caps`](crate::env::Caps) and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "each is documented at the request of the same name"
)]
#[repr(u8)]
pub enum RequestKind {
    Nop,
    Ready,
    Recv,
    Send,
    RecvVectored,
    SendVectored,
    Accept,
    Connect,
    Listen,
    Shutdown,
    Duplicate,
    Address,
    SetOption,
    ReadOption,
    OpenSignals,
    RaiseSignal,
    Close,
    Cancel,
    CancelAllOn,
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [Self; 19] = [
        Self::Nop,
        Self::Ready,
        Self::Recv,
        Self::Send,
        Self::RecvVectored,
        Self::SendVectored,
        Self::Accept,
        Self::Connect,
        Self::Listen,
        Self::Shutdown,
        Self::Duplicate,
        Self::Address,
        Self::SetOption,
        Self::ReadOption,
        Self::OpenSignals,
        Self::RaiseSignal,
        Self::Close,
        Self::Cancel,
        Self::CancelAllOn,
    ];
}

impl Request {
    /// Its kind.
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Nop => RequestKind::Nop,
            Self::Ready { .. } => RequestKind::Ready,
            Self::Recv { .. } => RequestKind::Recv,
            Self::Send { .. } => RequestKind::Send,
            Self::RecvVectored { .. } => RequestKind::RecvVectored,
            Self::SendVectored { .. } => RequestKind::SendVectored,
            Self::Accept { .. } => RequestKind::Accept,
            Self::Connect { .. } => RequestKind::Connect,
            Self::Listen { .. } => RequestKind::Listen,
            Self::Shutdown { .. } => RequestKind::Shutdown,
            Self::Duplicate { .. } => RequestKind::Duplicate,
            Self::Address { .. } => RequestKind::Address,
            Self::SetOption { .. } => RequestKind::SetOption,
            Self::ReadOption { .. } => RequestKind::ReadOption,
            Self::OpenSignals { .. } => RequestKind::OpenSignals,
            Self::RaiseSignal { .. } => RequestKind::RaiseSignal,
            Self::Close { .. } => RequestKind::Close,
            Self::Cancel { .. } => RequestKind::Cancel,
            Self::CancelAllOn { .. } => RequestKind::CancelAllOn,
        }
    }

    /// Whether it never waits: [`Port::try_now`](crate::env::Port::try_now) answers it.
    pub const fn is_immediate(&self) -> bool {
        matches!(
            self,
            Self::Listen { .. }
                | Self::Shutdown { .. }
                | Self::Duplicate { .. }
                | Self::Address { .. }
                | Self::SetOption { .. }
                | Self::ReadOption { .. }
                | Self::OpenSignals { .. }
                | Self::RaiseSignal { .. }
        )
    }

    /// Whether it steers other requests and has no completion of its own.
    pub const fn is_control(&self) -> bool {
        matches!(self, Self::Cancel { .. } | Self::CancelAllOn { .. })
    }

    /// The descriptor that it works on, if it works on one.
    pub const fn descriptor(&self) -> Option<RawDescriptor> {
        match *self {
            Self::Ready { descriptor, .. }
            | Self::Recv { descriptor, .. }
            | Self::Send { descriptor, .. }
            | Self::RecvVectored { descriptor, .. }
            | Self::SendVectored { descriptor, .. }
            | Self::Accept { descriptor, .. }
            | Self::Shutdown { descriptor, .. }
            | Self::Duplicate { descriptor }
            | Self::Address { descriptor, .. }
            | Self::SetOption { descriptor, .. }
            | Self::ReadOption { descriptor, .. }
            | Self::Close { descriptor }
            | Self::CancelAllOn { descriptor } => Some(descriptor),
            Self::Nop
            | Self::Connect { .. }
            | Self::Listen { .. }
            | Self::OpenSignals { .. }
            | Self::RaiseSignal { .. }
            | Self::Cancel { .. } => None,
        }
    }

    /// The readiness that its progress depends on, if any: which of a descriptor's two queues it
    /// waits in.
    pub const fn direction(&self) -> Option<Interest> {
        match *self {
            Self::Ready { interest, .. } => Some(interest),
            Self::Recv { .. } | Self::RecvVectored { .. } | Self::Accept { .. } => {
                Some(Interest::Readable)
            }
            Self::Send { .. } | Self::SendVectored { .. } | Self::Connect { .. } => {
                Some(Interest::Writable)
            }
            _ => None,
        }
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "hosts build it; a fourth outcome is a new contract"
)]
pub enum Outcome {
    /// It was done; the number is the request's own, mostly bytes moved.
    Done(u64),
    /// It made this descriptor, which now belongs to whoever takes the completion.
    Opened(RawDescriptor),
    /// It failed.
    Failed(IoError),
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts build it; a new field is a new contract"
)]
pub struct Completion {
    /// Whose.
    pub token: Token,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether more completions of the same token follow; `false` is terminal.
    pub more: bool,
}

impl Completion {
    /// The last word about `token`.
    pub const fn terminal(token: Token, outcome: Outcome) -> Self {
        Self {
            token,
            outcome,
            more: false,
        }
    }
}
