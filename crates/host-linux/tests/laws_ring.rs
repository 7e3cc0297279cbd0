//! The laws of hosts, on io_uring.

use host_linux::{Config, Io, Linux};

fiber_core::laws_tests!(|| Linux::new(Config::default().io(Io::Ring)).expect("a ring"));
