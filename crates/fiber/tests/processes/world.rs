//! Where the scenarios run.

use crate::support::{WORKERS, in_worlds, on_linux};

/// On Linux with each number of workers, and in some hundred simulated worlds.
pub(crate) fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(200, main);
}
