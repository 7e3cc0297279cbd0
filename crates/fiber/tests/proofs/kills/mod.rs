//! Programs whose fibers and processes are killed, each at every moment.

mod choices;
mod echo;
mod everywhere;
mod tree;

use everywhere::{Cast, join_killed, kill_everywhere};
