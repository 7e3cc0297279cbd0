//! fiber-sched.
