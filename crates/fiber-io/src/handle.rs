//! What all handles are made of: an id, closed when it is dropped.

use core::{fmt, mem::ManuallyDrop};

use fiber_core::{Id, IoError, Namespace, Stale, id, process::Owner};

use crate::error::Error;

/// In charge of what an id names.
#[derive(Debug)]
pub(crate) struct Handle(Id);

impl Handle {
    /// In charge of what was opened just now.
    pub(crate) const fn new(id: Id) -> Self {
        Self(id)
    }

    pub(crate) fn from_id(id: Id, kind: Namespace) -> Result<Self, Stale> {
        id::check(id, kind)?;
        Ok(Self(id))
    }

    pub(crate) const fn id(&self) -> Id {
        self.0
    }

    pub(crate) fn into_id(self) -> Id {
        ManuallyDrop::new(self).0
    }

    pub(crate) fn dup_to(&self, to: &impl Owner) -> Result<Self, IoError> {
        id::dup_to(self.0, to).map(Self)
    }

    pub(crate) fn transfer_to(self, to: &impl Owner) -> Result<Self, (Self, IoError)> {
        match id::transfer_to(self.0, to) {
            // The old id is stale: there is nothing to close.
            Ok(new) => {
                let _ = self.into_id();
                Ok(Self(new))
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A failure means that it was closed through its id, or that its runtime has ended.
        let _ = id::close_handle(self.0);
    }
}

/// A handle that was not given away, and why. As an [`Error`] it is the reason alone, and the
/// handle is dropped.
pub struct NotTransferred<T> {
    handle: T,
    error: Error,
}

impl<T> NotTransferred<T> {
    pub(crate) fn new(handle: T, error: IoError) -> Self {
        Self {
            handle,
            error: error.into(),
        }
    }

    /// Why.
    pub const fn error(&self) -> Error {
        self.error
    }

    /// The handle, as it was.
    pub fn into_handle(self) -> T {
        self.handle
    }
}

impl<T> From<NotTransferred<T>> for Error {
    fn from(refused: NotTransferred<T>) -> Self {
        refused.error
    }
}

impl<T> fmt::Debug for NotTransferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NotTransferred").field(&self.error).finish()
    }
}

impl<T> fmt::Display for NotTransferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not handed over: {}", self.error)
    }
}

impl<T> core::error::Error for NotTransferred<T> {}
