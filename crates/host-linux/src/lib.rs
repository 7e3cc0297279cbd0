//! The world as Linux has it: io_uring, or epoll where io_uring is not to be had.
//!
//! Read in this order:
//!
//! 1. [`Config`], then [`Linux`]: what a program makes, and hands to the runtime.
//! 2. `driver`: which of the two ports stands behind it, and why.
//! 3. `ring`: the io_uring port; `poll`: the epoll port, under the core's
//!    [`AfterOverBefore`](fiber_core::before_io::AfterOverBefore); `immediate`: plain calls, for
//!    both.
//! 4. `signals`: from a signal handler to a descriptor that is read.
//! 5. `wake`: how a worker's sleep ends. `stacks`, `slabs`, `overflow`: where fibers live, and what
//!    happens when one runs over.
//! 6. One small file for each other slot of [`Env`](fiber_core::env::Env): `clock`, `entropy`,
//!    `workers` (and `keep`, of threads that may not end), `threads`, `offload`, `unwind`.
//! 7. `watch`: the thread that looks at workers from outside; `sample`: how it interrupts one;
//!    `trace`: backtraces.
//! 8. `sys`: every raw call; `errno`, `address`: the kernel's numbers and layouts.

#![cfg(target_os = "linux")]

mod address;
mod clock;
mod config;
mod driver;
mod entropy;
mod errno;
mod immediate;
mod keep;
mod linux;
mod offload;
mod overflow;
mod poll;
mod ring;
mod sample;
mod signals;
mod slabs;
mod stacks;
mod sys;
mod threads;
mod trace;
mod unwind;
mod wake;
mod watch;
mod workers;

pub use self::{
    config::{Affinity, Config, IO_VARIABLE, Io},
    linux::Linux,
};
