//! The scheduler: workers that run fibers in turns, on an injected world.
//!
//! Read in this order: `builder` (what a run is), `worker` and `turn` (the loop), `rounds` (whose
//! turn it is), `shared` and `lane` (what workers exchange), `place` and `idle` (where new fibers
//! go, and who is called for them), `gate` and `quiet` (how a run begins, and knowing that it is
//! over), `wheel` (time), then [`spawn`](spawn()), [`scope`](scope()), [`JoinSet`],
//! and [`Runtime`], the handle.
#![no_std]

extern crate alloc;

mod ask;
mod builder;
mod counters;
mod dedicated;
mod dump;
mod episode;
mod error;
mod future;
mod gate;
mod hog;
mod idle;
mod inbox;
mod join_set;
mod lane;
mod linger;
mod local;
mod place;
mod primitive;
mod process;
mod quiet;
mod report;
mod rest;
mod rounds;
mod runtime;
mod scope;
mod shared;
mod spawn;
mod stats;
mod turn;
mod watchdog;
mod wheel;
mod worker;

pub use crate::{
    builder::{Builder, Drain},
    dump::{Dump, DumpOptions, FiberDump, FiberState, WorkerDump, WorkerState},
    error::{RunError, SpawnError},
    future::{FiberFuture, into_future},
    hog::{HogKind, HogReport, WaitingFiber},
    join_set::{JoinNext, JoinSet, NotYet},
    process::{
        CallError, End, Exit, ExitReport, Exits, Monitor, NameError, NoProcess, OnStale, Process,
        ProcessBuilder, ProcessHandle, ProcessStats, Reply, SHUTDOWN, fail, register, supervisor,
        unregister, whereis,
    },
    report::{AllAsleep, ParkedFiber},
    runtime::{Runtime, is_running},
    scope::{
        __give_up, __keep, DeferHandle, MultiPanic, Scope, ScopeBuilder, ScopeCancelled,
        ScopePanic, ScopedJoinHandle, defer, scope, try_scope,
    },
    spawn::{Builder as FiberBuilder, spawn, spawn_any, spawn_local, spawn_many, spawn_when},
    stats::{Stats, WorkerStats},
    watchdog::Watchdog,
};
pub use fiber_core::{
    big_stack::on_big_stack,
    block_on,
    blocking::{HelpersBusy, blocking, try_blocking},
    cancel::{
        Cancelled, CancelledOperation, cancel_reason, cancelled_operation, catch_unwind, unmask,
    },
    env::WorkerId,
    fiber::{
        ExitReason, Fiber, JoinHandle, JoinOperation, PanicLocation, PanicPayload, Priority, Reason,
    },
    fiber_local,
    local::{FiberLocal, InheritedLocal, WorkerLocal},
    park::{
        charge, checkpoint, current, is_cancelled, mask, no_suspend, park, park_timeout, sleep,
        sleep_until, yield_now,
    },
    process::{CountingAllocator, HEAP_LIMIT, LimitReached, Limits},
    time,
    timeout::{Elapsed, timeout},
    worker_local,
};
