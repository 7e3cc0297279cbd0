//! host-linux.
