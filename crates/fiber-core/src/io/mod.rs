//! Blocking input and output of a fiber: borrowed slices, straight to the host.
//!
//! The caller's frame stays where it is until the terminal completion has come, whatever happens:
//! a cancel, a deadline and a close only ask the host to hurry (I-3). So a plain `&mut [u8]` can be
//! lent, and no guard or future exists that one could leak.
//!
//! ```text
//! enter(id) ─▶ stage ─▶ park … ─▶ terminal completion ─▶ leave(id)
//!                        │ cancelled, deadline, closed: stage Cancel, go on parking
//! ```
//!
//! What lends nothing can also be an arm of a choice: [`IoOperation`]. It waits for readiness, and
//! takes what is there when it wins.

mod arm;
mod operation;
mod wait;

pub use crate::inflight::Answer;

pub(crate) use self::arm::Arm;
pub use self::operation::{
    Accept, AcceptOperation, Attempt, IoOperation, Ready, ReadyOperation, RecvByte,
    RecvByteOperation, accept_operation, ready_operation, recv_byte_operation,
};

use core::{net::SocketAddr, ptr::NonNull};

use crate::{
    context::Context,
    env::Instant,
    error::{IoError, IoErrorKind},
    id::{Id, Namespace},
    request::{
        End, Extent, Interest, Lent, LentMut, RawDescriptor, Request, Shutdown, SocketOption,
    },
    signal::{Signal, SignalSet},
};

/// Receives bytes from a stream; 0 is its end.
///
/// # Suspends
/// Until a byte has come (or all, with [`Extent::All`]).
///
/// # Cancellation
/// A cancelled fiber unwinds, unless bytes had been moved: then they are returned, and the cancel
/// waits for the next suspension point.
///
/// # Errors
/// As the host reports; `TimedOut` once `deadline` has passed with nothing moved, `Closed` when
/// the descriptor is closed meanwhile, `Stale` when it was closed before, `ForeignRuntime` when
/// another runtime of this program has opened it.
pub fn recv(
    id: Id,
    into: &mut [u8],
    extent: Extent,
    deadline: Option<Instant>,
) -> Result<usize, IoError> {
    let into = LentMut::new(into);
    // SAFETY: the slice is borrowed for this whole call (I-3).
    unsafe {
        on(id, deadline, |descriptor| Request::Recv {
            descriptor,
            into,
            extent,
        })
    }
    .map(bytes)
}

/// Sends bytes to a stream; gives how many. Otherwise as [`recv`].
///
/// # Errors
/// As [`recv`].
pub fn send(
    id: Id,
    from: &[u8],
    extent: Extent,
    deadline: Option<Instant>,
) -> Result<usize, IoError> {
    let from = Lent::new(from);
    // SAFETY: the slice is borrowed for this whole call (I-3).
    unsafe {
        on(id, deadline, |descriptor| Request::Send {
            descriptor,
            from,
            extent,
        })
    }
    .map(bytes)
}

/// Receives into several buffers, in order. Otherwise as [`recv`].
///
/// # Safety
/// Each buffer is borrowed exclusively for the whole call.
///
/// # Errors
/// As [`recv`].
pub unsafe fn recv_vectored(
    id: Id,
    into: &mut [LentMut],
    deadline: Option<Instant>,
) -> Result<usize, IoError> {
    let count = count_of(into.len());
    let into = NonNull::from_mut(into).cast();
    // SAFETY: the caller promises the buffers, and the array is borrowed for this call (I-3).
    unsafe {
        on(id, deadline, |descriptor| Request::RecvVectored {
            descriptor,
            into,
            count,
        })
    }
    .map(bytes)
}

/// Sends from several buffers, in order. Otherwise as [`send`].
///
/// # Safety
/// Each buffer is borrowed for the whole call.
///
/// # Errors
/// As [`recv`].
pub unsafe fn send_vectored(
    id: Id,
    from: &[Lent],
    deadline: Option<Instant>,
) -> Result<usize, IoError> {
    let count = count_of(from.len());
    let from = NonNull::from_ref(from).cast();
    // SAFETY: the caller promises the buffers, and the array is borrowed for this call (I-3).
    unsafe {
        on(id, deadline, |descriptor| Request::SendVectored {
            descriptor,
            from,
            count,
        })
    }
    .map(bytes)
}

/// Waits until input or output of this kind can occur.
///
/// # Errors
/// As [`recv`].
pub fn ready(id: Id, interest: Interest, deadline: Option<Instant>) -> Result<(), IoError> {
    // SAFETY: it lends no memory (I-3).
    unsafe {
        on(id, deadline, |descriptor| Request::Ready {
            descriptor,
            interest,
        })
    }
    .map(drop)
}

/// Accepts a connection.
///
/// # Suspends
/// Until one is there.
///
/// # Cancellation
/// A cancelled fiber unwinds; a connection that was accepted at that moment is returned instead.
///
/// # Errors
/// As [`recv`]; `TooManyDescriptors` at a limit, with the connection closed.
pub fn accept(id: Id, deadline: Option<Instant>) -> Result<(Id, SocketAddr), IoError> {
    let mut address = UNKNOWN;
    let peer = NonNull::from_mut(&mut address);
    // SAFETY: the address is a local of this frame (I-3).
    let answer = unsafe {
        on(id, deadline, |descriptor| Request::Accept {
            descriptor,
            peer,
        })
    }?;
    Ok((opened(answer)?, address))
}

/// Opens a TCP connection.
///
/// # Suspends
/// Until it stands or has failed.
///
/// # Errors
/// As the host reports; `TimedOut` once `deadline` has passed.
pub fn connect(to: SocketAddr, deadline: Option<Instant>) -> Result<Id, IoError> {
    let mut to = to;
    let request = Request::Connect {
        to: NonNull::from_mut(&mut to),
    };
    // SAFETY: the address is a local of this frame (I-3).
    opened(unsafe { perform(request, Namespace::STREAM, deadline) }?)
}

/// Listens for TCP connections.
///
/// # Suspends
/// For some turns when the address is in use: a descriptor that was just closed may still have it.
///
/// # Errors
/// As the host reports.
pub fn listen(at: SocketAddr, backlog: u32) -> Result<Id, IoError> {
    let mut at = at;
    let request = Request::Listen {
        at: NonNull::from_mut(&mut at),
        backlog,
    };
    // SAFETY: the address is a local of this frame (I-3).
    let mut listening = unsafe { immediate(&request, Namespace::LISTENER) };
    let (mut turns, mut quiet) = (0, 0);
    while quiet < CLOSING_TURNS && turns < CLOSING_TURNS_MAX {
        if !matches!(&listening, Err(error) if error.kind() == IoErrorKind::AddrInUse) {
            break;
        }
        turns += 1;
        quiet += u32::from(!has_orphans());
        if let_a_turn_pass().is_err() {
            break;
        }
        // SAFETY: the address is a local of this frame (I-3).
        listening = unsafe { immediate(&request, Namespace::LISTENER) };
    }
    opened(listening?)
}

/// Receives bytes that are there already; `None` when there are none.
///
/// # Errors
/// `Stale`, `Unsupported` on a host that cannot tell without waiting, or as the host reports.
pub fn try_recv(id: Id, into: &mut [u8]) -> Result<Option<usize>, IoError> {
    let into = LentMut::new(into);
    // SAFETY: the slice is borrowed for this whole call (I-3).
    let tried = unsafe {
        try_on(id, |descriptor| Request::Recv {
            descriptor,
            into,
            extent: Extent::Some,
        })
    };
    Ok(tried?.map(bytes))
}

/// Sends what can be sent without waiting; `None` when nothing can.
///
/// # Errors
/// As [`try_recv`].
pub fn try_send(id: Id, from: &[u8]) -> Result<Option<usize>, IoError> {
    let from = Lent::new(from);
    // SAFETY: the slice is borrowed for this whole call (I-3).
    let tried = unsafe {
        try_on(id, |descriptor| Request::Send {
            descriptor,
            from,
            extent: Extent::Some,
        })
    };
    Ok(tried?.map(bytes))
}

/// Accepts a connection that waits already; `None` when there is none.
///
/// # Errors
/// As [`try_recv`]; `TooManyDescriptors` at a limit, with the connection closed.
pub fn try_accept(id: Id) -> Result<Option<(Id, SocketAddr)>, IoError> {
    let mut address = UNKNOWN;
    let peer = NonNull::from_mut(&mut address);
    // SAFETY: the address is a local of this frame (I-3).
    let tried = unsafe { try_on(id, |descriptor| Request::Accept { descriptor, peer }) };
    match tried? {
        Some(answer) => Ok(Some((opened(answer)?, address))),
        None => Ok(None),
    }
}

/// Opens a descriptor from which these signals are read, a byte each.
///
/// # Errors
/// `InvalidInput` for an empty set; `TooManyDescriptors` at a limit of the host's; `Unsupported`
/// where there are no signals.
pub fn open_signals(set: SignalSet) -> Result<Id, IoError> {
    // SAFETY: it lends no memory (I-3).
    opened(unsafe { immediate(&Request::OpenSignals { set }, Namespace::SIGNALS) }?)
}

/// Sends this program a signal, as if from outside.
///
/// # Errors
/// `Unsupported` where there are no signals.
pub fn raise_signal(signal: Signal) -> Result<(), IoError> {
    // SAFETY: it lends no memory (I-3).
    unsafe { immediate(&Request::RaiseSignal { signal }, Namespace::SIGNALS) }.map(drop)
}

/// Makes a second descriptor for the same thing.
///
/// # Errors
/// `Stale`, or at a limit.
pub fn duplicate(id: Id) -> Result<Id, IoError> {
    opened(immediate_on(id, |descriptor| Request::Duplicate {
        descriptor,
    })?)
}

/// Shuts a connection down, whole or by halves.
///
/// # Errors
/// `Stale`, or as the host reports.
pub fn shutdown(id: Id, how: Shutdown) -> Result<(), IoError> {
    immediate_on(id, |descriptor| Request::Shutdown { descriptor, how }).map(drop)
}

/// An address of a socket.
///
/// # Errors
/// `Stale`, or as the host reports.
pub fn address(id: Id, end: End) -> Result<SocketAddr, IoError> {
    let mut address = UNKNOWN;
    let into = NonNull::from_mut(&mut address);
    immediate_on(id, |descriptor| Request::Address {
        descriptor,
        end,
        into,
    })?;
    Ok(address)
}

/// Sets a socket's option.
///
/// # Errors
/// `Stale`, or as the host reports.
pub fn set_option(id: Id, option: SocketOption, value: u32) -> Result<(), IoError> {
    immediate_on(id, |descriptor| Request::SetOption {
        descriptor,
        option,
        value,
    })
    .map(drop)
}

/// Reads a socket's option.
///
/// # Errors
/// `Stale`, or as the host reports.
pub fn read_option(id: Id, option: SocketOption) -> Result<u32, IoError> {
    let answer = immediate_on(id, |descriptor| Request::ReadOption { descriptor, option })?;
    Ok(u32::try_from(bytes(answer)).unwrap_or(u32::MAX))
}

/// How many turns a closed descriptor needs to be gone, once nothing is in flight on it any more.
const CLOSING_TURNS: u32 = 2;
/// How many turns are given to requests that nobody waits for, and that may be on it.
const CLOSING_TURNS_MAX: u32 = 256;

const UNKNOWN: SocketAddr =
    SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0);

fn bytes(answer: Answer) -> usize {
    match answer {
        Answer::Done(number) => usize::try_from(number).unwrap_or(usize::MAX),
        Answer::Opened(_) => 0,
    }
}

pub(crate) fn opened(answer: Answer) -> Result<Id, IoError> {
    match answer {
        Answer::Opened(id) => Ok(id),
        Answer::Done(_) => Err(IoErrorKind::Other.into()),
    }
}

/// Whether requests go on at this worker that nobody waits for.
pub(crate) fn has_orphans() -> bool {
    Context::with(|it| it.is_some_and(|it| it.inflight.borrow().has_orphans()))
}

/// Waits until the host has had its turn.
pub(crate) fn let_a_turn_pass() -> Result<(), IoError> {
    // SAFETY: it lends no memory (I-3).
    unsafe { perform(Request::Nop, Namespace::STREAM, None) }.map(drop)
}

fn count_of(buffers: usize) -> u32 {
    u32::try_from(buffers).expect("callers pass at most 1024 buffers")
}

/// Performs a request on the descriptor that `id` names.
///
/// # Safety
/// Memory named by the request is borrowed for the whole call.
unsafe fn on(
    id: Id,
    deadline: Option<Instant>,
    request: impl FnOnce(RawDescriptor) -> Request,
) -> Result<Answer, IoError> {
    let done = Context::with_current(|context, fiber| {
        let entered = context.enter_here(id)?;
        let request = request(entered.raw());
        // SAFETY: by the caller's promise (I-3).
        let answer =
            unsafe { context.perform(fiber, request, Some(&entered), Namespace::STREAM, deadline) };
        let closed = entered.is_closing() && is_cancelled(&answer);
        drop(entered);
        match closed {
            true => context.conclude(fiber, Err(IoErrorKind::Closed.into())),
            false => context.conclude(fiber, answer),
        }
    });
    done.unwrap_or_else(|| Err(IoErrorKind::NoRuntime.into()))
}

/// Performs a request that works on no descriptor.
///
/// # Safety
/// Memory named by the request is borrowed for the whole call.
unsafe fn perform(
    request: Request,
    opens: Namespace,
    deadline: Option<Instant>,
) -> Result<Answer, IoError> {
    let done = Context::with_current(|context, fiber| {
        // SAFETY: by the caller's promise (I-3).
        let answer = unsafe { context.perform(fiber, request, None, opens, deadline) };
        context.conclude(fiber, answer)
    });
    done.unwrap_or_else(|| Err(IoErrorKind::NoRuntime.into()))
}

/// Tries a request on the descriptor that `id` names, once, without waiting.
///
/// # Safety
/// Memory named by the request is borrowed for the whole call.
unsafe fn try_on(
    id: Id,
    request: impl FnOnce(RawDescriptor) -> Request,
) -> Result<Option<Answer>, IoError> {
    Context::with(|context| {
        let context = context.ok_or(IoErrorKind::NoRuntime)?;
        let entered = context.enter_here(id)?;
        // SAFETY: by the caller's promise (I-3).
        unsafe { context.try_now(&request(entered.raw()), context.whose()) }
    })
}

fn immediate_on(id: Id, request: impl FnOnce(RawDescriptor) -> Request) -> Result<Answer, IoError> {
    let entered = Context::with(|context| match context {
        None => Err(IoError::from(IoErrorKind::NoRuntime)),
        Some(context) => {
            let entered = context.enter_id(id, None)?;
            let request = request(entered.raw());
            // SAFETY: immediate requests touch memory during this call only (I-3).
            unsafe { context.immediate(&request, id.namespace(), context.whose()) }
        }
    })?;
    Ok(entered)
}

/// Performs an immediate request that works on no descriptor.
///
/// # Safety
/// Memory named by the request is valid during the call.
unsafe fn immediate(request: &Request, opens: Namespace) -> Result<Answer, IoError> {
    Context::with(|context| match context {
        None => Err(IoErrorKind::NoRuntime.into()),
        // SAFETY: by the caller's promise (I-3).
        Some(context) => unsafe { context.immediate(request, opens, context.whose()) },
    })
}

fn is_cancelled(answer: &Result<Answer, IoError>) -> bool {
    matches!(answer, Err(error) if error.kind() == IoErrorKind::Cancelled)
}
