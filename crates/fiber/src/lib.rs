//! Plain blocking code on fibers, in a world that is injected.
//!
//! A program names this crate and one host: `host-linux` in production, `host-sim` in tests. The
//! same code runs on both.
#![no_std]

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/operations.md")]
mod operations {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/processes.md")]
mod processes {}

/// The contract with hosts, and everything below the everyday types.
pub use fiber_core as core;
/// Everything that blocks, as values that compose.
pub use fiber_core::operation;
pub use fiber_core::{
    Id, IoError, IoErrorKind, Namespace, Stale, StaleReason, choose,
    env::{Env, Instant, SharedEnv, StackClass},
    id,
};
/// Sockets, and signals of the operating system.
pub use fiber_io as io;
pub use fiber_sched::{
    AllAsleep, Builder, CallError, Cancelled, CancelledOperation, CountingAllocator, DeferHandle,
    Drain, Dump, DumpOptions, Elapsed, End, Exit, ExitReason, ExitReport, Exits, Fiber,
    FiberBuilder, FiberDump, FiberFuture, FiberLocal, FiberState, HEAP_LIMIT, HelpersBusy, HogKind,
    HogReport, InheritedLocal, JoinHandle, JoinNext, JoinOperation, JoinSet, LimitReached, Limits,
    Monitor, MultiPanic, NameError, NoProcess, NotYet, OnStale, PanicLocation, PanicPayload,
    ParkedFiber, Priority, Process, ProcessBuilder, ProcessHandle, ProcessStats, Reason, Reply,
    RunError, Runtime, SHUTDOWN, Scope, ScopeBuilder, ScopeCancelled, ScopePanic, ScopedJoinHandle,
    SpawnError, Stats, WaitingFiber, Watchdog, WorkerDump, WorkerId, WorkerLocal, WorkerState,
    WorkerStats, block_on, blocking, cancel_reason, cancelled_operation, catch_unwind, charge,
    checkpoint, current, defer, fail, fiber_local, into_future, is_cancelled, is_running, join,
    mask, no_suspend, on_big_stack, park, park_timeout, race, register, scope, sleep, sleep_until,
    spawn, spawn_any, spawn_local, spawn_many, spawn_when, supervisor, time, timeout, try_blocking,
    try_join, try_scope, unmask, unregister, whereis, worker_local, yield_now,
};
/// Locks and channels.
pub use fiber_sync as sync;
