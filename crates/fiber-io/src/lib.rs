//! fiber-io.
