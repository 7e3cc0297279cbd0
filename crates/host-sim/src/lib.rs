//! A deterministic world in one thread: virtual time, network, faults, replay.
//!
//! Implements [`fiber_core::env::Env`] as a discrete-event simulator. Nodes are simulated
//! machines; each runs the same code that production runs, on virtual workers that are coroutines
//! of one OS thread. Equal seeds give equal runs (I-6), and a failed one is replayed by its
//! [`Token`].
//!
//! ```
//! use core::time::Duration;
//! use host_sim::{Action, Sim};
//!
//! let mut sim = Sim::new(42);
//! let server = sim.node("server", |_env| { /* Runtime::builder(env).run(serve) */ });
//! let client = sim.node("client", |_env| { /* Runtime::builder(env).run(drive) */ });
//! sim.at(Duration::from_millis(5), Action::Partition(server, client));
//! sim.at(Duration::from_millis(9), Action::HealAll);
//! let outcome = sim.until(client).run();
//! println!("{outcome}");
//! ```
//!
//! Read in this order:
//!
//! 1. `sim`, `config`, `fault`: what a world is made of; `outcome`, `token`, `check`: what comes
//!    out, and how to see it again.
//! 2. `world`: the state and the rules of who runs when; `run`: the loop; `worker`: coroutines.
//! 3. `choices`, `journal`, `events`: where chance, history and time come from.
//! 4. `env`, `port`, `threads`, `stacks`, `overflow`, `node`: the contract of a host.
//! 5. `op` and `net`: requests and TCP.

extern crate alloc;

mod arena;
mod check;
mod choices;
mod config;
mod env;
mod events;
mod fault;
mod journal;
mod net;
mod node;
mod op;
mod outcome;
mod overflow;
mod own_thread;
mod port;
mod run;
mod sim;
mod stacks;
mod threads;
mod token;
mod worker;
mod world;

pub use crate::{
    check::{check, token_from_env},
    config::{Network, Order, Poison},
    fault::{Action, Faults},
    journal::JournalHash,
    outcome::{Abandoned, Outcome, Verdict},
    sim::{NodeHandle, Sim},
    token::{BadToken, Token},
};
