//! Programs whose fibers and processes are killed, each at every moment.

mod choices;
mod echo;
mod everywhere;
mod supervisors;
mod tree;

use everywhere::{Alive, Cast, GRACE, join_killed, kill_everywhere};
