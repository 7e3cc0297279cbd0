//! The laws of hosts, on a ring so small that its queues overflow all the time.

use host_linux::{Config, Io, Linux};

fiber_core::laws_tests!(|| {
    let tiny = Config::default().io(Io::Ring).sq_entries(8).cq_entries(16);
    Linux::new(tiny).expect("a ring")
});
