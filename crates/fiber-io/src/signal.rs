//! Signals of the operating system, waited for by a fiber.

pub use fiber_core::signal::Signal;
use fiber_core::{
    Id, IoErrorKind, Namespace, Stale, io, process::Owner, request::Extent, signal::SignalSet,
};

use crate::{
    error::Error,
    handle::{Handle, NotTransferred},
    operation::{self, SignalOperation},
};

/// Signals that this program wants to be told of, as a handle that a fiber waits on.
///
/// While one is open its signals do not take their default action, which is to end the program;
/// dropping the last one that wants a signal puts back what was done with it before, and a signal
/// that is still on its way then meets that. Dropping works from everywhere, without waiting.
///
/// Every handle is told of every signal that it wants: several handles see the same one. A signal
/// that comes again before it was read is merged with the first, so at most one of each kind
/// waits here and none is lost. A handle of a process tells what is sent to this process; a
/// simulated node has signals of its own.
///
/// # Examples
/// ```
/// use fiber_io::signal::{Signal, Signals, raise};
///
/// # fn on_a_fiber() -> Result<(), fiber_io::Error> {
/// let signals = Signals::new(&[Signal::Terminate, Signal::Interrupt])?;
/// raise(Signal::Terminate)?; // or `kill` from a shell
/// assert_eq!(signals.wait()?, Signal::Terminate);
/// assert_eq!(signals.try_wait()?, None);
/// # Ok(())
/// # }
/// # let linux = host_linux::Linux::new(host_linux::Config::default()).unwrap();
/// # fiber_sched::Runtime::builder(linux).run(on_a_fiber).unwrap().unwrap();
/// ```
#[derive(Debug)]
pub struct Signals {
    id: Handle,
}

impl Signals {
    /// Asks to be told of these signals, from now on.
    ///
    /// # Errors
    /// `InvalidInput` when `signals` is empty; `TooManyDescriptors` at a limit of the host's, which
    /// on Linux is 64 handles in a process, or the limit of open descriptors; `Unsupported` where
    /// the host has no signals; `NoRuntime` when the caller is not on a worker.
    pub fn new(signals: &[Signal]) -> Result<Self, Error> {
        if signals.is_empty() {
            return Err(Error::refused(
                IoErrorKind::InvalidInput,
                "no signals to wait for: name at least one",
            ));
        }
        let id = io::open_signals(SignalSet::new(signals))?;
        Ok(Self {
            id: Handle::new(id),
        })
    }

    /// Waits for the next signal. When several fibers wait, one of them is told.
    ///
    /// # Suspends
    /// Until one has come; at once if one has come before.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds; a signal that was taken at that moment is returned first.
    ///
    /// # Errors
    /// `Closed` when it is closed meanwhile, `ForeignRuntime` on a fiber of another runtime than
    /// the one that opened it, and what the host reports.
    pub fn wait(&self) -> Result<Signal, Error> {
        loop {
            let mut number = [0];
            match io::recv(self.id(), &mut number, Extent::Some, None)? {
                0 => return Err(IoErrorKind::Closed.into()),
                _ => {
                    // A number of a later host than this means nothing here.
                    if let Some(signal) = Signal::from_number(number[0]) {
                        return Ok(signal);
                    }
                }
            }
        }
    }

    /// Takes a signal that has come already, without waiting.
    ///
    /// # Errors
    /// `Closed` or `Stale` when it was closed, and what the host reports.
    pub fn try_wait(&self) -> Result<Option<Signal>, Error> {
        loop {
            let mut number = [0];
            match io::try_recv(self.id(), &mut number)? {
                None => return Ok(None),
                Some(0) => return Err(IoErrorKind::Closed.into()),
                Some(_) => {
                    if let Some(signal) = Signal::from_number(number[0]) {
                        return Ok(Some(signal));
                    }
                }
            }
        }
    }

    /// The operation that takes the next signal. If another arm of its choice wins, none was taken.
    ///
    /// # Errors
    /// What it gives is an error as [`Signals::wait`]'s.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn wait_operation(&self) -> SignalOperation {
        operation::signal(self.id())
    }

    /// The id, by which it is known everywhere. It stays in charge of what that names.
    pub const fn id(&self) -> Id {
        self.id.id()
    }

    /// Takes charge of the signals that `id` names: they are given up when this is dropped. As
    /// std's `from_raw_fd`, but any number may be offered.
    ///
    /// # Errors
    /// When `id` names nothing, nothing any more, or something else.
    pub fn from_id(id: Id) -> Result<Self, Stale> {
        Handle::from_id(id, Namespace::SIGNALS).map(|id| Self { id })
    }

    /// Gives up charge of the signals, which are caught until the owner's end. As std's
    /// `into_raw_fd`.
    pub fn into_id(self) -> Id {
        self.id.into_id()
    }

    /// Gives the signals to another process, or to the runtime's first one, `None`: they are caught
    /// until that one ends, instead of the own one. The handle that this gives is for a fiber of
    /// that process, the old id is stale.
    ///
    /// # Suspends
    /// As [`transfer_to`](fiber_core::id::transfer_to).
    ///
    /// # Errors
    /// As [`transfer_to`](fiber_core::id::transfer_to), with the handle as it was.
    pub fn transfer_to(self, to: &impl Owner) -> Result<Self, NotTransferred<Self>> {
        match self.id.transfer_to(to) {
            Ok(id) => Ok(Self { id }),
            Err((id, error)) => Err(NotTransferred::new(Self { id }, error)),
        }
    }
}

/// Sends this program a signal, as if somebody else had: it comes soon, perhaps after this call.
/// If nobody wants it, it ends the program; in a simulation, this node.
///
/// # Errors
/// `Unsupported` where the host has no signals; `NoRuntime` when the caller is not on a worker.
pub fn raise(signal: Signal) -> Result<(), Error> {
    Ok(io::raise_signal(signal)?)
}
