//! Locking to read or to write, as things that one can block on.

use alloc::boxed::Box;
use core::{cell::Cell, fmt, panic::Location, pin::Pin};

use fiber_core::operation::{Dead, Deadlock, Operation, Published, Resource, WaitCell, Waits};

use super::{
    RwLock, RwLockReadGuard, RwLockWriteGuard,
    raw::{Access, Candidate, RawRwLock},
};
use crate::{
    holders::Place,
    poison::{Abandoned, LockResult},
};

/// Gets the raw lock, for reading or for writing.
struct Acquire<'lock> {
    candidate: Candidate<'lock>,
    /// A holder that was abandoned: this is what was committed instead of the lock.
    dead: Cell<Option<Box<Dead>>>,
}

impl<'lock> Acquire<'lock> {
    const fn new(
        lock: &'lock RawRwLock,
        access: Access,
        site: &'static Location<'static>,
        stays: bool,
    ) -> Self {
        Self {
            dead: Cell::new(None),
            candidate: Candidate::new(lock, access, site, stays),
        }
    }

    fn waits(&self) -> Option<Waits<'_>> {
        Some(Waits {
            resource: &self.candidate,
            site: self.candidate.request.site,
            only_holders: true,
        })
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        let Candidate { lock, request, .. } = &self.candidate;
        match lock.try_lock(request.access) {
            Some(place) => request.place.set(place),
            None => self.dead.set(Some(self.in_the_way()?)),
        }
        Some(0)
    }

    #[cold]
    fn in_the_way(&self) -> Option<Box<Dead>> {
        Dead::in_the_way_of(&self.candidate)
    }

    /// # Safety
    /// As for [`Operation::publish`].
    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        let Candidate {
            lock,
            request,
            node,
        } = &this.candidate;
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(node) };
        // SAFETY: node, request and cell stay until `retract`, by the caller's promise (I-12).
        match unsafe { lock.publish(node, request, cell, base) } {
            Published::Waiting => this.look_again(cell, base),
            committed => committed,
        }
    }

    /// Whoever would wait for one that was abandoned does not.
    fn look_again(&self, cell: &WaitCell, base: u16) -> Published {
        let Candidate {
            lock,
            request,
            node,
        } = &self.candidate;
        if let Some(dead) = self.in_the_way()
            && lock.give_up(node, request, cell, base)
        {
            self.dead.set(Some(dead));
            return Published::Committed(0);
        }
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            let Candidate {
                lock,
                request,
                node,
            } = &self.candidate;
            lock.retract(node, request);
        }
    }

    /// The place of a caller that has got the lock.
    #[inline]
    fn finish(self: Pin<&mut Self>) -> Result<Place, Abandoned> {
        if let Some(dead) = self.dead.take() {
            return Err(Abandoned::new(dead));
        }
        let Candidate { lock, request, .. } = &self.candidate;
        lock.note(request.place.get(), request.site);
        Ok(request.place.get())
    }
}

macro_rules! operation {
    ($(#[$meta:meta])* $name:ident, $guard:ident, $access:expr) => {
        $(#[$meta])*
        pub struct $name<'lock, T: ?Sized> {
            lock: &'lock RwLock<T>,
            acquire: Acquire<'lock>,
        }

        impl<'lock, T: ?Sized> $name<'lock, T> {
            pub(super) const fn new(
                lock: &'lock RwLock<T>,
                site: &'static Location<'static>,
                stays: bool,
            ) -> Self {
                Self {
                    lock,
                    acquire: Acquire::new(&lock.raw, $access, site, stays),
                }
            }

            fn acquire(self: Pin<&mut Self>) -> Pin<&mut Acquire<'lock>> {
                // SAFETY: pinned with the operation that it is a part of, and never moved out
                // (I-12).
                unsafe { self.map_unchecked_mut(|this| &mut this.acquire) }
            }
        }

        // SAFETY: the raw lock looks at who holds it again under the lock under which it links
        // (I-2), those who serve unlink, and `retract` unlinks otherwise (I-12).
        unsafe impl<'lock, T: ?Sized> Operation for $name<'lock, T> {
            type Output = LockResult<$guard<'lock, T>>;

            fn name(&self) -> &'static str {
                self.acquire.candidate.kind()
            }

            fn waits(&self) -> Option<Waits<'_>> {
                self.acquire.waits()
            }

            #[inline]
            fn try_now(&mut self) -> Option<u16> {
                self.acquire.try_now()
            }

            unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
                // SAFETY: the caller's promise is the same (I-12).
                unsafe { self.acquire().publish(cell, base) }
            }

            fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
                self.acquire().look_again(cell, base)
            }

            fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
                self.acquire().retract(winner);
            }

            #[inline]
            unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
                let lock = self.lock;
                let guard = $guard::new(lock, self.acquire().finish()?);
                Ok(lock.poison.mark(guard)?)
            }

            fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> Self::Output {
                Err(deadlock.into())
            }
        }

        impl<T: ?Sized> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

operation! {
    /// Locks for reading.
    ReadOperation, RwLockReadGuard, Access::Read
}
operation! {
    /// Locks for writing.
    WriteOperation, RwLockWriteGuard, Access::Write
}
