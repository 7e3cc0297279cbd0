//! Input and output as operations: arms of a choice, and what a fiber waits for before it starts.

use core::{cell::UnsafeCell, fmt, net::SocketAddr, pin::Pin, ptr::NonNull, slice};

use super::{UNKNOWN, arm::Arm};
use crate::{
    error::{IoError, IoErrorKind},
    id::Id,
    inflight::Answer,
    operation::{Operation, Published, WaitCell},
    request::{Extent, Interest, LentMut, RawDescriptor, Request},
};

/// Waits until a descriptor is ready, and does then what can be done at once.
///
/// It has an id and no borrow, so it may outlive its handle: it gives `Stale` then, or `Closed` if
/// the handle was closed while it waited. Fibers perform it, and may wait for it before they start;
/// on a plain thread it gives `NoRuntime`, as all input and output.
///
/// An arm that loses has taken nothing, neither a byte nor a connection. Its request is cancelled
/// behind its performer's back, which does not wait for that.
///
/// There is none that transfers the bytes of a stream: what was lent could not be taken back from
/// one that has lost. Wait until the stream is ready, then [`try_recv`](super::try_recv) or
/// [`try_send`](super::try_send).
#[repr(C)]
pub struct IoOperation<A> {
    /// First, so that a pointer to it is one to the whole.
    arm: Arm,
    attempt: A,
}

/// Waits until input or output of a kind can occur, see [`ready_operation`].
pub type ReadyOperation = IoOperation<Ready>;
/// Accepts a connection, see [`accept_operation`].
pub type AcceptOperation = IoOperation<Accept>;
/// Receives one byte, see [`recv_byte_operation`].
pub type RecvByteOperation = IoOperation<RecvByte>;

/// The operation that waits until input or output of this kind can occur; another fiber may be
/// faster then.
///
/// # Errors
/// Its value is `Closed` when the descriptor is closed meanwhile, `Stale` when it was closed
/// before, `ForeignRuntime` and `NoRuntime` where it cannot be waited for, `TooManyRequests` at the
/// limit of the worker, or as the host reports.
pub const fn ready_operation(id: Id, interest: Interest) -> ReadyOperation {
    IoOperation::new(id, Ready(interest))
}

/// The operation that accepts a connection, as [`accept`](super::accept). If it is not chosen, none
/// was accepted.
///
/// # Errors
/// Its value is an error as of [`ready_operation`]; `TooManyDescriptors` at a limit.
pub const fn accept_operation(listener: Id) -> AcceptOperation {
    IoOperation::new(listener, Accept(UnsafeCell::new(UNKNOWN)))
}

/// The operation that receives one byte, where a byte is a message: a signal. `None` is the end of
/// the stream. If it is not chosen, none was received.
///
/// # Errors
/// Its value is an error as of [`ready_operation`].
pub const fn recv_byte_operation(id: Id) -> RecvByteOperation {
    IoOperation::new(id, RecvByte(UnsafeCell::new(0)))
}

/// What an [`IoOperation`] does once its descriptor is ready.
///
/// # Safety
/// The memory that `request` names lies in `self`, in an `UnsafeCell`.
pub unsafe trait Attempt {
    /// What it gives.
    type Output;

    /// What is waited for, for reports.
    const WAITS_FOR: &'static str;

    /// What is asked of the host: one that waits for readiness. It is tried while nobody else uses
    /// `self`, any number of times, until it can be done.
    fn request(&self, descriptor: RawDescriptor) -> Request;

    /// What that has come to.
    ///
    /// # Errors
    /// When it is no answer to such a request.
    fn output(&mut self, answer: Answer) -> Result<Self::Output, IoError>;
}

/// Nothing: to be ready is enough.
#[derive(Clone, Copy, Debug)]
pub struct Ready(Interest);

// SAFETY: it names no memory (I-3).
unsafe impl Attempt for Ready {
    type Output = ();
    const WAITS_FOR: &'static str = "readiness";

    fn request(&self, descriptor: RawDescriptor) -> Request {
        Request::Ready {
            descriptor,
            interest: self.0,
        }
    }

    fn output(&mut self, _: Answer) -> Result<(), IoError> {
        Ok(())
    }
}

/// Accepts a connection, whose address goes here.
#[derive(Debug)]
pub struct Accept(UnsafeCell<SocketAddr>);

// SAFETY: its one field (I-3).
unsafe impl Attempt for Accept {
    type Output = (Id, SocketAddr);
    const WAITS_FOR: &'static str = "a connection";

    fn request(&self, descriptor: RawDescriptor) -> Request {
        let peer = NonNull::new(self.0.get()).expect("a field has an address");
        Request::Accept { descriptor, peer }
    }

    fn output(&mut self, answer: Answer) -> Result<(Id, SocketAddr), IoError> {
        match answer {
            Answer::Opened(id) => Ok((id, *self.0.get_mut())),
            Answer::Done(_) => Err(IoErrorKind::Other.into()),
        }
    }
}

/// Receives a byte, which goes here.
#[derive(Debug)]
pub struct RecvByte(UnsafeCell<u8>);

// SAFETY: its one field (I-3).
unsafe impl Attempt for RecvByte {
    type Output = Option<u8>;
    const WAITS_FOR: &'static str = "a byte";

    fn request(&self, descriptor: RawDescriptor) -> Request {
        // SAFETY: nobody else uses it while it is tried (I-3).
        let byte = unsafe { &mut *self.0.get() };
        Request::Recv {
            descriptor,
            into: LentMut::new(slice::from_mut(byte)),
            extent: Extent::Some,
        }
    }

    fn output(&mut self, answer: Answer) -> Result<Option<u8>, IoError> {
        match answer {
            Answer::Done(bytes) => Ok((bytes > 0).then(|| *self.0.get_mut())),
            Answer::Opened(_) => Err(IoErrorKind::Other.into()),
        }
    }
}

/// # Safety
/// `arm` is that of an `IoOperation<A>`.
unsafe fn make<A: Attempt>(arm: NonNull<Arm>, descriptor: RawDescriptor) -> Request {
    // SAFETY: by the caller's promise, and the arm is its first field (I-12).
    let operation = unsafe { arm.cast::<IoOperation<A>>().as_ref() };
    operation.attempt.request(descriptor)
}

impl<A: Attempt> IoOperation<A> {
    /// The operation that does this with what `id` names.
    pub const fn new(id: Id, attempt: A) -> Self {
        Self {
            arm: Arm::new(id, make::<A>),
            attempt,
        }
    }

    fn whole(&self) -> NonNull<Arm> {
        NonNull::from_ref(self).cast()
    }
}

// SAFETY: it is linked nowhere but in the table of requests of its performer's worker, where the
// host looks at the descriptor itself, so that nothing is missed (I-2); `retract` takes it out of
// there (I-12). What it gives is made under a claim of the performer's cell, or by `try_now`.
unsafe impl<A: Attempt> Operation for IoOperation<A> {
    type Output = Result<A::Output, IoError>;

    fn name(&self) -> &'static str {
        A::WAITS_FOR
    }

    fn try_now(&mut self) -> Option<u16> {
        // SAFETY: it is borrowed exclusively (I-12).
        unsafe { Arm::try_now(self.whole()) }.then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        // SAFETY: it is pinned, and by the caller's promise, retracted where it was published
        // before it or the cell is gone (I-11, I-12).
        unsafe { Arm::publish(self.into_ref().whole(), cell, base) }
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        self.arm.retract(winner);
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        // SAFETY: nothing is moved out of it, and nothing points to it any more (I-12).
        let this = unsafe { self.get_unchecked_mut() };
        this.attempt.output(this.arm.take()?)
    }
}

impl<A> fmt::Debug for IoOperation<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IoOperation").field(&self.arm).finish()
    }
}
