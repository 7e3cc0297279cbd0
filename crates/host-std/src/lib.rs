//! What hosts that are built on std share: a thread's unwinding, set aside.
//!
//! std counts, for each thread, the panics that were raised there and not caught yet;
//! `std::thread::panicking` is whether that count is not 0, and std's locks ask it. A fiber that is
//! suspended in a destructor while it unwinds leaves its count behind, and every other fiber of the
//! thread looks as if it panicked. [`set_aside`] takes the count back while others run.
//!
//! Nothing of std's sets the count; a raise adds one and a catch takes one off. So to take one off
//! something has to be caught that was raised before, where it did no harm. That is a *ballast*: a
//! coroutine that goes round between two states, and stops in each.
//!
//! ```text
//!           raise, and stop in a destructor: the thread counts one more
//!          ┌──────────────────────────────────────────────────────────┐
//!        idle                                                       raised
//!          └──────────────────────────────────────────────────────────┘
//!           the destructor returns, catch: the thread counts one less
//!
//!   fiber unwinds, count 1 ── parks: a raised ballast is caught ──▶ 0, others run ──┐
//!                    ▲                                                              │
//!                    └─── goes on: the ballast is raised again ◀── is resumed ◀─────┘
//! ```
//!
//! A fiber takes a raised ballast and gives a raised one back, so they serve all threads again and
//! again. A new one is raised on a helper thread that ends with it, whose count nobody asks for.
//!
//! Public and stable parts of std alone do this, but std does not promise it: [`works`] tries it
//! once in a process.

extern crate alloc;

mod aside;
mod ballast;
mod memory;

pub use crate::aside::{set_aside, works};
