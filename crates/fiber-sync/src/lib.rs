//! Locks and channels that park fibers and plain threads alike.
//!
//! Every primitive is a list of waiters under a lock of a few instructions, and an
//! [`Operation`](fiber_core::operation::Operation) whose nodes lie in the waiter's frame (I-12).
//! What blocks as `x()` comes as `try_x()`, `x_timeout()` and `x_operation()` too. Everything here
//! is used from fibers, from plain threads, and from both at once, also of several runtimes; plain
//! threads need a host to have been made. Read in this order:
//!
//! 1. [`mutex`]: `Mutex`, first come, first served; [`poison`]: what is wrong with a lock.
//! 2. [`condvar`]: `Condvar`, on top of it.
//! 3. [`rwlock`]: `RwLock`; [`semaphore`]: `Semaphore`, permits for requests of any size.
//! 4. [`once`]: `Once`, `OnceLock`, `LazyLock`: what is done, or made, once.
//! 5. [`latch`], [`counter`], [`wait_group`], [`barrier`]: waiting for others.
//! 6. [`channel`]: rendezvous and bounded channels, many to many.
#![no_std]

extern crate alloc;

pub mod barrier;
pub mod channel;
pub mod condvar;
pub mod counter;
mod guard;
mod holders;
pub mod latch;
#[cfg(all(test, loom))]
mod models;
pub mod mutex;
pub mod once;
pub mod poison;
mod primitive;
mod raw_lock;
pub mod rwlock;
pub mod semaphore;
pub mod wait_group;

pub use crate::{
    barrier::{Barrier, BarrierOperation, BarrierWaitResult},
    condvar::{Condvar, WaitTimeoutResult},
    counter::{Counter, CounterOperation},
    latch::Latch,
    mutex::{LockOperation, Mutex, MutexGuard, OwnedMutexGuard},
    once::{LazyLock, Once, OnceLock, OnceState},
    poison::{
        Abandoned, LockError, LockResult, LockTimeoutError, LockTimeoutResult, PoisonError,
        TryLockError, TryLockResult,
    },
    rwlock::{
        OwnedRwLockReadGuard, OwnedRwLockWriteGuard, ReadOperation, RwLock, RwLockReadGuard,
        RwLockWriteGuard, WriteOperation,
    },
    semaphore::{AcquireOperation, OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    wait_group::{WaitGroup, WaitToken},
};
