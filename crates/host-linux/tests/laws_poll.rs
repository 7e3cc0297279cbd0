//! The laws of hosts, on epoll.

use host_linux::{Config, Io, Linux};

fiber_core::laws_tests!(|| Linux::new(Config::default().io(Io::Poll)).expect("a poller"));
